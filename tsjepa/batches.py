"""Series as shuffled batches: everything random is a function of the seed, the epoch and the step."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tsjepa.arrays import SeriesSource


class Batches(Dataset[tuple[Tensor, Tensor | None]]):
    """The series of a source that hold a value, indexed by a whole batch at a time."""

    def __init__(self, source: SeriesSource) -> None:
        self.source = source
        self.cases = source.measured()  # a series without any value has nothing to predict

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        values, valid = self.source.take(self.cases[index.numpy()])
        return torch.from_numpy(values), None if valid is None else torch.from_numpy(valid)


class ShuffledBatches(Sampler[Tensor]):
    """Index tensors of shuffled batches, a function of seed and epoch, so that a resumed run draws the same.

    A last batch of a single series is joined to the one before, since batch statistics need two.
    """

    def __init__(self, n_series: int, batch_size: int, seed: int) -> None:
        self.n_series, self.batch_size, self.seed, self.epoch = n_series, batch_size, seed, 0

    def __len__(self) -> int:
        whole, rest = divmod(self.n_series, self.batch_size)
        return max(whole + (rest > 1 or (rest == 1 and self.batch_size == 1)), 1)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.n_series, generator=keyed_generator(self.seed, self.epoch, 0))
        for i in range(len(self)):
            end = self.n_series if i == len(self) - 1 else (i + 1) * self.batch_size
            yield order[i * self.batch_size : end]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn; Lightning calls this."""
        self.epoch = epoch


def keyed_generator(*key: int) -> torch.Generator:
    """Return a generator whose state is a function of the key alone."""
    state = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed((int(state[0]) << 32 | int(state[1])) % 2**63)


def circular_shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate each series of x [B, C, T] by an offset of its own, all its channels alike.

    Examples
    --------
    >>> shifted = circular_shift(torch.arange(4.0).view(1, 1, 4), torch.Generator().manual_seed(0))
    >>> sorted(shifted.flatten().tolist())
    [0.0, 1.0, 2.0, 3.0]
    """
    length = x.shape[-1]
    offset = torch.randint(length, (x.shape[0], 1), generator=generator).to(x.device)
    index = (torch.arange(length, device=x.device) + offset) % length
    return x.gather(-1, index.unsqueeze(1).expand_as(x))
