"""Labels as files have them: which case lacks one, and what a class is called."""

import numpy as np
import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.labels import array_labels, class_name


@pytest.mark.parametrize("lacking", [np.nan, np.inf, -np.inf])
def test_the_case_without_a_finite_label_is_counted_from_one(lacking: float) -> None:
    with pytest.raises(DataError, match=r"^y: case 2 has no finite label; label all cases or none$"):
        array_labels(np.array([1.5, lacking, 2.0]), 3, "y")


def test_a_whole_number_with_a_point_and_nothing_behind_it_is_that_number() -> None:
    assert class_name("1.") == "1"
