"""The folder of a run: what is refused, what is replaced, and files that are written whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsjepa.cli.errors import USAGE, Failure
from tsjepa.run_files import BEST, CHECKPOINT, CURVES, DIAGNOSTICS, METRICS, TEACHER, EpochTable
from tsjepa.whole_file import whole_file

CONFIG, PAGE = "config.yaml", "diagnose.html"
MODELS = (CHECKPOINT, BEST)
# What the command writes there that is printed next
EMBEDDINGS = "embeddings.parquet"
RUN = (CHECKPOINT, CONFIG, METRICS, DIAGNOSTICS, BEST, PAGE)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system reports into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror or error}.") from error


def refuse_file(out: Path) -> None:
    """Refuse a file where a folder is to be."""
    if out.exists() and not out.is_dir():
        raise Failure(f"{out} is a file: name a folder with --out.", USAGE)


def check_run_folder(out: Path, overwrite: bool) -> None:
    """Refuse a file, and a folder that holds a run already; other files in it do not matter."""
    with writing(out):
        refuse_file(out)
        found = files_of_run(out)
    if found and not overwrite:
        going_on = "go on with it with --resume, " if resumable(out) else ""
        raise Failure(
            f"{out} already holds a run ({', '.join(found)}): {going_on}replace it with --overwrite, or name another "
            "folder with --out.",
            USAGE,
        )


def files_of_run(out: Path) -> list[str]:
    """Return what a new run in a folder would replace, files of its teacher's stage among them."""
    names = [*RUN, *(str(Path(TEACHER, name)) for name in RUN)]
    return [name for name in names if (out / name).exists()]


def resumable(out: Path) -> bool:
    """Return whether a folder holds what --resume needs."""
    if (out / CHECKPOINT).exists():
        return True
    return (out / CONFIG).exists() and ((out / TEACHER / CHECKPOINT).exists() or unfinished(out))


def unfinished(out: Path) -> bool:
    """Return whether a folder holds a configuration, and no more than a run leaves before its first checkpoint.

    That is written once the tables have the first epoch. Where there are more epochs, or a model, the checkpoint was
    taken away, and starting again would lose them.
    """
    folders = (out, out / TEACHER)
    if not (out / CONFIG).exists() or any((folder / name).exists() for folder in folders for name in (*MODELS, PAGE)):
        return False
    return all((EpochTable(folder / METRICS).last("epoch") or 0) <= 1 for folder in folders)


def make_writable(folder: Path) -> None:
    """Make a folder and write a file into it for a moment: permissions alone do not tell whether that works."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")


def start_run(out: Path, again: bool) -> None:
    """Make the folder ready for a new run; of an old one nothing stays that could be taken for the new one's.

    The configuration of a run that begins `again` stays, since all its processes read it.
    """
    make_writable(out)
    with writing(out):
        replaced = files_of_run(out)
        folders = (out, out / TEACHER) if replaced else ()
        curves = [path for folder in folders for path in folder.glob(CURVES)]  # two runs' would be shown as one
        for path in (*curves, *(out / name for name in replaced if not (again and name == CONFIG))):
            path.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name beside it, then put it in its place."""
    with writing(path), whole_file(path) as temporary:
        temporary.write_bytes(content)


def check_file(path: Path, overwrite: bool, flag: str) -> None:
    """Refuse a folder where a file is to be written, and a file that may not be replaced."""
    if path.is_dir():
        raise Failure(f"{path} is a folder: name another place for the file with {flag}.", USAGE)
    if path.exists() and not overwrite:
        raise Failure(f"{path} exists already: replace it with --overwrite, or name another place with {flag}.", USAGE)


def check_parquet_name(out: Path) -> None:
    """Refuse a name that Parquet cannot be written to, before there is anything to write."""
    try:
        str(out).encode()
    except UnicodeEncodeError:  # pyarrow takes no other names
        if out.suffix == ".parquet":
            raise Failure(f"{out} is no name in UTF-8: give the table another one with --out.", USAGE) from None
