"""Series as shuffled batches: everything random is a function of the seed, the epoch and the step.

In a distributed run all ranks draw the same batches, and each holds its share of the rows of each.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tsjepa.arrays import Series, SeriesSource
from tsjepa.ranks import Share, share_of, world_size

T = TypeVar("T")


class Batch(NamedTuple):
    """One rank's part of a batch: values and mask as in `tsjepa.arrays.Series`, and which of the rows they are."""

    x: Tensor
    valid: Tensor | None
    share: Share

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        valid = None if self.valid is None else self.valid.to(device, non_blocking=True)
        return Batch(self.x.to(device, non_blocking=True), valid, self.share)


def tensors(series: Series) -> tuple[Tensor, Tensor | None]:
    """Return values and mask as tensors, in the memory that they are in."""
    return torch.from_numpy(series.values), None if series.valid is None else torch.from_numpy(series.valid)


def whole(batch: T) -> T:
    """Return a batch as it is: nothing is left to collate."""
    return batch


class Batches(Dataset[Batch]):
    """The series of a source that hold a value, indexed by a whole batch at a time."""

    def __init__(self, source: SeriesSource) -> None:
        self.source = source
        self.cases = source.measured()  # a series without any value has nothing to predict
        # a source may give a mask only where one is needed, but ranks have to do the same things
        self.unmasked = isinstance(source, Series) and source.valid is None

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: Tensor) -> Batch:
        share = share_of(len(index))
        x, valid = tensors(self.source.take(self.cases[share.of(index).numpy()]))
        if valid is None and not self.unmasked and world_size() > 1:
            valid = torch.ones_like(x, dtype=torch.bool)
        return Batch(x, valid, share)


class ShuffledBatches(Sampler[Tensor]):
    """Index tensors of shuffled batches, a function of seed and epoch, so that a resumed run draws the same.

    A last batch of a single series is joined to the one before, since batch statistics need two.
    """

    def __init__(self, n_series: int, batch_size: int, seed: int) -> None:
        self.n_series, self.batch_size, self.seed, self.epoch = n_series, batch_size, seed, 0

    def __len__(self) -> int:
        whole, rest = divmod(self.n_series, self.batch_size)
        return max(whole + (rest > 1), 1)

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


def circular_shift(x: Tensor, generator: torch.Generator, share: Share | None = None) -> Tensor:
    """Rotate each series of x [B, C, T] by an offset of its own, all its channels alike.

    Offsets are drawn for the joined batch, of which `share` says which rows x holds; None means all.

    Examples
    --------
    >>> shifted = circular_shift(torch.arange(4.0).view(1, 1, 4), torch.Generator().manual_seed(0))
    >>> sorted(shifted.flatten().tolist())
    [0.0, 1.0, 2.0, 3.0]
    """
    length = x.shape[-1]
    offset = torch.randint(length, (len(x) if share is None else share.total, 1), generator=generator)
    offset = (offset if share is None else share.of(offset)).to(x.device)
    index = (torch.arange(length, device=x.device) + offset) % length
    return x.gather(-1, index.unsqueeze(1).expand_as(x))
