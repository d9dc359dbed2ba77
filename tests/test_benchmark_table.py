"""Tables that grow a run at a time: a cut costs the last row at most, and values go through text."""

import re
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import row
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.evaluation.benchmark_table import BenchmarkError, FewLabels, Result, Table, as_text, from_text


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9), st.floats(0, 1)),
        max_size=5,
    ),
    st.integers(0, 400),
)
@settings(max_examples=50, deadline=None)
def test_a_table_survives_a_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, pairs: Any, cut: int) -> None:
    rows = [row(re.sub("[\r\n]+", " ", name), seed=k, accuracy=value) for k, (name, value) in enumerate(pairs)]
    table = Table(tmp_path_factory.mktemp("table") / "results.csv", Result)
    table.append(rows)
    assert table.read() == rows
    if rows:
        content = table.path.read_bytes()[:cut]
        table.path.write_bytes(content)
        kept = table.read()
        assert kept == rows[: len(kept)]
        table.append(rows[len(kept) :])
        assert table.read() == rows


def test_values_go_through_text_and_others_are_refused(tmp_path: Path) -> None:
    for value, kind in ((None, float | None), (True, bool), (3, int), (0.1, float), ("a", str), (None, int | None)):
        assert from_text(as_text(value), kind) == value
    assert as_text("two\nlines") == as_text("two\r\nlines") == "two lines"
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BenchmarkError, match="columns are not those"):
        Table(path, Result).read()
    Table(path, FewLabels).path.write_text(",".join(FewLabels._fields) + "\nGunPoint,raw,x,0,1,1,0,0.5\n")
    with pytest.raises(BenchmarkError, match="cannot be gone on with"):
        Table(path, FewLabels).read()


def test_a_table_of_before_a_column_came_is_read_and_gone_on_with(tmp_path: Path) -> None:
    table = Table(tmp_path / "results.csv", Result)
    table.append([row(data_digest="0a1b")])
    lines = table.path.read_text().splitlines()
    table.path.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    assert table.read() == [row()]
    table.append([row(seed=1, data_digest="2c3d")])
    assert table.read() == [row(), row(seed=1, data_digest="2c3d")]


def test_rows_of_a_run_can_be_dropped(tmp_path: Path) -> None:
    table = Table(tmp_path / "results.csv", Result)
    table.append([row(seed=0), row(seed=1)])
    table.keep(lambda key: key[2] != 0)
    assert [one.seed for one in table.read()] == [1]


@pytest.mark.parametrize("content", [b"notes", b"\x00", b"\xff\xfe\n"])
def test_what_is_no_table_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    table = Table(tmp_path / "results.csv", Result)
    table.path.write_bytes(content)
    for use in (table.read, lambda: table.append([row()])):
        with pytest.raises(BenchmarkError, match=r"results\.csv cannot be gone on with: .+; name another folder\."):
            use()
    assert table.path.read_bytes() == content


def test_a_table_that_is_a_link_stays_one_and_keeps_who_may_read_it(tmp_path: Path) -> None:
    place, table = tmp_path / "disk.csv", Table(tmp_path / "results.csv", Result)
    table.path.symlink_to(place)
    table.append([row(seed=0)])
    place.chmod(0o640)
    table.append([row(seed=1)])
    assert table.path.is_symlink()
    assert Table(place, Result).read() == [row(seed=0), row(seed=1)]
    assert place.stat().st_mode & 0o777 == 0o640
