"""What the estimator leaves as it was: generators, threads, loggers, warnings, and the working folder."""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from embedders import frame, series, tiny
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsjepa import DataWarning, TSJEPAClassifier


def test_torch_and_numpy_generators_are_left_alone():
    X, _ = series()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 (the global generator is what is tested)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    tiny().fit_transform(X)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_what_is_said_of_the_data_is_said_at_the_line_of_the_user():
    X, _ = series()
    X[0, 1] = 3.0
    fitted, pipeline = tiny(), make_pipeline(tiny(), StandardScaler())
    log = frame(["flow", "heat"]).assign(label=1)
    for use in (fitted.fit, fitted.transform, tiny().fit_transform, pipeline.fit_transform):
        with pytest.warns(DataWarning, match="constant") as caught:
            use(X)
        assert {w.filename for w in caught} == {__file__}
    for use in (tiny().fit, tiny().fit_transform):
        with pytest.warns(DataWarning, match="left out: 'label'") as caught:
            use(log)
        assert {w.filename for w in caught} == {__file__}


def test_fits_in_threads_are_those_that_come_one_after_another():
    X, _ = series()
    before, filters = torch.get_rng_state(), list(warnings.filters)

    def embedded(seed):
        return tiny(random_state=seed).fit(X).transform(X)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(embedded, range(4)))
    for seed, Z in enumerate(together):
        np.testing.assert_array_equal(Z, embedded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    assert warnings.filters == filters


def test_what_is_one_for_all_of_a_process_is_left_as_it_was():
    X, _ = series()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with torch.no_grad():
        tiny().fit(X)
        TSJEPAClassifier("tiny", max_epochs=0, finetune_epochs=1, random_state=0).fit(X, np.arange(len(X)) % 2)
        assert not torch.is_grad_enabled()
    assert [logger.level for logger in loggers] == levels


def test_nothing_is_written_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, _ = series()
    tiny().fit_transform(X)
    assert not list(tmp_path.iterdir())


def test_no_warning_on_ordinary_data(recwarn):
    X, _ = series()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny().fit_transform(X)
    assert not recwarn.list


def test_n_jobs_is_given_back():
    X, _ = series()
    before = torch.get_num_threads()
    tiny(n_jobs=1).fit_transform(X)
    assert torch.get_num_threads() == before


def test_verbose_writes_a_line_an_epoch_to_standard_error(capsys):
    X, _ = series()
    tiny(verbose=1).fit(X)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
