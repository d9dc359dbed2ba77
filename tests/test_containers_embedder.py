"""The estimator on containers: embeddings, rows, and channels by name are those of plain arrays."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from in_containers import (
    LENGTHS,
    arrays_in_cells,
    embedder,
    every_container,
    long_log,
    make,
    polars_of,
    series,
    series_in_cells,
    wide_log,
)
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder

from tsjepa import DataWarning, TSJEPAEmbedder, as_series
from tsjepa.containers import to_panel


@pytest.mark.parametrize("empty", [[], (), np.zeros(0), pd.Series([], dtype=float)])
@pytest.mark.parametrize("times", [False, True])
def test_a_series_without_any_point_is_one_in_cells_as_in_a_list(empty, times, fitted):
    values = list(series().values())
    nested = series_in_cells(series()) if times else arrays_in_cells(series())
    if times:
        nested = nested.map(lambda x: x.set_axis(pd.date_range("2024-01-01", periods=len(x), freq="s")))
    rows = [*nested.to_numpy().tolist()[:1], [empty, empty], *nested.to_numpy().tolist()[1:]]
    table = pd.DataFrame(rows, columns=["flow", "heat"], index=list("abcd"))
    panel = to_panel(table)
    assert list(panel.ids) == list("abcd")
    assert [x.shape[1] for x in panel.series] == [30, 0, 24, 27]
    with pytest.warns(DataWarning, match="without any value, flow, heat in case 1|without any value, the first"):
        Z = fitted.transform(table)
    with pytest.warns(DataWarning, match="without any value"):
        np.testing.assert_array_equal(fitted.transform([values[0], values[0][:, :0], *values[1:]]), Z)
    assert not Z[1].any()


def test_a_panel_stays_what_it_is(fitted):
    log = wide_log(series()).rename(columns={"id": "plant", "timestamp": "n"})
    panel = to_panel(log, id="plant", time="n")
    assert to_panel(panel) is panel
    np.testing.assert_array_equal(fitted.transform(panel), fitted.transform(list(series().values())))
    frame = embedder().set_output(transform="pandas").fit(panel).transform(panel)
    assert frame.index.tolist() == list(LENGTHS)


def test_a_column_of_series_goes_through_a_column_transformer():
    table = pd.DataFrame({"flow": [x[0] for x in series().values()], "kind": list("aba")})
    columns = ColumnTransformer([("flow", embedder(), "flow"), ("kind", OneHotEncoder(), ["kind"])], sparse_threshold=0)
    Z = columns.fit_transform(table)
    np.testing.assert_array_equal(Z[:, :-2], embedder().fit_transform(list(table["flow"])))


def test_series_with_their_mask_are_taken_again():
    values = list(series().values())
    ready = as_series(values)
    assert as_series(ready) is ready
    Z = embedder().fit_transform(ready)
    assert Z.dtype == np.float32
    np.testing.assert_array_equal(Z, embedder().fit_transform(values))


@pytest.fixture(scope="module")
def fitted():
    return embedder().fit(list(series().values()))


@every_container
def test_embeddings_do_not_depend_on_the_container(fitted, name):
    plain = list(series(seed=1).values())
    np.testing.assert_array_equal(fitted.transform(make(name, series(seed=1))), fitted.transform(plain))


def test_masked_and_ragged_arrays_are_embedded_as_lists_with_nan(fitted):
    X = np.stack([x[:, :24] for x in series().values()])
    X[:, :, 5:9] = np.nan
    masked = np.ma.masked_invalid(X)
    masked.data[masked.mask] = -9999.0
    expected = fitted.transform(X)
    for form in (masked, list(masked)):
        np.testing.assert_array_equal(fitted.transform(form), expected)
    ragged = np.empty(3, object)
    ragged[:] = list(series().values())
    np.testing.assert_array_equal(fitted.transform(ragged), fitted.transform(list(series().values())))


def test_fit_on_a_container_is_fit_on_its_arrays():
    np.testing.assert_array_equal(
        embedder().fit_transform(wide_log(series())), embedder().fit_transform(list(series().values()))
    )


def test_pandas_output_names_the_series_and_plain_output_is_an_array(fitted):
    frame = embedder().set_output(transform="pandas").fit_transform(wide_log(series()))
    assert frame.index.tolist() == list(LENGTHS)
    assert frame.index.name == "id"
    assert frame.columns[0] == "tsjepaembedder0"
    assert isinstance(fitted.transform(wide_log(series())), np.ndarray)
    with config_context(transform_output="pandas"):
        pd.testing.assert_frame_equal(fitted.transform(wide_log(series())), frame)
        plain = embedder().set_output(transform="default").fit_transform(wide_log(series()))
    np.testing.assert_array_equal(plain, frame)


@pytest.mark.parametrize("index", [True, False])
def test_pandas_output_of_one_log_has_one_row(index):
    log = wide_log(series()).query("id == 'fan'").drop(columns="id")
    fitted = embedder().set_output(transform="pandas").set_params(max_epochs=0).fit(log)  # of one nothing can be learnt
    frame = fitted.transform(log.set_index("timestamp") if index else log)
    assert (frame.shape[0], frame.index.tolist()) == (1, [0])
    cases = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 30)), index=list("abc"))
    assert fitted.fit(cases).transform(cases).index.tolist() == list("abc")


def test_channels_are_taken_by_name():
    log = wide_log(series())
    fitted = embedder().fit(log)
    assert fitted.feature_names_in_.tolist() == ["flow", "heat"]
    expected = fitted.transform(log)
    np.testing.assert_array_equal(fitted.transform(log[["heat", "timestamp", "flow", "id"]]), expected)
    np.testing.assert_array_equal(fitted.transform(list(series().values())), expected)
    with pytest.warns(DataWarning, match="left out: noise"):
        np.testing.assert_array_equal(fitted.transform(log.assign(noise=0.0)), expected)
    with pytest.raises(ValueError, match="X has no channel 'heat': its channels are flow"):
        fitted.transform(log.drop(columns="heat"))
    assert not hasattr(fitted.fit(list(series().values())), "feature_names_in_")


def test_a_saved_embedder_reads_containers(fitted, tmp_path):
    fitted.save(tmp_path / "model.ckpt")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(loaded.transform(long_log(series())), fitted.transform(list(series().values())))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_table_of_cases_and_time_points_stays_scikit_learns_input(library):
    rows = np.random.default_rng(0).normal(size=(6, 20))
    frame = pd.DataFrame(rows, columns=[f"t{i}" for i in range(20)])
    if library != "pandas":
        frame = polars_of(lambda x: x)(frame) if library == "polars" else pa.Table.from_pandas(frame)
    fitted = embedder().fit(frame)
    assert fitted.feature_names_in_.tolist() == [f"t{i}" for i in range(20)]
    np.testing.assert_array_equal(fitted.transform(frame), embedder().fit_transform(rows[:, None]))
