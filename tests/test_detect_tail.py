"""Lines of a log as they come, also when the log is rotated, cut off or written anew meanwhile."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from detecting import while_it_rests

from tsjepa.cli import detect_tail
from tsjepa.cli.detect_tail import Lines, Place, Tail, first_place, held, read_lines
from tsjepa.cli.errors import Failure

HEADER = "time,flow\n"


def rows(start: int, stop: int) -> str:
    return "".join(f"2024-01-01 00:{at // 60:02}:{at % 60:02},{at}\n" for at in range(start, stop))


class Reading:
    """A file that is read, and what was read."""

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self.lines: Iterator[Lines] = read_lines(str(path), place or Place(), 0.2)
        self.text, self.place = "", place or Place()

    def take(self) -> "Reading":
        """Take the next lines."""
        found = next(self.lines)
        self.text += found.content.decode()
        self.place = found.end
        return self

    def rest(self) -> str:
        """Take all that is left, and return all."""
        return self.text + b"".join(lines.content for lines in self.lines).decode()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a log of 100 rows; nobody waits for more."""
    monkeypatch.setattr(detect_tail.time, "sleep", lambda _: None)
    (tmp_path / "log.csv").write_text(HEADER + rows(0, 100))
    return tmp_path / "log.csv"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def renamed(log: Path, text: str) -> None:
    log.rename(log.with_name(f"{log.name}.1"))
    log.write_text(text)


def copied(log: Path, text: str) -> None:
    shutil.copy(log, log.with_stem(f"{log.stem}-1"))
    log.write_text(text)


def cut_off(log: Path, text: str) -> None:
    log.write_text(text)


@pytest.mark.parametrize("stop", [103, 1000])  # shorter and longer than what was read
@pytest.mark.parametrize("header", [HEADER, ""])
@pytest.mark.parametrize("rotate", [renamed, copied])
def test_a_rotated_log_is_read_to_its_end_and_then_the_new_one(rotate, header: str, stop: int, log: Path) -> None:
    reading = Reading(log).take()
    append(log, rows(100, 102))
    rotate(log, header + rows(102, stop))
    assert reading.rest() == HEADER + rows(0, 102) + header + rows(102, stop)
    assert reading.place.offset == len(HEADER + rows(0, 100))


@pytest.mark.parametrize("name", ["log.csv", "log[1].csv"])
@pytest.mark.parametrize("stop", [103, 1000])
@pytest.mark.parametrize("rotate", [renamed, copied])
def test_what_was_rotated_while_nobody_read_is_found_beside_it(rotate, stop: int, name: str, log: Path) -> None:
    log = log.rename(log.with_name(name))
    place = Reading(log).take().place
    append(log, rows(100, 102))
    rotate(log, HEADER + rows(102, stop))
    assert Reading(log, place).rest() == rows(100, 102) + HEADER + rows(102, stop)


def test_of_several_copies_beside_a_log_the_longest_holds_the_rest(log: Path) -> None:
    place = Reading(log).take().place
    shutil.copy(log, log.with_name("log-backup.csv"))
    append(log, rows(100, 102))
    renamed(log, rows(102, 103))
    assert Reading(log, place).rest() == rows(100, 103)


@pytest.mark.parametrize("known", ["", HEADER])
@pytest.mark.parametrize("new", [None, "", HEADER, HEADER + rows(100, 150)])
def test_a_log_of_which_no_row_was_read_is_found_beside_it(new: str | None, known: str, log: Path) -> None:
    log.write_text(known)
    place = first_place(str(log))
    if known:
        place = Reading(log, place).take().place
    append(log, (HEADER + rows(0, 100)).removeprefix(known))
    log.rename(log.with_name("log.csv.1"))
    log.with_name("log.csv.2").write_text(HEADER + rows(0, 200))
    if new is not None:
        log.write_text(new)
    read = HEADER + rows(0, 100) + (new if new not in (None, "", HEADER) else "")
    assert Reading(log, place).rest() == read.removeprefix(known)


def replaced(log: Path, text: str) -> None:
    log.with_name("new").write_text(text)
    log.with_name("new").replace(log)


ROW = rows(0, 1).rstrip()


@pytest.mark.parametrize(
    ("rotate", "new", "last"),
    [
        (renamed, HEADER, ROW),
        (renamed, HEADER + rows(1, 100), ROW + HEADER + rows(1, 100)),
        # one that is written anew holds it, too
        (replaced, HEADER + rows(0, 100), rows(0, 100)),
    ],
)
def test_a_first_row_without_an_end_is_read_once(rotate, new: str, last: str, log: Path) -> None:
    log.write_text(HEADER + ROW)
    reading = Reading(log, first_place(str(log))).take()
    rotate(log, new)
    assert reading.rest() == HEADER + last


@pytest.mark.parametrize("known", ["", HEADER])
def test_a_log_that_is_nowhere_is_told(known: str, log: Path) -> None:
    log.write_text(known)
    place = Reading(log, first_place(str(log))).take().place if known else first_place(str(log))
    log.with_name("log.csv.1").write_text(HEADER + rows(0, 200))
    log.unlink()
    with pytest.raises(Failure, match=r"log\.csv is no file: --follow reads a CSV file"):
        Reading(log, place).rest()


@pytest.mark.parametrize("stop", [103, 1000])
def test_a_log_that_was_cut_off_is_read_from_its_start(stop: int, log: Path, capsys: pytest.CaptureFixture) -> None:
    reading = Reading(log).take()
    cut_off(log, HEADER + rows(100, stop))
    assert reading.rest() == HEADER + rows(0, 100) + HEADER + rows(100, stop)
    assert f"{log} is another file now, and read from its start" in capsys.readouterr().err


def test_a_log_that_is_empty_for_now_is_waited_for(log: Path, capsys: pytest.CaptureFixture) -> None:
    reading = Reading(log).take()
    cut_off(log, HEADER)
    assert reading.rest() == HEADER + rows(0, 100)
    assert "is shorter than what was read of it" in capsys.readouterr().err
    assert Reading(log, reading.place).rest() == ""
    append(log, rows(100, 101))
    assert Reading(log, reading.place).rest() == HEADER + rows(100, 101)


def test_rows_that_come_late_to_a_renamed_log_are_read(log: Path) -> None:
    reading = Reading(log).take()
    renamed(log, "")
    append(log.with_name("log.csv.1"), rows(100, 102))
    reading.take()
    append(log, HEADER + rows(102, 104))
    assert reading.rest() == HEADER + rows(0, 102) + HEADER + rows(102, 104)


def test_a_row_that_comes_just_before_its_log_is_renamed_is_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Tail.read

    def renamed_behind(tail: Tail) -> Lines | None:
        found = read(tail)
        if found is None and not log.with_name("log.csv.1").exists():
            append(log, rows(100, 101))
            renamed(log, rows(101, 103))
        return found

    monkeypatch.setattr(Tail, "read", renamed_behind)
    assert Reading(log).rest() == HEADER + rows(0, 103)


def test_rests_between_rows_are_not_added_up(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    while_it_rests(monkeypatch, *(partial(append, log, rows(at, at + 1)) for at in range(100, 105)))
    assert Reading(log).rest() == HEADER + rows(0, 105)


def test_a_log_that_is_written_anew_with_more_rows_is_the_same(log: Path, tmp_path: Path) -> None:
    reading = Reading(log).take()
    (tmp_path / "new").write_text(HEADER + rows(0, 120))
    os.replace(tmp_path / "new", log)
    reading.take()
    cut_off(log, HEADER + rows(0, 140))
    assert reading.rest() == HEADER + rows(0, 140)


def test_a_log_that_has_lost_rows_is_refused(log: Path) -> None:
    place = Reading(log).take().place
    cut_off(log, HEADER + rows(0, 100)[:-30])
    assert place.head == (HEADER + rows(0, 100)).encode()
    # what is known of a log is its first 4 KB
    with pytest.raises(Failure, match="shorter than what was read of it before"):
        Reading(log, place._replace(head=place.head[:100])).rest()


def test_a_file_beside_a_log_that_is_shorter_than_what_was_read_is_not_its_rest(log: Path) -> None:
    place = Reading(log).take().place
    log.with_name("log.csv.1").write_text(HEADER + rows(0, 90))
    cut_off(log, HEADER + rows(100, 110))
    # what is known of a log is its first 4 KB, and the shorter file begins with as much
    assert Reading(log, place._replace(head=place.head[:100])).rest() == HEADER + rows(100, 110)


@pytest.mark.parametrize("width", [4, 20_000])
def test_a_log_is_known_by_a_row_however_long_it_is(width: int, log: Path) -> None:
    header, cells = f"time{',flow' * width}\n", ",1.5" * width
    log.write_text(header)
    reading = Reading(log).take()
    append(log, f"1{cells}\n2{cells}\n")
    reading.take()
    cut_off(log, f"{header}3{cells}\n4{cells}\n5{cells}\n")
    reading.text = ""
    assert reading.rest() == f"{header}3{cells}\n4{cells}\n5{cells}\n"


def test_a_last_line_without_an_end_is_yielded_once(log: Path) -> None:
    append(log, "2024-01-01 00:01:40,100")
    *_, last = Reading(log).lines
    assert (last.content, last.whole, last.start.line) == (b"2024-01-01 00:01:40,100", False, 101)


def test_lines_before_one_keep_their_bytes() -> None:
    lines = Lines("a\r\n\u00e9\n\xff\n4\n".encode("latin-1"), Place(50, 7))
    assert lines.before(10).content == "a\r\n\u00e9\n".encode("latin-1")
    assert lines.before(10).end[:2] == (55, 9)
    assert [number for number, _ in lines.numbered()] == [8, 9, 10, 11]


def test_a_last_line_of_standard_input_that_is_cut_off_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"time,flow\n1,2\n2,3.4")))
    assert [(lines.content, lines.whole, lines.start.line) for lines in read_lines("-", Place(), None)] == [
        (b"time,flow\n1,2\n", True, 0),
        (b"2,3.4", False, 2),
    ]


HEADS = [b"t,x\n1,2\n3,4\n", b"t,x\n5,6\n"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"t,x\n", b"1,2\n", b"3,4\n", b"7,8\n", b"9,9\n"], [b"t,x\n1,2\n3,4\n7,8\n", b"9,9\n"]),
        ([b"t,x\n", b"1,2\n", b"7,8\n", b"9,9\n"], [b"t,x\n1,2\n7,8\n", b"9,9\n"]),
        ([b"t,x\n", b"1,2\n"], [b"t,x\n1,2\n"]),
        ([b"t,x\n", b"1,2\n", b"3,"], [b"t,x\n1,2\n", b"3,"]),
        ([b"7,8\n", b"t,x\n", b"1,2\n"], [b"7,8\n", b"t,x\n", b"1,2\n"]),
        ([b"t,"], [b"t,"]),
    ],
)
def test_lines_wait_until_they_tell_which_head_they_begin_with(parts: list[bytes], expected: list[bytes]) -> None:
    places = [Place()]
    for part in parts:
        places.append(places[-1].behind(part))
    lines = [*held(map(Lines, parts, places), HEADS)]
    assert [each.content for each in lines] == expected
    assert [each.start.offset for each in lines] == [len(b"".join(expected[:at])) for at in range(len(expected))]


@pytest.mark.skipif(sys.platform == "win32", reason="its pipes cannot be waited for")
def test_standard_input_that_rests_is_over() -> None:
    program = "import sys; from tsjepa.cli.detect_tail import *; print([*read_lines('-', Place(), 0.3)][0].content)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(b"time,flow\n1,2\n")
        reader.stdin.flush()
        assert reader.stdout.read() == b"b'time,flow\\n1,2\\n'\n"
