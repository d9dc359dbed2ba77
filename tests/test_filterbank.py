"""The pooled filter bank against plain convolutions, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tsjepa import filterbank
from tsjepa.filterbank import pooled_responses

DILATIONS, PATCH = (1, 2, 4), 6
REACH = max(DILATIONS)


def drawn(rows: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw windows, weights and biases."""
    windows = torch.randn(rows, channels, PATCH + 2 * REACH, dtype=torch.float64)
    weight = torch.randn(len(DILATIONS), 5, channels, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(len(DILATIONS), 5, dtype=torch.float64, requires_grad=True)
    return windows, weight, bias


def by_convolution(windows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return share and maximum by plain convolutions and poolings."""
    responses = []
    for kernel, offset, dilation in zip(weight, bias, DILATIONS, strict=True):
        margin = REACH - dilation
        seen = windows[:, :, margin : windows.shape[2] - margin]
        responses.append(F.conv1d(seen, kernel, offset, dilation=dilation))
    response = torch.stack(responses)
    return response.sigmoid().mean(-1), response.amax(-1)


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


@pytest.mark.parametrize("channels", [1, 2])
def test_the_loop_lays_out_what_torch_does(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    windows = torch.randn(7, PATCH + 2 * REACH, channels).transpose(1, 2)
    filled = []
    for loop in (True, False):
        monkeypatch.setattr(filterbank, "by_loop", lambda *tensors, loop=loop: loop)
        taps = torch.ones(len(DILATIONS), 9, PATCH, channels * 3 + 1)
        filterbank.fill(taps, windows, DILATIONS)
        filled.append(taps)
    assert torch.equal(*filled)
    assert (filled[0][:, 7:] == 1).all()
    assert (filled[0][..., -1] == 1).all()


def test_float32_is_filtered_by_the_loop_and_as_exact_as_float32_is() -> None:
    windows, weight, bias = drawn(11, 2)
    expected = pooled_responses(windows, weight, bias, DILATIONS, PATCH)
    found = pooled_responses(windows.float(), weight.float(), bias.float(), DILATIONS, PATCH)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=1e-5)
