from functools import partial

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active import search
from active.arrays import unit_rows
from active.search import Exact, Inverted, combine

HALF = partial(Inverted, is_half=True)


def linked(rows, ids=None, **more):
    """Return an index as of many millions, whose centres are found through a graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "LENGTH", 20)
        patch.setattr(search, "GRAPH", 8)
        patch.setattr(search, "AT_ONCE", 6)
        return Inverted(rows, ids, **more)


INDEXES = [Exact, Inverted, linked]


def some_rows(n, d=8, seed=0):
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def slow_search(rows, query, k):
    """Every cosine of every pair, sorted: the obvious way."""
    out = []
    for q in query:
        cos = sorted(((float(np.dot(q, r)), -i) for i, r in enumerate(rows)), reverse=True)[:k]
        out.append(([-i for _, i in cos], [c for c, _ in cos]))
    return out


@pytest.mark.parametrize("make", [*INDEXES, HALF])
@pytest.mark.parametrize(("n", "k"), [(0, 5), (1, 5), (7, 7), (7, 9), (300, 10), (300, 0)])
def test_ids_are_valid_distinct_and_best_first(make, n, k):
    ids = np.arange(n, dtype=np.int64) * 3 + 5
    found, cos = make(some_rows(n), ids).search(some_rows(4, seed=1), k)
    assert found.shape == cos.shape == (4, min(k, n))
    assert found.dtype == np.int64
    assert cos.dtype == np.float32
    for row, values in zip(found, cos, strict=True):
        assert len(set(row.tolist())) == len(row)
        assert set(row.tolist()) <= set(ids.tolist())
        assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("make", INDEXES)
def test_the_same_query_gives_the_same_answer(make):
    rows, query = some_rows(500), some_rows(3, seed=2)
    first, again = make(rows).search(query, 20), make(rows).search(query, 20)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


@pytest.mark.parametrize("make", INDEXES)
def test_a_row_finds_itself(make):
    rows = some_rows(2000, 16)
    found, cos = make(rows).search(rows[[3, 700, 1999]], 1)
    assert found[:, 0].tolist() == [3, 700, 1999]
    np.testing.assert_allclose(cos[:, 0], 1, atol=1e-5)


@pytest.mark.parametrize("make", INDEXES)
def test_no_query_gives_no_answer(make):
    found, _ = make(some_rows(10)).search(some_rows(0), 3)
    assert found.shape == (0, 3)


@pytest.mark.parametrize("make", [Inverted, HALF, linked])
def test_inverted_finds_nearly_what_exact_finds(make):
    rng = np.random.default_rng(0)
    middles = some_rows(40, 32)
    rows = unit_rows((np.repeat(middles, 100, 0) + rng.normal(size=(4000, 32)) * 0.1).astype(np.float32))
    query = rows[::97]
    exact, near = Exact(rows).search(query, 10)[0], make(rows).search(query, 10)[0]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), near.tolist(), strict=True)]
    assert np.mean(shared) > 0.95


@pytest.mark.parametrize("make", [Inverted, HALF, linked])
@pytest.mark.parametrize("recall", [0.5, 0.9, 1.0])
def test_a_tuned_index_finds_the_share_that_is_wanted_and_reads_no_more_lists_than_that(make, recall):
    rows = some_rows(5000, 12)
    index = make(rows)
    found = index.tune(rows, 20, recall, np.random.default_rng(0))
    said = found[index.made.nprobe]
    assert list(found) == sorted(found)
    assert all(share < recall for lists, share in found.items() if lists < index.made.nprobe)
    own = np.sort(np.random.default_rng(0).choice(5000, search.ASKED, replace=False))
    assert recall <= said == pytest.approx(shared_of(index, rows, own), abs=1e-6)
    probes = index.made.nprobe
    assert probes >= 2
    if probes > 2:
        index.made.nprobe = probes // 2 if probes < index.made.nlist else 64
        assert shared_of(index, rows, own) < recall


def shared_of(index, rows, own, k=20):
    """The share of each row's true neighbours, itself left out, that an index finds."""
    shares = []
    for i in own.tolist():
        true = [j for j in slow_search(rows, rows[i : i + 1], k + 1)[0][0] if j != i]
        found = set(index.search(rows[i : i + 1], k + 1)[0][0].tolist())
        shares.append(len(found & set(true)) / len(true))
    return float(np.mean(shares))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_small_index_can_be_tuned(n):
    rows = some_rows(n)
    index = Inverted(rows)
    assert index.tune(rows, 100, 0.95, np.random.default_rng(0))[index.made.nprobe] == 1
    assert index.search(some_rows(1), 9)[0].shape == (1, n)


def test_half_the_precision_gives_cosines_right_to_a_thousandth():
    rows, query = some_rows(2000, 64), some_rows(50, 64, seed=1)
    found, cos = HALF(rows).search(query, 20)
    for ids, values, q in zip(found, cos, query, strict=True):
        np.testing.assert_allclose(values, rows[ids] @ q, atol=1e-3)


@pytest.mark.parametrize("make", [Inverted, HALF, linked])
def test_what_a_query_finds_depends_neither_on_others_nor_on_threads(make):
    rows, query = some_rows(20_000, 64), some_rows(300, 64, seed=1)
    query[7] = 0  # has no place among the lists
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(2)
        two = make(rows).search(query, 100)
        faiss.omp_set_num_threads(1)
        one = make(rows)
    finally:
        faiss.omp_set_num_threads(before)
    for ids, cos in (two, one.search(query, 100)):
        for q in (0, 7, 150, 299):
            alone = one.search(query[q : q + 1], 100)
            np.testing.assert_array_equal(ids[q], alone[0][0])
            np.testing.assert_array_equal(cos[q], alone[1][0])


def test_rows_that_are_made_when_asked_give_the_same_index():
    rows = some_rows(70_000, 4)

    class Turned:
        """Rows that are no array."""

        def __len__(self):
            return len(rows)

        def __getitem__(self, which):
            return rows[which]

    query = rows[::7000]
    np.testing.assert_array_equal(
        Inverted(Turned()).search(query, 30)[0], Inverted(rows).search(query, 30)[0]
    )


def test_lists_of_a_graph_are_as_many_as_rows_ask_for_and_hold_each_row_once():
    for n, far in ((400, 1), (3000, 12), (3000, 0)):  # in one heap, in heaps of their own, all of them equal
        rng = np.random.default_rng(n)
        heaps = np.eye(8)[rng.integers(0, 5, n)] * far
        rows = unit_rows(rng.normal(size=(n, 8)) * min(1, far) + heaps + 1e-9).astype(np.float32)
        index = linked(rows, seed=1)
        lists = [index.made.invlists.list_size(i) for i in range(index.made.nlist)]
        assert len(lists) == index.made.quantizer.ntotal == n // 20
        assert sum(lists) == len(index) == n
        centres = index.made.quantizer.reconstruct_n(0, len(lists))
        assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
        if far:
            assert max(lists) < n / 4


def test_an_index_with_a_graph_outlives_a_file_and_grows(tmp_path):
    rows, file = some_rows(2000), str(tmp_path / "index")
    index = linked(rows[:1500], seed=1)
    faiss.write_index(index.made, file)
    kept = Inverted.of(faiss.read_index(file, faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY))
    for got, want in zip(kept.search(rows[:50], 9), index.search(rows[:50], 9), strict=True):
        np.testing.assert_array_equal(got, want)
    grown = Inverted.of(faiss.read_index(file))
    for one in (index, grown):
        one.add(rows, 1500)
    np.testing.assert_array_equal(grown.search(rows, 9)[0], index.search(rows, 9)[0])
    whole = np.sort(index.search(rows[:3], 2000)[0])  # more than the lists hold that are read at first
    np.testing.assert_array_equal(whole, np.tile(np.arange(2000), (3, 1)))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 45), block=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_exact_equals_the_slow_way_whatever_the_blocks(n, k, block, seed):
    rows, query = some_rows(n, 4, seed), some_rows(3, 4, seed + 1)
    before = search.BLOCK
    search.BLOCK = block
    try:
        found, cos = Exact(rows).search(query, k)
    finally:
        search.BLOCK = before
    for i, (ids, values) in enumerate(slow_search(rows, query, k)):
        np.testing.assert_allclose(cos[i], values, atol=1e-5)
        np.testing.assert_allclose(
            rows[found[i]] @ query[i], [np.dot(rows[j], query[i]) for j in ids], atol=1e-5
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 30), st.integers(1, 31))
def test_exact_keeps_the_order_of_rows_among_equals(which, k, block):
    rows = np.eye(3, dtype=np.float32)[which]
    before = search.BLOCK
    search.BLOCK = block
    try:
        found, _ = Exact(rows).search(np.array([[1, 0, 0]], np.float32), k)
    finally:
        search.BLOCK = before
    slow = sorted(range(len(which)), key=lambda i: (-rows[i, 0], i))[:k]
    assert found[0].tolist() == slow


def test_combine_of_one_example_is_that_example():
    like = some_rows(1)
    np.testing.assert_allclose(combine(like), like, atol=1e-6)


def test_combine_moves_towards_like_and_away_from_unlike():
    like, unlike = some_rows(3), some_rows(2, seed=9)
    plain, pushed = combine(like), combine(like, unlike)
    assert pushed.shape == (1, 8)
    np.testing.assert_allclose(np.linalg.norm(pushed), 1, atol=1e-6)
    assert float((pushed @ unlike.mean(0))[0]) < float((plain @ unlike.mean(0))[0])
    wanted = like.mean(0) - 0.5 * unlike.mean(0)
    np.testing.assert_allclose(pushed[0], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_combine_of_only_unlike_points_away():
    unlike = some_rows(1)
    np.testing.assert_allclose(combine(some_rows(0), unlike), -unlike, atol=1e-6)


def test_combine_of_examples_that_cancel_out_is_the_first():
    like = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_allclose(combine(like), [[1, 0]], atol=1e-6)


def test_combine_without_examples_is_an_error():
    with pytest.raises(ValueError, match="needs an example"):
        combine(some_rows(0))
