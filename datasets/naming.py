"""Names of columns: many of them in a sentence."""

from collections.abc import Sequence


def listed(names: Sequence[str]) -> str:
    """Write names for a sentence, not all of very many.

    Examples
    --------
    >>> listed(["flow", "volt"])
    "'flow', 'volt'"
    """
    shown = [f"'{name}'" for name in names]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:9], "...", *shown[-2:]])
