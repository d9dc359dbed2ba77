import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from tsjepa.probe import (
    ProbeError,
    Score,
    check_labels,
    cross_validate,
    draw_labels,
    majority,
    make_head,
    probe,
    refuse_missing,
    score,
)


def clusters(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, 5)) + 4 * np.eye(5)[y], y


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_probes_find_separated_classes(kind):
    Z, y = clusters()
    Z_test, y_test = clusters(seed=1)
    assert probe(Z, y, Z_test, y_test, kind=kind)[0].accuracy > 0.9


def test_ridge_is_the_stated_head():
    Z, y = clusters()
    Z_test, _ = clusters(seed=1)
    scaler = StandardScaler().fit(Z)
    reference = RidgeClassifierCV(np.logspace(-3, 5, 12)).fit(scaler.transform(Z), y)
    np.testing.assert_array_equal(make_head().fit(Z, y).predict(Z_test), reference.predict(scaler.transform(Z_test)))


@pytest.mark.parametrize("numeric", [False, True])
def test_many_numbers_are_scored_alike(monkeypatch, numeric):
    Z, y = clusters()
    Z_test, y_test = clusters(seed=1)
    if numeric:
        y, y_test = (labels + 0.1 * X[:, 4] for X, labels in ((Z, y), (Z_test, y_test)))
    few = [probe(Z, y, Z_test, y_test, fraction=fraction, seeds=(0, 1)) for fraction in (0.2, 1.0)]
    monkeypatch.setattr("tsjepa.probe.LARGE", 0)
    monkeypatch.setattr("tsjepa.probe.make_head", None)  # it is another head
    many = [probe(Z, y, Z_test, y_test, fraction=fraction, seeds=(0, 1)) for fraction in (0.2, 1.0)]
    keys = ("r2", "rmse") if numeric else ("accuracy",)
    for key in keys:
        wanted = [[getattr(score, key) for score in scores] for scores in few]
        np.testing.assert_allclose([[getattr(score, key) for score in scores] for scores in many], wanted, rtol=1e-9)


def test_features_are_standardised_on_the_training_part_only():
    Z, y = clusters()
    scaler = make_head().fit(Z, y)[0]
    np.testing.assert_allclose(scaler.mean_, Z.mean(0))


def test_numeric_target_gives_r2_and_rmse():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(80, 4))
    y = Z @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.01 * rng.normal(size=80)
    score = probe(Z[:60], y[:60], Z[60:], y[60:])[0]
    assert score.accuracy is None
    assert score.r2 > 0.99
    assert score.rmse == pytest.approx(0.01, rel=1)
    assert majority(y[:60], y[60:]).r2 < 0.1
    with pytest.raises(ProbeError, match="logistic probe needs classes"):
        probe(Z, y, Z, y, kind="logistic")


def test_majority_is_the_most_frequent_training_class():
    assert majority(np.array([2, 2, 1]), np.array([1, 1, 2, 1])) == Score(0.25)


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.37, 1.0])
def test_label_draws_are_stratified_and_seeded(fraction):
    y = np.repeat([0, 1, 2], [100, 60, 40])
    drawn = draw_labels(y, fraction, seed=3)
    assert len(drawn) == max(int(fraction * 200), 3)
    assert (np.diff(drawn) > 0).all()
    counts = np.bincount(y[drawn], minlength=3)
    assert (counts >= 1).all()
    np.testing.assert_allclose(counts, np.bincount(y) * len(drawn) / 200, atol=1.0)
    np.testing.assert_array_equal(drawn, draw_labels(y, fraction, seed=3))
    if fraction < 1:
        assert not np.array_equal(drawn, draw_labels(y, fraction, seed=4))


def test_a_class_of_one_case_is_always_drawn():
    y = np.repeat([0, 1, 2], [50, 49, 1])
    for seed in range(5):
        assert 2 in y[draw_labels(y, 0.1, seed)]
        assert len(draw_labels(y, 0.1, seed)) == 10


def test_few_labels_are_drawn_from_the_training_part_only():
    Z, y = clusters(90)
    Z_test, y_test = clusters(30, seed=1)
    scores = probe(Z, y, Z_test, y_test, fraction=0.1, seeds=(0, 1, 2))
    assert len(scores) == 3
    shuffled = probe(Z, y, Z_test, np.roll(y_test, 1), fraction=0.1, seeds=(0, 1, 2))
    assert all(s.accuracy < 0.5 for s in shuffled)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_fractions_outside_are_refused(fraction):
    with pytest.raises(ProbeError, match="fraction"):
        draw_labels(np.array([0, 1]), fraction, 0)


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [4, 1], [3, 2]])
def test_knn_finds_a_class_of_fewer_labels_than_neighbours(counts):
    rng, centres = np.random.default_rng(0), 20 * np.eye(len(counts))
    y, y_test = np.repeat(np.arange(len(counts)), counts), np.repeat(np.arange(len(counts)), 10)
    Z, Z_test = (rng.normal(centres[labels]) for labels in (y, y_test))
    assert probe(Z, y, Z_test, y_test, kind="knn")[0].accuracy == 1.0


def test_knn_of_two_numbers_is_their_mean():
    Z, y = np.array([[0.0], [1.0]]), np.array([1.0, 2.0])
    assert probe(Z, y, Z, y, kind="knn")[0].rmse == 0.5


def test_missing_labels_and_one_class_are_refused():
    with pytest.raises(ProbeError, match="no labels"):
        check_labels(None)
    with pytest.raises(ProbeError, match="one class only"):
        check_labels(np.zeros(5, int))


def test_cross_validation_needs_two_of_each_class():
    Z, y = clusters()
    assert cross_validate(Z, y) > 0.9
    assert cross_validate(Z[:4], np.array([0, 0, 1, 2])) is None
    assert cross_validate(Z, y.astype(float)) is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "features", "classes"), [(40, 90, 2), (90, 40, 2), (60, 60, 4), (30, 1, 3)])
def test_cross_validation_is_that_of_scikit_learn(n, features, classes, dtype):
    rng = np.random.default_rng(n)
    for _ in range(3):
        y = rng.integers(0, classes, n)
        Z = (rng.normal(size=(n, features)) * 10.0 ** rng.uniform(-2, 2, features) + 0.5 * y[:, None]).astype(dtype)
        Z[:, 1::3] = 7  # constant features
        split = StratifiedKFold(3, shuffle=True, random_state=0)
        assert cross_validate(Z, y, folds=3) == cross_val_score(make_head(), Z, y, cv=split).mean()


def test_a_class_of_one_case_is_left_out_of_the_cross_validation():
    Z, y = clusters(60, 2)
    assert cross_validate(np.concatenate([Z, 9 + Z[:1]]), np.append(y, 2)) == cross_validate(Z, y)


def test_a_test_class_unseen_in_training_counts_as_wrong():
    Z, y = clusters(60)
    keep = y < 2
    score = probe(Z[keep], y[keep], Z, y)[0].accuracy
    assert score == pytest.approx(2 / 3, abs=0.05)


def test_a_class_with_one_case_leaves_the_draw_of_the_others_stratified():
    y = np.repeat([0, 1, 2], [100, 100, 1])
    for seed in range(20):
        counts = np.bincount(y[draw_labels(y, 0.1, seed)])
        assert sorted(counts[:2]) == [9, 10]
        assert counts[2] == 1


@pytest.mark.parametrize(
    ("fraction", "n", "count"), [(0.29, 100, 29), (0.57, 100, 57), (0.58, 50, 29), (0.05, 577, 28)]
)
@pytest.mark.parametrize("numeric", [False, True])
def test_a_fraction_is_not_short_of_one_by_rounding(fraction, n, count, numeric):
    y = np.arange(n) % 2
    assert len(draw_labels(y.astype(float) if numeric else y, fraction, seed=0)) == count


@pytest.mark.parametrize(
    ("kind", "numeric"), [("ridge", False), ("ridge", True), ("logistic", False), ("knn", False), ("knn", True)]
)
def test_a_head_sees_a_share_of_the_training_part_and_nothing_else(kind, numeric):
    rng = np.random.default_rng(0)
    Z, Z_test = rng.normal(size=(2, 100, 20))
    y, y_test = (part[:, 0] + rng.normal(size=100) for part in (Z, Z_test))  # hard, so that no two heads score alike
    if not numeric:
        y, y_test = (y > 0).astype(int), (y_test > 0).astype(int)
    found = probe(Z, y, Z_test, y_test, kind=kind, fraction=0.2, seeds=tuple(range(10)))
    for seed, one in enumerate(found):
        drawn = draw_labels(y, 0.2, seed)
        head = make_head(kind, numeric=numeric, seed=seed).fit(Z[drawn], y[drawn])
        assert one == score(head, Z_test, y_test)
    assert probe(Z, y, Z_test, y_test, kind=kind)[0] != found[0]


def test_the_guess_of_a_number_is_the_mean_of_the_training_part():
    assert majority(np.array([1.0, 3.0]), np.array([5.0, 6.0])).rmse == pytest.approx(np.sqrt((9 + 16) / 2))


def test_noise_gets_the_largest_penalty():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(60, 40)), rng.normal(size=60)
    assert make_head(numeric=True).fit(Z, y)[-1].alpha_ == pytest.approx(1e5)


def test_knn_asks_five_neighbours():
    rng = np.random.default_rng(0)
    Z, Z_test = rng.normal(size=(2, 200, 3)) * [1, 10, 100]
    y, y_test = rng.integers(0, 3, (2, 200))
    scaler = StandardScaler().fit(Z)
    reference = (
        KNeighborsClassifier(5, weights="distance").fit(scaler.transform(Z), y).score(scaler.transform(Z_test), y_test)
    )
    assert probe(Z, y, Z_test, y_test, kind="knn")[0].accuracy == reference


def test_two_numbers_are_drawn_at_least():
    assert len(draw_labels(np.arange(50.0), 0.01, seed=0)) == 2


def test_a_class_too_rare_for_a_stratified_draw_is_drawn():
    y = np.repeat([0, 1], [195, 5])
    for seed in range(5):
        assert np.bincount(y[draw_labels(y, 0.02, seed)]).tolist() == [4, 1]


@pytest.mark.parametrize("labels", [["NaT", "2020-01-01"], [0.0, np.nan], [None, "nan"], [[None], ["calm"]]])
def test_a_missing_label_is_none_whatever_the_others_are(labels):
    days = labels[0] == "NaT"
    with pytest.raises(ValueError, match=r"^1 of 2 labels is missing: give each series one, or leave them out\.$"):
        refuse_missing(np.array(labels, "datetime64[D]") if days else labels, "leave them out")
    refuse_missing(np.array(["nan", "None", "calm"]), "leave them out")
