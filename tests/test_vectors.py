import numpy as np
import pytest

from labeler.vectors import Vectors


def unit(n: int, dim: int = 4) -> np.ndarray:
    rows = np.random.default_rng(n).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_rows_come_back_as_they_were_appended(tmp_path):
    v = Vectors(tmp_path / "v" / "a.f32", 4)
    assert len(v) == 0
    assert v.rows().shape == (0, 4)
    rows = unit(10)
    v.append(rows[:3])
    v.append(rows[3:])
    assert len(v) == 10
    assert np.array_equal(v.rows(), rows)
    assert np.array_equal(v.rows(2, 5), rows[2:5])
    assert v.rows(8, 99).shape == (2, 4)
    assert v.rows(99).shape == (0, 4)


def test_a_torn_row_is_cut_back_before_the_next_append(tmp_path):
    v = Vectors(tmp_path / "a.f32", 4)
    rows = unit(5)
    v.append(rows[:2])
    with open(v.path, "ab") as f:
        f.write(b"\x00" * 7)
    assert len(v) == 2
    v.append(rows[2:])
    assert np.array_equal(v.rows(), rows)


def test_cut_drops_what_was_never_committed(tmp_path):
    v = Vectors(tmp_path / "a.f32", 4)
    v.append(unit(5))
    v.cut(3)
    assert len(v) == 3
    v.cut(9)
    assert len(v) == 3


@pytest.mark.parametrize(
    "rows", [np.ones((2, 4), np.float32), unit(2, 5), np.full((1, 4), np.nan, np.float32)]
)
def test_only_unit_rows_of_the_right_size_are_taken(tmp_path, rows):
    v = Vectors(tmp_path / "a.f32", 4)
    with pytest.raises(ValueError, match="rows"):
        v.append(rows)
    assert len(v) == 0
