"""Content of data sets in a few letters, by which finished rows are told from those of other data of the same name."""

import hashlib
from typing import Any

from numpy.typing import NDArray


def content_digest(*arrays: NDArray[Any] | None) -> str:
    """Return a digest of arrays with their shapes; None is one of its own.

    Examples
    --------
    >>> import numpy as np
    >>> content_digest(np.zeros(2), None) == content_digest(np.zeros((2, 1)), None)
    False
    """
    found = hashlib.sha256()
    for array in arrays:
        found.update(b"none" if array is None else f"{array.shape} {array.dtype.str}".encode() + array.tobytes())
    return found.hexdigest()[:12]
