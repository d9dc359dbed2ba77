"""Every diagnostic of latents on four that are understood: isotropic, of rank r, constant, a code of the position."""

from collections.abc import Callable
from math import exp, inf, lgamma, log, nan, sqrt

import pytest
import torch
from scipy.special import hyp0f1
from torch import Tensor

from tsjepa.diagnostics import effective_rank, encoder_target_gap, lidar, participation_ratio, relative_gap, spectrum
from tsjepa.gaussianity import sigreg_score
from tsjepa.positional import cross_series_gap, cross_series_share, position_share
from tsjepa.spread import (
    alignment,
    dead_dimensions,
    normalized_std,
    relative_spread,
    self_cluster,
    spread,
    uniformity,
)

SERIES, POSITIONS, DIM, RANK = 400, 10, 16, 4
TOKENS = SERIES * POSITIONS
KINDS = ("isotropic", "rank", "constant", "position")


def normal(dim: int, seed: int = 0) -> Tensor:
    return torch.randn(SERIES, POSITIONS, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LATENTS = {
    "isotropic": normal(DIM),
    "rank": normal(RANK, 1) @ torch.eye(RANK, DIM, dtype=torch.float64),
    "constant": torch.ones(SERIES, POSITIONS, DIM, dtype=torch.float64),
    "position": torch.eye(POSITIONS, DIM, dtype=torch.float64).expand(SERIES, POSITIONS, DIM),
}


def tokens(measure: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda z: measure(z.flatten(0, 1))


def everywhere(z: Tensor) -> Tensor:
    return torch.arange(POSITIONS).expand(SERIES, POSITIONS)


def length(dim: int) -> float:
    """Return the mean length of a standard normal vector."""
    return sqrt(2) * exp(lgamma((dim + 1) / 2) - lgamma(dim / 2))


def even(dim: int) -> float:
    """Return the uniformity of an even law on the sphere: the Laplace transform of a cosine there."""
    return -4 + log(hyp0f1(dim / 2, 4))


SAME = (SERIES - 1) / (TOKENS - 1)  # pairs of tokens at one position


def crowd(square: float) -> float:
    """Return the self-cluster of tokens whose squared cosines have this mean over pairs."""
    return (square - 1 / DIM) / (1 - 1 / DIM)


LEFT = sqrt(1 - 1 / POSITIONS)  # of a code's size after its mean is taken out
# measure: its values for isotropic latents, those of rank 4, a constant and a code of ten positions
KNOWN: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float, float, float]]] = {
    "encoder_target_gap": (lambda z: encoder_target_gap(z, 0 * z), (length(DIM), length(RANK), sqrt(DIM), 1)),
    "relative_gap": (lambda z: relative_gap(z, 0 * z), (1, 1, inf, 1 / LEFT)),
    "effective_rank": (tokens(lambda z: effective_rank(z, centred=True)), (DIM, RANK, 0, POSITIONS - 1)),
    "effective_rank_uncentred": (tokens(effective_rank), (DIM, RANK, 1, POSITIONS)),
    "participation_ratio": (tokens(participation_ratio), (DIM, RANK, 0, POSITIONS - 1)),
    "spectrum": (tokens(lambda z: (spectrum(z) > 1e-20).sum()), (DIM, RANK, 0, POSITIONS - 1)),
    "lidar": (tokens(lambda z: lidar(z[:, None].expand(-1, 3, -1))), (DIM, RANK, 0, POSITIONS - 1)),
    "spread": (tokens(spread), (1, sqrt(RANK / DIM), 0, LEFT / sqrt(DIM))),
    "relative_spread": (tokens(relative_spread), (1, 1, 0, LEFT)),
    "normalized_std": (tokens(normalized_std), (DIM**-0.5, RANK**0.5 / DIM, 0, POSITIONS * 0.3 / DIM)),
    "dead_dimensions": (tokens(dead_dimensions), (0, 1 - RANK / DIM, 1, 1 - POSITIONS / DIM)),
    "uniformity": (tokens(uniformity), (even(DIM), even(RANK), 0, log(SAME + (1 - SAME) * exp(-4)))),
    "alignment": (tokens(lambda z: alignment(z, z.roll(POSITIONS, 0))), (2, 2, 0, 0)),
    "self_cluster": (tokens(self_cluster), (0, crowd(1 / RANK), 1, crowd(SAME))),
    "cross_series_gap": (lambda z: cross_series_gap(z, z, everywhere(z)), (1, 1, 0, 0)),
    "cross_series_share": (lambda z: cross_series_share(z, z, everywhere(z)), (1, 1, nan, nan)),
    "position_share": (position_share, (1 / SERIES, 1 / SERIES, nan, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name: str, kind: str) -> None:
    measure, values = KNOWN[name]
    want = values[KINDS.index(kind)]
    # what is drawn is off by chance: one part in the root of the number of tokens, or of series
    chance = 0.03 if kind in ("isotropic", "rank") else 1e-9
    assert measure(LATENTS[kind]).item() == pytest.approx(want, rel=chance, abs=chance / 10, nan_ok=True)


def test_the_sigreg_score_places_them_between_a_normal_law_and_a_collapse() -> None:
    def score(z: Tensor) -> float:
        return sigreg_score(z.flatten(0, 1), torch.Generator().manual_seed(0)).item()

    assert score(LATENTS["isotropic"]) == pytest.approx(0, abs=1e-3)
    assert score(0 * LATENTS["constant"]) == pytest.approx(1)
    assert 0.01 < score(LATENTS["rank"]) < 0.9
    assert 0.01 < score(LATENTS["position"]) < 0.9
