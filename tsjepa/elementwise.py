"""Functions of single numbers whose result does not depend on where in its array a number stands."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

# Numbers that torch gives to one thread at least, a multiple of what a vector instruction takes
GRAIN = 2**15


class GELU(nn.GELU):
    """torch's GELU; in inference mode on a CPU it overwrites its input, each number treated alike.

    Examples
    --------
    >>> with torch.inference_mode():
    ...     GELU()(torch.tensor([0.0, 100.0]))
    tensor([  0., 100.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return GELU of each number of x."""
        if not (x.is_cpu and torch.is_inference_mode_enabled()):
            return super().forward(x)
        return in_place(torch.ops.aten.gelu_, x)


def in_place(function: Callable[[Tensor], object], x: Tensor) -> Tensor:
    """Overwrite a tensor by a function of its numbers, each treated alike, and return it.

    Torch divides a large array among its threads evenly. What is left in a share beyond whole vectors is computed by
    other code, which for an exponential may differ in the last bit: a number's result would depend on its place.

    Parameters
    ----------
    function : callable
        Overwrites a tensor, as `torch.Tensor.sigmoid_` does.
    x : Tensor
        Contiguous.

    Returns
    -------
    Tensor
        The same.

    Examples
    --------
    >>> in_place(torch.Tensor.sigmoid_, torch.zeros(2, 2))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    if not x.is_cpu or x.numel() <= GRAIN:
        function(x)
        return x
    for part in even_parts(x.view(-1)):
        function(part)
    return x


def even_parts(flat: Tensor) -> Iterator[Tensor]:
    """Yield parts of numbers that are divided among the threads at multiples of GRAIN, or not at all."""
    each = GRAIN * torch.get_num_threads()
    first = len(flat) // each * each
    second = len(flat) // GRAIN * GRAIN
    for start, stop in ((0, first), (first, second), (second, len(flat))):
        if start < stop:
            yield flat[start:stop]
