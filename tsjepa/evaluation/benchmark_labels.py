"""How many labels a head may see, and which: the same draws for every method."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.evaluation.accuracy import Labels
from tsjepa.probe import draw_labels

DRAWS = 20


class LabelBudget(NamedTuple):
    """A number of labels: a share of the training part's, or so many a class.

    Examples
    --------
    >>> str(LabelBudget("share", 0.05)), str(LabelBudget("per_class", 5))
    ('0.05', '5/class')
    >>> str(LabelBudget("share", 0.3333333)), str(LabelBudget("share", 1.0))
    ('0.3333333', '1')
    """

    kind: Literal["share", "per_class"]
    amount: float

    def __str__(self) -> str:
        short = f"{self.amount:g}"
        number = short if float(short) == self.amount else repr(self.amount)
        return number + ("/class" if self.kind == "per_class" else "")

    @classmethod
    def parse(cls, text: str) -> "LabelBudget":
        """Return the budget that `str` writes so.

        Examples
        --------
        >>> LabelBudget.parse("5/class"), LabelBudget.parse("0.05")
        (LabelBudget(kind='per_class', amount=5), LabelBudget(kind='share', amount=0.05))
        """
        number = float(text.removesuffix("/class"))
        return cls("per_class", int(number)) if text.endswith("/class") else cls("share", number)

    def n_draws(self) -> int:
        """Return how many draws there are: all labels can be drawn in one way only."""
        return 1 if self == LabelBudget("share", 1) else DRAWS

    def fits(self, y: Labels) -> bool:
        """Return whether there are as many labels: a class too small has not so many."""
        return self.kind == "share" or int(np.unique(y, return_counts=True)[1].min()) >= self.amount

    def draw(self, y: Labels, seed: int) -> NDArray[np.int64]:
        """Return the sorted cases whose labels may be seen, at least one a class; a function of labels and seed.

        Examples
        --------
        >>> len(LabelBudget("per_class", 2).draw(np.repeat([0, 1, 2], 9), seed=0))
        6
        """
        if self.kind == "share":
            return draw_labels(y, self.amount, seed)
        rng = np.random.default_rng(seed)
        chosen = [rng.choice(np.flatnonzero(y == label), int(self.amount), replace=False) for label in np.unique(y)]
        return np.sort(np.concatenate(chosen))
