"""Names, labels, notes, real data, and what an import costs."""

import gzip
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsjepa.datasets import DataError, load
from tsjepa.datasets.archives import archive_size, size_notes
from tsjepa.datasets.dataset import Part
from tsjepa.datasets.labels import encode
from tsjepa.datasets.loading import identity
from tsjepa.datasets.logs import is_log, part_beside
from tsjepa.datasets.lookup import match_name

REAL = os.environ.get("TSJEPA_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="TSJEPA_DATA does not name a folder of data sets")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _ts(folder: Path, name: str, part: str, rows: list[str]) -> None:
    (folder / name).mkdir(exist_ok=True)
    text = "@classLabel true 1\n@data\n" + "\n".join(rows) + "\n"
    (folder / name / f"{name}_{part}.ts").write_text(text.replace("@classLabel true 1\n", ""))


@pytest.mark.parametrize("name", ["GunPoint", "gunpoint", "GUNPOINT"])
def test_bundled_sets_need_no_net_and_no_exact_case(name: str) -> None:
    data = load(name)
    assert (data.name, data.source, data.classes, data.notes) == (
        "GunPoint",
        "aeon (bundled)",
        ("1", "2"),
        (),
    )
    assert isinstance(data.X_train, np.ndarray)
    assert isinstance(data.X_test, np.ndarray)
    assert (data.X_train.shape, data.X_test.shape) == ((50, 1, 150), (150, 1, 150))
    assert data.y_train is not None
    assert np.bincount(data.y_train).tolist() == [24, 26]
    assert data.X_train[0, 0, 0] == np.float32(-0.6478854)


def test_unequal_and_numeric_bundled_sets() -> None:
    vowels, covid = load("JapaneseVowels"), load("Covid3Month")
    assert isinstance(vowels.X_train, list)
    assert (len(vowels.X_train), vowels.X_train[0].shape, len(vowels.X_test or ())) == (270, (12, 20), 370)
    assert covid.classes is None
    assert covid.y_train is not None
    assert (covid.y_train.dtype, covid.y_train.shape) == (np.float64, (140,))


def test_the_users_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("TRAIN", "TEST"):
        _ts(tmp_path, "GunPoint", part, ["1,2:1", "3,4:2"])
    data = load("gunpoint", tmp_path)
    assert data.source == str(tmp_path / "GunPoint")
    assert data.X_train[1].tolist() == [[3, 4]]
    monkeypatch.setenv("TSJEPA_DATA", str(tmp_path))
    assert load("GunPoint").source == data.source


def test_the_cache_is_looked_in(tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "tsjepa"
    cache.mkdir(parents=True)
    for part in ("TRAIN", "TEST"):
        _ts(cache, "Adiac", part, ["1,2:1"])
    assert load("adiac").source == str(cache / "Adiac")


def test_the_cache_comes_last(tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "tsjepa"
    cache.mkdir(parents=True)
    for name in ("GunPoint", "MyPumpSet"):
        _ts(cache, name, "TRAIN", ["1,2:1"])
    assert load("GunPoint").source == "aeon (bundled)"
    with pytest.raises(DataError, match="the nearest names are MyPumpSet"):
        load("MyPumpSett")


def test_a_name_in_its_own_case_comes_first() -> None:
    assert match_name("forda", ["FordA", "forda"]) == "forda"


def test_a_folder_without_data_does_not_hide_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "GunPoint").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("GunPoint").source == "aeon (bundled)"
    _ts(tmp_path, "GunPoint", "TRAIN", ["1,2:1"])
    assert load("GunPoint").source == "GunPoint"


def test_a_folder_without_data_is_told_and_so_is_what_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plant12").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"^plant12 is a folder without plant12_TRAIN\.ts, and no data set is called 'p"
    ):
        load("plant12")
    with pytest.raises(
        DataError, match=r"^there is no file or folder 'plant', and no .*nearest names are plant12, Plane.*_TEST\.ts$"
    ):
        load("plant")


@pytest.mark.parametrize("name", ["plant12", "plant12/", "./plant12"])
def test_a_folder_without_data_is_told_with_all_that_it_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "plant12").mkdir()
    (tmp_path / "plant12/notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load(name)
    said = str(caught.value)
    assert ".tsv, .npz, .npy, .csv, .parquet)" in said
    assert said.endswith(
        " or, for a command that reads logs, a folder of them (.parquet, .pq, .csv, .csv.gz, .arrow, .feather, .ipc)"
    )


def test_unknown_names_get_up_to_three_neighbours(tmp_path: Path) -> None:
    for name, near in {"GunPiont": "GunPoint", "fordc": "FordA", "FaultDetection": "FaultDetectionA"}.items():
        with pytest.raises(DataError, match=f"no data set is called '{name}'; the nearest names are .*{near}"):
            load(name)
    _ts(tmp_path, "MyPumpSet", "TRAIN", ["1,2:1"])
    with pytest.raises(DataError, match="the nearest names are MyPumpSet"):
        load("MyPumpSett", tmp_path)
    with pytest.raises(DataError, match="no known name is near it"):
        load("qqqqqqqqqq")
    with pytest.raises(DataError, match=r"no known name is near it \(there is no folder .*absent\)"):
        load("qqqqqqqqqq", tmp_path / "absent")
    for impossible in ("  ", "a\0b"):
        with pytest.raises(DataError, match="cannot name a data set"):
            load(impossible)
    with pytest.raises(DataError, match="cannot be looked up"):
        load("x" * 300)


def test_classes_are_sorted_as_numbers_and_new_test_classes_come_last(tmp_path: Path) -> None:
    _ts(tmp_path, "Pump", "TRAIN", ["1,2:10", "3,4:9", "5,6:-1"])
    _ts(tmp_path, "Pump", "TEST", ["1,2:3", "3,4:9", "5,6:3"])
    data = load("Pump", tmp_path)
    assert data.classes == ("-1", "9", "10", "3")
    assert data.y_train is not None
    assert data.y_test is not None
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([2, 1, 0], [3, 1, 3])
    said = "test class '3' never appears in training; its 2 cases count as wrong"
    assert data.notes == data.test_notes == (said,)
    _ts(tmp_path, "Pump", "TRAIN", ["1,2:9", "3,4:9"])
    assert load("Pump", tmp_path).notes == ()  # of one class nothing is learnt, and so nothing scored


@pytest.mark.parametrize("names", list(itertools.permutations(["1.0", "01", "1", "001"])))
def test_classes_of_one_number_have_one_order(names: tuple[str, ...]) -> None:
    train = Part(np.zeros((4, 1, 4), np.float32), np.array(names))
    assert encode(train, None).classes == ("001", "01", "1", "1.0")


def test_text_classes_and_an_unlabelled_training_part(tmp_path: Path) -> None:
    _ts(tmp_path, "Pump", "TRAIN", ["1,2:", "3,4:"])
    _ts(tmp_path, "Pump", "TEST", ["1,2:worn", "3,4:9", "5,6:10"])
    data = load("Pump", tmp_path)
    assert (data.y_train, data.classes, data.notes) == (None, ("10", "9", "worn"), ())
    assert data.y_test is not None
    assert data.y_test.tolist() == [2, 1, 0]


def test_whole_targets_of_one_part_stay_numbers(tmp_path: Path) -> None:
    X = np.zeros((2, 3))
    np.savez(tmp_path / "pump.npz", X_train=X, y_train=[0.5, 2.0], X_test=X, y_test=[1.0, 2.0])
    data = load(tmp_path / "pump.npz")
    assert data.classes is None
    assert data.y_test is not None
    assert data.y_test.tolist() == [1.0, 2.0]


def test_archive_sizes_and_their_notes() -> None:
    assert archive_size("FaultDetectionB") == (10912, 2728)
    assert archive_size("forda") is None
    assert size_notes("FordA", 3601, 1320) == size_notes("FordA", 3601, None) == size_notes("Pump", 1, 1) == ()
    assert size_notes("FordA", 577, 4000) == (
        "577 of the archive's 3601 training series",
        "4000 test series, but the archive has 1320",
    )


@needs_data
def test_forda_is_announced_as_partial() -> None:
    data = load("FordA", REAL)
    assert isinstance(data.X_train, np.ndarray)
    assert isinstance(data.X_test, np.ndarray)
    assert (data.X_train.shape, data.X_test.shape) == ((577, 1, 500), (1320, 1, 500))
    assert (data.classes, data.notes) == (("-1", "1"), ("577 of the archive's 3601 training series",))


@needs_data
def test_unequal_missing_and_long_sets() -> None:
    plaid, dodger, bearing = (load(name, REAL) for name in ("PLAID", "DodgerLoopDay", "PaderbornKAT"))
    assert isinstance(plaid.X_train, list)
    assert len({case.shape for case in plaid.X_train}) > 1
    assert plaid.classes == tuple(str(number) for number in range(11))
    assert isinstance(dodger.X_train, np.ndarray)
    assert dodger.X_train.shape == (78, 1, 288)
    assert 0 < np.isnan(dodger.X_train).mean() < 0.1
    assert isinstance(bearing.X_train, np.ndarray)
    assert bearing.X_train.shape == (360, 1, 5120)
    assert len(bearing.classes or ()) == 3


def test_import_and_a_bundled_set_load_nothing_heavy() -> None:
    program = (
        "import sys, tsjepa.datasets as d; d.load('UnitTest')\n"
        "print([m for m in ('aeon', 'sktime', 'pandas', 'pyarrow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_spellings_of_a_data_set_share_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, test in (("pump", "0"), ("other", "1")):
        Path("sets", folder).mkdir(parents=True)
        Path("sets", folder, f"{folder}_TEST.csv").write_text(test)
    Path("sets/pump/pump_TRAIN.csv").write_text("0")
    Path("sets/other/other_TRAIN.csv").symlink_to(tmp_path / "sets/pump/pump_TRAIN.csv")
    spelled = ("pump", "PUMP", "sets/pump", "./sets/pump/pump_TRAIN.csv", str(tmp_path / "sets/pump"))
    assert len({identity(text, "sets") for text in spelled}) == 1
    assert len({identity(text, "sets") for text in ("pump", "other", "absent", "FordA", "x" * 300)}) == 5


def _pair(
    folder: str,
    name: str,
    suffix: str = ".tsv",
    text: str = "1\t2\t3\n2\t3\t4\n",
    parts: tuple[str, str] = ("TRAIN", "TEST"),
) -> None:
    for part in parts:
        Path(folder, f"{name}_{part}{suffix}").write_text(text)


@pytest.mark.parametrize("parts", [("train", "test"), ("Train", "Test")])
def test_parts_may_be_called_in_small_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    _pair("own", "p", ".csv", "a,b\n1,2\n3,4\n", parts)
    train, test = (f"p_{part}.csv" for part in parts)
    for text in ("own", f"own/{train}"):
        data = load(text)
        assert (data.name, data.X_train.shape) == ("p", (2, 1, 2))
        assert data.X_test is not None
    assert not is_log("own")
    assert is_log("own", in_time=True)  # as logs are often called
    Path("own/walk.npz").touch()
    assert load("own").notes[0] == f"own: read {train} and {test}; not read: walk.npz"
    _pair("own", "z", ".csv", "a,b\n1,2\n3,4\n", parts)
    with pytest.raises(DataError, match="own holds 2 data sets"):
        load("own")
    _pair("own", "c")  # capitals go first, as they always did
    assert load("own").name == "c"


def test_logs_in_small_letters_are_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, text in (("timed", "time,flow\n1,2.5\n2,3.5\n"), ("untimed", "flow,level\n1,2.5\n2,3.5\n")):
        Path(folder).mkdir()
        _pair(folder, "p", ".csv", text, ("train", "test"))
    assert is_log("timed")
    assert is_log("timed/p_train.csv")
    assert is_log("untimed", in_time=True)
    for part in ("train", "test"):
        pd.DataFrame({"flow": [[1.0, 2.0]]}).to_parquet(f"lists_{part}.parquet")
    assert part_beside("lists_train.parquet") is None


@pytest.mark.parametrize("beside", [False, True])
def test_a_folder_of_several_data_sets_says_how_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two").mkdir()
    for name in "pz":
        _pair("two", name)
    if beside:  # a table does not make a log of the folder
        Path("two/rows.csv").write_text("1.5,2,3\n4,5,6\n")
    for text in ("two", "./two"):
        assert not is_log(text)
        with pytest.raises(DataError, match=r"^two holds 2 data sets: name one, as in two/p_TRAIN\.tsv or two/z_TRAIN"):
            load(text)
    for name in "ab":
        _pair("two", name)
    with pytest.raises(DataError, match=r"^two holds 4 data sets: .*two/a_TRAIN.tsv or two/b_TRAIN.tsv or two/p_TRAIN"):
        load("two")
    assert load("two/p_TRAIN.tsv").name == "p"


def test_a_folder_of_logs_stays_one_whatever_its_files_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plant").mkdir()
    for name in "pz":
        _pair("plant", name, ".csv", "flow,heat\n1.5,2\n2,3\n")  # without a time
    assert is_log("plant", in_time=True)
    assert not is_log("plant")
    Path("mixed").mkdir()
    for name in "pz":
        _pair("mixed", name)
    Path("mixed/a.csv").write_text("time,flow\n2026-01-01 00:00:00,1.5\n2026-01-01 00:00:01,2\n")
    assert is_log("mixed")


@pytest.mark.parametrize(
    "source", ["pumps.csv", "plant", "plant/*.csv", "plant/*.parquet", "plant/a.feather", "s3://bucket/plant.parquet"]
)
def test_a_log_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plant").mkdir()
    Path("pumps.csv").write_text("pump;time;flow\nA;2026-03-01 08:00:00;2,10\nA;2026-03-01 08:00:01;2,12\n")
    table = pd.DataFrame({"time": pd.date_range("2026-03-01", periods=3, freq="s"), "flow": [1.0, 2.0, 3.0]})
    table.to_csv("plant/a.csv", index=False)
    table.to_feather("plant/a.feather")
    with pytest.raises(DataError) as caught:
        load(source)
    assert str(caught.value).startswith(f"{source} is taken for a sensor log, of which no series are loaded: ")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.pq", b"no parquet", r"bad\.pq cannot be read"),
        ("bad.csv.gz", b"no gzip", r"bad\.csv\.gz cannot be read"),
        (
            "header.csv.gz",
            gzip.compress(b"time,flow\n", mtime=0),
            r"header\.csv\.gz: series are not read from files",
        ),
        ("run", None, "run is a folder without run_TRAIN"),
    ],
)
def test_what_cannot_be_read_or_is_a_run_is_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is None:
        Path(name).mkdir()
        Path(name, "metrics.csv").write_text("epoch,step,loss,lr\n1,9,0.5,0.1\n")
    else:
        Path(name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        load(name)


def test_series_in_lists_that_cannot_be_read_are_no_log(tmp_path: Path) -> None:
    pd.DataFrame({"flow": [[1.0, 2.0], [3.0]], "heat": [[1.0, 2.0], [3.0, 4.0]]}).to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"row 2: channels of \[1, 2\] values"):
        load(tmp_path / "odd.parquet")


def test_what_lies_beside_the_pair_of_a_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").mkdir()
    _pair("one", "p")
    _pair("one", "p", ".csv")  # the same parts in another format
    Path("one/notes.txt").touch()
    assert load("one").notes == ()
    for name in ("walk.npz", "ints.npy", "c.ts"):
        Path("one", name).touch()
    assert load("one").notes == ("one: read p_TRAIN.tsv and p_TEST.tsv; not read: c.ts, ints.npy, walk.npz",)
    Path("one/x.csv").touch()
    assert load("one").notes[0].endswith("not read: c.ts, ints.npy, walk.npz and 1 more")
    assert load("one/p_TRAIN.tsv").notes == ()
    Path("one").rename("p")
    assert load("p", tmp_path / "elsewhere").notes[0].startswith("p: read p_TRAIN.tsv")
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert load("p", tmp_path).notes == ()  # a name, and no folder
