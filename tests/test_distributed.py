"""Two processes compute what one does on the joined batch: values, gradients, diagnostics, whole runs.

Run as a program, this file trains with two processes and saves what came out: test_distributed.py FOLDER. Lightning
starts the second one by the same command. All is in float64, where only an error is larger than rounding.
"""

import csv
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.masking import Mask, assemble
from tsjepa.monitor import Monitor, read_history
from tsjepa.ranks import (
    JoinedBatchNorm,
    Share,
    from_first_rank,
    join_rows,
    mean_over_ranks,
    rank,
    share_of,
    sum_over_ranks,
    world_size,
)
from tsjepa.regularizers import SIGReg, VICReg, VISReg

CASES = 8
# how many of the joined batch's cases the first rank holds; none at all where a last batch is smaller than the ranks
SPLITS = (3, 0)
REGULARIZERS = ("token", "position", "series", "dual", "vicreg", "visreg")
OBJECTIVES = ("ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "ema, centred", "sigreg, centred")
ALONE = ("ema", "sigreg")
TRAINED = ("ema", "sigreg", "vicreg", "visreg", "deep")
EPOCHS = 3


class Wide(Series):
    """Series in float64."""

    def take(self, cases: Any) -> Series:
        return Series(self.values[cases], None if self.valid is None else self.valid[cases])


def toy(n: int = 21, *, missing: bool = False) -> Wide:
    rng = np.random.default_rng(0)
    frequency, phase = rng.uniform(1, 5, (n, 2, 1)), rng.uniform(0, 6, (n, 2, 1))
    X = np.sin(2 * np.pi * frequency * np.arange(60) / 60 + phase)
    if missing:
        X[::3, :, 40:] = np.nan
        X[1, 0, 5:20] = np.nan
        X[5, 1] = np.nan
    series = as_series(X)
    return Wide(series.values.astype(np.float64), series.valid)


def make(objective: str, *overrides: str) -> tuple[Any, Header]:
    objective, _, centred = objective.partition(", ")
    overrides = (f"train.epochs={EPOCHS}", "train.batch_size=8", "train.shift=true", *overrides)
    overrides += ("loss.centre_target=true",) if centred else ()
    config = resolve(configure("tiny", objective, overrides), 60)
    return build_model(config, 2).double(), Header(config, "toy", 2, 60)


def gradients(model: Any) -> dict[str, Tensor]:
    """Return gradients, averaged over ranks as DistributedDataParallel does."""
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: sum_over_ranks(grad) / world_size() for name, grad in grads.items()}


def every_other(n_rows: int, n_tokens: int, generator: torch.Generator, valid: Tensor | None) -> Mask:
    """Hide every other valid token: of a row the same, whatever rows there are besides."""

    return assemble(lambda rows, n: (torch.arange(n) % 2 > 0).expand(rows, n), n_rows, n_tokens, valid)


def step(
    objective: str, split: int, missing: bool, *, alone: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return loss, terms and gradients of one step on this rank's part of a batch.

    One that is `alone` does not say which part that is.
    """
    model, _ = make(objective)
    model.train()
    if alone:
        model.mask = every_other
    model.advance(3, 10)
    if world_size() == 1:
        share = Share(0, CASES, CASES)
    else:
        share = Share(0, split, CASES) if rank() == 0 else Share(split, CASES, CASES)
    values, valid = share.of(torch.from_numpy(toy(CASES).values)), None
    if missing:
        values, valid = (share.of(torch.from_numpy(part)) for part in toy(CASES, missing=True))
    out = model(values, torch.Generator().manual_seed(1), valid, None if alone else share)
    out.loss.backward()
    buffers = {name: value.double() for name, value in model.named_buffers() if "running" in name}
    return {"loss": out.loss.detach(), **out.terms, **buffers}, gradients(model)


def samples() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CASES, 6, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    valid = torch.rand(CASES, 6, generator=generator) < 0.8
    valid[: SPLITS[0], 2] = False  # this position is there on the second rank only
    return x, valid, weight


def regularize(kind: str, split: int, masked: bool) -> tuple[Tensor, Tensor]:
    """Return value and gradient of a regularizer on this rank's part."""
    x, valid, weight = samples()
    weight.requires_grad_()
    part = slice(None) if world_size() == 1 else (slice(0, split), slice(split, CASES))[rank()]
    # another seed on the second rank: the slices have to come from the first
    generator = torch.Generator().manual_seed(7 + rank())
    plain = {"vicreg": VICReg(), "visreg": VISReg(slices=16)}
    regularizer = plain[kind] if kind in plain else SIGReg(slices=16, placement=kind)  # type: ignore[arg-type]
    value = regularizer(x[part] @ weight, generator, valid[part] if masked else None)
    value.backward()
    return value.detach(), sum_over_ranks(weight.grad) / world_size()


def normalize(split: int) -> tuple[Tensor, ...]:
    """Return output, gradients and running statistics of batch norm, joined over ranks."""
    norm = JoinedBatchNorm(4).double()
    x = samples()[0].flatten(0, 1)[:, :4]
    part = slice(None) if world_size() == 1 else (slice(0, split), slice(split, len(x)))[rank()]
    x = (3 * x[part] + 1).requires_grad_()
    y = norm(x)
    weights = torch.linspace(-1, 1, 4, dtype=torch.float64)
    (join_rows(y).square() @ weights).mean().backward()
    assert x.grad is not None
    # a loss that each rank has counts on each, for a row and for a parameter alike
    rows = join_rows(x.grad) / world_size()
    return join_rows(y).detach(), rows, *gradients(norm).values(), norm.running_mean, norm.running_var


def record(objective: str, missing: bool) -> list[float]:
    """Return what the monitor measures."""
    model, _ = make(objective)
    monitor = Monitor(model, toy(missing=missing), np.arange(21) % 2)
    monitor.measure(0)
    return [float(value) for value in monitor.history[0]]


def train(objective: str, folder: Path, devices: int, **options: Any) -> dict[str, Tensor]:
    """Return the weights after a run."""
    from tsjepa.training import Options, fit

    model, header = make(objective)
    folder.mkdir(exist_ok=True)
    series = toy(missing=objective in ("deep", "sigreg"))
    fit(model, series, header, Options(folder, device="cpu", devices=devices, **options))
    return model.state_dict()


def interrupted(folder: Path, devices: int) -> dict[str, Tensor]:
    """Return the weights of a run that goes on from the checkpoint of another one's second epoch."""

    def keep(progress: Any) -> None:
        if progress.epoch == 3:  # epoch 2 is the last that is saved by now
            shutil.copytree(folder / "ema", folder / "again")

    train("ema", folder / "ema", devices, report=keep)
    return train("ema", folder / "again", devices, resume=True)


BROKEN = ("target.kind=self", "regularizer.kind=none", "projector.out=0", "train.lr=1e-2", "train.epochs=20")


def collapse(folder: Path, devices: int) -> tuple[int, str]:
    """Return the epochs of a hopeless run, and the verdict on it."""
    from tsjepa.training import Options, fit

    model, header = make("ema", *BROKEN)
    folder.mkdir(exist_ok=True)
    options = Options(folder, device="cpu", devices=devices, stop_on_collapse=True)
    result = fit(model, toy(), header, options)
    assert result.verdict is not None
    return result.epochs, result.verdict.verdict


def unlike(folder: Path, n_series: int, fingerprint: str) -> str:
    """Return what ends a run in which a process has other series than the other one."""
    from tsjepa.training import Options, fit
    from tsjepa.training_error import TrainingError

    model, header = make("ema")
    with pytest.raises(TrainingError) as caught:
        fit(model, toy(n_series), header._replace(fingerprint={"values": fingerprint}), Options(folder, devices=2))
    return str(caught.value)


def work(folder: Path) -> None:
    """Be one of two processes."""
    results: dict[Any, Any] = {"resumed": interrupted(folder, devices=2)}
    # 3 and 4 steps an epoch: the second process would wait for the first one for ever
    results["unlike"] = [unlike(folder / "fewer", 21 + 8 * rank(), "a"), unlike(folder / "others", 21, "ab"[rank()])]
    results |= {("run", name): train(name, folder / name, devices=2) for name in TRAINED if name != "ema"}
    results["run", "ema"] = train("ema", folder / "whole", devices=2)
    results["collapse"] = collapse(folder / "collapse", devices=2)
    for masked in (False, True):
        results |= {("record", name, masked): record(name, masked) for name in ("ema", "sigreg")}
        for split in SPLITS:
            results |= {("step", name, split, masked): step(name, split, masked) for name in OBJECTIVES}
            results |= {(name, split, masked): regularize(name, split, masked) for name in REGULARIZERS}
        results |= {("alone", name, masked): step(name, SPLITS[0], masked, alone=True) for name in ALONE}
    results |= {("norm", split): normalize(split) for split in (10, 1, 0)}
    results["mean"] = [
        float(mean_over_ranks(torch.tensor(2.0 + rank()), 1 + 2 * rank())),
        float(mean_over_ranks(torch.tensor(0.0), 0)),
    ]
    results["first"], results["share"] = from_first_rank([rank(), "plain"]), tuple(share_of(5))
    results["joined"] = [join_rows(torch.arange(3 * rank(), 3 + 2 * rank())), join_rows(torch.tensor([rank() > 0]))]
    torch.save(results, folder / f"{rank()}.pt")


gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")
pytestmark = gloo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which two processes have left their results."""
    place = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, __file__, str(place)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return place


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[Any, Any]]:
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


def close(got: Any, wanted: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", REGULARIZERS)
def test_regularizers_equal_those_of_the_joined_batch(ranks, kind: str, split: int, masked: bool) -> None:
    wanted = regularize(kind, split, masked)
    assert wanted[1].abs().max() > 1e-3
    for results in ranks:
        close(results[kind, split, masked], wanted, 1e-10)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_equals_that_of_the_joined_batch(ranks, objective: str, split: int, masked: bool) -> None:
    values, grads = step(objective, split, masked)
    assert max(grad.abs().max() for grad in grads.values()) > 1e-3
    for results in ranks:
        got_values, got_grads = results["step", objective, split, masked]
        assert got_values.keys() == values.keys()
        assert got_grads.keys() == grads.keys()
        close(got_values, values)
        close(got_grads, grads)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("objective", ALONE)
def test_a_step_of_ranks_that_tell_no_share_draws_for_own_rows(ranks, objective: str, masked: bool) -> None:
    values, grads = step(objective, SPLITS[0], masked, alone=True)
    for results in ranks:
        close(results["alone", objective, masked][0], values)
        close(results["alone", objective, masked][1], grads)


@pytest.mark.parametrize("split", [10, 1, 0])
def test_batch_norm_equals_that_of_all_samples(ranks, split: int) -> None:
    reference = torch.nn.BatchNorm1d(4).double()
    x = (3 * samples()[0].flatten(0, 1)[:, :4] + 1).requires_grad_()
    y = reference(x)
    (y.square() @ torch.linspace(-1, 1, 4, dtype=torch.float64)).mean().backward()
    wanted = (y.detach(), x.grad, *gradients(reference).values(), reference.running_mean, reference.running_var)
    for results in ranks:
        close(results["norm", split], wanted)


def test_batch_norm_of_one_sample_is_its_bias_and_of_none_changes_nothing() -> None:
    norm = JoinedBatchNorm(2)
    torch.testing.assert_close(norm(torch.ones(1, 2)), torch.zeros(1, 2))
    torch.testing.assert_close(norm.running_mean, torch.full((2,), 0.1))
    before = norm.running_var.clone()
    assert norm(torch.ones(0, 2)).shape == (0, 2)
    torch.testing.assert_close(norm.running_var, before)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("objective", ["ema", "sigreg"])
def test_diagnostics_equal_those_of_the_joined_sample(ranks, objective: str, masked: bool) -> None:
    wanted = record(objective, masked)
    assert sum(map(math.isfinite, wanted)) >= 17
    for results in ranks:
        np.testing.assert_allclose(results["record", objective, masked], wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(*(results["record", objective, masked] for results in ranks))


@pytest.mark.parametrize("objective", TRAINED)
def test_two_processes_train_to_the_losses_and_weights_of_one(ranks, folder: Path, tmp_path, objective: str) -> None:
    weights = train(objective, tmp_path / "one", devices=1)
    for results in ranks:
        got = results["run", objective]
        assert got.keys() == weights.keys()
        for name, value in weights.items():
            close(got[name], value, 1e-7)  # Adam turns a gradient that is zero but for rounding into a small step
    both = (tmp_path / "one", folder / ("whole" if objective == "ema" else objective))
    one, two = (list(csv.DictReader((place / "metrics.csv").read_text().splitlines())) for place in both)
    assert len(one) == len(two) == EPOCHS
    for first, second in zip(one, two, strict=True):
        for name in first.keys() - {"seconds"}:
            assert float(first[name]) == pytest.approx(float(second[name]), rel=1e-10)
    from tsjepa.run_files import DIAGNOSTICS, EpochTable

    histories = [read_history(EpochTable(place / DIAGNOSTICS)) for place in both]
    assert len(histories[1]) == EPOCHS + 1
    np.testing.assert_allclose(*histories, rtol=1e-7, atol=1e-7)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(ranks, folder: Path) -> None:
    for results in ranks:
        for name, value in results["run", "ema"].items():
            torch.testing.assert_close(results["resumed"][name], value, rtol=0, atol=0)
    rows = list(csv.DictReader((folder / "again" / "metrics.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]


def test_all_processes_stop_at_a_collapse(ranks, tmp_path) -> None:
    wanted = collapse(tmp_path / "one", devices=1)
    assert wanted[0] < 20
    assert [results["collapse"] for results in ranks] == [wanted, wanted]


def test_all_processes_end_where_their_series_are_not_the_same(ranks) -> None:
    said = "the processes of the run have other series to train on: the first one has 21, and process 1 has "
    for results in ranks:
        told = [text.removeprefix(said) for text in results["unlike"]]
        assert told == [
            "29: give all of them the same data.",
            "as many with other values: give all of them the same data.",
        ]


def test_what_ranks_hold_is_joined_and_agreed_on(ranks) -> None:
    for results in ranks:
        assert results["mean"] == [pytest.approx((2 * 1 + 3 * 3) / 4), 0.0]
        assert results["first"] == [0, "plain"]
        assert [part.tolist() for part in results["joined"]] == [[0, 1, 2, 3, 4], [False, True]]
    assert [results["share"] for results in ranks] == [(0, 2, 5), (2, 5, 5)]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
