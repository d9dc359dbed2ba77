"""What is said of series before a model sees them."""

import warnings

import numpy as np
import pandas as pd
import pytest

from tsjepa import TSJEPAEmbedder
from tsjepa.arrays import DataWarning, as_series
from tsjepa.remarks import remarks

NAN = float("nan")


def test_no_remarks_on_good_data() -> None:
    X = np.random.default_rng(0).standard_normal((4, 2, 10))
    assert remarks(as_series(X), 5) == []
    X[0, 0, 3] = NAN
    assert remarks(as_series(X), 10) == []


def test_axes_that_may_be_swapped_are_told() -> None:
    X = np.random.default_rng(0).normal(size=(6, 40, 3))
    sentence = "40 channels of 3 points each: if these are 3 channels of 40 points, swap the last two axes."
    assert remarks(as_series(X)) == [sentence]
    with pytest.warns(DataWarning, match="40 channels of 3 points each"):
        TSJEPAEmbedder("tiny", max_epochs=0).fit(X)
    assert remarks(as_series(X[..., :1]))[0].startswith("40 channels of 1 point each: if these are 1 channel of 40")
    assert remarks(as_series(X[:, :11])) == remarks(as_series(X.transpose(0, 2, 1))) == []
    assert remarks(as_series(X), channels=list(map(str, range(40)))) == []  # which have names of their own


def test_remarks() -> None:
    X = np.random.default_rng(0).standard_normal((4, 2, 10))
    X[1, 0] = NAN
    X[2, 1, :3], X[2, 1, 3:] = 7.0, NAN
    X[3, :, 4:] = NAN
    assert remarks(as_series(X)) == [
        "1 of 8 channels (2 a series) is without any value, the first in case 1: its embedding is zeros.",
        "1 of 8 channels (2 a series) is constant, the first in case 2: instance normalisation turns it into zeros.",
    ]
    assert remarks(as_series(X), 5)[2:] == [
        "1 of 4 series is shorter than a patch (5 points): it is filled up with missing points."
    ]
    assert remarks(as_series(X), normalize="train") == [
        "1 of 8 channels (2 a series) is without any value, the first in case 1: its embedding is zeros."
    ]
    assert remarks(as_series(X), scale_features=True)[1:] == [
        "1 of 8 channels (2 a series) is constant, the first in case 2: the embedding holds its level only."
    ]
    X[:, 1] = 7.0
    assert remarks(as_series(X), channels=["flow", "valve"], normalize="train")[1:] == [
        "4 of 8 channels (2 a series) are constant, valve in every case: a value that is the same in all series says "
        "nothing."
    ]
    X[0, 1] = 8.0
    assert len(remarks(as_series(X), normalize="none")) == 1
    several = remarks(as_series([[NAN] * 3, [NAN] * 3, [2, 2, 2], [5, 5, 5], [1, 2]]), 4)
    assert several == [
        "2 of 5 series are without any value, the first in case 0: their embedding is zeros.",
        "2 of 5 series are constant, the first in case 2: instance normalisation turns them into zeros.",
        "3 of 5 series are shorter than a patch (4 points): they are filled up with missing points.",
    ]


def test_what_is_counted_is_told() -> None:
    X, lost = np.ones((20, 1, 6)), "instance normalisation turns them into zeros."
    assert remarks(as_series(X)) == ["20 of 20 series are constant, the first in case 0: " + lost]
    X[:, :, 1] = 2
    several = np.concatenate([X, np.ones((20, 2, 6))], 1)
    counted = "40 of 60 channels (3 a series) are constant, the first in case 0: "
    assert remarks(as_series(several)) == [counted + lost]
    assert remarks(as_series(several[:1])) == ["2 of 3 channels are constant, the first in case 0: " + lost]


def test_remarks_name_channels_that_are_dead_throughout() -> None:
    X = np.random.default_rng(0).standard_normal((3, 4, 10))
    X[:, 1] = [[2.0], [3.0], [NAN]]  # constant where it is measured
    X[:, 2] = NAN
    X[0, 3] = 1.0
    assert remarks(as_series(X), channels=["flow", "valve", "spare", "power"]) == [
        "4 of 12 channels (4 a series) are without any value, spare in every case: their embedding is zeros.",
        "3 of 12 channels (4 a series) are constant, valve in every case: instance normalisation turns them into "
        "zeros.",
    ]
    assert remarks(as_series(X[:, [0, 3]]), channels=["flow", "power"]) == [
        "1 of 6 channels (2 a series) is constant, the first in case 0: instance normalisation turns it into zeros."
    ]


def test_what_float32_flattens_is_not_called_constant() -> None:
    X = np.sin(np.arange(120).reshape(4, 2, 15))
    X[:3, 1] += 1e9
    X[3, 1] = 7.0
    X[0, 1, :4] = NAN
    many, one = "of 8 channels (2 a series) are", "of 8 channels (2 a series) is"
    fine = f"3 {many} too fine for 32-bit floats, which hold seven digits, the first in case 0: subtract "
    constant = f"1 {one} constant, the first in case 3: instance normalisation turns it into zeros."
    for container in (X, list(X), np.ma.masked_invalid(X), [np.array(x, object) for x in X]):
        assert remarks(as_series(container), given=container) == [
            constant,
            fine + "their level, or take differences, before.",
        ]
    assert len(remarks(as_series(X))) == 1  # where that is all there is to see
    assert remarks(as_series(X), channels=["flow", "valve"], normalize="train", given=X) == [
        fine + "their level, or take differences, before."
    ]
    assert remarks(as_series(X.astype(np.float32)), given=X.astype(np.float32))[0].startswith(f"4 {many} con")
    counts = np.arange(10) + 2**40
    assert "1 of 1 series is too fine" in remarks(as_series(counts[None]), given=counts[None])[0]
    assert remarks(as_series([[2.0, 2.0], []]), given=[[2.0, 2.0], []])[1].startswith("1 of 2 series is constant")


def test_the_embedder_tells_what_float32_flattens() -> None:
    X = 1e8 + np.sin(np.arange(24 * 60).reshape(24, 60))
    told = "24 of 24 series are too fine for 32-bit floats"
    with pytest.warns(DataWarning, match=told):
        embedder = TSJEPAEmbedder("tiny", max_epochs=1, random_state=0, device="cpu", diagnose=False).fit(X)
    for container in (X, pd.DataFrame(X, columns=[f"t{i}" for i in range(60)]), [x[None] for x in X]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            embedder.transform(container)
        assert [str(warning.message).startswith(told) for warning in caught if warning.category is DataWarning] == [
            True
        ]


def test_a_channel_that_varies_within_its_own_rounding_is_constant() -> None:
    X = np.array([[0.1 + 0.2, 0.3] * 30])
    (said,) = remarks(as_series(X), given=X)
    assert "constant" in said
