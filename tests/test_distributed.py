"""SIGReg and VICReg over two processes are those of the joined batch, value and gradient.

Run as a program, this file is one of the two processes: test_distributed.py RANK FOLDER
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tsjepa.regularizers import SIGReg, VICReg

KINDS = ("token", "position", "series", "dual", "vicreg")
HALVES = (slice(0, 3), slice(3, 8))  # ranks may hold different numbers of samples


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 6, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    return x, torch.rand(8, 6, generator=generator) < 0.8, weight


def loss_and_gradient(part: slice, kind: str, masked: bool, seed: int) -> tuple[Tensor, Tensor]:
    x, valid, weight = batch()
    weight.requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    regularizer = VICReg() if kind == "vicreg" else SIGReg(slices=16, placement=kind)
    value = regularizer(x[part] @ weight, generator, valid[part] if masked else None)
    value.backward()
    return value.detach(), weight.grad


def work(rank: int, folder: Path) -> None:
    """Be one rank: average gradients over ranks as DDP does, and save what came out."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    results = {}
    for kind in KINDS:
        for masked in (False, True):
            # another seed on the second rank: the slices have to come from the first
            value, gradient = loss_and_gradient(HALVES[rank], kind, masked, seed=7 + rank)
            dist.all_reduce(gradient)
            results[kind, masked] = (value, gradient / 2)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, bool], tuple[Tensor, Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(rank), str(folder)], env=environment, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    try:
        for process in running:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors.decode()
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_equal_the_joined_batch(ranks, kind: str, masked: bool) -> None:
    value, gradient = loss_and_gradient(slice(None), kind, masked, seed=7)
    assert gradient.abs().max() > 1e-3
    for results in ranks:
        got_value, got_gradient = results[kind, masked]
        torch.testing.assert_close(got_value, value, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(got_gradient, gradient, rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
