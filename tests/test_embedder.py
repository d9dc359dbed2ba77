"""The estimator: scikit-learn's contract, parameters, features, and files of it."""

import pickle

import numpy as np
import pytest
import torch
from embedders import frame, series, tiny
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tsjepa import CheckpointError, CollapseWarning, ConfigError, DataWarning, TSJEPAEmbedder, as_series
from tsjepa.build import TEACHERS
from tsjepa.checkpoint import load_checkpoint
from tsjepa.embedding import embed
from tsjepa.untrained import build_untrained


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
@parametrize_with_checks([TSJEPAEmbedder("tiny", max_epochs=1)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_three_dimensions_go_through_scikit_learn():
    X, y = series()
    pipeline = make_pipeline(tiny(), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(make_pipeline(tiny(), RidgeClassifier()), {"tsjepaembedder__mask_ratio": [0.3, 0.6]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.9


def test_two_dimensions_are_univariate_cases():
    X, _ = series(n_channels=1)
    flat, deep = tiny().fit(X[:, 0]), tiny().fit(X)
    np.testing.assert_array_equal(flat.transform(X[:, 0]), deep.transform(X))


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
def test_series_without_a_value_take_no_steps():
    X, _ = series()
    X[8:] = np.nan
    embedder = TSJEPAEmbedder("tiny", batch_size=4, overrides=["train.max_steps=6"]).fit(X)
    assert embedder.config_.train.epochs == 3  # of 2 steps each


@pytest.mark.parametrize(
    "X",
    [series(1, 1)[0][:, 0], series(1, 1)[0], frame(["flow", "level"]).query("id == 0").drop(columns="id")],
)
def test_one_series_to_train_on_is_told_once(X):
    with pytest.warns(DataWarning, match="X is one series, and nothing can be learnt from one: cut a log") as caught:
        tiny().fit(X)
    (warning,) = caught  # and no collapse, which would be no fault of the training
    assert warning.filename == __file__
    tiny(max_epochs=0).fit(X).transform(X)


def test_series_without_a_value_make_one_series_no_more():
    X = np.concatenate([series(1, 1)[0], np.full((2, 1, series(1, 1)[0].shape[2]), np.nan)])
    with pytest.warns(DataWarning) as caught:
        tiny().fit(X)
    assert sum("X is one series" in str(warning.message) for warning in caught) == 1
    assert not any(issubclass(warning.category, CollapseWarning) for warning in caught)


def test_same_seed_same_embedding_and_other_seed_another():
    X, _ = series()
    first = tiny(random_state=3).fit_transform(X)
    np.testing.assert_array_equal(first, tiny(random_state=3).fit_transform(X))
    assert not np.array_equal(first, tiny(random_state=4).fit_transform(X))


@pytest.mark.parametrize(("recipe", "overrides"), [("tiny", ["normalize=train"]), ("default", [])])
def test_no_epochs_leave_the_random_initialisation(recipe, overrides, tmp_path):
    X, _ = series()
    small = {"overrides": ["encoder.dim=32", *overrides], "random_state": 0}
    untrained = TSJEPAEmbedder(recipe, max_epochs=0, **small).fit(X)
    trained = TSJEPAEmbedder(recipe, max_epochs=1, **small).fit(X)
    baseline = build_untrained(trained.config_, 2, trained.model_, as_series(X))
    np.testing.assert_array_equal(
        untrained.transform(X), embed(baseline.encoder, as_series(X), trained.config_.probe).astype(np.float64)
    )
    assert not np.array_equal(untrained.transform(X), trained.transform(X))
    assert np.isnan(untrained.loss_)
    assert untrained.verdict_ is None
    again = trained.set_params(max_epochs=0, warm_start=True).fit(X)
    np.testing.assert_array_equal(again.transform(X), untrained.transform(X))
    untrained.save(tmp_path / "untrained.ckpt")
    loaded = TSJEPAEmbedder.load(tmp_path / "untrained.ckpt")
    np.testing.assert_array_equal(loaded.transform(X), untrained.transform(X))


def test_a_teacher_that_is_named_gives_its_architecture_to_the_student_and_to_its_untrained_copy(tmp_path):
    X, _ = series()
    path, x = tmp_path / "teacher.ckpt", torch.from_numpy(as_series(X).values[:, :1])
    teacher = tiny(objective="ema", patch_length=10, overrides=["encoder.dim=16"]).fit(X)
    teacher.save(path)
    for epochs in (1, 0):
        own = {"patch_length": 5, "max_epochs": epochs, "overrides": [f"target.teacher={path}", "normalize=none"]}
        student = tiny(objective="distill", **own).fit(X)
        assert {name: getattr(student.config_, name) for name in TEACHERS} == {
            name: getattr(teacher.config_, name) for name in TEACHERS
        }
        if epochs:
            taught, known = (fitted.model_.target.module(x)[0] for fitted in (student, teacher))
            assert torch.equal(taught, known)
        path.rename(tmp_path / "moved.ckpt")
        with pytest.raises(CheckpointError, match=r"^there is no checkpoint .*teacher\.ckpt: check the path"):
            clone(student).fit(X)
        (tmp_path / "moved.ckpt").rename(path)


def test_training_goes_on_from_the_random_initialisation():
    X, _ = series()
    embedder = tiny(max_epochs=0, warm_start=True).fit(X)
    weights = [weight.clone() for weight in embedder.model_.encoder.parameters()]
    embedder.set_params(max_epochs=1, lr=1e-12).fit(X)
    assert embedder.verdict_ is not None
    for before, after in zip(weights, embedder.model_.encoder.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6)


def test_set_output_and_names():
    X, _ = series()
    embedder = tiny().set_output(transform="pandas").fit(X)
    frame = embedder.transform(X)
    assert list(frame.columns) == list(embedder.get_feature_names_out())
    assert frame.columns[0] == "tsjepaembedder0"
    assert frame.shape == (24, 2 * 2 * 32)


def test_clone_and_pickle_keep_parameters_and_embeddings():
    X, _ = series()
    embedder = tiny(objective="sigreg", mask_ratio=0.4, overrides=["encoder.depth=2"]).fit(X)
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(X), embedder.transform(X))
    copy = clone(embedder)
    assert copy.get_params() == embedder.get_params()
    assert not hasattr(copy, "model_")


def test_parameters_reach_the_configuration():
    X, _ = series()
    embedder = tiny(
        objective="sigreg", masking="block", mask_ratio=0.4, patch_length=12, batch_size=8, lr=1e-4, max_epochs=1
    ).fit(X)
    config = embedder.config_
    assert (config.target.kind, config.regularizer.kind) == ("self", "sigreg")
    assert (config.mask.kind, config.mask.ratio, config.tokenizer.patch_length) == ("block", 0.4, 12)
    assert (config.train.batch_size, config.train.lr, config.train.epochs) == (8, 1e-4, 1)


def test_save_and_load(tmp_path):
    X, _ = series()
    embedder = tiny().fit(X)
    embedder.save(tmp_path / "model.ckpt")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(loaded.transform(X), embedder.transform(X))
    assert loaded.config_ == embedder.config_
    assert [p.name for p in tmp_path.iterdir()] == ["model.ckpt"]
    assert clone(loaded).fit(X).config_.tokenizer == embedder.config_.tokenizer


def test_load_refuses_what_is_no_checkpoint(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"model\.ckpt cannot be read"):
        TSJEPAEmbedder.load(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"recipe": "tinny"}, "did you mean tiny"),
        ({"objective": "sigrek"}, "did you mean sigreg"),
        ({"masking": "blocks"}, "mask.kind"),
        ({"mask_ratio": 1.0}, "mask.ratio"),
        ({"mask_ratio": 0.01}, "leaves nothing to predict"),
        ({"patch_length": 60}, "shorter tokenizer.patch_length"),
        ({"patch_length": 6, "n_patches": 10}, r"^give either n_patches or patch_length, not both\.$"),
        ({"overrides": ["encoder.dmi=3"]}, "did you mean encoder.dim"),
        ({"device": "cuda:9"}, "device"),
        ({"overrides": "encoder.dim=8"}, r"overrides is a list of settings, but is one text: give \['encoder.dim=8'\]"),
        (
            {"overrides": {"train.lr": 0.01, "mask.seed": None}},
            r"is a dict: give \['train\.lr=0\.01', 'mask\.seed=null'\]",
        ),
        ({"overrides": ["encoder.dim=8", 3]}, "overrides is a list of settings such as .*, but holds 3"),
        ({"overrides": 3}, r"overrides is a list of settings such as 'encoder\.depth=3', but holds 3\.$"),
    ],
)
def test_bad_parameters_are_said_in_one_sentence(parameters, sentence):
    X, _ = series()
    with pytest.raises((ConfigError, ValueError), match=sentence):
        TSJEPAEmbedder(**{"recipe": "tiny", "max_epochs": 1, **parameters}).fit(X)


def test_no_overrides_and_a_device_of_torch_are_parameters_too():
    X, _ = series()
    Z = tiny(overrides=None, device=torch.device("cpu")).fit_transform(X)
    np.testing.assert_array_equal(Z, tiny().fit_transform(X))


def test_a_checkpoint_is_saved_into_a_folder_that_is_not_there_yet(tmp_path):
    path = tmp_path / "models" / "of today" / "model.ckpt"
    tiny().fit(series()[0]).save(path)
    assert [file.name for file in path.parent.iterdir()] == ["model.ckpt"]


def test_a_checkpoint_keeps_the_names_of_channels(tmp_path):
    X = frame(["flow", "power", "speed"])
    embedder = tiny().fit(X)
    embedder.save(tmp_path / "model.ckpt")
    assert load_checkpoint(tmp_path / "model.ckpt")[1].channel_names == ("flow", "power", "speed")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt")
    assert loaded.feature_names_in_.tolist() == ["flow", "power", "speed"]
    shuffled = X[["id", "time", "speed", "flow", "power"]]
    np.testing.assert_array_equal(loaded.transform(shuffled), embedder.transform(X))
    with pytest.raises(ValueError, match="no channel 'speed'"):
        loaded.transform(X.drop(columns="speed"))
    tiny().fit(series()[0]).save(tmp_path / "model.ckpt")
    assert load_checkpoint(tmp_path / "model.ckpt")[1].channel_names is None


def test_scale_features_are_counted_and_told_apart():
    X, _ = series()
    embedder = tiny(overrides=["probe.scale_features=true"]).fit(X)
    plain = tiny().fit(X)
    assert len(embedder.get_feature_names_out()) == len(plain.get_feature_names_out()) + 4
    assert embedder.transform(X).shape == (24, len(embedder.get_feature_names_out()))
    louder = embedder.transform(8 * X).reshape(24, 2, -1)[:, :, -1] - embedder.transform(X).reshape(24, 2, -1)[:, :, -1]
    np.testing.assert_allclose(louder, np.log(8), rtol=1e-5)


def test_statistics_of_the_training_series_keep_the_level():
    X, _ = series()
    embedder = tiny(overrides=["normalize=train"]).fit(X)
    statistics = embedder.model_.encoder.statistics
    np.testing.assert_allclose(statistics.mean, X.mean((0, 2)), atol=1e-5)
    np.testing.assert_allclose(statistics.scale, X.std((0, 2)), rtol=1e-5)
    instance = tiny().fit(X)
    moved = [np.abs(each.transform(X + 3) - each.transform(X)).max() for each in (embedder, instance)]
    assert moved[0] > 100 * moved[1]
    pooled = tiny(overrides=["normalize=train", "probe.channels=mean"]).fit(X)
    with pytest.raises(ValueError, match=r"was fitted with 2.*normalize=instance"):
        pooled.transform(X[:, :1])
