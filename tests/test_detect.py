"""The detector as scikit-learn sees it, and on a plant whose fault is known."""

import copy

import numpy as np
import pandas as pd
import polars
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from tsjepa import CheckpointError, DataWarning, SurpriseDetector, TSJEPAEmbedder
from tsjepa.checkpoint import load_checkpoint
from tsjepa.held_out import fit_held_out
from tsjepa.thresholds import fit_threshold

SMALL = (
    *("tokenizer.patch_length=4", "encoder.dim=16", "encoder.depth=1", "encoder.heads=2", "predictor.dim=16"),
    *("predictor.depth=1", "predictor.heads=2", "projector.hidden=32", "projector.out=8", "regularizer.slices=16"),
    *("world.horizons=[1,2]", "train.lr=3e-3"),
)
# points of scikit-learn's checks are few, and no series
POINTS = ("tokenizer.patch_length=1", "world.horizons=[1]")
SERIES = "rows are points in time: what a row means depends on those before it"


def plant(n: int = 1500, seed: int = 0) -> NDArray[np.float64]:
    """Two sensors of an oscillation."""
    t = np.arange(n)
    return np.stack([np.sin(t / 4), np.cos(t / 4)], 1) + 0.05 * np.random.default_rng(seed).normal(size=(n, 2))


def detector(**parameters: object) -> SurpriseDetector:
    given = {"window": 32, "stride": 4, "max_epochs": 3, "overrides": SMALL, "random_state": 0, "device": "cpu"}
    return SurpriseDetector(**{**given, **parameters})


@pytest.fixture(scope="module")
def fitted() -> SurpriseDetector:
    return detector().fit(plant())


@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
@parametrize_with_checks(
    [detector(window=2, stride=1, max_epochs=1, contamination=0.1, overrides=(*SMALL, *POINTS))],
    expected_failed_checks=lambda _: {
        "check_methods_subset_invariance": SERIES,
        "check_methods_sample_order_invariance": SERIES,
    },
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_a_fault_is_an_outlier_and_normal_rows_are_not(fitted):
    normal, broken = plant(seed=1), plant(seed=1)
    broken[1000:, 1] = 3.0
    assert (fitted.predict(normal) == -1).mean() < 0.01
    predicted = fitted.predict(broken)
    np.testing.assert_array_equal(predicted[:1000], fitted.predict(normal)[:1000])
    assert predicted[1003:].max() == -1  # a patch has 4 rows
    assert fitted.scores(broken).channels[:, -1].argmax() == 1


def test_scores_know_nothing_of_later_rows(fitted):
    X, changed = plant(300, seed=2), plant(300, seed=2)
    changed[200:] = 9.0
    np.testing.assert_array_equal(fitted.score_samples(X)[:200], fitted.score_samples(changed)[:200])


@pytest.mark.parametrize("value", [1e3, 1e25, -3.4e38, 1e39])
def test_no_value_is_too_absurd_to_be_an_outlier(fitted, value):
    broken = plant(300, seed=2)
    broken[200:, 0] = value
    assert not np.isnan(fitted.scores(broken).score[200:]).any()
    assert (fitted.predict(broken)[203:] == -1).all()
    spike = plant(300, seed=2)
    spike[200, 0] = value
    assert fitted.predict(spike)[203] == -1


def test_a_window_is_looked_at_as_far_as_its_patches_are_whole():
    X = plant(600)
    model = detector(window=34, max_epochs=1).fit(X)
    assert model.scorer_.context == 32
    assert np.isfinite(model.scores(X).score[31:]).all()


def test_rows_that_cannot_be_judged_are_usual(fitted):
    X = plant(300, seed=3)
    X[150:170] = np.nan
    known = np.isfinite(fitted.scores(X).score)
    assert not known[:31].any()
    assert not known[160:180].any()
    assert known[[100, 260]].all()
    assert (fitted.score_samples(X)[~known] == 0).all()
    assert (fitted.predict(X)[~known] == 1).all()
    eager = copy.copy(fitted)
    eager.offset_ = 0.5  # as where so many false alarms are allowed that usual rows are outliers
    assert (eager.predict(X)[~known] == 1).all()


def test_offset_is_where_outliers_begin(fitted):
    X = plant(400, seed=4)
    X[300:] += 1.0
    scores = fitted.score_samples(X)
    np.testing.assert_array_equal(fitted.decision_function(X), scores - fitted.offset_)
    np.testing.assert_array_equal(fitted.predict(X) == -1, scores < fitted.offset_)
    assert fitted.threshold_.extrapolated
    assert -fitted.offset_ == fitted.threshold_.value


def test_the_threshold_knows_that_the_rows_of_a_patch_share_a_score(fitted):
    _, held_out = fit_held_out(fitted.scorer_.model, [np.float32(plant().T)], context=32)
    assert fitted.threshold_ == fit_threshold(held_out, 10_000, patch_length=4)


def test_contamination_is_the_share_of_outliers():
    X = plant()
    X[1200:1275] += 2.0
    found = detector(contamination=0.05).fit_predict(X) == -1
    assert 0.04 <= found.mean() <= 0.06
    assert found[1200:1275].mean() > 0.8


def test_same_seed_same_scores():
    X = plant(400)
    first, second = (detector(max_epochs=1).fit(X).score_samples(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_names_of_sensors_are_kept():
    X = pd.DataFrame(plant(400), columns=["flow", "level"])
    fitted = detector(max_epochs=1, overrides=(*SMALL, "world.inputs=[flow]")).fit(X)
    assert fitted.scorer_.channels == (1,)
    assert list(fitted.feature_names_in_) == ["flow", "level"]


def test_what_numpy_masks_is_missing(fitted):
    X = plant(300, seed=3)
    X[150:170] = np.nan
    masked = np.ma.masked_invalid(X)
    masked.data[masked.mask] = -9999.0
    np.testing.assert_array_equal(fitted.score_samples(masked), fitted.score_samples(X))


def test_a_label_is_no_sensor():
    X = pd.DataFrame(plant(400), columns=["flow", "level"])
    with pytest.warns(DataWarning, match="left out: 'anomaly'"):
        fitted = detector(max_epochs=1).fit(X.assign(anomaly=0))
    assert list(fitted.feature_names_in_) == ["flow", "level"]
    with pytest.warns(DataWarning, match="left out: 'anomaly'"):
        found = fitted.score_samples(X.assign(anomaly=1))
    np.testing.assert_array_equal(found, fitted.score_samples(X))


@pytest.mark.parametrize("name", ["timestamp", " Time ", "cycle"])
def test_a_time_in_numbers_is_no_sensor(name):
    X = pd.DataFrame(plant(400), columns=["flow", "level"])
    with pytest.warns(
        DataWarning, match=rf"look like times are left out, .*: '{name}'; rename one that is a sensor\.$"
    ):
        fitted = detector(max_epochs=1).fit(X.assign(**{name: np.arange(400)}))
    assert list(fitted.feature_names_in_) == ["flow", "level"]
    with pytest.warns(DataWarning, match="look like times"):
        found = fitted.score_samples(X.assign(**{name: 400 + np.arange(400)}))
    np.testing.assert_array_equal(found, fitted.score_samples(X))


@pytest.mark.parametrize("name", ["timestamp", "measured at"])
def test_a_clock_is_no_sensor_whatever_it_is_called(name):
    X = pd.DataFrame(plant(400), columns=["flow", "level"])
    clock = pd.Series(pd.date_range("2024", periods=400, freq="1s"))
    with pytest.warns(DataWarning, match=f"look like times are left out, .*: '{name}'"):
        fitted = detector(max_epochs=1).fit(X.assign(**{name: clock}))
    assert list(fitted.feature_names_in_) == ["flow", "level"]
    log = X.assign(**{name: clock + pd.Timedelta("1D")})
    for form in (log, polars.from_pandas(log)):
        with pytest.warns(DataWarning, match="look like times"):
            np.testing.assert_array_equal(fitted.score_samples(form), fitted.score_samples(X))


def test_where_nothing_else_is_there_what_is_called_a_time_is_a_sensor():
    X = pd.DataFrame(plant(400), columns=["time", "cycle"])
    fitted = detector(max_epochs=1).fit(X)
    assert list(fitted.feature_names_in_) == ["time", "cycle"]
    assert np.isfinite(fitted.score_samples(X)).all()


TABLE = pd.DataFrame(plant(), columns=["flow", "level"])
CLOCK = pd.date_range("2024", periods=1500, tz="CET")
TIMED = TABLE.set_axis(pd.date_range("2024", periods=1500, freq="1s"))
# the log of one machine after that of the other
STACKED = pd.concat(dict.fromkeys(("a", "b"), TIMED[:750]), names=["pump", "time"])

# the day, and the time in it
DAYS, REST = np.divmod(np.arange(1500), 400)
BY_DAY = TABLE.set_axis(
    pd.MultiIndex.from_arrays([pd.Timestamp("2024") + pd.to_timedelta(DAYS, "D"), pd.to_timedelta(REST, "s")])
)

# counted instead of timed
COUNTED = TABLE.set_axis(pd.MultiIndex.from_arrays([np.arange(1500) // 750, np.arange(1500) % 750]))
COUNTED.index.names = ["pump", "Cycle"]

# a value in every third row only
SLOW = TABLE.assign(level=TABLE["level"].where(np.arange(1500) % 3 == 0))


@pytest.mark.parametrize(
    ("parameters", "X", "sentence"),
    [
        ({}, plant(60), "X has n_samples = 60 rows .* 142 are needed"),
        ({"contamination": 0.7}, plant(), "contamination is a share above 0 and up to 0.5"),
        ({"contamination": "auto"}, plant(), "contamination is a share .* got 'auto'"),
        ({"false_alarms": 0}, plant(), "false_alarms is a whole number of rows, at least 1, but got 0"),
        ({"false_alarms": float("inf")}, plant(), "false_alarms is a whole number"),
        ({"false_alarms": True}, plant(), "false_alarms is a whole number"),
        ({"recipe": "tiny", "overrides": ()}, plant(), "trains no world model"),
        ({"recipe": "default", "overrides": (), "window": None}, plant(), "trains no world model"),
        ({"recipe": "lewm-sensor", "overrides": ("log.window=10s",), "window": None}, plant(), "give window"),
        ({"window": "10s"}, plant(), "window is a number of points here, but it is '10s': give window as a whole"),
        ({}, np.c_[plant(), np.full(1500, np.nan)], "X has no value at all in column 2: leave it out"),
        ({}, TABLE.assign(spare=np.nan, dead=np.nan), "no value at all in column 'spare', 'dead': leave"),
        ({}, TIMED[::-1], "times in the index of X do not increase from row to row: sort X, and drop duplicates"),
        ({}, STACKED, "times in the index of X repeat or step back, and another level of it changes: if that says"),
        ({}, STACKED.swaplevel().sort_index(), "times in the index of X repeat or step back, and another level"),
        ({}, COUNTED, "times in the index of X repeat or step back, and another level"),
        ({}, COUNTED.swaplevel().sort_index(), "times in the index of X repeat or step back, and another level"),
        ({}, COUNTED.rename_axis(["cycle", "row"]), "another level of it changes: .* give X.reset_index"),
        ({}, COUNTED.droplevel("pump"), "times in the index of X do not increase from row to row"),
        ({}, BY_DAY[::-1], "times in the index of X do not increase from row"),
        ({}, STACKED.loc[["a"]][::-1], "times in the index of X do not increase from row"),
        ({}, TIMED.iloc[[0, *range(1500)]], "times in the index of X do not increase"),
        ({}, TIMED.to_period("s").iloc[[1, 0, *range(2, 1500)]], "times in the index of X do not increase"),
        ({}, TIMED.rename({TIMED.index[7]: pd.NaT}), "times in the index of X do not increase"),
        ({}, TABLE.assign(time=CLOCK, restarted=CLOCK[0]), "column 'restarted' of X is a time, and rows .*: drop it"),
        ({}, TABLE.assign(on=CLOCK, off=CLOCK), "column 'on' of X is a time, and rows are evenly spaced here: drop"),
        ({}, TABLE[[]].assign(time=CLOCK), "column 'time' of X is a time, and rows are evenly spaced here: drop it"),
        ({}, TABLE.assign(time=CLOCK[::-1]), "times in column 'time' of X do not increase from row to row: sort X"),
        ({}, TABLE.assign(on=CLOCK[0]), "times in column 'on' of X do not increase .*, or drop the column if it does"),
        ({}, TABLE.assign(time=CLOCK.where(CLOCK[7] != CLOCK)), "times in column 'time' of X do not increase from"),
        ({}, np.stack([plant(), plant()]), r"^X must be one series \(n_rows, n_sensors\), but several are given: use"),
        ({}, [plant(), plant(700)], "X must be one series"),
        ({}, [TABLE, TABLE], "X must be one series"),
        ({}, [plant().tolist(), plant(700).tolist()], "X must be one series"),
    ],
)
def test_bad_input_is_said_in_a_sentence(parameters, X, sentence):
    with pytest.raises(ValueError, match=sentence):
        detector(**parameters).fit(X)


@pytest.fixture
def untrained(monkeypatch):
    """Let no model be trained."""
    monkeypatch.setattr(SurpriseDetector, "_train", lambda *given: pytest.fail("a model is trained"))


@pytest.mark.parametrize("share", [None, 0.05])
def test_a_sensor_that_is_too_slow_is_told_before_training(untrained, share):
    why = "too few windows of 32 rows say what is usual: each patch of 4 rows in them needs half of the values of every"
    for X, name in ((SLOW, "'level'"), (SLOW.to_numpy(), "channel 1")):
        with pytest.raises(ValueError, match=f"^X: {why} channel, and {name} is missing in 66.7 % of all rows; fill"):
            detector(contamination=share).fit(X)


def test_too_few_rows_that_can_be_scored_are_told_before_training(untrained):
    X = TABLE[:300].copy()
    X.loc[[*range(40, 110), *range(190, 260)], "level"] = np.nan
    why = "a score needs every channel in the 32 rows before it, and 'level' is missing in 46.7 % of all rows; fill"
    with pytest.raises(ValueError, match=f"^X: 46 rows would have a score, and 80 need one: {why}"):
        detector().fit(X)


@pytest.mark.parametrize(("window", "needed"), [(32, 142), (34, 142), (40, 158), (12, 102)])
def test_the_number_of_rows_in_the_sentence_is_enough_and_one_fewer_is_not(window, needed, monkeypatch):
    model = detector(window=window, max_epochs=1)
    assert np.isfinite(model.fit(plant(needed)).offset_)
    monkeypatch.setattr(SurpriseDetector, "_train", lambda *given: pytest.fail("a model is trained"))
    for n in (50, needed - 1):
        with pytest.raises(ValueError, match=f"X has n_samples = {n} rows .* and {needed} are needed: a threshold"):
            model.fit(plant(n))


def test_times_in_the_index_have_to_increase():
    model = detector(max_epochs=1).fit(TIMED)
    np.testing.assert_array_equal(model.score_samples(TIMED), model.score_samples(TABLE))
    beside = [pd.concat({"m": BY_DAY}), BY_DAY.set_index(np.arange(1500), append=True)]
    one = TABLE.set_axis(pd.MultiIndex.from_arrays([np.zeros(1500), np.arange(1500)], names=["unit", "cycle"]))
    counted = [one, TABLE.set_axis(pd.Index(np.arange(1500) // 7, name="cycle"))]
    for frame in (BY_DAY, *beside, *counted):
        np.testing.assert_array_equal(model.score_samples(frame), model.score_samples(TABLE))
    for frame in (TIMED[::-1], TIMED.iloc[[0, *range(1500)]]):
        with pytest.raises(ValueError, match="the times in the index of X do not increase from row to row: sort X"):
            model.predict(frame)


def test_a_column_of_times_is_judged_where_a_model_is_loaded_as_where_it_is_fitted(tmp_path):
    first = detector(max_epochs=1).fit(TABLE)
    first.save(tmp_path / "plant.ckpt")
    timed = TABLE.assign(time=TIMED.index)
    with pytest.warns(DataWarning, match="columns of X that look like times are left out"):
        again = SurpriseDetector.load(tmp_path / "plant.ckpt", timed)
    assert again.offset_ == SurpriseDetector.load(tmp_path / "plant.ckpt", TABLE).offset_
    with pytest.raises(ValueError, match="the times in column 'time' of X do not increase from row to row"):
        SurpriseDetector.load(tmp_path / "plant.ckpt", timed[::-1])
    with pytest.raises(ValueError, match="column 'shift' of X is a time, and rows are evenly spaced here: drop it"):
        SurpriseDetector.load(tmp_path / "plant.ckpt", timed.assign(shift=TIMED.index))


@pytest.mark.parametrize("share", [None, 0.05])
def test_a_world_model_is_saved_and_judges_by_what_it_is_given_as_normal(tmp_path, share):
    X = pd.DataFrame(plant(), columns=["flow", "pressure"])
    first = detector(contamination=share).fit(X)
    first.save(tmp_path / "plant.ckpt")
    again = SurpriseDetector.load(tmp_path / "plant.ckpt", X[["pressure", "flow"]], contamination=share)
    np.testing.assert_array_equal(again.score_samples(X), first.score_samples(X))
    assert (again.offset_, list(again.feature_names_in_)) == (first.offset_, ["flow", "pressure"])
    with pytest.raises(ValueError, match="X has no column 'flow'"):
        SurpriseDetector.load(tmp_path / "plant.ckpt", X[["pressure"]])
    with pytest.raises(ValueError, match="X has 1 column, but the model of "):
        SurpriseDetector.load(tmp_path / "plant.ckpt", X.to_numpy()[:, :1])


def test_a_window_of_no_whole_patches_is_saved_as_it_is(tmp_path):
    X = plant(445)  # ten windows of 44 rows, but not of 45: by these, normal rows are held out in other blocks
    first = detector(window=45, max_epochs=1, false_alarms=500).fit(X)
    first.set_params(window=80).save(tmp_path / "plant.ckpt")
    again = SurpriseDetector.load(tmp_path / "plant.ckpt", X, false_alarms=500)
    assert (again.window, again.offset_, again.threshold_) == (45, first.offset_, first.threshold_)
    again.save(tmp_path / "again.ckpt")
    assert load_checkpoint(tmp_path / "again.ckpt")[1].n_timepoints == 45


def test_channels_of_a_checkpoint_are_sensors_whatever_they_are_called(tmp_path):
    first = detector(max_epochs=1).fit(plant())
    expected = first.score_samples(plant())
    first.feature_names_in_ = np.array(["target", "time"], object)  # as pretrain --channels target,time names them
    first.save(tmp_path / "plant.ckpt")
    X = pd.DataFrame(plant(), columns=["target", "time"]).assign(flow=0.0)
    again = SurpriseDetector.load(tmp_path / "plant.ckpt", X)
    assert list(again.feature_names_in_) == ["target", "time"]
    np.testing.assert_array_equal(again.score_samples(X[["target", "time"]]), expected)


def test_another_checkpoint_is_no_detector(tmp_path):
    encoder = TSJEPAEmbedder("tiny", max_epochs=1, random_state=0, diagnose=False).fit(plant(320).T.reshape(8, 1, 80))
    encoder.save(tmp_path / "encoder.ckpt")
    with pytest.raises(CheckpointError, match="is not a world model: pretrain one, as with the recipe lewm-sensor"):
        SurpriseDetector.load(tmp_path / "encoder.ckpt", plant())


def test_clone_is_unfitted(fitted):
    assert not hasattr(clone(fitted), "scorer_")


def test_what_is_no_number_is_refused_with_its_column(fitted):
    log = pd.DataFrame(plant(300), columns=["flow", "heat"])
    named = detector(max_epochs=1).fit(log)
    for use in (detector().fit, named.predict):
        with pytest.raises(ValueError, match=r"^column 'heat' of X must hold numbers, but row 5 holds 'off': .* it\.$"):
            use(log.astype({"heat": object}).replace({"heat": {log["heat"][5]: "off"}}))
    for X in (plant(300).astype("M8[s]"), plant(300).astype(str), plant(300).astype(str).astype(object)):
        for use in (detector().fit, fitted.predict):
            with pytest.raises(ValueError, match="X must hold real numbers"):
                use(X)


def test_a_fit_that_is_refused_leaves_what_was_fitted():
    log = pd.DataFrame(plant(), columns=["flow", "heat"])
    fitted = detector(max_epochs=1).fit(log)
    expected = fitted.score_samples(log)
    with pytest.raises(ValueError, match="n_samples"):
        fitted.fit(plant(20)[:, :1])
    assert fitted.feature_names_in_.tolist() == ["flow", "heat"]
    np.testing.assert_array_equal(fitted.score_samples(log), expected)


def test_no_overrides_and_one_text():
    assert detector(overrides=None, window=80, max_epochs=1).fit(plant(400)).n_features_in_ == 2
    with pytest.raises(ValueError, match="overrides is a list of settings, but is one text"):
        detector(overrides="encoder.dim=16").fit(plant(300))
