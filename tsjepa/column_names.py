"""What columns of tables and logs are called: one vocabulary, of tables in memory as of files."""

import re
from collections.abc import Sequence

# a row's time; of several in memory, where a type tells no day from a time, the first of these is it
TIMES = ("timestamp", "time", "datetime", "date", "cycles?", "ts")
TIME = re.compile("|".join(TIMES))
# less sure than a type of timestamps; two of them are sktime's
LIKE_TIME = re.compile(r"time[_ (\[].*|.*[_ ](timestamp|date)|timepoints?|reading_id")
COUNTER = re.compile(r"cycles?")
# which series a row is of
MACHINE = re.compile(r"(unit|machine|device|asset|equipment|engine)([_ ]?(id|no|nr|number))?")
STRETCH = re.compile(r"(run|series|trial|session|experiment)([_ ]?(id|no|nr|number))?")
ID = re.compile(rf"{MACHINE.pattern}|{STRETCH.pattern}|id([_ ]?(no|nr|number))?|instances?|.*[_ ]id")
# of a table whose columns are time points, what says which series a row is
SIDE = re.compile(rf"{ID.pattern}|index|case|fold|split|group")
CHANNEL = re.compile(
    r"(channel|sensor|variable|tag|signal|metric|parameter|measurement)([_ ]?(id|name))?|dim_id|_(field|name)"
)
# what may be a unit of measurement, or another name of a channel; machines are numbered
WITH_CHANNEL = re.compile(rf"unit|{CHANNEL.pattern}")
NUMBERED = re.compile(r".*\d")
VALUE = re.compile(r"val|_?value|reading|measured[_ ]value")
# what stands beside a value in logs of one value a row, and is not measured itself
STATUS = re.compile(
    r".*(quality|status|flags?)|(.*[_ ])?(q|qc|state|code|valid|good|alarm|severity|priority|confidence|unit|node)"
    r"|(seq|sequence)([_ ]?(id|no|nr|number))?|table|year|month|day|hour|minute|second"
)
LABEL = re.compile(
    r"label|class|target|y|(is_?)?anomaly|change_?point|activity|fault|failure|attack|outlier|rul"
    r"|(fault|failure|anomaly)[_ ](type|class|label)|.*[_ ](label|class)"
)
# a time point of one of several channels
POINT = re.compile(r"(.+)__(\d+)")
# a saved index: rows numbered by whoever wrote the table
INDEX = re.compile(r"|unnamed: \d+(\.\d+)?|__index_level_\d+__")


def called(name: str, *patterns: re.Pattern[str]) -> bool:
    """Tell whether a column is called like one of these, in whatever case, with or without blanks around it.

    Examples
    --------
    >>> called(" Plant_ID", ID), called("plant", ID), called("plant", ID, re.compile("plant"))
    (True, False, True)
    """
    lower = name.strip().lower()
    return any(pattern.fullmatch(lower) for pattern in patterns)


def may_be_key(name: str) -> bool:
    """Tell names of ids that a key of rows in a data base may have, too.

    Examples
    --------
    >>> may_be_key("record_id"), may_be_key("machine_id")
    (True, False)
    """
    return not called(name, MACHINE, STRETCH)


def beside_value(name: str) -> bool:
    """Tell what is not measured, as far as its name tells, where it stands beside the value of a long log.

    Examples
    --------
    >>> beside_value("quality"), beside_value("minimum")
    (True, False)
    """
    return called(name, ID, LABEL, INDEX, STATUS, TIME, LIKE_TIME, CHANNEL)


def points_of_channels(names: Sequence[str]) -> list[tuple[str, int]] | None:
    """Return the channel and time point of each column of a table of cases x time points, as sktime's pd-wide has them.

    None unless all are called ``channel__point``, of several channels that have the same points.

    Examples
    --------
    >>> points_of_channels(["x__0", "x__1", "y__0", "y__1"])
    [('x', 0), ('x', 1), ('y', 0), ('y', 1)]
    >>> points_of_channels(["x__0", "x__1"]) is points_of_channels(["x__0", "y__0", "y__1"]) is None
    True
    """
    matches = [POINT.fullmatch(name) for name in names]
    found = [(match[1], int(match[2])) for match in matches if match]
    channels, points = ({pair[at] for pair in found} for at in (0, 1))
    whole = len(set(found)) == len(names) == len(channels) * len(points)
    return found if whole and len(channels) > 1 else None
