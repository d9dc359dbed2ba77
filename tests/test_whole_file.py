from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tsjepa.whole_file import whole_file


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("before")

    def stopped():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "rows.csv"):
        assert not list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    path = tmp_path / "rows.csv"

    def write(text):
        with whole_file(path) as temporary:
            temporary.write_text(text)
        return path.read_text()

    with ThreadPoolExecutor(1) as other, whole_file(path) as ours:
        ours.write_text("ours")
        assert other.submit(write, "theirs").result() == "theirs"
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_write_that_finds_no_space_names_the_file(tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(OSError, match=r"No space left on device: '.*rows\.csv'") as raised, whole_file(path):
        Path("/dev/full").write_text("half")
    assert raised.value.filename == str(path)
