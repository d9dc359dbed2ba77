"""Whether a log of normal operation is enough for a detector: this is told before a model is trained on it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import counted
from tsjepa.held_out import held_out_rows, rows_needed
from tsjepa.stream import scored_rows
from tsjepa.surprise import FEWEST, TooFewWindows, check_windows, missing_shares, most_missing
from tsjepa.thresholds import LEAST


def check_normal(
    x: NDArray[np.float32], names: Sequence[str] | None, window: int, patch_length: int, *, held_out: bool
) -> None:
    """Refuse a log (n_channels, n_rows) from which what is normal cannot be learnt, or no threshold.

    Parameters
    ----------
    x : array of shape (n_channels, n_rows)
    names : sequence of str, optional
        Of the channels.
    window, patch_length : int
        Of the model.
    held_out : bool
        Whether the threshold comes from blocks of the log that are scored by what is usual in the others.

    Raises
    ------
    ValueError
        If a channel was never measured, or too few rows could be scored.

    Examples
    --------
    >>> check_normal(np.zeros((2, 414), np.float32), None, 128, 8, held_out=True)
    >>> check_normal(np.zeros((2, 132), np.float32), None, 128, 8, held_out=False)
    """
    _check_alive(x, names)
    n_rows, context, scored = x.shape[1], window - window % patch_length, LEAST * patch_length
    if held_out:
        needed = rows_needed(n_rows, scored, window, patch_length)
        why = f"a threshold needs {scored} with a score, and the first {context - 1} of each part held out have none"
    else:
        needed, why = window + FEWEST, f"the {window} of a window and {FEWEST} more"
    if n_rows < needed:
        raise ValueError(
            f"X has n_samples = {n_rows} rows ({counted(n_rows, 'sample')}), and {needed} are needed: {why}; give more "
            "rows, or a smaller window."
        )
    try:
        check_windows([x], window, patch_length)
        found = held_out_rows([x], window, patch_length) if held_out else scored_rows(x, context, patch_length)
    except TooFewWindows as error:
        raise ValueError(f"X: {error.sentence(names)}") from error
    if found < (scored if held_out else 1):
        raise ValueError(
            f"X: {counted(found, 'row')} would have a score, and {scored if held_out else 1} need one: a score needs "
            f"every channel in the {context} rows before it, and {most_missing(missing_shares([x]), names)}; fill the "
            "gaps, or give more rows."
        )


def _check_alive(x: NDArray[np.float32], names: Sequence[str] | None) -> None:
    """Refuse channels of which one was never measured."""
    dead = np.flatnonzero(np.isnan(x).all(1))
    if len(dead):
        listed = ", ".join(str(channel) if names is None else repr(names[channel]) for channel in dead)
        raise ValueError(f"X has no value at all in column {listed}: leave it out, since every row needs all sensors.")
