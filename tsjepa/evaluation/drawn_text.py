"""Names that users give, as matplotlib is to draw them."""


def plain_text(name: str) -> str:
    r"""Return a text that matplotlib draws to the letter: between dollars it reads formulas, which may be none.

    A legend leaves out what begins with an underscore, unless a blank is before it.

    Examples
    --------
    >>> plain_text("US$ per R$"), plain_text("_hidden")
    ('US\\$ per R\\$', ' _hidden')
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def shortened(name: str, longest: int) -> str:
    """Return a name of at most so many letters, cut in its middle, since names often differ in their ends.

    Examples
    --------
    >>> shortened("runs/2026-11-29/FordA/checkpoint.ckpt", 30), shortened("pump", 30)
    ('runs/2026-11-2…checkpoint.ckpt', 'pump')
    """
    half = longest // 2
    return name if len(name) <= longest else f"{name[: longest - half - 1]}…{name[-half:]}"
