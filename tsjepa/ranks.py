"""The processes (ranks) of a distributed run as one: sums, means, rows and batch norm over all of them.

A rank's loss is that of the joined batch, so the gradient of what is summed over ranks is summed over ranks too.
Averaging parameter gradients over ranks, as DistributedDataParallel does, then gives the gradient of the joined batch.
In a run of one process everything here is the identity.
"""

from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def world_size() -> int:
    """Return the number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this rank, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


class Share(NamedTuple):
    """Which of the joined batch's `total` rows a rank holds: those from `start` up to `stop`, perhaps none.

    Examples
    --------
    >>> Share(2, 4, total=8).times(3)
    Share(start=6, stop=12, total=24)
    """

    start: int
    stop: int
    total: int

    def times(self, n: int) -> "Share":
        """Return the share where each row becomes `n` rows."""
        return Share(self.start * n, self.stop * n, self.total * n)

    def of(self, rows: T) -> T:
        """Return this rank's part of all rows, anything that can be sliced."""
        return rows[self.start : self.stop]  # type: ignore[index]


def share_of(n_rows: int) -> Share:
    """Return this rank's share of some rows; shares follow each other and differ by one row at most.

    Examples
    --------
    >>> share_of(5)
    Share(start=0, stop=5, total=5)
    """
    here, ranks = rank(), world_size()
    return Share(n_rows * here // ranks, n_rows * (here + 1) // ranks, n_rows)


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum over the ranks, without a gradient across them, as counts are; alone, return `x`."""
    if world_size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


class SumOverRanks(torch.autograd.Function):
    """Sum over ranks whose gradient is summed too: every rank's loss holds what the sum goes into."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """Return the sum."""
        return sum_over_ranks(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """Return the sum of the ranks' gradients."""
        return sum_over_ranks(grad.contiguous())


def mean_over_ranks(mean: Tensor, count: Tensor | int) -> Tensor:
    """Return the mean over the samples of all ranks from this rank's own mean of `count` samples; 0 if there is none.

    Examples
    --------
    >>> mean_over_ranks(torch.tensor(2.0), count=3)
    tensor(2.)
    """
    if world_size() == 1:
        return mean
    count = torch.as_tensor(count, dtype=mean.dtype, device=mean.device)
    return SumOverRanks.apply(mean * count) / sum_over_ranks(count).clamp(min=1)


class JoinRows(torch.autograd.Function):
    """The rows of all ranks, rank 0's first; the gradient of a row is summed over ranks and goes to whose it is."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """Put this rank's rows among zeros, and sum."""
        counts = torch.zeros(world_size(), dtype=torch.int64, device=x.device)
        counts[rank()] = len(x)
        ends = sum_over_ranks(counts).cumsum(0).tolist()
        ctx.own = slice(ends[rank()] - len(x), ends[rank()])
        joined = x.new_zeros(ends[-1], *x.shape[1:], dtype=torch.uint8 if x.dtype == torch.bool else x.dtype)
        joined[ctx.own] = x
        dist.all_reduce(joined)
        return joined.to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """Return the gradient of this rank's rows."""
        return sum_over_ranks(grad.contiguous())[ctx.own]


def join_rows(x: Tensor) -> Tensor:
    """Return the rows of all ranks, of which each may hold another number, differentiable; alone, return `x`."""
    return JoinRows.apply(x) if world_size() > 1 else x


def from_first_rank(value: T) -> T:
    """Return what rank 0 passed, so that all ranks decide alike; plain values only."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def from_all_ranks(value: T) -> list[T]:
    """Return what each rank passed, rank 0 first; plain values only.

    Examples
    --------
    >>> from_all_ranks("alone")
    ['alone']
    """
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    return values


class JoinedBatchNorm(nn.BatchNorm1d):
    """Batch norm of [N, D] whose statistics are those of all ranks' samples; a single sample becomes the bias.

    torch's SyncBatchNorm needs a GPU, and a rank without samples stops it.

    Examples
    --------
    >>> JoinedBatchNorm(2)(torch.tensor([[1.0, 0.0], [3.0, 0.0]])).round(decimals=3).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise samples; in training by their own statistics, which the running ones follow."""
        if not self.training or (world_size() == 1 and len(x) > 1):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        wide = x if x.dtype == torch.float64 else x.float()
        n = sum_over_ranks(wide.new_tensor(float(len(x))))
        count = n.clamp(min=1)
        mean = SumOverRanks.apply(wide.sum(0)) / count
        centred = wide - mean
        variance = SumOverRanks.apply(centred.square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            follow = float(self.momentum or 0) * (n > 0).to(wide)
            self.running_mean.lerp_(mean, follow)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), follow)
        return (centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias).to(x.dtype)
