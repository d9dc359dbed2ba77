"""F1, false-alarm and missed-alarm rate beside scikit-learn's, and the picture."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from tsjepa.evaluation.alarms import score_alarms
from tsjepa.evaluation.detection_figure import COLUMNS, Detection, curve, draw


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, np.nan])), min_size=1))
def test_rates_are_those_of_the_confusion_matrix(rows: list[tuple[bool, float]]) -> None:
    alarm, label = np.array([a for a, _ in rows]), np.array([b for _, b in rows])
    found, known = score_alarms(alarm, label), ~np.isnan(label)
    if not known.any():
        assert found == (None, None, None)
        return
    table = confusion_matrix(label[known] == 1, alarm[known], labels=[False, True])
    (quiet, false), (missed, hit) = table
    assert found.far == (None if quiet + false == 0 else false / (quiet + false))
    assert found.mar == (None if missed + hit == 0 else missed / (missed + hit))
    if hit + missed + false:
        assert found.f1 == pytest.approx(f1_score(label[known] == 1, alarm[known], zero_division=0.0))
    else:
        assert found.f1 is None


def detection(n: int, **changed: object) -> Detection:
    x = np.arange(n)
    score = np.abs(np.sin(x / 9))
    score[:20] = np.nan
    values = np.stack([np.sin(x), np.cos(x)])
    found = Detection(x, values, ["flow", "level"], score, 0.9, [(30, 40)], (50,), (x > 35).astype(float))
    return found._replace(**changed)


@pytest.mark.parametrize("n", [100, 3 * COLUMNS])
def test_picture_has_channels_score_threshold_events_and_labels(n: int) -> None:
    figure = draw(detection(n), "pump")
    flow, level, score, labels = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes] == ["flow", "level", "score", "labels"]
    assert any(line.get_ydata()[0] == 0.9 for line in score.get_lines())
    assert [len(axis.patches) for axis in (flow, level, score, labels)] == [1, 1, 1, 1]
    figure.savefig(io.BytesIO(), format="png")


def test_events_and_labels_of_few_rows_are_seen_in_a_long_log() -> None:
    n, label = 60_000, np.zeros(60_000)
    label[20_000:20_008] = 1
    figure = draw(detection(n, events=[(20_000, 20_007), (0, 3), (n - 2, n - 1)], abnormal=label), "pump")
    figure.draw_without_rendering()
    for axis in figure.axes:
        boxes, inside = [patch.get_window_extent() for patch in axis.patches], axis.get_window_extent()
        assert len(boxes) == (1 if axis is figure.axes[-1] else 3)
        assert all(box.width >= 2 for box in boxes)
        assert all(inside.x0 - 0.01 <= box.x0 <= box.x1 <= inside.x1 + 0.01 for box in boxes)


def test_times_are_an_axis_of_dates() -> None:
    times = np.datetime64("2024-01-01") + np.arange(100).astype("timedelta64[s]")
    figure = draw(detection(100, x=times, abnormal=None), "pump")
    assert len(figure.axes) == 3
    figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize("n", [900, 3 * COLUMNS])
def test_no_curve_goes_across_a_gap_in_time(n: int) -> None:
    x = np.arange(n)
    x[700:] += 7200
    x[810:] += 7200
    x[811:] += 7200  # behind one row alone
    figure = draw(detection(n, x=x, breaks=(700, 810, 811)), "pump")
    for axis in figure.axes[:3]:
        curves = [line.get_path() for line in axis.get_lines() if len(line.get_xdata()) > 2]
        bands = [path for each in axis.collections for path in each.get_paths()]
        drawn = [path for path in (*curves, *bands) if path.vertices[:, 1].tolist() != [0, 1]]  # where a run begins
        shown = np.concatenate([path.vertices[np.isfinite(path.vertices[:, 1]), 0] for path in drawn])
        assert {699, 700 + 7200, 809 + 7200, 811 + 3 * 7200, n - 1 + 3 * 7200} <= set(shown.tolist())
        for path in drawn:
            both = np.isfinite(path.vertices[1:, 1]) & np.isfinite(path.vertices[:-1, 1])
            assert np.abs(np.diff(path.vertices[:, 0]))[both].max(initial=0) < 7200


def test_no_spike_of_a_long_curve_is_lost() -> None:
    y = np.zeros(10 * COLUMNS)
    y[12_345] = 7.0
    axis = draw(detection(100), "pump").axes[0]
    axis.clear()
    curve(axis, np.arange(len(y)), y, "k")
    assert max(path.vertices[:, 1].max() for path in axis.collections[0].get_paths()) == 7.0
