"""The .ts and .tsv readers: equal to aeon's where the file is sound, a sentence with a line where not."""

from pathlib import Path

import numpy as np
import pytest

from tsjepa.datasets import DataError, load
from tsjepa.datasets.archives import bundled_folder
from tsjepa.datasets.ts import read_ts
from tsjepa.datasets.tsv import read_tsv

HEADER = "@problemName pump\n@univariate true\n@equalLength true\n@classLabel true a b\n@data\n"


def _ts(folder: Path, text: str, name: str = "pump.ts") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


BUNDLED = ["GunPoint", "ArrowHead", "BasicMotions", "JapaneseVowels", "PickupGestureWiimoteZ", "Covid3Month"]


@pytest.mark.parametrize("name", [*BUNDLED, "UnitTest", "CardanoSentiment"])
def test_reads_what_aeon_reads(name: str) -> None:
    from aeon.datasets import load_from_ts_file

    path = Path(str(bundled_folder()), name, f"{name}_TRAIN.ts")
    X, y = load_from_ts_file(str(path))
    part = read_ts(path)
    assert isinstance(part.X, list) == isinstance(X, list)
    assert len(part.X) == len(X)
    for ours, theirs in zip(part.X, X, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.astype(np.float32))
    assert part.y is not None
    assert part.numeric == (y.dtype.kind == "f")
    # aeon lowers the case of class names
    theirs = y if part.numeric else [str(label).lower() for label in part.y]
    np.testing.assert_array_equal(part.y if part.numeric else y, theirs)


def test_missing_values_equal_aeons(tmp_path: Path) -> None:
    from aeon.datasets import load_from_ts_file

    path = _ts(tmp_path, HEADER + "1.5,?,NaN,-2e-3:a\nnan,7,?,1:b\n")
    X, _ = load_from_ts_file(str(path))
    part = read_ts(path)
    np.testing.assert_array_equal(part.X, X.astype(np.float32))
    expected = np.array([[[1.5, np.nan, np.nan, -2e-3]], [[np.nan, 7, np.nan, 1]]], dtype=np.float32)
    np.testing.assert_array_equal(part.X, expected)


def test_unequal_lengths_are_a_list_and_equal_ones_an_array(tmp_path: Path) -> None:
    header = HEADER.replace("@equalLength true", "@equalLength false")
    part = read_ts(_ts(tmp_path, header + "1,2,3:a\n4,5:b\n"))
    assert [case.tolist() for case in part.X] == [[[1, 2, 3]], [[4, 5]]]
    same = read_ts(_ts(tmp_path, header + "1,2:a\n4,5:b\n"))
    assert isinstance(same.X, np.ndarray)
    assert same.X.shape == (2, 1, 2)


def test_label_spelling_comments_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeff# a comment\n%another\n\n@classLabel true OK Worn\n@DATA\n\n1,2:OK\r\n\n 3 , 4 : Worn \n"
    part = read_ts(_ts(tmp_path, text))
    assert part.y is not None
    assert part.y.tolist() == ["OK", "Worn"]
    assert part.X[1].tolist() == [[3, 4]]


def test_unlabelled_files(tmp_path: Path) -> None:
    assert read_ts(_ts(tmp_path, "@classLabel false\n@data\n1,2\n3,4\n")).y is None
    assert read_ts(_ts(tmp_path, HEADER + "1,2:\n3,4:?\n")).y is None
    numeric = read_ts(_ts(tmp_path, "@targetLabel true\n@data\n1,2:3\n3,4:-1.5\n"))
    assert numeric.numeric
    assert numeric.y is not None
    assert numeric.y.tolist() == [3.0, -1.5]
    assert read_ts(_ts(tmp_path, "@targetLabel true\n@data\n1,2:?\n3,4:\n")).y is None


def test_numeric_labels_need_no_class_labels_beside_them(tmp_path: Path) -> None:
    part = read_ts(_ts(tmp_path, "@classLabel false\n@targetLabel true\n@data\n1,2,3:0.5\n4,5,6:1.5\n"))
    assert part.y is not None
    assert part.y.tolist() == [0.5, 1.5]


def test_a_header_that_counts_zero_promises_nothing(tmp_path: Path) -> None:
    part = read_ts(_ts(tmp_path, "@seriesLength 0\n@dimensions 0\n" + HEADER + "1,2,3:a\n4,5,6:b\n"))
    assert isinstance(part.X, np.ndarray)
    assert part.X.shape == (2, 1, 3)


def test_a_label_that_the_header_lacks_is_announced(tmp_path: Path) -> None:
    notes = load(_ts(tmp_path, HEADER + "1,2:a\n3,4:bro")).notes
    assert notes == ("pump.ts has labels that its header does not declare: 'bro'",)


def test_a_blank_before_the_name_of_a_tag_does_not_matter(tmp_path: Path) -> None:
    part = read_ts(_ts(tmp_path, HEADER.replace("@univariate true", "@ univariate true") + "1,2,3:a\n"))
    assert part.X.shape == (1, 1, 3)


MULTI = HEADER.replace("@univariate true", "@univariate false")
REFUSED = {
    "empty": ("", "pump.ts is empty"),
    "no data tag": ("@univariate true\n", "no '@data' line"),
    "no name of a tag": ("@univariate true\n@\n@data\n1:a\n", "line 2: no tag is named behind '@'"),
    "values before data": ("@univariate true\n1,2:a\n", "line 2: neither a tag nor a comment"),
    "no case": (HEADER + "\n", "no series after '@data'"),
    "cut before the label": (HEADER + "1,2,3:a\n1,2", "line 7: no ':label'"),
    "cut inside a value list": (HEADER + "1,2,3:a\n1,2:b\n", "line 7: 2 values where the first case has 3"),
    "series length": (
        HEADER.replace("@data", "@seriesLength 4\n@data") + "1,2,3:a\n",
        "line 7: 3 values where",
    ),
    "channels differ": (MULTI + "1,2:3,4:a\n1,2:a\n", "line 7: 1 channel where the first case has 2"),
    "channels and header": (HEADER + "1,2:3,4:a\n", "line 6: 2 channels where the header says 1"),
    "dimensions": (
        MULTI.replace("@data", "@dimensions 3\n@data") + "1,2:3,4:a\n",
        "line 7: 2 channels where",
    ),
    "longer than the header": (
        HEADER.replace("@data", "@seriesLength 2\n@data") + "1,2,3:a\n",
        "line 7: 3 values where '@seriesLength' says 2",
    ),
    "longer than the first case": (HEADER + "1,2:a\n1,2,3:a\n", "line 7: 3 values where the first case has 2"),
    "more channels than the first case": (
        MULTI + "1,2:a\n1,2:3,4:a\n",
        "line 7: 2 channels where the first case has 1",
    ),
    "more channels than the header": (
        MULTI.replace("@data", "@dimensions 2\n@data") + "1,2:3,4:5,6:a\n",
        "line 7: 3 channels where the header says 2",
    ),
    "ragged case": (MULTI + "1,2:3,4,5:a\n", r"line 6: channels of \[2, 3\] values"),
    "text": (HEADER + "1,2:a\n1,x2:b\n", "line 7: value 2 of 2 is 'x2'"),
    "empty entry": (HEADER + "1,,3:a\n", "line 6: value 2 of 3 is empty"),
    "trailing comma": (HEADER + "1,2,:a\n", "line 6: value 3 of 3 is empty"),
    "digit separator": (HEADER + "1,1_0:a\n", "line 6: value 2 of 2 is '1_0'"),
    "infinite": (HEADER + "1,2:a\n1,-inf:b\n", "line 7: value 2 is an infinite value"),
    "too large": (HEADER + "1e39,2:a\n", "line 6: value 1 is an infinite value"),
    "half labelled": (HEADER + "1,2:a\n1,2:\n", "case 2 has no label"),
    "time stamps": ("@timestamps true\n@data\n(0,1),(1,2):a\n", "time stamps would be thrown away"),
    "bad tag": ("@equalLength perhaps\n@data\n1:a\n", "@equallength says 'perhaps'"),
    "bad count": ("@seriesLength many\n@data\n1:a\n", "@serieslength says 'many'"),
    "bad target": ("@targetLabel true\n@data\n1,2:high\n", "case 1: target 'high'"),
    **{
        f"target {label}": (
            f"@targetLabel true\n@data\n1,2:3\n3,4:{label}\n",
            f"case 2: target '{label}' is no finite number",
        )
        for label in ("inf", "-Infinity", "1e999", "nan")
    },
    "all missing": (HEADER + "?,?:a\nNaN,nan:b\n", "every value is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_and_says_where(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as error:
        load(_ts(tmp_path, text))
    assert str(tmp_path / "pump.ts") in str(error.value)
    assert "\n" not in str(error.value)


def test_refuses_binary_files(tmp_path: Path) -> None:
    for name in ("pump.ts", "pump.tsv"):
        (tmp_path / name).write_bytes(b"\x80\xff\x00")
        with pytest.raises(DataError, match="is not a text file"):
            load(tmp_path / name)


def test_tsv_keeps_padding_as_missing_values(tmp_path: Path) -> None:
    part = read_tsv(_ts(tmp_path, "1\t0.5\t1.5\t2\n-1\t3\tNaN\tNaN\n", "pump.tsv"))
    expected = np.array([[[0.5, 1.5, 2]], [[3, np.nan, np.nan]]], dtype=np.float32)
    np.testing.assert_array_equal(part.X, expected)
    assert part.y is not None
    assert part.y.tolist() == ["1", "-1"]


def test_blanks_around_the_values_of_a_tsv_do_not_matter(tmp_path: Path) -> None:
    part = read_tsv(_ts(tmp_path, "1\t 0.5\t-1.5 \n2\t 3 \t ?\r\n", "pump.tsv"))
    np.testing.assert_array_equal(part.X, np.array([[[0.5, -1.5]], [[3, np.nan]]], dtype=np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pump.tsv is empty"),
        ("1\t2\t3\n1\t2\n", "line 2: 1 values where the first row has 2"),
        ("1,2,3\n", "line 1: no tab"),
        ("1\t2\tx\n", "line 1: value 2 of 2 is 'x'"),
        ("1\t2\t\n", "line 1: value 2 of 2 is empty"),
        ("1\t2 3\t4\n", "line 1: value 1 of 2 is '2 3'"),
        ("1\t\t1\t2 3\n2\t3\t4\t5\n", "line 1: value 1 of 3 is empty"),
        ("1\t2\t3\t4\n2\t1 2\t3\t\n", "line 2: value 1 of 3 is '1 2'"),
        ("1\t1-2\t \t3\n", "line 1: value 1 of 3 is '1-2'"),
        ("1\tinf\t2\n", "line 1: value 1 is an infinite value"),
    ],
)
def test_tsv_refuses_and_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(_ts(tmp_path, text, "pump.tsv"))
