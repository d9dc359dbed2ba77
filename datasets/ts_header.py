"""The header of a .ts file: what its tags promise about the rows after ``@data``."""

from collections.abc import Iterator
from dataclasses import dataclass

from tsjepa.datasets.dataset import DataError

Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class TsHeader:
    """What the tags promise; None where a tag is absent.

    Attributes
    ----------
    equal_length : bool
        All series have one length; the format's default is True.
    length : int or None
        That length.
    channels : int or None
        Channels of every case.
    labelled : bool
        Each row ends with ``:label``; the format's default is True.
    numeric : bool
        The label is a numeric target.
    classes : tuple of str
        Declared class names.
    """

    equal_length: bool = True
    length: int | None = None
    channels: int | None = None
    labelled: bool = True
    numeric: bool = False
    classes: tuple[str, ...] = ()


def read_header(lines: Lines, where: str) -> TsHeader:
    """Read tags up to and including ``@data``.

    Parameters
    ----------
    lines : iterator of (int, str)
        Numbered lines; left standing at the first case.
    where : str
        The file, for the message.

    Returns
    -------
    TsHeader
        What the rows have to keep.

    Raises
    ------
    DataError
        If the file is empty, a line before ``@data`` is no tag, ``@data`` is absent, a tag's value is not
        understood, or the file has time stamps.

    Examples
    --------
    >>> text = ["@equalLength true", "@seriesLength 3", "@classLabel true a b", "@data", "1,2,3:a"]
    >>> read_header(enumerate(text, 1), "sensor.ts").classes
    ('a', 'b')
    """
    tags: dict[str, list[str]] = {}
    number = 0
    for number, raw in lines:
        line = raw.strip()
        if line.lower() == "@data":
            return _interpret(tags, where)
        if not line or line[0] in "#%":
            continue
        if line[0] != "@":
            raise DataError(
                f"{where}, line {number}: neither a tag nor a comment; a .ts file needs a line '@data' "
                "before its first series"
            )
        words = line[1:].split()
        if not words:
            raise DataError(f"{where}, line {number}: no tag is named behind '@'; name one, or remove the line")
        tags[words[0].lower()] = words[1:]
    if number == 0:
        raise DataError(f"{where} is empty; copy or export it again")
    raise DataError(f"{where} has no '@data' line; it was cut short or is not a .ts file")


def _interpret(tags: dict[str, list[str]], where: str) -> TsHeader:
    if _flag(tags, "timestamps", where):
        raise DataError(
            f"{where} has '@timestamps true', and its time stamps would be thrown away; resample the series "
            "to a regular grid and write them without time stamps"
        )
    univariate = _flag(tags, "univariate", where)
    numeric = bool(_flag(tags, "targetlabel", where))
    equal, labelled = _flag(tags, "equallength", where), _flag(tags, "classlabel", where)
    return TsHeader(
        equal_length=equal is not False,
        length=_count(tags, "serieslength", where) if equal is not False else None,
        channels=1 if univariate else _count(tags, "dimensions", where) or _count(tags, "dimension", where),
        labelled=numeric or labelled is not False,
        numeric=numeric,
        classes=tuple(tags.get("classlabel", ())[1:]),
    )


def _flag(tags: dict[str, list[str]], key: str, where: str) -> bool | None:
    if key not in tags:
        return None
    value = tags[key][0].lower() if tags[key] else ""
    if value not in ("true", "false"):
        raise DataError(f"{where}: tag @{key} says {value!r}; write true or false")
    return value == "true"


def _count(tags: dict[str, list[str]], key: str, where: str) -> int | None:
    if key not in tags:
        return None
    value = tags[key][0] if tags[key] else ""
    if not value.isdecimal():
        raise DataError(f"{where}: tag @{key} says {value!r}; write a whole number or remove the tag")
    return int(value) or None  # the archive writes 0 for "not one number"
