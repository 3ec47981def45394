import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from active import codes, search
from active.arrays import Rows, unit_rows
from active.codes import Coded
from active.lists import Lists
from active.search import Exact, combine
from labeler import coding, encoders, lull, shelves, trainer
from labeler.errors import BadInput, Blocked, Conflict, NotReady
from labeler.lull import Lull
from labeler.searching import neighbours
from labeler.workspace import Workspace
from tests.pools import make_pool

KEY, DIM = "wide", 48


def crowds(n: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(30, DIM))
    rows = middles[rng.integers(30, size=n)] + 0.3 * rng.normal(size=(n, DIM))
    return unit_rows(rows.astype(np.float32))


ROWS = crowds(4000)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a workspace of which each test gets a copy: making one takes a second."""
    made = make_pool(tmp_path_factory.mktemp("pool"), 4000, embedded=False)
    made.registry.use(KEY, DIM)
    embed(made, 1000)
    made.close()
    return made.folder


@pytest.fixture
def ws(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A pool of 4,000, of which 1,000 are embedded; more than 500 are coded, 40 may be behind."""
    monkeypatch.setattr(codes, "MOST", 1.0)
    monkeypatch.setattr(coding, "EXACT_ROWS", 500)
    monkeypatch.setattr(coding, "ALONE_ROWS", 0)  # but in tests of who searches alone
    monkeypatch.setattr(coding, "FITTED", (500, 2000))
    monkeypatch.setattr(coding, "TAIL", 40)
    monkeypatch.setattr(coding, "STRIDE", 300)
    shutil.copytree(pool, tmp_path / "ws")
    made = Workspace.open(tmp_path / "ws")
    yield made
    made.close()


def embed(ws: Workspace, n: int) -> None:
    vectors = ws.vectors(KEY, DIM)
    vectors.append(ROWS[len(vectors) : n])
    ws.registry.set_embedded(KEY, DIM, n)


def files(ws: Workspace) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(ws.cache.glob("codes-*"))}


def recall(ws: Workspace, n: int, k: int = 100) -> float:
    """Return the share of the k nearest that a search finds."""
    query = crowds(40, seed=7)
    true = Exact(ROWS[:n]).search(query, k)[0]
    found = [[i for i, _ in neighbours(ws, query[j : j + 1], k=k)] for j in range(len(query))]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]))


def test_a_small_pool_is_compared_whole(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "EXACT_ROWS", 1000)
    assert not coding.due(ws)
    coding.make(ws)
    assert not files(ws)
    assert isinstance(coding.index(ws, KEY, DIM, 1000), Exact)


def test_before_codes_are_made_a_search_compares_all(ws: Workspace) -> None:
    assert coding.due(ws)
    assert isinstance(coding.index(ws, KEY, DIM, 1000), Exact)
    assert recall(ws, 1000) == 1


def test_who_searches_alone_gets_all_of_the_nearest(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(lull, "here", Lull(lambda: clock))
    monkeypatch.setattr(coding, "ALONE_ROWS", 1000)
    monkeypatch.setattr(codes, "MOST", 1.0)
    coding.make(ws)
    bad = coding.ready(ws, KEY)
    assert bad is not None
    least = replace(bad, now=replace(bad.now, reach=1.0, least=-1.0))
    monkeypatch.setattr(coding, "ready", lambda *_: least)  # codes alone choose
    query = crowds(40, seed=7)
    true = Exact(ROWS[:1000]).search(query, 100)[0]

    def share(pause: float) -> float:
        nonlocal clock
        found = []
        for row in query:
            clock += pause
            found.append([i for i, _ in neighbours(ws, row[None], k=100)])
        return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]))

    assert share(lull.LULL_S) == 1
    by_codes = share(0.1)  # somebody else's ended just now
    assert by_codes < 0.95
    with lull.here.search() as is_alone:  # somebody's search takes long
        assert not is_alone
        clock += 100
        assert share(lull.LULL_S) == by_codes
    monkeypatch.setattr(coding, "ALONE_ROWS", 999)
    clock += 100
    assert share(lull.LULL_S) == by_codes
    monkeypatch.setattr(coding, "ALONE_ROWS", 1000)
    assert share(lull.LULL_S) == 1
    with monkeypatch.context() as slow:
        slow.setattr(coding, "PATIENCE_S", 0.0)
        slow.setattr(search, "GLANCE_S", 0.0)
        slow.setattr(search, "GLANCE", 100)
        assert share(lull.LULL_S) == by_codes  # it would take too long
    assert share(lull.LULL_S) == by_codes  # and is not tried again for a while
    clock += lull.REST_S
    assert share(lull.LULL_S) == 1


class Slow:
    """Rows that a slow disk gives: so many in a second."""

    def __init__(self, rows: Rows, per_s: float) -> None:
        self.rows, self.per_s, self.read = rows, per_s, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Rows:
        some = self.rows[part]
        self.read += len(some)
        time.sleep(len(some) / self.per_s)
        return some


def test_an_exact_search_gives_up_as_soon_as_it_is_plain_that_it_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "GLANCE", 100)
    slow = Slow(ROWS, 1000)  # it would take four seconds
    with pytest.raises(TimeoutError, match=r"4,000 rows takes longer than 0\.7 s"):
        Exact(slow, within_s=0.7).search(ROWS[:1], 5)
    assert slow.read <= 200
    ids = Exact(Slow(ROWS, 1e6), within_s=60).search(ROWS[:1], 5)[0]
    assert ids.tolist() == Exact(ROWS).search(ROWS[:1], 5)[0].tolist()


def test_a_search_that_looks_again_has_no_more_time_for_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "GLANCE", 100)
    monkeypatch.setattr(search, "GLANCE_S", 0.0)
    monkeypatch.setattr(coding, "PATIENCE_S", 0.4)
    monkeypatch.setattr(lull, "here", Lull())
    rows = Slow(ROWS[:1000], 5000)  # a fifth of a second for all
    whole = coding.Whole(cast(Rows, rows), Exact(ROWS[:1000]))
    was = []
    for _ in range(4):
        whole.search(ROWS[:1], 5)
        was.append(whole.was_whole)
    assert was[0]
    assert not was[-1]
    with lull.here.search() as is_alone:
        assert is_alone  # the first look was in time


def test_with_codes_a_search_finds_as_much_as_was_measured(ws: Workspace) -> None:
    coding.make(ws)
    assert not coding.due(ws)
    assert isinstance(coding.index(ws, KEY, DIM, 1000), Coded)
    made = coding.ready(ws, KEY)
    assert made is not None
    assert made.now.recall >= ws.config.search_recall
    assert recall(ws, 1000) >= 0.95


def test_with_codes_all_are_compared_for_whoever_asks(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    coding.make(ws)
    query = crowds(40, seed=7)
    true, cos = Exact(ROWS[:1000]).search(query, 100)
    for row, items, alike in zip(query, true.tolist(), cos, strict=True):
        found = neighbours(ws, row[None], k=100, exact=True)
        assert [i for i, _ in found] == items
        assert [c for _, c in found] == pytest.approx(alike, abs=1e-5)
    monkeypatch.setattr(coding, "SLOW_ROWS", 999)
    with pytest.raises(BadInput, match=r"^1,000 images are too many to compare all of them. Search without"):
        neighbours(ws, ROWS[3:4], exact=True)
    assert neighbours(ws, ROWS[3:4], k=1)[0][0] == 3


def test_the_best_is_first_and_cosines_are_right(ws: Workspace) -> None:
    coding.make(ws)
    found = neighbours(ws, ROWS[7:8], k=20)
    assert found[0] == (7, pytest.approx(1, abs=1e-5))
    assert [c for _, c in found] == sorted((c for _, c in found), reverse=True)
    for item, cos in found:
        assert cos == pytest.approx(float(ROWS[7] @ ROWS[item]), abs=1e-5)


def test_new_items_are_found_at_once_and_coded_when_enough_of_them_came(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 1030)
    assert not coding.due(ws)
    assert neighbours(ws, ROWS[1029:1030], k=1)[0][0] == 1029
    embed(ws, 1100)
    assert coding.due(ws)
    before = files(ws)[f"codes-{KEY}-500.bin"]
    coding.make(ws)
    after = files(ws)[f"codes-{KEY}-500.bin"]
    assert after.startswith(before)
    assert len(after) == 64 * 1100
    assert not coding.due(ws)


def test_the_last_items_are_coded_too(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 4000)
    coding.make(ws)
    assert not coding.due(ws)
    assert len(files(ws)[f"codes-{KEY}-2000.bin"]) == 64 * 4000


def test_a_pool_that_has_grown_learns_its_turn_anew_and_forgets_the_one_before(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 2000)
    assert coding.due(ws)
    coding.make(ws)
    assert sorted(files(ws)) == [f"codes-{KEY}-2000.bin", f"codes-{KEY}-2000.npz"]
    assert recall(ws, 2000) >= 0.95


def test_when_a_pool_has_doubled_what_codes_find_is_measured_again(ws: Workspace) -> None:
    embed(ws, 600)
    coding.make(ws)
    embed(ws, 1500)
    coding.make(ws)
    made = coding.ready(ws, KEY)
    assert made is not None
    assert (made.basis, made.now.n, made.learned_n) == (500, 1500, 600)


def test_a_pool_that_has_grown_by_little_is_not_measured_again(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 1080)
    coding.make(ws)
    made = coding.ready(ws, KEY)
    assert made is not None
    assert made.now.n == 1000


def elsewhere(n: int) -> Rows:
    """Rows of another kind, all of which lie in a part that the first ones leave empty."""
    rng = np.random.default_rng(11)
    middles = 4 + rng.normal(size=(30, DIM))
    return unit_rows((middles[rng.integers(30, size=n)] + 0.3 * rng.normal(size=(n, DIM))).astype(np.float32))


def test_when_what_comes_is_unlike_the_rest_the_turn_is_learned_anew(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "REACHES", (1.0, 2.0, 3.0, 5.0))
    ws.config = replace(ws.config, search_recall=0.995)
    coding.make(ws)
    first = coding.ready(ws, KEY)
    ws.vectors(KEY, DIM).append(elsewhere(900))
    ws.registry.set_embedded(KEY, DIM, 1900)
    coding.make(ws)
    made = coding.ready(ws, KEY)
    assert first is not None
    assert made is not None
    assert (first.learned_n, made.learned_n) == (1000, 1900)
    assert not np.array_equal(made.coder.turn, first.coder.turn)
    assert len(files(ws)[f"codes-{KEY}-500.bin"]) == 1900 * 64
    assert not coding.due(ws)  # and not again and again


def test_what_comes_and_is_like_the_rest_keeps_the_turn(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 1900)
    coding.make(ws)
    made = coding.ready(ws, KEY)
    assert made is not None
    assert (made.learned_n, made.now.n) == (1000, 1900)


def test_codes_depend_on_the_vectors_alone(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 1100)
    coding.make(ws)
    strides = files(ws)[f"codes-{KEY}-500.bin"]
    for path in ws.cache.glob("codes-*"):
        path.unlink()
    coding.make(ws)
    assert files(ws)[f"codes-{KEY}-500.bin"] == strides


def test_a_search_for_several_and_not_for_others_finds_as_much(ws: Workspace) -> None:
    coding.make(ws)
    rng, hits = np.random.default_rng(3), []
    for _ in range(40):
        like, unlike = ROWS[rng.integers(1000, size=2)], ROWS[rng.integers(1000, size=1)]
        true = Exact(ROWS[:1000]).search(combine(like, unlike), 100)[0][0]
        found = [i for i, _ in neighbours(ws, like, unlike, k=100)]
        hits.append(np.isin(true, found).mean())
    assert np.mean(hits) >= 0.95


def test_what_lies_apart_from_all_items_can_be_compared_with_all(ws: Workspace) -> None:
    coding.make(ws)
    row = unit_rows(np.random.default_rng(5).normal(size=(1, DIM)).astype(np.float32))
    true = Exact(ROWS[:1000]).search(row, 50)[0][0].tolist()
    assert [i for i, _ in neighbours(ws, row, k=50, apart=True)] == true


@pytest.mark.parametrize("whole", [True, False])
def test_what_lies_apart_is_noticed_by_how_far_all_are_from_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    if not whole:
        monkeypatch.setattr(codes, "EXACT_ROWS", 10)
        monkeypatch.setattr(codes, "WIDER", 4.0)
    coding.make(ws)
    row = unit_rows(np.random.default_rng(5).normal(size=(1, DIM)).astype(np.float32))
    made = coding.ready(ws, KEY)
    assert made is not None
    assert (row @ ROWS[:1000].T).max() < made.now.least
    true = Exact(ROWS[:1000]).search(row, 50)[0][0].tolist()
    found = [i for i, _ in neighbours(ws, row, k=50)]
    assert found == true if whole else len(set(found) & set(true)) >= 45


def test_too_many_to_compare_wait_for_their_codes(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "SLOW_ROWS", 900)
    with pytest.raises(NotReady) as e:
        neighbours(ws, ROWS[3:4])
    assert str(e.value) == (
        "What searches among 1,000 images go by is not made yet. "
        "It is made while labeler start runs, or by labeler index; try again in some minutes."
    )
    coding.keep_if_needed(ws)
    assert neighbours(ws, ROWS[3:4], k=1)[0][0] == 3


def test_without_a_server_codes_are_made_for_large_pools_alone(ws: Workspace) -> None:
    coding.keep_if_needed(ws)
    assert not files(ws)


def test_codes_of_other_vectors_are_noticed_when_a_process_begins(ws: Workspace) -> None:
    coding.make(ws)
    vectors = ws.vectors(KEY, DIM)
    vectors.cut(700)
    vectors.append(crowds(300, seed=9))
    again = Workspace.open(ws.folder)
    assert coding.due(again)
    coding.make(again)
    assert not coding.due(again)
    assert neighbours(again, crowds(300, seed=9)[299:], k=1)[0][0] == 999
    again.close()


def test_vectors_that_were_cut_back_and_came_anew_get_new_codes(ws: Workspace) -> None:
    coding.make(ws)
    vectors = ws.vectors(KEY, DIM)
    vectors.cut(700)
    ws.registry.set_embedded(KEY, DIM, 700)
    assert coding.due(ws)
    other = crowds(400, seed=9)
    vectors.append(other)
    ws.registry.set_embedded(KEY, DIM, 1100)
    coding.make(ws)
    assert neighbours(ws, other[399:], k=1)[0][0] == 1099
    coder = coding.ready(ws, KEY)
    assert coder is not None
    np.testing.assert_array_equal(
        np.frombuffer(files(ws)[f"codes-{KEY}-500.bin"], np.uint8).reshape(-1, 64)[700:],
        coder.coder.codes(other),
    )


def test_another_wish_is_measured_anew(ws: Workspace) -> None:
    coding.make(ws)
    before = coding.ready(ws, KEY)
    ws.config = replace(ws.config, search_recall=0.5)
    assert coding.due(ws)
    coding.make(ws)
    after = coding.ready(ws, KEY)
    assert before is not None
    assert after is not None
    assert after.now.reach < before.now.reach
    assert not coding.due(ws)


def test_two_processes_do_not_make_codes_at_once(ws: Workspace) -> None:
    with ws.lock("codes"), pytest.raises(Conflict):
        coding.make(ws)
    assert not files(ws)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other", "version"])
def test_a_damaged_coder_is_as_none_and_made_anew(
    ws: Workspace, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    coding.make(ws)
    whole, path = files(ws), ws.cache / f"codes-{KEY}-500.npz"
    if damage == "gone":
        path.unlink()
    elif damage == "version":
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"version": np.array(coding.VERSION + 1)})
    else:
        path.write_bytes({"cut": path.read_bytes()[:900], "empty": b"", "other": b"codes"}[damage])
    os.utime(path.with_suffix(".bin"))
    assert coding.ready(ws, KEY) is None
    assert neighbours(ws, ROWS[3:4], k=1)[0][0] == 3
    assert coding.due(ws)
    assert not caplog.records
    coding.make(ws)
    assert files(ws) == whole
    said = "The codes that searches go by are cut off, damaged or of another version. They are made anew."
    assert caplog.messages == ([] if damage == "gone" else [said])


@pytest.mark.parametrize("left", [0, 1, 64 * 700 + 13])
def test_codes_that_were_cut_off_are_made_up_for(ws: Workspace, left: int) -> None:
    coding.make(ws)
    whole, path = files(ws), ws.cache / f"codes-{KEY}-500.bin"
    os.truncate(path, left)
    assert recall(ws, 1000) >= 0.95
    assert coding.due(ws)
    coding.make(ws)
    assert files(ws) == whole


def test_a_full_disk_leaves_what_is_there(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    coding.make(ws)
    embed(ws, 1400)
    with monkeypatch.context() as m:

        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        m.setattr(os, "fsync", full)
        with pytest.raises(Blocked, match="space"):
            coding.make(ws)
        assert len(files(ws)[f"codes-{KEY}-500.bin"]) == 64 * 1000  # the room is given back
    assert neighbours(ws, ROWS[1399:1400], k=1)[0][0] == 1399
    coding.make(ws)
    assert len(files(ws)[f"codes-{KEY}-500.bin"]) == 64 * 1400


def test_a_search_while_codes_grow_sees_whole_codes_only(ws: Workspace) -> None:
    coding.make(ws)
    embed(ws, 1900)
    stop, wrong = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            if neighbours(ws, ROWS[1899:1900], k=1)[0][0] != 1899:
                wrong.append(1)
        ws.close()

    thread = threading.Thread(target=look)
    thread.start()
    coding.make(ws)
    stop.set()
    thread.join()
    assert not wrong


def test_many_results_are_looked_up_exactly(ws: Workspace) -> None:
    coding.make(ws)
    found = neighbours(ws, ROWS[5:6], k=1000)
    assert [i for i, _ in found] == Exact(ROWS[:1000]).search(ROWS[5:6], 1000)[0][0].tolist()


def test_the_trainer_makes_codes_in_the_background(ws: Workspace) -> None:
    assert trainer.wants_sample(ws)
    thread = threading.Thread(target=trainer.keep_sample, args=(ws,))
    thread.start()
    thread.join()
    assert coding.ready(ws, KEY) is not None


def test_codes_go_with_the_vectors_of_their_encoder(ws: Workspace) -> None:
    coding.make(ws)
    ws.registry.use("other", DIM)
    ws.registry.set_embedded("other", DIM, 1000)
    encoders.remove(ws, KEY)
    assert not files(ws)


# very large pools --------------------------------------------------------------------------


@pytest.fixture
def large(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The same pool, where more than 800 codes are put into lists."""
    monkeypatch.setattr(shelves, "FLAT_MOST", 800)
    coding.keep(ws)
    return ws


def is_listed(ws: Workspace) -> bool:
    n = ws.registry.embedded(KEY)
    return isinstance(getattr(coding.index(ws, KEY, DIM, n), "_near", None), Lists)


def test_many_codes_are_put_into_lists_and_as_much_is_found(large: Workspace) -> None:
    assert is_listed(large)
    assert not coding.due(large)
    assert sorted(files(large)) == [
        *(f"codes-{KEY}-500-1000.{kind}" for kind in ("lists", "npz", "order")),
        *(f"codes-{KEY}-500.{kind}" for kind in ("bin", "npz")),
    ]
    assert recall(large, 1000) >= 0.95


def test_more_can_be_asked_for_than_the_lists_hold_that_are_read(large: Workspace) -> None:
    for k in (300, 900, 1000, 5000):
        assert len(neighbours(large, ROWS[3:4], k=k)) == min(k, 1000)


def test_a_full_disk_leaves_no_half_of_the_lists(large: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(large)
    embed(large, 1300)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(shelves, "_end", full)
        with pytest.raises(Blocked, match="space"):
            coding.make(large)
    assert sorted(files(large)) == sorted(before)
    assert is_listed(large)
    coding.make(large)
    assert f"codes-{KEY}-500-1300.npz" in files(large)


def test_what_a_killed_process_left_is_removed(large: Workspace) -> None:
    (large.cache / f"codes-{KEY}-500-1250.lists").write_bytes(b"half")
    embed(large, 1300)
    coding.make(large)
    assert not list(large.cache.glob("*-1250.*"))


def test_lists_are_made_anew_for_a_quarter_more(large: Workspace) -> None:
    embed(large, 1200)
    coding.make(large)
    assert f"codes-{KEY}-500-1000.npz" in files(large)
    assert neighbours(large, ROWS[1199:1200], k=1)[0][0] == 1199
    embed(large, 1300)
    coding.make(large)
    assert [name for name in files(large) if name.endswith(".lists")] == [f"codes-{KEY}-500-1300.lists"]
    assert recall(large, 1300) >= 0.95


@pytest.mark.parametrize("kind", ["npz", "lists", "order"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_damaged_lists_are_as_none_and_made_anew(
    large: Workspace, kind: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole, path = files(large), large.cache / f"codes-{KEY}-500-1000.{kind}"
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 0 if damage == "empty" else len(path.read_bytes()) // 2)
    assert not is_listed(large)
    assert recall(large, 1000) >= 0.95
    assert coding.due(large)
    assert not caplog.messages
    coding.make(large)
    assert files(large) == whole
    said = "The lists of 1000 codes are cut off or of another version. They are made anew."
    assert caplog.messages == ([] if (kind, damage) == ("npz", "gone") else [said])


def test_lists_of_another_version_are_made_anew(large: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    whole, path = files(large), large.cache / f"codes-{KEY}-500-1000.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"version": np.array(shelves.VERSION + 1)})
    assert not is_listed(large)
    coding.keep(large)
    assert files(large) == whole
    assert len(caplog.messages) == 1


def test_a_turn_that_is_learned_anew_takes_its_lists_with_it(large: Workspace) -> None:
    embed(large, 2000)
    coding.make(large)
    assert sorted(files(large)) == [f"codes-{KEY}-2000.bin", f"codes-{KEY}-2000.npz"]


def test_lists_go_with_the_vectors_of_their_encoder(large: Workspace) -> None:
    large.registry.use("other", DIM)
    large.registry.set_embedded("other", DIM, 1000)
    encoders.remove(large, KEY)
    assert not files(large)
