import os

import numpy as np
import pytest

from labeler import maps


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.f32"
    write(path, 10)
    return path


def write(path, n, first=0):
    path.write_bytes((np.arange(n * 3, dtype=np.float32) + first).tobytes())


def test_a_file_stays_mapped_while_it_is_the_same(path):
    one, two = maps.rows(path, np.float32, 3), maps.rows(path, np.float32, 3)
    assert one is two
    assert one.shape == (10, 3)
    np.testing.assert_array_equal(one[9], [27, 28, 29])
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1


def test_a_file_that_has_grown_is_mapped_anew_and_the_old_map_goes_on(path):
    before = maps.rows(path, np.float32, 3)
    with open(path, "ab") as f:
        f.write(np.full(4, 7, np.float32).tobytes())  # a row and a third
    after = maps.rows(path, np.float32, 3)
    assert after.shape == (11, 3)
    assert after[10].tolist() == [7, 7, 7]
    assert before.shape == (10, 3)


def test_another_file_of_the_same_name_is_another_file(path, tmp_path):
    maps.rows(path, np.float32, 3)
    write(tmp_path / "new", 10, first=100)
    os.replace(tmp_path / "new", path)
    assert maps.rows(path, np.float32, 3)[0, 0] == 100


@pytest.mark.parametrize("left", [0, 11])
def test_what_is_not_there_or_holds_no_whole_row_is_empty(path, left):
    os.truncate(path, left)
    assert maps.rows(path, np.float32, 3).shape == (0, 3)
    path.unlink()
    assert maps.rows(path, np.float32, 3).shape == (0, 3)


def test_only_a_few_files_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "_held", type(maps._held)())
    for i in range(maps.MOST + 3):
        write(tmp_path / f"{i}", 2)
        maps.rows(tmp_path / f"{i}", np.float32, 3)
    assert len(maps._held) == maps.MOST
    maps.forget(tmp_path / f"{maps.MOST + 2}")
    assert len(maps._held) == maps.MOST - 1
