"""`tsjepa diagnose`: numbers as direct calls have them."""

import copy

import numpy as np
import pytest
import torch
from diagnosed import WORLD, models, split_of, waves

from tsjepa.arrays import Series, as_series
from tsjepa.batches import keyed_generator
from tsjepa.diagnostics import effective_rank, lidar, participation_ratio, spectrum
from tsjepa.embedding import embed, some_cases
from tsjepa.evaluation.accuracy import CURVE_SERIES, FEWEST_SERIES, Reader, Split, draw_shown
from tsjepa.evaluation.diagnosis import diagnose, plane
from tsjepa.evaluation.diagnosis_page import Subject, page
from tsjepa.evaluation.explanations import EXPLANATIONS
from tsjepa.evaluation.perturbation import MOST_CHANNELS, add_noise
from tsjepa.evaluation.quality import SEQUENCES, measure
from tsjepa.finetuning import Tuning, finetune
from tsjepa.monitor import measuring
from tsjepa.positional import predictor_sensitivity
from tsjepa.probe import majority, probe
from tsjepa.spread import self_cluster, uniformity


@pytest.mark.parametrize("half", [False, True])
def test_label_free_numbers_equal_direct_calls(half: bool) -> None:
    model, _, _ = models(objective="ema")
    X = waves(30)[0].values
    if half:  # all series but one are half as long
        X[1:, :, 30:] = np.nan
    series = as_series(X)
    with torch.no_grad():  # so that encoder and target differ
        for weight in model.target.parameters():
            weight.mul_(1.1)
    found = measure(model, series, seed=3)
    x, valid = torch.from_numpy(series.values), torch.from_numpy(~np.isnan(X))
    attend = model.encoder.token_valid(valid)
    with torch.no_grad():
        last, slow = model.encoder(x, valid=valid, attend=attend)[0], model.target(x, (-1,), valid, attend)[0]
    tokens, means = last[attend], torch.stack([z[there].mean(0) for z, there in zip(last, attend, strict=True)])
    away = (last - slow)[attend]
    numbers = {
        "effective_rank": effective_rank(tokens, centred=True),
        "effective_rank_uncentred": effective_rank(tokens, centred=False),
        "participation_ratio": participation_ratio(tokens),
        "uniformity": uniformity(means),
        "self_cluster": self_cluster(means),
        "encoder_target_gap": away.norm(dim=-1).mean(),
        "relative_gap": away.norm() / (tokens - tokens.mean(0)).norm(),
    }
    for name, value in numbers.items():
        assert found.numbers[name] == pytest.approx(float(value), rel=1e-5), name
    np.testing.assert_allclose(found.spectrum, spectrum(tokens).numpy(), rtol=1e-5, atol=1e-9)
    several = int((attend.sum(0) > 1).sum())  # positions that more than one series has
    np.testing.assert_allclose(found.position_variance[:several], last[:, :several].var(0).mean(-1), rtol=1e-4)
    assert np.isnan(found.position_variance[several:]).all()
    assert set(found.numbers) <= set(EXPLANATIONS)
    assert all(value is not None for value in found.numbers.values())


def test_lidar_and_alignment_see_masked_views() -> None:
    model, _, _ = models()
    series, _ = waves(30)
    x, generator, views = torch.from_numpy(series.values), keyed_generator(3, 2**31, 2), []
    with torch.no_grad():
        for _ in range(10):
            mask = model.mask(30, 10, generator, None)
            views.append(model.encoder(x, keep=mask.context)[0].mean(1))
    z = torch.stack(views, 1)
    u, v = (torch.nn.functional.normalize(z[:, k]) for k in (0, 1))
    found = measure(model, series, seed=3).numbers
    assert found["lidar"] == pytest.approx(float(lidar(z)), rel=1e-5)
    assert found["alignment"] == pytest.approx(float((u - v).square().sum(1).mean()), rel=1e-4)


def test_lidar_of_series_that_are_all_alike_is_high_and_explained_so() -> None:
    model, _, _ = models()
    series, _ = waves(30)
    alike = as_series(np.repeat(series.values[:1], 30, 0))
    differing, same = (measure(model, part).numbers["lidar"] for part in (series, alike))
    assert differing is not None
    assert same is not None
    assert same > differing
    assert EXPLANATIONS["lidar"].endswith("it is high also where nothing but masks differs.")


def test_series_are_compared_on_a_larger_sample_than_tokens() -> None:
    model, _, _ = models()
    series, _ = waves(SEQUENCES + 8)
    with torch.no_grad():
        means = model.encoder(torch.from_numpy(series.values[some_cases(series.n_cases, SEQUENCES)]))[0].mean(1)
    assert measure(model, series).numbers["uniformity"] == pytest.approx(float(uniformity(means)), rel=1e-5)


def test_predictions_of_series_of_one_token_do_not_count() -> None:
    model, _, _ = models()
    X = waves(50)[0].values
    X[30:, :, model.encoder.tokenizer.patch_length :] = np.nan
    whole, with_short = (measure(model, as_series(x)).numbers["predictor_sensitivity"] for x in (X[:30], X))
    assert with_short == pytest.approx(whole, rel=0.05)


def test_accuracies_equal_direct_calls() -> None:
    model, untrained, config = models()
    model.encoder.requires_grad_(False)
    split = split_of(80)
    values = diagnose(model, untrained, split, config.probe, seed=1).values()
    Z = [embed(model.encoder, part, config.probe) for part in (split.train, split.test)]
    assert values["accuracy"] == probe(Z[0], split.y_train, Z[1], split.y_test)[0].accuracy
    last = config.probe.model_copy(update={"levels": "last"})
    L = [embed(model.encoder, part, last) for part in (split.train, split.test)]
    assert values["accuracy_last_level"] == probe(L[0], split.y_train, L[1], split.y_test)[0].accuracy
    assert values["majority_accuracy"] == majority(split.y_train, split.y_test).accuracy
    assert values["accuracy_clean"] == values["accuracy"]
    # the second model is an equal one here
    assert values["random_init_accuracy_noise_1"] == values["accuracy_noise_1"]
    assert values["supervised_accuracy"] is None
    noisy = add_noise(split.test, 1.0, np.random.default_rng((1, 0, 2)))
    reader = Reader(model.encoder, config.probe, "cpu")
    head = reader.fit(split)
    assert values["accuracy_noise_1"] == np.mean(
        head.predict(embed(model.encoder, noisy, config.probe)) == split.y_test
    )


def test_a_diagnosis_is_repeatable_and_leaves_the_model_as_it_was() -> None:
    model, untrained, config = models()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    once, again = (diagnose(model, untrained, split_of(), config.probe, seed=5) for _ in range(2))
    assert once.values() == again.values()
    subject = Subject("run/checkpoint.ckpt", "waves", ("calm", "worn"), None, ())
    assert page(subject, once) == page(subject, again)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("channels", ["independent", "mixed"])
def test_several_channels_and_missing_points(channels: str) -> None:
    model, untrained, config = models(3, settings=[f"tokenizer.channels={channels}"])
    values = diagnose(model, untrained, split_of(20, 3, missing=True), config.probe).values()
    assert {f"accuracy_missing_channel_{k}" for k in range(3)} <= set(values)
    assert all(values[name] is not None for name in ("accuracy", "lidar", "accuracy_dropped_0.8", "effective_rank"))


@pytest.mark.parametrize("inputs", ["[]", "[1]"])
@pytest.mark.parametrize("missing", [False, True])
def test_a_world_model_is_diagnosed_but_has_no_masked_views(missing: bool, inputs: str) -> None:
    settings = [*WORLD, f"world.inputs={inputs}"]
    model, untrained, config = models(3, settings=settings)
    values = diagnose(model, untrained, split_of(20, 3, missing=missing), config.probe).values()
    assert values["lidar"] is values["alignment"] is None
    assert values["predictor_sensitivity"] is not None
    assert values["predictor_sensitivity"] > 0
    assert all(values[name] is not None for name in ("accuracy", "uniformity", "cross_series_share"))


@pytest.mark.parametrize("out", [0, 8])
@pytest.mark.parametrize("missing", [0, 18])
def test_a_world_model_answers_to_its_latents_as_its_dynamics_do(missing: int, out: int) -> None:
    model, _, _ = models(3, settings=[*WORLD, "world.inputs=[1]", f"projector.out={out}", "projector.hidden=16"])
    X = waves(20, 3)[0].values
    X[:10, ::2, :missing] = np.nan
    series = as_series(X)
    x, valid = torch.from_numpy(series.values), torch.from_numpy(~np.isnan(X))
    told, (measured, points) = model.inputs(x, valid), model.encoder.sequences(x, valid)
    attend, generator = model.encoder.token_valid(points), keyed_generator(3, 2**31, 1)
    counted = model.mask(20, 10, generator, attend).target_valid.unsqueeze(-1)
    with torch.no_grad(), measuring(model):
        latents = model.project(model.encoder(measured, valid=points, attend=attend)[0], attend)
        want = predictor_sensitivity(
            lambda z: counted * model.predictor(z, told, horizons=(1, 2), attend=attend),
            *(latents, generator),
            valid=attend,
        )
    assert measure(model, series, seed=3).numbers["predictor_sensitivity"] == pytest.approx(want.item(), rel=1e-5)


@pytest.mark.parametrize("out", [0, 8])
def test_blind_patches_have_no_part_in_how_a_world_model_answers(out: int) -> None:
    model, _, _ = models(3, settings=[*WORLD, "world.inputs=[1]", f"projector.out={out}", "projector.hidden=16"])
    X = waves(20, 3)[0].values
    short, blind = X[:19, :, :18], X.copy()
    blind[:, ::2, 18:], blind[19, ::2] = np.nan, np.nan  # inputs are known to the end, and of one series alone
    cut, filled = (measure(model, as_series(part)).numbers["predictor_sensitivity"] for part in (short, blind))
    assert filled == pytest.approx(cut, rel=0.08)  # other directions are drawn


def test_curves_see_no_more_series_than_they_need() -> None:
    series, y = waves(CURVE_SERIES + 20, length=10)
    drawn, labels = draw_shown(Split(series, y, series, y), seed=0)
    assert drawn.n_cases == CURVE_SERIES
    assert labels is not None
    other, _ = draw_shown(Split(series, y, series, y), seed=1)
    assert not np.array_equal(drawn.values, other.values)


def test_of_many_channels_a_bounded_number_is_left_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model, untrained, config = models()
    asked: list[int] = []

    def counting(reader: Reader, series: Series) -> np.ndarray:
        asked.append(series.n_cases)
        return embed(reader.encoder, series, config.probe.plain("last"))

    monkeypatch.setattr(Reader, "embed", counting)
    passes = []
    for channels in (MOST_CHANNELS, 40):
        asked.clear()
        found = diagnose(model, untrained, split_of(12, channels), config.probe)
        passes.append(len(asked))
        values = found.values()
        assert (values["n_channels"], values["n_channels_dropped"]) == (channels, MOST_CHANNELS)
        assert values[f"accuracy_missing_channel_{channels - 1}"] is not None
        told = f" {MOST_CHANNELS} of {channels} channels, evenly spaced, are left out in turn."
        assert (told in page(Subject("x", "waves", None, None, ()), found)) is (channels > MOST_CHANNELS)
    assert passes[0] == passes[1]


@pytest.mark.parametrize(("channels", "shown"), [(16, CURVE_SERIES), (40, 200), (400, FEWEST_SERIES)])
def test_fewer_series_of_many_channels_are_shown(channels: int, shown: int) -> None:
    series, y = waves(CURVE_SERIES + 20, channels, length=2)
    drawn, labels = draw_shown(Split(series, y, series, y), seed=0)
    assert drawn.n_cases == shown
    assert labels is not None
    assert len(labels) == shown


def test_supervised_training_learns_and_leaves_its_start_alone() -> None:
    model, untrained, config = models()
    before = copy.deepcopy(untrained.encoder.state_dict())
    split = split_of(80)
    found = diagnose(model, untrained, split, config.probe, supervised=True).values()
    assert found["supervised_accuracy"] is not None
    assert found["supervised_accuracy"] >= 0.9
    for name, value in untrained.encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert split.y_train is not None
    short = Tuning(epochs=2, min_steps=1)
    once, again = (finetune(untrained.encoder, split.train, split.y_train, config.probe, short) for _ in range(2))
    torch.testing.assert_close(once.encoder.state_dict(), again.encoder.state_dict(), rtol=0, atol=0)


def test_the_plane_holds_most_of_the_variance() -> None:
    Z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * [1, 5, 3, 0.1]
    variances = plane(Z.astype(np.float32)).var(0)
    np.testing.assert_allclose(variances, np.sort(np.linalg.eigvalsh(np.cov(Z.T, bias=True)))[:-3:-1], rtol=1e-5)
    assert plane(np.ones((3, 1), np.float32)).tolist() == [[0, 0]] * 3
