"""What is known of the public archives: sizes, record numbers, and what aeon's wheel brings along."""

from importlib.util import find_spec
from pathlib import Path

# Only what was verified against the archive; aeon's package holds no table of sizes.
SIZES = {
    "ECG5000": (500, 4500),
    "ElectricDevices": (8926, 7711),
    "FaultDetectionA": (10912, 2728),
    "FaultDetectionB": (10912, 2728),
    "FordA": (3601, 1320),
    "FordB": (3636, 810),
    "FreezerRegularTrain": (150, 2850),
    "TwoPatterns": (1000, 4000),
    "Wafer": (1000, 6164),
}
ZIPPED = ("FaultDetectionA", "FaultDetectionB")


def archive_size(name: str) -> tuple[int, int] | None:
    """Numbers of series that the archive has of a data set.

    Parameters
    ----------
    name : str
        The archive's name, spelled as there.

    Returns
    -------
    tuple of int or None
        Training and test series; None where the numbers were not verified.

    Examples
    --------
    >>> archive_size("FordA"), archive_size("MyPump")
    ((3601, 1320), None)
    """
    return SIZES.get(name)


def size_notes(name: str, n_train: int, n_test: int | None) -> tuple[str, ...]:
    """One sentence for each part whose number of series is not the archive's.

    Parameters
    ----------
    name : str
        The archive's name.
    n_train, n_test : int
        Series at hand; None where there is no test part.

    Returns
    -------
    tuple of str
        Sentences for the user.

    Examples
    --------
    >>> size_notes("FordA", 577, 1320)
    ("577 of the archive's 3601 training series",)
    """
    expected = archive_size(name) or (n_train, n_test)
    notes = []
    for have, full, part in zip((n_train, n_test), expected, ("training", "test"), strict=True):
        if have is None or full is None or have == full:
            continue
        few = f"{have} of the archive's {full} {part} series"
        notes.append(few if have < full else f"{have} {part} series, but the archive has {full}")
    return tuple(notes)


def zenodo_records() -> dict[str, int]:
    """Zenodo record numbers of the classification archives, from aeon's own list.

    Examples
    --------
    >>> zenodo_records()["FordA"]
    11191164
    """
    from aeon.datasets.tsc_datasets import tsc_zenodo  # two seconds, spent only when nothing is at hand

    return dict(tsc_zenodo)


def bundled_folder() -> Path | None:
    """Folder of the data sets inside aeon's wheel, found without importing aeon.

    Examples
    --------
    >>> Path(bundled_folder(), "GunPoint", "GunPoint_TRAIN.ts").is_file()
    True
    """
    spec = find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)), "datasets", "data")
