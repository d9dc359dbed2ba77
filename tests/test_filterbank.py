"""The pooled filter bank against plain convolutions, in float64, and its compiled loops against both."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tsjepa import filterbank, loops
from tsjepa.filterbank import pooled_responses
from tsjepa.loops import TAPS

DILATIONS, PATCH = (1, 2, 4), 6
REACH = max(DILATIONS)


def drawn(rows: int, channels: int, taps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Draw windows, weights and biases."""
    windows = torch.randn(rows, channels, PATCH + taps // 2 * 2 * REACH, dtype=torch.float64)
    weight = torch.randn(len(DILATIONS), 5, channels, taps, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(len(DILATIONS), 5, dtype=torch.float64, requires_grad=True)
    return windows, weight, bias


def by_convolution(windows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return share and maximum by plain convolutions and poolings."""
    responses = []
    for kernel, offset, dilation in zip(weight, bias, DILATIONS, strict=True):
        margin = kernel.shape[2] // 2 * (REACH - dilation)
        seen = windows[:, :, margin : windows.shape[2] - margin]
        responses.append(F.conv1d(seen, kernel, offset, dilation=dilation))
    response = torch.stack(responses)
    return response.sigmoid().mean(-1).transpose(0, 1), response.amax(-1).transpose(0, 1)


@pytest.fixture(params=[1, 400, 2**17])
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(filterbank.BLOCK, "cpu", request.param)


@pytest.mark.usefixtures("_block")
@pytest.mark.parametrize("channels", [1, 2])
def test_value_and_gradient_are_those_of_convolutions(channels: int) -> None:
    windows, weight, bias = drawn(11, channels)
    expected = by_convolution(windows, weight, bias)
    found = pooled_responses(windows, weight, bias, DILATIONS, PATCH)
    upstream = [torch.randn_like(part) for part in expected]
    wanted = torch.autograd.grad(expected, (weight, bias), upstream)
    got = torch.autograd.grad(found, (weight, bias), upstream)
    for a, b in zip((*found, *got), (*expected, *wanted), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_equal_maxima_share_their_gradient() -> None:
    windows, weight, bias = drawn(3, 1)
    _, peak = pooled_responses(torch.zeros_like(windows), weight, bias, DILATIONS, PATCH)
    peak.sum().backward()
    assert bias.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(bias.grad, torch.full_like(bias, 3.0))
    assert not weight.grad.any()


def test_half_precision_around_it_changes_nothing() -> None:
    windows, weight, bias = (part.detach().float() for part in drawn(4, 1))
    plain = pooled_responses(windows, weight, bias, DILATIONS, PATCH)
    with torch.autocast("cpu", torch.bfloat16):
        inside = pooled_responses(windows, weight, bias, DILATIONS, PATCH)
    for a, b in zip(plain, inside, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (64, 1), (11, 2), (131, 3)])
def test_loops_give_what_convolutions_do_as_exactly_as_float32_can(rows: int, channels: int) -> None:
    windows, weight, bias = drawn(rows, channels, TAPS)
    expected = by_convolution(windows, weight, bias)
    upstream = [torch.randn_like(part) for part in expected]
    wanted = torch.autograd.grad(expected, (weight, bias), upstream)
    small = [part.detach().float().requires_grad_() for part in (weight, bias)]
    found = pooled_responses(windows.float(), *small, DILATIONS, PATCH)
    got = torch.autograd.grad(found, small, [part.float() for part in upstream])
    for a, b in zip((*found, *got), (*expected, *wanted), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_equal_maxima_share_their_gradient_in_loops_too() -> None:
    windows, weight, bias = (part.detach().float() for part in drawn(3, 1, TAPS))
    bias.requires_grad_()
    _, peak = pooled_responses(torch.zeros_like(windows), weight, bias, DILATIONS, PATCH)
    peak.sum().backward()
    torch.testing.assert_close(bias.grad, torch.full_like(bias, 3.0))


def test_loops_give_a_patch_the_same_wherever_it_stands_and_however_many_threads_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows, weight, bias = (part.detach().float() for part in drawn(200, 1, TAPS))
    leaves, order = [weight.requires_grad_(), bias.requires_grad_()], torch.randperm(200)
    share, peak = pooled_responses(windows, *leaves, DILATIONS, PATCH)
    for one, other in zip((share, peak), pooled_responses(windows[order], *leaves, DILATIONS, PATCH), strict=True):
        assert torch.equal(one[order], other)
    grads = torch.autograd.grad(share.sum() + peak.sum(), leaves)
    monkeypatch.setattr(loops.torch, "get_num_threads", lambda: 3)
    again = pooled_responses(windows, *leaves, DILATIONS, PATCH)
    by_three = torch.autograd.grad(again[0].sum() + again[1].sum(), leaves)
    for a, b in zip((share, peak, *grads), (*again, *by_three), strict=True):
        assert torch.equal(a, b)


def test_a_value_that_is_not_finite_shows_in_its_patch_alone() -> None:
    windows, weight, bias = (part.detach().float() for part in drawn(3, 1, TAPS))
    windows[1, 0, windows.shape[2] // 2] = torch.nan
    for part in pooled_responses(windows, weight, bias, DILATIONS, PATCH):
        assert part[1].isnan().all()
        assert part[[0, 2]].isfinite().all()


@pytest.mark.parametrize(("far", "units"), [(86, 4), (10, 1.25)])
def test_the_sigmoid_of_the_loops_is_exact_to_some_units_of_the_last_place(far: int, units: float) -> None:
    # a filter that answers with the value itself, on a patch of one point
    values = torch.cat([torch.linspace(-far, far, 40_001), torch.tensor([-1e30, 1e30, 0.0, -0.0])])
    weight, bias = torch.eye(TAPS)[TAPS // 2].view(1, 1, 1, TAPS), torch.zeros(1, 1)
    windows = F.pad(values.view(-1, 1, 1), (TAPS // 2, TAPS // 2))
    share, _ = pooled_responses(windows, weight, bias, (1,), 1)
    torch.testing.assert_close(share.flatten().double(), values.double().sigmoid(), rtol=units * 2.0**-23, atol=1e-37)
