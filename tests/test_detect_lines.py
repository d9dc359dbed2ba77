"""What stands in lines that are followed means what it means to pyarrow, which reads logs otherwise."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from pyarrow.csv import ConvertOptions

from tsjepa.cli.detect_lines import BadLine, Layout, find_columns, read_rows
from tsjepa.cli.detect_tail import Lines, Place
from tsjepa.cli.errors import Failure
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_dialect import plain_names
from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.log_reading import dialect, read_schema
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.logs import Columns

LAYOUT = Layout(None, 0, [1], False, ",", ["time", "flow"])
NOTED = LAYOUT._replace(names=["time", "flow", "note"])


@pytest.mark.parametrize("word", ConvertOptions().null_values)
def test_what_is_missing_elsewhere_is_missing_here(word: str) -> None:
    assert np.isnan(read_rows("live.csv", [(2, f"1,{word}")], LAYOUT, 0).values).all()


def values_of(lines: list[tuple[int, str]], layout: Layout, at_once: bool) -> list[float]:
    """Return the values of lines that are read at once, or one after the other."""
    kinds, found = (), list[float]()
    for some in [lines] if at_once else [[line] for line in lines]:
        rows = read_rows("live.csv", some, layout, 0, kinds)
        kinds, found = rows.kinds, [*found, *rows.values[0].tolist()]
    return found


def by_batch(folder: Path, lines: list[tuple[int, str]]) -> list[float]:
    """Return the values of lines as a whole log is read."""
    path = folder / "log.csv"
    path.write_text("\n".join(["time,flow", *(text for _, text in lines), ""]))
    runs = load_runs(path, Columns("", "time", ("flow",), ""), cache_dir=folder / "cache")
    found: list[float] = runs.values(0, len(lines))[0].tolist()
    return found


NO_WORDS = "line {}: column 'flow' holds {!r}, and held {} before; mend it"


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (("true", "False", "TRUE", "1", "", "NA", "0"), ""),
        (("", "1", "0", "true", '"FALSE"'), ""),
        (("1", "0", "", "0.5"), ""),
        (("0.5", "true"), NO_WORDS.format(3, "true", "numbers")),
        (("1.0", "FALSE"), NO_WORDS.format(3, "FALSE", "numbers")),
        (("+nan", "true"), NO_WORDS.format(3, "true", "numbers")),
        (("1", "true", "", "0.5"), NO_WORDS.format(5, "0.5", "true or false")),
        (("true", "01"), NO_WORDS.format(3, "01", "true or false")),
        *(((number, word), f"line 3: {word!r} is no number") for number in ("0.5", "true") for word in ("None", "  ")),
        *((("true", word), f"line 3: {word!r} is no number") for word in (" true", "tRue", " NA", "none")),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_true_and_false_are_numbers_where_a_batch_takes_them_for_such(
    tmp_path: Path, cells: tuple[str, ...], sentence: str, at_once: bool
) -> None:
    lines = [(at, f"{at},{cell}") for at, cell in enumerate(cells, 2)]
    if not sentence:
        np.testing.assert_array_equal(values_of(lines, LAYOUT, at_once), by_batch(tmp_path, lines))
        return
    with pytest.raises(DataError, match="which is not a number"):
        by_batch(tmp_path, lines)
    with pytest.raises(BadLine, match=re.escape(sentence)):
        values_of(lines, LAYOUT, at_once)


DATED = LAYOUT._replace(dated=True)
ZONES = ("2026-03-05 01:00:00", "2026-03-05 01:00:01Z", "2026-03-05T03:00:02+02", "2026-03-05 01:00:03-00:30")


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (ZONES[:2], "line 3: '2026-03-05 01:00:01Z' has a UTC offset, and times before it have none; mend it"),
        (("2026-03-05", *ZONES[2:]), "line 3: '2026-03-05T03:00:02+02' has a UTC offset, and times before it have"),
        ((*ZONES[1:], ZONES[0]), "line 5: '2026-03-05 01:00:00' has no UTC offset, and times before it have one; mend"),
        ((ZONES[3], "2026-03-06"), "line 3: '2026-03-06' has no UTC offset"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_all_times_have_a_zone_or_none(tmp_path: Path, texts: tuple[str, ...], sentence: str, at_once: bool) -> None:
    lines = [(at, f"{text},0.5") for at, text in enumerate(texts, 2)]
    with pytest.raises(DataError, match="which is not a time in ISO 8601"):
        by_batch(tmp_path, lines)
    with pytest.raises(BadLine, match=re.escape(sentence)):
        values_of(lines, DATED, at_once)


def times_of(texts: list[str]) -> list[int]:
    """Return the nanoseconds of dates that lines begin with."""
    lines = [(at, f"{text},0.5") for at, text in enumerate(texts, 2)]
    found: list[int] = read_rows("live.csv", lines, DATED, 0).time.tolist()
    return found


def test_dates_may_say_how_far_they_are_off() -> None:
    texts = ["2026-03-05 01:00:00+01:00", "2026-03-05T01:00:01+0100", "2026-03-04 19:30:02-04:30"]
    texts += ["2026-03-05 02:00:03+02", "2026-03-05 00:00:04Z"]
    expected = pa.array(texts).cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    assert times_of(texts) == expected.to_pylist()


NO_DATES = (
    *("1769904000", "20260201", "26-02-01", "2026-02", "12026-02-01", "now", "2026-02-01 24:00", "2026-02-01Z"),
    *("2026-02-01 00:00:00+99:99", "2026-02-01 00:00:00+24:00", "2026-02-01 00:00:00z", "\uff12026-02-01", " "),
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", NO_DATES)
@pytest.mark.parametrize("unit", ["s", "us"])
def test_what_is_no_date_elsewhere_is_none_here(text: str, unit: str) -> None:
    with pytest.raises(pa.ArrowInvalid):
        pa.array([text]).cast(pa.timestamp(unit, "UTC" if text[10:] else None))
    with pytest.raises(BadLine, match=re.escape(f"line 3: {text.strip()!r} is no time")):
        times_of(["2026-02-01", text, "2026-02-03"])


@pytest.mark.parametrize("text", ["0001-01-01", "1677-09-21", "2262-04-12", "9999-12-31 23:59:59"])
def test_dates_beyond_what_nanoseconds_hold_are_refused(text: str) -> None:
    with pytest.raises(BadLine, match=f"line 3: '{text}' is no time; a date .*, from 1678 to 2261, is needed"):
        times_of(["1678-01-01", text, "2261-12-31"])


@pytest.mark.parametrize("texts", [["1677-09-22", "2262-04-11"], ["1678-01-01 00Z", "2261-12-31T23:59:59.9-23:59"]])
def test_dates_within_it_are_read(texts: list[str]) -> None:
    first, last = times_of(texts)
    assert first < 0 < last


def test_dates_are_written_as_elsewhere() -> None:
    texts = ["2026-03-05", "2026-03-05 01", "2026-03-05T01:02", "2026-03-05 01:02:03", "2026-03-05 01:02:03.25"]
    expected = pa.array(texts).cast(pa.timestamp("ns")).cast(pa.int64())
    assert times_of(texts) == expected.to_pylist()


def test_ids_may_be_values_too() -> None:
    layout = Layout(1, 0, [1, 0], False, ",", ["time", "flow"])
    rows = read_rows("live.csv", [(2, "1,007"), (3, "2,0.5")], layout, 0)
    assert (rows.ids, rows.time.tolist(), rows.values.tolist()) == (["007", "0.5"], [1, 2], [[7, 0.5], [1, 2]])
    again = read_rows("live.csv", [(4, "3, 7")], layout, 2, rows.kinds)
    assert (again.ids, again.values.tolist()) == (["7"], [[7], [3]])


def test_a_quote_that_does_not_end_takes_no_other_line() -> None:
    rows = read_rows("live.csv", [(2, '1,2,"a'), (3, "2,3,b")], NOTED, 0)
    assert rows.time.tolist() == [1, 2]


def test_a_line_that_ends_in_its_middle_is_not_made_up_by_one_that_goes_on() -> None:
    layout = Layout(1, None, [0], False, ",", ["flow", "machine"])
    rows = read_rows("live.csv", [(2, '1,"b'), (3, '2,"h\r,k')], layout, 0)
    assert (rows.ids, rows.values.tolist()) == (["b", "h\r,k"], [[1, 2]])


def test_lines_of_all_kinds_are_read_as_each_alone() -> None:
    texts = ["1,2", "", '"2",3\r', '3,"4"', '4,"5,a', '5,"6', "6,7", '7,"8,b"', '8,"9,c']
    rows = read_rows("live.csv", list(enumerate(texts)), Layout(1, None, [0], False, ",", ["flow", "machine"]), 0)
    alone = [next(csv.reader([text])) for text in texts if text]
    assert (rows.values[0].tolist(), rows.ids) == ([int(row[0]) for row in alone], [row[1] for row in alone])
    assert (rows.numbers, rows.time.tolist()) == ([0, 2, 3, 4, 5, 6, 7, 8], list(range(8)))


def test_whole_lines_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, read, asked = [(at, f"{at},0.5") for at in range(100)], pyarrow.csv.open_csv, list[int]()
    kinds = read_rows("live.csv", lines, LAYOUT, 0).kinds
    monkeypatch.setattr(pyarrow.csv, "open_csv", lambda *words: asked.append(1) or read(*words))
    assert len(read_rows("live.csv", lines, LAYOUT, 0, kinds).time) == 100
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["1,2\rb", "1,nothing", '1,"x'])
def test_a_bad_line_is_known_by_its_number(text: str) -> None:
    with pytest.raises(BadLine, match=r"live\.csv, line 3") as caught:
        read_rows("live.csv", [(2, "1,2"), (3, text)], LAYOUT, 0)
    assert caught.value.number == 3


def test_decimals_with_a_comma_are_refused() -> None:
    with pytest.raises(BadLine, match="'0,6251' is no number; write decimals with a point"):
        read_rows("live.csv", [(2, "1;0,6251")], LAYOUT._replace(mark=";"), 0)


@pytest.mark.parametrize(("text", "values"), [("1", 1), ("1,2", 2), ("1,0,5,a", 4), ("1,2,a,", 4), ('1,"2,a', 2)])
def test_a_line_with_other_columns_than_the_first_is_refused(text: str, values: int) -> None:
    with pytest.raises(BadLine, match=f"live.csv, line 3 has {values} values, and the first line names 3") as caught:
        read_rows("live.csv", [(2, "1,2,a"), (3, text), (4, "2,3,b")], NOTED, 0)
    assert caught.value.number == 3


@pytest.mark.parametrize("content", [b"P\xfcmpe,1,0.5", b"P\xf6mpe,1,0.5", b"a,1,0.5,\xff"])
def test_what_is_not_utf8_is_refused(content: bytes) -> None:
    layout = Layout(0, 1, [2], False, ",", ["machine", "time", "flow", "note"][: content.count(b",") + 1])
    lines = Lines("P\u00fcmpe,0,0.5\n".encode() + content + b"\n", Place(9, 1)).numbered()
    assert read_rows("live.csv", lines[:1], layout._replace(names=layout.names[:3]), 0).ids == ["P\u00fcmpe"]
    with pytest.raises(BadLine, match=r"live\.csv, line 3 is not UTF-8: export it as such") as caught:
        read_rows("live.csv", lines[1:], layout, 0)
    assert caught.value.number == 3


def test_names_that_are_not_utf8_are_refused() -> None:
    (_, header), *_ = Lines(b"time,flow,Stra\xdfe\n", Place()).numbered()
    with pytest.raises(BadLine, match=r"live\.csv, line 1 is not UTF-8"):
        find_columns("live.csv", header, (None, "time", ("flow",)), False)


HEADERS = (
    "time;Flow, l/min;Temp, C",
    "\ufefftime;Flow, l/min;Temp, C\r",
    '"time";"Flow, l/min";"Temp, C"',
    '\ufeff"time";"Flow, l/min";"Temp, C"',
    "time; Flow, l/min ;Temp, C",
    "time\tFlow, l/min\tTemp, C",
    'time,"Flow, l/min","Temp, C"',
    "Temp, C;time;Flow, l/min;Note, a, b, c, d",
    "# time;Flow, l/min;Temp, C",
)


@pytest.mark.parametrize("header", HEADERS)
def test_commas_in_names_divide_no_header(tmp_path: Path, header: str) -> None:
    layout = find_columns("live.csv", header, (None, "time", ("Flow, l/min", "Temp, C")), False)
    assert [layout.names[at] for at in (layout.time, *layout.channels)] == ["time", "Flow, l/min", "Temp, C"]
    # as a batch reads the same header, and rows
    path = tmp_path / "log.csv"
    row = layout.mark.join(["0.5"] * len(layout.names))
    path.write_text("\n".join([header, *[row] * 3, ""]), newline="")
    (file,), _ = find_files(path)
    written = dialect(file)
    assert (written.delimiter, plain_names(written.names)) == (layout.mark, layout.names)
    assert read_schema(file).names == layout.names


def test_blanks_around_names_do_not_count() -> None:
    for identity, flow in (("machine", "flow"), (" machine", "flow ")):
        layout = find_columns("live.csv", "time, machine, flow", (identity, "time", (flow,)), False)
        assert (layout.id, layout.time, layout.channels) == (1, 0, [2])
    with pytest.raises(Failure, match=r"^live\.csv has no column 'unit' \(--id\); it has 'time', 'machine', 'flow'$"):
        find_columns("live.csv", "\ufefftime, machine, flow", (" unit", "time", ("flow",)), False)
    with pytest.raises(Failure, match=r"live\.csv has two columns 'flow': rename one\."):
        find_columns("live.csv", "time,flow, flow", (None, "time", ("flow",)), False)


MACHINES = Layout(0, 1, [2], False, ",", ["machine", "time", "flow"])


def test_blanks_around_ids_and_times_do_not_count() -> None:
    lines, layout = [(2, " a, 2026-03-05 , 0.5"), (3, "a ,2026-03-06,0.5")], MACHINES._replace(dated=True)
    rows = read_rows("live.csv", lines, layout, 0)
    assert (rows.ids, rows.shown) == (["a", "a"], ["2026-03-05", "2026-03-06"])
    with pytest.raises(BadLine, match=r"line 2: column 'machine' is empty"):
        read_rows("live.csv", [(2, "  ,1,0.5")], MACHINES, 0)


def ids_of(lines: list[str]) -> list[str | None]:
    """Return the ids of lines as a log is read otherwise."""
    options = ConvertOptions(column_types={"machine": pa.string()}, strings_can_be_null=True)
    text = "\n".join([",".join(MACHINES.names), *lines])
    return pyarrow.csv.read_csv(io.BytesIO(text.encode()), convert_options=options)["machine"].to_pylist()


@pytest.mark.parametrize("text", [*ConvertOptions().null_values, '""', '"NA"'])
def test_ids_that_are_empty_elsewhere_are_refused(text: str) -> None:
    lines = ["a,1,0.5", f"{text},2,0.5"]
    assert ids_of(lines) == ["a", None]
    with pytest.raises(BadLine, match=r"line 3: column 'machine' is empty; fill it or take this line out\.") as caught:
        read_rows("live.csv", list(enumerate(lines, 2)), MACHINES, 0)
    assert caught.value.number == 3


def test_other_ids_are_what_they_are_elsewhere() -> None:
    lines = [f"{text},1,0.5" for text in ("none", "01", "1", "0", "Na", '"a,b"')]
    assert read_rows("live.csv", list(enumerate(lines, 2)), MACHINES, 0).ids == ids_of(lines)


@pytest.mark.parametrize("text", ["1_0", "1_000.5", "\uff11", "\u0663.5", "\u00a01", "1__0", "0x1A", "1d5"])
@pytest.mark.parametrize("others", ["0.5", "true", ""])
def test_what_is_no_number_elsewhere_is_none_here(text: str, others: str) -> None:
    with pytest.raises(pa.ArrowInvalid):
        pa.array([text]).cast(pa.float32())
    layout = Layout(0, 1, [2, 3], False, ",", ["machine", "time", "flow", "level"])
    lines = [(2, f"a_\uff11,1,{others},0.5"), (3, f"a_\uff11,2,{others},{text}")]
    assert read_rows("live.csv", lines[:1], layout, 0).ids == ["a_\uff11"]
    with pytest.raises(BadLine, match=re.escape(f"line 3: {text!r} is no number")):
        read_rows("live.csv", lines, layout, 0)


@pytest.mark.parametrize("text", ["1_0", "\uff11"])
def test_times_in_numbers_are_those_of_elsewhere(text: str) -> None:
    with pytest.raises(BadLine, match=re.escape(f"line 3: {text!r} is no time; a number is needed")):
        read_rows("live.csv", [(2, "1,0.5"), (3, f"{text},0.5")], LAYOUT, 0)


@pytest.mark.parametrize("text", ["inf", "-1e39", "1e400"])
def test_the_first_value_that_is_too_large_is_told(text: str) -> None:
    lines = [(2, "1,0.5"), (3, f"2,{text}"), (4, "3,1e300")]
    with pytest.raises(BadLine, match=re.escape(f"line 3: {text!r} is too large")):
        read_rows("live.csv", lines, LAYOUT, 0)


@pytest.mark.parametrize("bad", ["1,much", "1,inf", "soon,0.5", "1", "1,0.5,\udcff", "1,true"])
@pytest.mark.parametrize("other", ["1,much", "1,inf", "soon,0.5", "1", "1,0.5,\udcff"])
def test_of_several_bad_lines_the_first_is_told(bad: str, other: str) -> None:
    with pytest.raises(BadLine, match=r"live\.csv, line 3") as caught:
        read_rows("live.csv", [(2, "0,0.5"), (3, bad), (4, "2,0.5"), (5, other), (6, other)], LAYOUT, 0)
    assert caught.value.number == 3
