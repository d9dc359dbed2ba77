"""Which epoch of a run to keep, by its diagnostics and without labels."""

import math
from collections.abc import Sequence

from tsjepa.history import EpochDiagnostics
from tsjepa.verdict import blind, lost, spread_left


def best_epoch(history: Sequence[EpochDiagnostics], *, dim: int) -> int:
    """Return the trained epoch to keep, by what needs no label.

    Epochs in none of the states that runs do not come back from go before all others. Among them the one whose
    predictions carry most of the series is best; where they carry nothing, what they carry is noise, and the one with
    most spread left is, of last level or latents, whichever has less of it. Of equals the first.

    Parameters
    ----------
    history : sequence of EpochDiagnostics
        In the order of training, the initialisation first and one epoch at least.
    dim : int
        Width D of the encoder's last level.

    Returns
    -------
    int

    Examples
    --------
    >>> rows = ((0, 0.0, 0.8), (1, 0.3, 0.7), (2, 0.4, 0.01))  # epoch, what predictions carry, spread
    >>> history = [EpochDiagnostics(k, cross_series_share=share, relative_spread=left) for k, share, left in rows]
    >>> best_epoch(history, dim=128)  # by the second, latents are next to constant
    1
    """
    start = history[0]

    def worth(now: EpochDiagnostics) -> tuple[bool, float, float]:
        carried, (_, left) = 0.0 if blind(now) else now.cross_series_share, spread_left(start, now)
        known = not math.isnan(now.relative_spread + left)
        return not lost(start, now, dim), carried, left if known else -math.inf

    return max(history[1:], key=worth).epoch
