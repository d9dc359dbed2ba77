"""Names of columns: whether they are called so, and many of them in a sentence."""

import re
from collections.abc import Sequence


def called(name: str, pattern: re.Pattern[str]) -> bool:
    """Tell whether a column is called so, in whatever case, with or without blanks around it."""
    return pattern.fullmatch(name.strip().lower()) is not None


def listed(names: Sequence[str]) -> str:
    """Write names for a sentence, not all of very many.

    Examples
    --------
    >>> listed(["flow", "volt"])
    "'flow', 'volt'"
    """
    shown = [f"'{name}'" for name in names]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:9], "...", *shown[-2:]])
