from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active import codes
from active.arrays import Rows, unit_rows
from active.codes import Coded, Coder, Flat, candidates, fit_coder
from active.search import Exact


@pytest.fixture(autouse=True)
def _codes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pools as small as these, all would be compared."""
    monkeypatch.setattr(codes, "MOST", 99.0)


def crowds(n: int, d: int = 32, groups: int = 40, spread: float = 0.12, seed: int = 0) -> Rows:
    """Return unit rows that lie in crowds, as those of pictures do."""
    rng = np.random.default_rng(seed)
    middles = unit_rows(rng.normal(size=(groups, d)).astype(np.float32))
    rows = middles[rng.integers(groups, size=n)] + rng.normal(size=(n, d)).astype(np.float32) * spread
    return unit_rows(rows.astype(np.float32))


def coder_of(rows: Rows, bits: int = 64) -> Coder:
    return fit_coder(rows, bits, np.random.default_rng(0))


def slow_codes(coder: Coder, rows: Rows) -> list[list[int]]:
    """One bit after another, the obvious way."""
    out = []
    for row in rows:
        bits = [int(float(np.dot(row - coder.mean, turn)) > 0) for turn in coder.turn.T]
        out.append([int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits), 8)])
    return out


def slow_nearest(codes: list[list[int]], code: list[int]) -> list[int]:
    return sorted(sum(bin(a ^ b).count("1") for a, b in zip(one, code, strict=True)) for one in codes)


def test_codes_are_the_signs_of_turned_rows() -> None:
    rows = crowds(300)
    coder = coder_of(rows)
    assert coder.codes(rows).tolist() == slow_codes(coder, rows)
    assert coder.codes(rows).dtype == np.uint8
    assert coder.n_bytes == 8


def test_codes_do_not_depend_on_the_rows_beside_them() -> None:
    rows = crowds(9000)
    coder = coder_of(rows)
    np.testing.assert_array_equal(coder.codes(rows[4000:4200]), coder.codes(rows)[4000:4200])


def test_the_same_rows_and_seed_give_the_same_coder() -> None:
    rows = crowds(500)
    np.testing.assert_array_equal(coder_of(rows).turn, coder_of(rows).turn)


@pytest.mark.parametrize(("d", "bits"), [(4, 64), (64, 64), (300, 64), (32, 512)])
def test_a_turn_keeps_lengths_as_far_as_its_numbers_go(d: int, bits: int) -> None:
    coder = coder_of(crowds(800, d), bits)
    assert coder.turn.shape == (d, bits)
    values = np.linalg.svd(coder.turn, compute_uv=False)
    k = min(d, bits * 3 // 4)
    np.testing.assert_allclose(values[:k], 1, atol=1e-4)
    np.testing.assert_allclose(values[k:], 0, atol=1e-4)


def test_rows_that_are_alike_get_codes_that_are_alike() -> None:
    rows = crowds(3000, 64)
    bits = np.unpackbits(coder_of(rows, 256).codes(rows), axis=1).astype(np.int64)
    cos = rows[:200] @ rows[200:1200].T
    apart = (bits[:200, None] != bits[None, 200:1200]).sum(2)
    assert np.corrcoef(cos.ravel(), apart.ravel())[0, 1] < -0.9


def test_rows_that_are_all_the_same_get_one_code() -> None:
    rows = np.tile(crowds(1), (50, 1))
    assert len(np.unique(coder_of(rows).codes(rows), axis=0)) == 1


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 60), k=st.integers(0, 70), seed=st.integers(0, 99))
def test_flat_finds_the_codes_with_fewest_other_bits(n: int, k: int, seed: int) -> None:
    many = np.random.default_rng(seed).integers(0, 256, (n, 8), dtype=np.uint8)
    code = np.random.default_rng(seed + 1).integers(0, 256, 8, dtype=np.uint8)
    near = Flat(many).nearest(code, k)
    apart = [int(np.unpackbits(many[i] ^ code).sum()) for i in near]
    assert len(set(near.tolist())) == len(near) == min(n, k)
    assert apart == slow_nearest(many.tolist(), code.tolist())[:k]


def test_a_wide_reach_finds_what_is_exactly_nearest_in_its_order() -> None:
    rows, query = crowds(2000), crowds(20, seed=3)
    coder = coder_of(rows)
    near = Coded(coder, Flat(coder.codes(rows)), rows, reach=20.0)
    for k in (0, 1, 7, 100):
        for got, true in zip(near.search(query, k), Exact(rows).search(query, k), strict=True):
            np.testing.assert_allclose(got, true, atol=1e-6)


def test_a_wider_reach_finds_more() -> None:
    rows, query = crowds(6000, 64), crowds(30, 64, seed=3)
    coder = coder_of(rows, 64)
    true = Exact(rows).search(query, 100)[0]
    found = []
    for reach in (1, 3, 10, 60):
        near = Coded(coder, Flat(coder.codes(rows)), rows, reach=reach).search(query, 100)[0]
        found.append(np.mean([np.isin(a, b).mean() for a, b in zip(true, near, strict=True)]))
    assert all(a <= b for a, b in pairwise(found))
    assert found[0] < 0.9
    assert found[-1] == 1


def test_rows_behind_the_codes_are_found_too() -> None:
    rows = crowds(2000)
    coder = coder_of(rows)
    near = Coded(coder, Flat(coder.codes(rows[:1500])), rows, reach=2.0)
    ids, cos = near.search(rows[[1700, 1999, 3]], 1)
    assert ids[:, 0].tolist() == [1700, 1999, 3]
    np.testing.assert_allclose(cos[:, 0], 1, atol=1e-5)


def test_more_are_not_found_than_there_are() -> None:
    rows = crowds(30)
    coder = coder_of(rows)
    ids, cos = Coded(coder, Flat(coder.codes(rows)), rows, reach=2.0).search(rows[:2], 99)
    assert ids.shape == cos.shape == (2, 30)
    assert [sorted(row) for row in ids.tolist()] == [list(range(30))] * 2


def test_a_coder_survives_being_stored_and_other_arrays_are_refused() -> None:
    rows = crowds(300)
    coder = coder_of(rows)
    again = Coder.from_arrays(coder.to_arrays())
    np.testing.assert_array_equal(again.codes(rows), coder.codes(rows))
    for wrong in ({"mean": coder.mean[1:]}, {"turn": coder.turn[:, 1:]}, {"turn": coder.turn[0]}):
        with pytest.raises(ValueError, match="no coder"):
            Coder.from_arrays(coder.to_arrays() | wrong)
    with pytest.raises(KeyError):
        Coder.from_arrays({})


def test_where_many_are_candidates_all_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "MOST", 0.25)
    rows, query = crowds(1000), crowds(5, seed=3)
    coder = coder_of(rows)
    never = Flat(coder.codes(rows))
    monkeypatch.setattr(Flat, "nearest", lambda self, code, k: pytest.fail("looked at codes"))
    near = Coded(coder, never, rows, reach=3.0)
    np.testing.assert_array_equal(near.search(query, 10)[0], Exact(rows).search(query, 10)[0])


@pytest.mark.parametrize(("k", "n"), [(1, 500), (100, 500), (200, 1000), (1000, 5000), (3000, 11_000)])
def test_how_many_are_compared(k: int, n: int) -> None:
    assert candidates(5.0, k) == n
