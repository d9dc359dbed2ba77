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
