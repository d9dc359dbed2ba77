"""Whole lines as they come: from standard input, or from a file and whatever takes its place when logs are rotated."""

import glob
import os
import select
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, cast

from tsjepa.cli.errors import Failure, say

STDIN = "-"
CHUNK_BYTES = 1 << 18
HEAD_BYTES = 1 << 12
POLL_SECONDS = 0.2


class Place(NamedTuple):
    """How far a file was read.

    Attributes
    ----------
    offset : int
        Bytes up to there.
    line : int
        Lines up to there.
    head : bytes
        How the file begins, as far as it was read: tells it from others, whatever they are called.
    file : tuple of int, optional
        Device and number of the file: tell it from others as long as no row of it was read, since a log begins with
        the same header each time.
    """

    offset: int = 0
    line: int = 0
    head: bytes = b""
    file: tuple[int, int] | None = None

    def behind(self, content: bytes) -> "Place":
        """Return the place behind lines that come next."""
        head = head_of(self.head + content) if len(self.head) == self.offset else self.head
        return Place(self.offset + len(content), self.line + content.count(b"\n"), head, self.file)

    @property
    def has_row(self) -> bool:
        """Whether more than a header was read."""
        return self.head.count(b"\n") > 1


class Lines(NamedTuple):
    """Some lines.

    Attributes
    ----------
    content : bytes
    start : Place
        Where they begin.
    """

    content: bytes
    start: Place

    @property
    def whole(self) -> bool:
        """Whether the last one has ended."""
        return self.content.endswith(b"\n")

    @property
    def end(self) -> Place:
        """The place behind them."""
        return self.start.behind(self.content)

    def numbered(self) -> list[tuple[int, str]]:
        """Return them with their numbers in the file, from 1; bytes that are not UTF-8 stay what they are."""
        text = self.content.decode(errors="surrogateescape").removesuffix("\n").split("\n")
        return list(enumerate(text, self.start.line + 1))

    def before(self, number: int) -> "Lines":
        """Return those before the one with a number."""
        kept = self.content.split(b"\n")[: number - self.start.line - 1]
        return Lines(b"".join(line + b"\n" for line in kept), self.start)


def head_of(content: bytes) -> bytes:
    """Return what a file is known by: header and first row at least, for two logs may have the same header."""
    if content.count(b"\n") < 2:
        return content
    second = content.index(b"\n", content.index(b"\n") + 1) + 1
    return content[: max(second, HEAD_BYTES)]


def cut(content: bytes, start: Place) -> tuple[Lines, bytes]:
    """Return whole lines, and what is left."""
    whole, mark, left = content.rpartition(b"\n")
    return Lines(whole + mark, start), left


def read_lines(source: str, place: Place, idle_timeout: float | None, heads: Collection[bytes] = ()) -> Iterator[Lines]:
    """Yield lines as they come: standard input until it ends, a file for ever, both until they rest for too long.

    A last line that has not ended is yielded as it is when the reading ends, or another file takes the place of one.
    The first lines of standard input come together, so that they tell whether it begins as one of `heads`.
    """
    return held(stdin_lines(idle_timeout), heads) if source == STDIN else file_lines(Path(source), place, idle_timeout)


def stdin_lines(idle_timeout: float | None) -> Iterator[Lines]:
    """Yield lines of standard input."""
    stream, place, left = cast(BufferedReader, sys.stdin.buffer), Place(), b""
    while ready(stream, idle_timeout) and (new := stream.read1(CHUNK_BYTES)):
        lines, left = cut(left + new, place)
        if lines.content:
            yield lines
            place = lines.end
    if left:
        yield Lines(left, place)


def held(lines: Iterator[Lines], heads: Collection[bytes]) -> Iterator[Lines]:
    r"""Yield lines, those of a beginning that is also the beginning of a head together with the next ones.

    Examples
    --------
    >>> parts = [Lines(b"a\n", Place(0, 0)), Lines(b"b\n", Place(2, 1)), Lines(b"b\n", Place(4, 2))]
    >>> [part.content for part in held(iter(parts), [b"a\nc\n"])]
    [b'a\nb\n', b'b\n']
    """
    kept = b""
    for new in lines:
        content = kept + new.content
        if new.whole and new.start.offset == len(kept) and any(head.startswith(content) for head in heads):
            kept = content
        elif kept and new.whole:
            yield Lines(content, Place())
            kept = b""
        else:  # a line without an end stays alone
            yield from [Lines(kept, Place()), new] if kept else [new]
            kept = b""
    if kept:
        yield Lines(kept, Place())


def ready(stream: BufferedReader, idle_timeout: float | None) -> bool:
    """Wait for something to read; what cannot be waited for is ready."""
    seconds = None if idle_timeout is None else max(idle_timeout, POLL_SECONDS)
    try:
        return bool(select.select([stream], [], [], seconds)[0])
    except OSError:
        return True


def file_lines(path: Path, place: Place, idle_timeout: float | None) -> Iterator[Lines]:
    """Yield lines of a file."""
    tail, rested = Tail(path, place), 0.0
    with closing(tail):
        while True:
            successor = tail.successor()  # before the file is read: what has one gets no further rows
            lines = tail.read()
            if lines is not None:
                rested = 0.0
                if lines.content:
                    yield lines
            elif successor is not None:
                yield from tail.move(successor)
            elif idle_timeout is None or rested < idle_timeout:
                time.sleep(POLL_SECONDS)
                rested += POLL_SECONDS
            else:
                yield from tail.last()
                return


class Tail:
    """A file that is read on, whatever it is called by now.

    Parameters
    ----------
    path : Path
        Where logs are written.
    place : Place
        How far one was read.
    """

    def __init__(self, path: Path, place: Place) -> None:
        self.path, self.place, self.left, self.told = path, place, b"", False
        holder = self._holder()
        if holder is None and not path.is_file():
            raise no_file(path)
        self._take(holder or path, place)
        if self._size() < place.offset and self._same():
            self.close()
            raise Failure(f"{path} is shorter than what was read of it before: start anew with --overwrite.")

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def read(self) -> Lines | None:
        """Return the whole lines that are new, None where nothing is."""
        at = self.place.offset + len(self.left)
        self.stream.seek(at)
        new = self.stream.read(CHUNK_BYTES)
        if not new or not self._same():  # cut off and written anew, it may be as long again
            self._tell(at)
            return None
        lines, self.left = cut(self.left + new, self.place)
        self.place = lines.end
        return lines

    def last(self) -> Iterator[Lines]:
        """Yield the last line, where it has not ended."""
        if self.left:
            yield Lines(self.left, self.place)

    def successor(self) -> Place | None:
        """Return where to begin in the file that has the name by now, None as long as none has taken it over."""
        # logs begin with the same header each time: where no row has ended, what there is of one tells them apart
        head = self.place.head if self.place.has_row else self.place.head + self.left
        try:
            start, status = look(self.path, len(head))
        except FileNotFoundError:
            return None
        if start == head:
            return None if os.path.samestat(status, os.fstat(self.stream.fileno())) else self.place
        # what is shorter may become the same: a file that is being written anew, or has its header only
        return None if head.startswith(start) else Place()

    def move(self, place: Place) -> Iterator[Lines]:
        """Go on in the file that has the name by now, but first in a copy of one that was cut off."""
        rest = None if self._same() else self._holder()
        if rest is not None:
            self._open(rest, self.place)
            return
        if place != self.place:
            yield from self.last()
            say(f"note: {self.path} is another file now, and read from its start.")
        self._open(self.path, place)

    def _open(self, path: Path, place: Place) -> None:
        self.stream.close()
        self._take(path, place)

    def _take(self, path: Path, place: Place) -> None:
        self.stream, self.left, self.told = path.open("rb", buffering=0), b"", False
        self.place = place._replace(file=file_of(os.fstat(self.stream.fileno())))

    def _holder(self) -> Path | None:
        """Return the file that holds what was read: log rotation renames or copies it beside its place."""
        near = [each for each in self.path.parent.glob(f"{glob.escape(self.path.stem)}*") if each.is_file()]
        alike = {each: status for each in near if (status := self._status_of(each)) is not None}
        if not self.place.has_row:  # others begin so, too
            own = next((each for each, status in alike.items() if file_of(status) == self.place.file), None)
            if own is not None or not self.path.exists():
                return own
        if self._status_of(self.path) is not None:
            return self.path
        longest = max(alike, key=lambda each: alike[each].st_size, default=None)
        return None if longest is None or alike[longest].st_size < self.place.offset else longest

    def _status_of(self, path: Path) -> os.stat_result | None:
        """Return the status of a file that begins like this one, None where it does not."""
        try:
            start, status = look(path, len(self.place.head))
        except OSError:
            return None
        return status if start == self.place.head else None

    def _same(self) -> bool:
        self.stream.seek(0)
        return self.stream.read(len(self.place.head)) == self.place.head

    def _size(self) -> int:
        return os.fstat(self.stream.fileno()).st_size

    def _tell(self, at: int) -> None:
        """Say once that rows have gone."""
        if self._size() < at and not self.told:
            self.told = True
            say(f"note: {self.path} is shorter than what was read of it; waiting for new rows.")


def look(path: Path, size: int) -> tuple[bytes, os.stat_result]:
    """Return how a file begins, and its status."""
    with path.open("rb") as file:
        return file.read(size), os.fstat(file.fileno())


def file_of(status: os.stat_result) -> tuple[int, int]:
    """Return device and number of a file, which it keeps when it is renamed."""
    return status.st_dev, status.st_ino


def first_place(source: str) -> Place:
    """Return the place from which a log is read first."""
    if source == STDIN or not Path(source).exists():
        return Place()
    return Place(file=file_of(Path(source).stat()))


def no_file(source: str | Path) -> Failure:
    """Say that there is nothing to follow."""
    return Failure(f"{source} is no file: --follow reads a CSV file, or - for standard input.")


def check_text(source: str, *, going_on: bool = False) -> None:
    """Refuse what is no text before anything is written: Parquet, Arrow, and whatever is compressed.

    A follower that goes on may find its log renamed, and no new one in its place yet.
    """
    if source == STDIN or (going_on and not Path(source).exists()):
        return
    if not Path(source).is_file():
        raise no_file(source)
    if b"\0" in look(Path(source), CHUNK_BYTES)[0]:
        raise Failure(f"{source} is no text: --follow reads a CSV file as it is, not compressed, or -.")
