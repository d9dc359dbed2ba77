"""What a follower knows, saved with what it has written: a new one goes on as if the old one had never stopped."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tsjepa.cli.detect_lines import KINDS, Kinds
from tsjepa.cli.detect_tail import Place
from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.outdir import replace_file
from tsjepa.events import GAP, Alarms, Event
from tsjepa.stream import Stream
from tsjepa.surprise import Scorer

NUMBERS = ("offset", "line", "rows", "scored", "events")


class Run:
    """One run that is followed.

    Parameters
    ----------
    scorer : Scorer
    threshold : float
    """

    def __init__(self, scorer: Scorer, threshold: float) -> None:
        self.scorer, self.threshold = scorer, threshold
        self.rows = 0
        # an integer where times are: floats would round the gaps of those in nanoseconds
        self.last: float | None = None
        self.early: list[float] = []
        self.shown: dict[int, str] = {}
        self.stream, self.alarms = self._fresh()

    def _fresh(self) -> tuple[Stream, Alarms]:
        return Stream(self.scorer), Alarms(self.threshold, GAP * self.scorer.patch_length, row=self.rows)

    def restart(self) -> list[Event]:
        """Start anew behind a gap in time; return the events before it."""
        closed, number = self.alarms.take(last=True), self.alarms.number
        self.stream, self.alarms = self._fresh()
        self.alarms.number = number
        return closed

    def plain(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        event = self.alarms.open
        return {
            "rows": self.rows,
            "time": self.last,
            "early": self.early,
            "shown": self.shown,
            "open": None if event is None else [*event[:-1], event.channels.tolist()],
        }

    def take(self, content: dict[str, Any], state: dict[str, NDArray[Any]]) -> "Run":
        """Take over what an earlier follower knew."""
        self.rows, self.last, self.early = int(content["rows"]), content["time"], content["early"]
        self.shown = {int(row): text for row, text in content["shown"].items()}
        self.alarms = self._fresh()[1]
        self.stream = Stream(self.scorer, state)
        if content["open"] is not None:
            number, start, end, peak, score, channels = content["open"]
            self.alarms.open = Event(number, start, end, peak, score, np.array(channels, np.float32))
        return self


class State:
    """All that a follower knows, and how long its files are.

    Parameters
    ----------
    out : Path
        The table of scores; the state lies beside it.
    key : dict
        What scores depend on.
    """

    def __init__(self, out: Path, key: dict[str, Any]) -> None:
        self.path = state_path(out)
        self.key = json.loads(json.dumps(key))
        self.header: str | None = None
        self.place, self.rows, self.scored, self.events = Place(), 0, 0, 0
        self.sizes = {"scores": 0, "events": 0}
        self.runs: dict[str, Run] = {}
        self.kinds: Kinds = ()
        # of what begins with a row: how it was sent, and a digest of it and all that came behind it
        self.sent: dict[int, bytes] = {}
        self.digests: dict[int, str] = {}

    def begin_of(self, content: bytes) -> int:
        """Return the number of the row that lines begin with: of what they send again, else the next one."""
        again = (row for row, head in self.sent.items() if content.startswith(head) or head.startswith(content))
        return next(again, self.rows)

    def keep_beginning(self, row: int) -> None:
        """Keep how what begins with a row was sent, and how the very first one was; it may be sent again."""
        kept = self.sent if row in self.sent else {at: head for at, head in self.sent.items() if at == 0}
        self.sent = kept | {row: max(self.place.head, kept.get(row, b""), key=len)}
        self.digests = {at: self.digests[at] for at in self.sent}

    def add_row(self, begin: int, text: str) -> None:
        """Let digests know of a new row, of what begins with row `begin`."""
        self.digests.setdefault(begin, "")
        self.digests = {at: with_row(digest, text) for at, digest in self.digests.items()}

    def load(self, scorer: Scorer, threshold: float) -> bool:
        """Take over what an earlier follower saved; return whether there was one."""
        if not self.path.exists():
            return False
        try:
            taken = self._take(scorer, threshold)
        except (ValueError, TypeError, AttributeError, LookupError, OSError, EOFError, BadZipFile) as error:
            raise Failure(
                f"{self.path} is damaged, or of another version: start anew with --overwrite, or name another file "
                "with --out."
            ) from error
        if not taken:
            self.save()
        return True

    def _take(self, scorer: Scorer, threshold: float) -> bool:
        """Take over what is kept; return False where it is of other scores, of which nothing was written yet."""
        with np.load(io.BytesIO(self.path.read_bytes())) as arrays:
            content = json.loads(arrays["content"].tobytes())
            states = parted(arrays["rows"], arrays["lengths"], arrays["last"])
        if content["key"] != self.key:
            if not any(content["sizes"].values()):
                return False
            raise Failure(
                "the scores that are there were made with another checkpoint, normal data, budget, --max-gap or log, "
                "or by another version of tsjepa: start anew with --overwrite, or name another file with --out.",
                USAGE,
            )
        self.header, self.sizes = content["header"], {name: int(content["sizes"][name]) for name in self.sizes}
        file = None if content["file"] is None else tuple(content["file"])
        offset, line, self.rows, self.scored, self.events = (int(content[name]) for name in NUMBERS)
        self.place = Place(offset, line, content["head"].encode("latin-1"), file)
        self.sent = {row: head.encode("latin-1") for row, head, _ in content["sent"]}
        self.digests = {row: digest for row, _, digest in content["sent"]}
        self.kinds = tuple(KINDS[kind] for kind in content["kinds"])
        for (name, plain), state in zip(content["runs"], states, strict=True):
            self.runs[name] = Run(scorer, threshold).take(plain, state)
        return True

    def save(self) -> None:
        """Write it, whole or not at all."""
        content = {
            "key": self.key,
            "header": self.header,
            "offset": self.place.offset,
            "line": self.place.line,
            # any byte has its own letter there
            "head": self.place.head.decode("latin-1"),
            "file": self.place.file,
            "sent": [(row, head.decode("latin-1"), self.digests[row]) for row, head in self.sent.items()],
            "sizes": self.sizes,
            "rows": self.rows,
            "scored": self.scored,
            "events": self.events,
            "kinds": [str(kind) for kind in self.kinds],
            "runs": [(name, run.plain()) for name, run in self.runs.items()],
        }
        arrays = {"content": np.frombuffer(json.dumps(content).encode(), np.uint8)}
        arrays |= joined([run.stream.state() for run in self.runs.values()])
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        replace_file(self.path, stream.getbuffer())


def state_path(out: Path) -> Path:
    """Return where the state is kept of a follower whose scores go there."""
    return out.with_name(f".{out.name}.state")


def with_row(digest: str, text: str) -> str:
    """Return the digest of rows, and of the text of one more, in the place of that of the rows alone."""
    return hashlib.sha256(f"{digest}\n{text}".encode()).hexdigest()


def steps_behind(last: float | None, times: NDArray[Any]) -> NDArray[Any]:
    """Return the step to each time from the one before it; where no time was last, the first one has none.

    Examples
    --------
    >>> steps_behind(None, np.array([3, 5])), steps_behind(10**18, np.array([10**18 + 1]))
    (array([2]), array([1]))
    """
    return np.diff(times) if last is None else np.diff(times, prepend=last)


def joined(states: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return what streams know as three arrays, since a file with two for each run takes three times as long."""
    rows = [state["rows"] for state in states]
    return {
        "rows": np.concatenate(rows, 1) if rows else np.empty((0, 0), np.float32),
        "lengths": np.array([part.shape[1] for part in rows], np.int64),
        "last": np.array([state["last"] for state in states]),
    }


def parted(rows: NDArray[Any], lengths: NDArray[np.int64], last: NDArray[np.float32]) -> list[dict[str, NDArray[Any]]]:
    """Return what was joined, of each stream alone."""
    parts = np.split(rows, np.cumsum(lengths), 1)[:-1]
    return [{"rows": part.copy(), "last": own} for part, own in zip(parts, last, strict=True)]
