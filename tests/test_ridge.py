"""The ridge for many features chooses and predicts as scikit-learn's does."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsjepa import ridge
from tsjepa.ridge import LeanRidge

PENALTIES = np.logspace(-3, 5, 12)


def make_data(n_cases: int, n_features: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    Z = (5 + rng.standard_normal((2 * n_cases, n_features)) * rng.uniform(0.1, 10, n_features)).astype(np.float32)
    Z[:, 0] = 3.0  # a constant feature
    Z[:, 2] = Z[:, 1]
    found = ((Z - 5) / Z.std(0).clip(1e-3))[:, 1:4].sum(1) + rng.standard_normal(2 * n_cases)
    return Z, found if kind == "number" else np.digitize(found, [0.0] if kind == "two" else [-1.0, 1.0])


@pytest.mark.parametrize("kind", ["two", "three", "number"])
@pytest.mark.parametrize(("n_cases", "n_features"), [(60, 20), (40, 90), (33, 32)])
def test_it_is_scikit_learns(monkeypatch: pytest.MonkeyPatch, kind: str, n_cases: int, n_features: int) -> None:
    monkeypatch.setattr(ridge, "BLOCK", 7 * n_features)
    Z, y = make_data(n_cases, n_features, kind)
    head = RidgeCV(PENALTIES) if kind == "number" else RidgeClassifierCV(PENALTIES)
    plain = make_pipeline(StandardScaler(), head).fit(Z[:n_cases].astype(float), y[:n_cases])
    lean = LeanRidge(PENALTIES).fit(Z[:n_cases], y[:n_cases])
    assert lean.penalty == plain[-1].alpha_
    np.testing.assert_allclose(lean.weights.T.squeeze(), plain[-1].coef_.squeeze(), atol=1e-5)
    np.testing.assert_allclose(lean.predict(Z[n_cases:]), plain.predict(Z[n_cases:].astype(float)), rtol=1e-5)
