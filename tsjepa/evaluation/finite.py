"""Numbers as JSON has them: no nan, no infinity."""

import math
from typing import SupportsFloat

Number = float | None


def number(value: SupportsFloat | None) -> Number:
    """Return a finite number as a float, None for others.

    Examples
    --------
    >>> number(2), number(float("nan")), number(None)
    (2.0, None, None)
    """
    return None if value is None or not math.isfinite(float(value)) else float(value)
