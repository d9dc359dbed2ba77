"""What the taps of dilated filters see, laid out for one matrix product, by a compiled loop."""

import numpy as np
from numpy.typing import NDArray

from tsjepa.loops import compiled

Floats = NDArray[np.float32]


@compiled()
def fill_taps(windows: Floats, dilations: NDArray[np.int64], each: tuple[int, ...], taps: Floats) -> None:
    """Fill the first rows of taps [G, R, P, C * K + 1] from windows [r, C, W], but for the last tap.

    `each` has one item a tap of a filter: how many there are is then known when this is compiled.
    """
    n_channels, width = windows.shape[1:]
    patch_length, size = taps.shape[2], len(each)
    reach = (width - patch_length) // 2
    for g in range(len(dilations)):
        dilation = dilations[g]
        start = reach - dilation * (size // 2)
        for r in range(len(windows)):
            for c in range(n_channels):
                seen = windows[r, c, start:]
                for p in range(patch_length):
                    row = taps[g, r, p, c * size :]
                    for k in range(len(each)):
                        row[k] = seen[p + k * dilation]
