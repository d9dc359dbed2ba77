"""A log whose rows are in the cache is read again by what is known of its columns, whoever asks for them."""

from pathlib import Path

import numpy as np
import pytest

from tsjepa.datasets import log_reading
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.logs import Columns, Windowing, load_log

MANY = 400
TYPES = {
    "a word": (("label",), ("0",), ("worn",)),
    "a fraction": (("label",), ("0",), ("1.5",)),
    "nothing, then a word": (("label",), ("",), ("worn",)),
    "a word, and a fraction in another column": (("label", "fault"), ("0", "0"), ("worn", "1.5")),
    "a word in what is no channel then": (("label", "note"), ("0", ""), ("worn", "new seal")),
}


def log_of(names: tuple[str, ...], early: tuple[str, ...], late: tuple[str, ...], times: bool = True) -> str:
    """Write rows whose last ones have other cells in some columns."""
    lines = [",".join([*(["time"] if times else []), *names, "flow"])]
    for at in range(MANY):
        cells = early if at < MANY - 8 else late
        lines.append(",".join([*([str(at)] if times else []), *cells, f"{at % 7}.5"]))
    return "\n".join([*lines, ""])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("order", [("guessed", "named"), ("named", "guessed")])
def test_columns_guessed_and_named_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, order: tuple[str, ...]
) -> None:
    log, windowing = tmp_path / "log.csv", Windowing(4)
    log.write_text(log_of(*TYPES[kind]))
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    guessed = load_log(log, windowing=windowing, cache_dir=tmp_path / "other")
    for asked in order:
        columns = Columns() if asked == "guessed" else guessed.columns
        found = load_log(log, columns, windowing, cache_dir=tmp_path / "cache")
        np.testing.assert_array_equal(found.labels(), guessed.labels())
        runs = load_runs(log, columns, cache_dir=tmp_path / "cache")
        assert runs.columns == guessed.columns
        np.testing.assert_array_equal(runs.file_order(), np.arange(MANY))


@pytest.mark.parametrize(
    ("names", "early", "late"), [(("flaw",), ("",), ("true",)), (("flaw", "label"), ("", "0"), ("true", "worn"))]
)
def test_rows_without_times_are_counted_by_any_column(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    early: tuple[str, ...],
    late: tuple[str, ...],
) -> None:
    log = tmp_path / "log.csv"
    log.write_text(log_of(names, early, late, times=False))
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    for channels in (("flaw", "flow"), None, ("flaw", "flow")):
        label = "label" if "label" in names else ""
        runs = load_runs(log, Columns(label=label, channels=channels), cache_dir=tmp_path / "cache")
        np.testing.assert_array_equal(runs.file_order(), np.arange(MANY))


@pytest.mark.parametrize(
    ("first", "early", "late"),
    [
        ("{at}.5", "{at}", "{at}.25"),
        ("2026-03-01 13:00:{at:02}.123456789", "2026-03-01 13:00:{at:02}", "2026-03-01 13:00:{at:02}.123456788"),
        ("2026-03-01T13:00:{at:02}.123456789Z", "2026-03-01T13:00:{at:02}Z", "2026-03-01T13:00:{at:02}.123456788Z"),
    ],
)
def test_times_of_another_file_that_become_finer_further_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, early: str, late: str
) -> None:
    (tmp_path / "log").mkdir()
    for number, forms in enumerate(((first, first), (early, late))):
        times = [forms[at >= 52].format(at=at) for at in range(60)]
        rows = "".join(f"{number},{time},{at}.5,{'x' * 20}\n" for at, time in enumerate(times))
        (tmp_path / f"log/{number}.csv").write_text("machine,time,flow,remark\n" + rows)
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    for columns in (None, Columns("machine", "time", ("flow",)), None):
        runs = load_runs(tmp_path / "log", columns, cache_dir=tmp_path / "cache")
        np.testing.assert_array_equal(runs.file_order(), np.arange(120))
