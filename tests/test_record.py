"""Diagnostics from plain tensors: those of the monitor, of any model, and a sentence where tensors do not fit."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from watched import make, toy

from tsjepa import epoch_diagnostics, judge
from tsjepa.batches import keyed_generator
from tsjepa.gaussianity import sigreg_score
from tsjepa.monitor import Monitor, measuring
from tsjepa.record import SLICES_KEY

# Tokens that count where the first two are predicted: none of these
LATER = torch.tensor([False, False, True, True, True, True]).expand(8, 6)
PAGE = Path(__file__).parents[1] / "docs" / "collapse.md"


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("objective", ["ema", "sigreg"])
def test_a_record_of_plain_tensors_is_that_of_the_monitor(objective: str, centred: bool) -> None:
    series, _ = toy(40)
    model, _ = make(objective, f"loss.centre_target={str(centred).lower()}")
    monitor = Monitor(model, series)
    monitor.measure(3, loss=0.5, step=7.0)
    with torch.no_grad(), measuring(model):
        sample, _ = monitor.sample()
    found = epoch_diagnostics(
        3,
        **{name: sample[name] for name in ("last", "target", "predicted", "index", "slow")},
        latents=sample["latents"] if centred else None,
        regularized=model.target.trains_encoder,
        loss=0.5,
        step=7.0,
    )
    assert found.position_share > 0.01  # which would be 0 of the centred target
    beside = {"parameter_mismatch", "lidar", "alignment", "predictor_sensitivity"}
    for name, value in found._asdict().items():
        if name in beside:
            assert math.isnan(value), name
        else:
            assert value == pytest.approx(getattr(monitor.history[0], name), nan_ok=True), name


@pytest.mark.parametrize(("objective", "goal"), [("sigreg", True), ("ema", False)])
def test_the_score_is_of_what_a_regularizer_acts_on_else_of_the_whole_target(objective: str, goal: bool) -> None:
    model, _ = make(objective, "loss.centre_target=true")
    monitor = Monitor(model, toy(40)[0])
    monitor.measure(0)
    with torch.no_grad(), measuring(model):
        sample, _ = monitor.sample()
    scores = [
        sigreg_score(sample[name].flatten(0, 1), keyed_generator(*SLICES_KEY)).item() for name in ("latents", "target")
    ]
    assert scores[0] != pytest.approx(scores[1], rel=0.01)
    assert monitor.history[0].sigreg_score == pytest.approx(scores[goal])


def test_tokens_and_predictions_that_do_not_count_change_nothing() -> None:
    tokens = torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([0, 2]).expand(8, 2)
    given = {"last": tokens, "target": tokens, "predicted": tokens[:, [0, 2]], "index": index, "slow": tokens + 0.1}
    there = torch.ones(8, 6, dtype=torch.bool)
    there[:, 4:] = False
    counts = torch.tensor([True, False]).expand(8, 2)
    odd = {name: given[name].clone() for name in ("last", "target", "slow")}
    for latents in odd.values():
        latents[:, 4:] = math.nan
    predicted = given["predicted"].clone()
    predicted[:, 1] = math.inf
    plain = epoch_diagnostics(0, **given, valid=counts, token_valid=there)
    assert epoch_diagnostics(0, **given | odd | {"predicted": predicted}, valid=counts, token_valid=there) == plain
    assert plain.cross_series_share == pytest.approx(1.0)
    small = {"index": index.to(torch.uint8)}
    assert epoch_diagnostics(0, **given | small, valid=counts, token_valid=there) == plain


def test_predictions_of_tokens_that_do_not_count_may_be_anything() -> None:
    tokens = torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))
    there = torch.ones(8, 6, dtype=torch.bool)
    there[:5, 2:] = False  # the series are of unequal length
    gone = tokens.clone()
    gone[~there] = math.nan
    index = torch.arange(0, 6, 2).expand(8, 3)
    found, plain = (
        epoch_diagnostics(0, last=z, target=z, predicted=z[:, ::2], index=index, token_valid=there)
        for z in (gone, tokens)
    )
    assert found == plain
    assert found.cross_series_share == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_series_are_pooled_in_more_than_16_bits(dtype: torch.dtype) -> None:
    tokens = (5 * torch.randn(32, 200, 16, generator=torch.Generator().manual_seed(0)) + 500).to(dtype)
    index, there = torch.arange(5).expand(32, 5), torch.ones(32, 200, dtype=torch.bool)
    records = (
        epoch_diagnostics(0, last=z, target=z, predicted=z[:, :5], index=index, token_valid=mask)
        for z, mask in ((tokens, there), (tokens, None), (tokens.double(), there))
    )
    masked, plain, exact = ((record.uniformity, record.self_cluster) for record in records)
    assert masked == pytest.approx(exact, rel=1e-6)
    assert plain == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mean_that_grows_is_no_collapse_in_16_bits_either(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(64, 20, 64, generator=generator) * torch.logspace(0, -1.5, 64)
    mean, index = torch.randn(64, generator=generator), torch.arange(0, 20, 2).expand(64, 10)
    history = []
    for epoch, size in enumerate([0.3, *[3.2] * 6]):
        z = (tokens + size * mean).to(dtype)
        history.append(epoch_diagnostics(epoch, last=z, target=z, predicted=z[:, ::2], index=index, loss=1.0))
    assert judge(history, dim=64).verdict == "healthy"


def test_of_one_dimension_self_cluster_is_not_known() -> None:
    tokens = torch.randn(8, 6, 1, generator=torch.Generator().manual_seed(0))
    index = torch.arange(2).expand(8, 2)
    found = epoch_diagnostics(0, last=tokens, target=tokens, predicted=tokens[:, :2], index=index)
    assert math.isnan(found.self_cluster)
    assert (found.effective_rank, math.isnan(found.uniformity)) == (1, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"last": torch.zeros(8, 4)}, r"last must hold tokens \[B, N, D\] of some series, but has the shape \[8, 4\]"),
        ({"last": torch.zeros(0, 6, 4)}, r"last must hold tokens"),
        ({"target": torch.zeros(8, 5, 4)}, r"target must be \[8, 6, E\], as last is, but is \[8, 5, 4\]"),
        ({"index": torch.zeros(2, dtype=torch.int64)}, r"index must hold the positions \[8, M\] of predictions"),
        ({"index": torch.full((8, 2), 6)}, r"index must hold whole numbers from 0 to 5"),
        ({"index": torch.full((8, 2), -1)}, r"index must hold whole numbers from 0 to 5"),
        ({"index": torch.zeros(8, 2)}, r"index must hold whole numbers from 0 to 5"),
        ({"predicted": torch.zeros(8, 3, 4)}, r"predicted must be \[8, 2, 4\], but is \[8, 3, 4\]"),
        ({"valid": torch.ones(8, 6, dtype=torch.bool)}, r"valid must be \[8, 2\], but is \[8, 6\]"),
        ({"token_valid": torch.ones(8, 2, dtype=torch.bool)}, r"token_valid must be \[8, 6\], but is \[8, 2\]"),
        (
            {"token_valid": torch.zeros(8, 6, dtype=torch.bool)},
            r"token_valid leaves no token to measure: True means that",
        ),
        ({"valid": torch.zeros(8, 2, dtype=torch.bool)}, r"no prediction is left to measure by valid: True means that"),
        ({"token_valid": LATER}, r"no prediction is left to measure by token_valid: True means"),
        (
            {"token_valid": LATER.roll(1, 1), "valid": torch.tensor([False, True]).expand(8, 2)},
            r"no prediction is left to measure by valid and token_valid: True means that it counts, and so must",
        ),
        (
            {"last": torch.ones(8, 6, 4, dtype=torch.int64)},
            r"last must hold floating-point numbers, but is torch.int64",
        ),
        (
            {"target": torch.ones(8, 6, 4, dtype=torch.int8)},
            r"target must hold floating-point numbers.* target.float\(\)",
        ),
        ({"predicted": torch.ones(8, 2, 4, dtype=torch.bool)}, r"predicted must hold floating-point numbers"),
        ({"slow": torch.ones(8, 6, 4, dtype=torch.int64)}, r"slow must hold floating-point numbers"),
        ({"latents": torch.zeros(8, 6, 5)}, r"latents must be \[8, 6, 4\], but is \[8, 6, 5\]"),
        ({"latents": torch.full((8, 6, 4), math.nan)}, r"latents holds numbers that are not finite"),
        ({"latents": torch.ones(8, 6, 4, dtype=torch.int64)}, r"latents must hold floating-point numbers"),
        ({"slow": torch.zeros(8, 6, 5)}, r"slow must be \[8, 6, 4\], but is \[8, 6, 5\]"),
        ({"last": torch.full((8, 6, 4), math.nan)}, r"last holds numbers that are not finite"),
        ({"target": torch.full((8, 6, 4), math.inf)}, r"target holds numbers that are not finite"),
        ({"predicted": torch.full((8, 2, 4), math.nan)}, r"predicted holds numbers that are not finite"),
        ({"valid": torch.ones(8, 2)}, r"valid must be of type torch.bool, but is torch.float32: give valid.bool\(\)"),
        ({"token_valid": torch.ones(8, 6, dtype=torch.int64)}, r"token_valid must be of type torch.bool"),
        ({"last": np.zeros((8, 6, 4))}, r"last must be a torch.Tensor, but is a ndarray"),
    ],
)
def test_tensors_that_do_not_fit_are_told(change: dict[str, Any], said: str) -> None:
    tokens = torch.randn(8, 6, 4)
    given: dict[str, Any] = {"last": tokens, "target": tokens, "predicted": tokens[:, :2]}
    given["index"] = torch.arange(2).expand(8, 2)
    with pytest.raises(ValueError, match=said):
        epoch_diagnostics(0, **given | change)


@pytest.mark.parametrize(
    ("goal", "verdict"), [("target[:, index]", "collapsed"), ("target[:, index].detach()", "healthy")]
)
def test_a_model_of_another_library_is_judged_as_the_page_shows(
    goal: str, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert program.count("target[:, index]") == 1
    exec(compile(program.replace("target[:, index]", goal), str(PAGE), "exec"), {"__name__": "program"})
    assert f"verdict='{verdict}'" in capsys.readouterr().out
