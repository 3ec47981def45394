import resource
import threading
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

import active.nearby
from active import search
from active.arrays import unit_rows
from active.search import Exact
from labeler import drawing, looking, loop, neighbourhood, samples, simulate, space, trainer
from labeler.errors import Blocked
from labeler.looking import Eye, Labeled
from labeler.neighbourhood import Extent, Neighbourhood
from labeler.trial import open_trial
from labeler.truth import read_truth
from labeler.workspace import Workspace
from tests.pools import event, is_target, make_pool

KEY, DIM, N, RARE = "wide", 300, 3000, 60


def rows_of(n=N, seed=1):
    """Rows of one broad cloud; the items below 60 times seven, every seventh, are a small cluster."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, DIM)).astype(np.float32)
    rare = np.arange(0, 7 * RARE, 7)
    rows[rare] = rng.normal(size=DIM) + 0.5 * rng.normal(size=(RARE, DIM))
    return unit_rows(rows)


def is_rare(item):
    return item < 7 * RARE and item % 7 == 0


def opened(folder):
    """The workspace, where a round never ranks more than the 100 of its sample exactly."""
    ws = Workspace.open(folder)
    ws.config = replace(ws.config, sample_size=100, exact_limit=0)
    return ws


@pytest.fixture
def ws(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhood, "NEAR", 20)  # a hundred is much in so small a pool
    made = make_pool(tmp_path, 4000, embedded=False)
    made.registry.use(KEY, DIM)
    made.vectors(KEY, DIM).append(rows_of(4000))
    made.registry.set_embedded(KEY, DIM, N)
    made.close()
    ws = opened(made.folder)
    yield ws
    ws.close()


def make_all(ws):
    while (step := samples.due(ws)) is not None:
        samples.make(ws, step)
    while (items := neighbourhood.due(ws)) is not None:
        neighbourhood.make(ws, items)


def files(ws):
    return {p.name: p.read_bytes() for p in sorted(ws.cache.glob("*index*"))}


def answer(ws, session, items):
    """Answer these items, which nobody was asked about."""
    said = [event(i, "yes" if is_rare(i) else "no") for i in items]
    loop.record(ws, session, loop.owner(ws), said)


def answer_round(ws, session, is_one=is_rare):
    """Learn, and answer twenty cards; return their items."""
    loop.learn(ws, session)
    cards = loop.next_cards(ws, session, loop.owner(ws), 20, have=[])
    said = [event(c.item, "yes" if is_one(c.item) else "no", c.id) for c in cards]
    loop.record(ws, session, loop.owner(ws), said)
    return [c.item for c in cards]


def looked_at(ws, session, made):
    """What a recorded round looked at; None: every item."""
    material = drawing.Material.load(ws.round_file(session.id, made.number))
    fitted = drawing.draw(ws, session, made, material, ws.journal.answers(session.id, made.last_event))[1]
    return fitted.seen.among


def index_step(ws, session, made):
    return int(np.load(ws.round_file(session.id, made.number))["index_step"])


# the file ------------------------------------------------------------------------------------


def test_an_index_is_made_beyond_the_limit_only(ws):
    ws.config = replace(ws.config, exact_limit=N)
    assert neighbourhood.due(ws) is None
    ws.config = replace(ws.config, exact_limit=N - 1)
    assert neighbourhood.due(ws) == N
    neighbourhood.make(ws, N)
    assert neighbourhood.due(ws) is None
    assert neighbourhood.ready(ws, KEY, N) == Extent(N, N)
    ws.config = replace(ws.config, exact_limit=N)
    assert neighbourhood.ready(ws, KEY, N) is None
    ws.config = replace(ws.config, exact_limit=0, sample_size=N)
    assert neighbourhood.ready(ws, KEY, N) is None  # all items are in the sample


def test_it_grows_by_a_tenth_or_when_all_have_come(ws, monkeypatch):
    neighbourhood.make(ws, N)
    ws.registry.set_embedded(KEY, DIM, 3299)
    assert neighbourhood.due(ws) is None
    ws.registry.set_embedded(KEY, DIM, 3300)
    assert neighbourhood.due(ws) == 3300
    neighbourhood.make(ws, 3300)
    assert neighbourhood.ready(ws, KEY, 3300) == Extent(3300, N)
    assert neighbourhood.ready(ws, KEY, 3299) == Extent(N, N)
    assert list(files(ws)) == [f"index-{KEY}-{N}+300.faiss", f"index-{KEY}-{N}.faiss"]
    ws.registry.set_embedded(KEY, DIM, 3500)
    assert neighbourhood.due(ws) is None
    monkeypatch.setattr(neighbourhood, "TAIL", 199)
    assert neighbourhood.due(ws) is None  # more is to come
    monkeypatch.setattr(type(ws.catalog), "count_items", lambda self: 3500)
    assert neighbourhood.due(ws) == 3500


def listed(data):
    """Return which rows are in which list of an index; their numbers may be rounded otherwise."""
    index = faiss.deserialize_index(np.frombuffer(data, np.uint8))  # its lists go when it goes
    lists = index.invlists
    rows = [
        faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).tolist() if lists.list_size(i) else []
        for i in range(lists.nlist)
    ]
    assert sum(map(len, rows)) > 0
    return rows


def test_grown_in_parts_or_at_once_it_is_the_same_index(ws):
    for step in (2000, 2300, N):
        neighbourhood.make(ws, step)
    grown = files(ws)
    assert list(grown) == [f"index-{KEY}-2000+1000.faiss", f"index-{KEY}-2000+300.faiss"]
    for path in ws.cache.glob("index-*"):
        path.unlink()
    again = opened(ws.folder)
    hood = neighbourhood.neighbourhood(again, KEY, Extent(N, 2000))
    (made,) = ws.cache.glob("index-*")
    assert made.name in grown
    assert listed(made.read_bytes()) == listed(grown[made.name])
    rows = hood.rows[np.arange(N)]
    exact = Exact(rows).search(rows[2500:2560], 20)[0]
    near = hood.of(np.arange(2500, 2560)).reshape(60, -1)  # what came since is found
    assert np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(exact, near, strict=True)]) > 0.9
    again.close()


def test_a_grown_index_that_is_cut_off_is_grown_again_from_the_one_before(ws):
    neighbourhood.make(ws, 2000)
    neighbourhood.make(ws, 2300)
    whole = files(ws)
    ws.close()
    path = ws.cache / f"index-{KEY}-2000+300.faiss"
    path.unlink()
    path.write_bytes(whole[path.name][:5000])
    again = opened(ws.folder)
    assert neighbourhood.ready(again, KEY, N) == Extent(2000, 2000)
    neighbourhood.make(again, 2300)
    assert files(again) == whole
    again.close()


def test_it_is_made_anew_when_twice_as_many_have_come(ws):
    neighbourhood.make(ws, 1000)
    neighbourhood.make(ws, 1999)
    assert neighbourhood.ready(ws, KEY, 1999) == Extent(1999, 1000)
    neighbourhood.make(ws, 2000)
    assert neighbourhood.ready(ws, KEY, 2000) == Extent(2000, 2000)


def test_it_is_made_anew_when_what_came_is_unlike_the_rest(tmp_path, caplog):
    """All that came lies in one or two of the old lists, each of it near to much."""
    caplog.set_level("INFO", "labeler.neighbourhood")
    made = make_pool(tmp_path, 4000, embedded=False)
    made.registry.use(KEY, DIM)
    rng = np.random.default_rng(4)
    kinds = unit_rows(rng.normal(size=(40, DIM)))
    first = unit_rows(kinds[rng.integers(0, 40, 2100)] + 0.03 * rng.normal(size=(2100, DIM)))
    made.vectors(KEY, DIM).append(np.concatenate([first, unit_rows(rng.normal(size=(1900, DIM)))]))
    made.close()
    ws = opened(made.folder)
    ws.registry.set_embedded(KEY, DIM, 4000)
    neighbourhood.make(ws, 1900)
    neighbourhood.make(ws, 2100)
    assert neighbourhood.ready(ws, KEY, 2100) == Extent(2100, 1900)
    neighbourhood.make(ws, 3700)
    assert neighbourhood.ready(ws, KEY, 3700) == Extent(3700, 3700)
    assert [m for m in caplog.messages if "unlike the rest" in m]
    assert f"index-{KEY}-1900+1800.faiss" not in files(ws)
    ws.close()


def test_of_older_ones_one_is_kept_and_what_was_left_half_written_goes(ws):
    left = ws.cache / f".index-{KEY}-77.faiss.1.2.part"
    left.write_bytes(b"half")
    for step in (700, 1400, N):
        neighbourhood.make(ws, step)
    assert list(files(ws)) == [f"index-{KEY}-1400.faiss", f"index-{KEY}-{N}.faiss"]


def test_it_depends_on_the_vectors_and_the_step_alone(ws):
    neighbourhood.make(ws, N)
    first = files(ws)
    for path in ws.cache.glob("*.*"):
        path.unlink()
    ws.registry.set_embedded(KEY, DIM, 4000)
    again = opened(ws.folder)
    neighbourhood.make(again, N)
    assert files(again) == first
    again.close()


@pytest.mark.parametrize("keep", [0, 11, 0.3, 0.99, "other"])
def test_a_file_that_is_cut_off_or_something_else_is_made_again(ws, keep, caplog):
    neighbourhood.make(ws, N)
    (name, whole), *_ = files(ws).items()
    ws.close()
    path = ws.cache / name
    path.unlink()  # a file in use is never cut off, but may be removed
    cut = int(keep * len(whole)) if isinstance(keep, float) else keep
    path.write_bytes(b"PK\x03\x04 no index" * 99 if keep == "other" else whole[:cut])
    again = opened(ws.folder)
    assert neighbourhood.ready(again, KEY, N) is None
    session = loop.start_session(again)
    answer(again, session, range(30))
    assert index_step(again, session, loop.learn(again, session)) == 0
    assert neighbourhood.due(again) == N
    assert not caplog.messages
    neighbourhood.make(again, N)
    assert files(again) == {name: whole}
    assert caplog.messages == ["The index of 3000 images is cut off or of another version. It is made anew."]
    assert index_step(again, session, loop.learn(again, session)) == N
    again.close()


def test_an_index_whose_lists_were_never_measured_is_made_again(ws):
    import faiss

    neighbourhood.make(ws, N)
    path, first = neighbourhood._file(ws, KEY, Extent(N, N)), files(ws)
    made = faiss.read_index(str(path))
    assert made.nprobe >= 2
    made.nprobe = 1  # as versions before wrote it
    faiss.write_index(made, str(path))
    again = opened(ws.folder)
    assert neighbourhood.ready(again, KEY, N) is None
    assert neighbourhood.due(again) == N
    neighbourhood.make(again, N)
    assert files(again) == first
    again.close()


def test_an_index_with_fewer_lists_than_now_is_made_anew_also_with_a_graph(ws, monkeypatch):
    import faiss

    neighbourhood.make(ws, N)
    monkeypatch.setattr(search, "LENGTH", 20)
    monkeypatch.setattr(search, "GRAPH", 100)
    again = opened(ws.folder)
    assert neighbourhood.ready(again, KEY, N) is None
    assert neighbourhood.due(again) == N
    neighbourhood.make(again, N)
    made = faiss.read_index(str(neighbourhood._file(again, KEY, Extent(N, N))))
    assert made.nlist == faiss.downcast_index(made.quantizer).ntotal == N // 20
    assert neighbourhood.ready(again, KEY, N) == Extent(N, N)
    near = neighbourhood.neighbourhood(again, KEY, Extent(N, N)).of(np.array([0]))
    assert len(near) == neighbourhood.NEAR
    assert sum(map(is_rare, near.tolist())) > 0.9 * len(near)
    again.close()


def test_the_index_of_another_pool_is_not_taken_for_it(ws):
    neighbourhood.make(ws, 2000)
    neighbourhood._file(ws, KEY, Extent(2000, 2000)).rename(neighbourhood._file(ws, KEY, Extent(N, N)))
    again = opened(ws.folder)
    assert neighbourhood.ready(again, KEY, N) is None
    again.close()


def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(ws):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    neighbourhood._rows(ws, KEY, N)  # the turn is kept before
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Blocked, match=r"index-wide-3000.faiss can't be written: File too large"):
            neighbourhood.make(ws, N)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(ws) == {}
    assert neighbourhood.due(ws) == N


def test_the_trainer_makes_it_in_its_thread_after_the_samples(ws):
    assert trainer.wants_sample(ws)
    thread = threading.Thread(target=trainer.keep_sample, args=(ws,))
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert not trainer.wants_sample(ws)
    assert list(files(ws)) == [f"index-{KEY}-{N}.faiss"]


# who is near to whom -------------------------------------------------------------------------


def test_neighbours_are_the_same_remembered_or_not_and_whoever_is_beside(ws, monkeypatch):
    neighbourhood.make(ws, N)
    hood = neighbourhood.neighbourhood(ws, KEY, Extent(N, N))
    ids = np.array([5, 70, 2999, 3500])  # the last one came after the index
    together = hood.of(ids).reshape(4, -1)
    assert together.shape == (4, neighbourhood.NEAR)
    assert together.max() < N
    for i, near in zip(ids, together, strict=True):
        fresh = Neighbourhood(N, hood.index, hood.rows)
        np.testing.assert_array_equal(fresh.of(np.array([i])), near)
        np.testing.assert_array_equal(hood.around(rows_of(4000)[[i]]), near)
    np.testing.assert_array_equal(hood.of(ids[::-1]).reshape(4, -1), together[::-1])
    monkeypatch.setattr(neighbourhood, "REMEMBERED", 3)
    np.testing.assert_array_equal(hood.of(ids[[1, 0]]).reshape(2, -1), together[[1, 0]])
    np.testing.assert_array_equal(hood.of(np.array([9, 5])).reshape(2, -1)[1], together[0])
    assert hood.known.keys() == {9, 5}
    assert hood.of(np.empty(0, np.int64)).tolist() == []


def test_they_are_the_nearest_in_the_space_of_the_index(ws):
    neighbourhood.make(ws, N)
    hood = neighbourhood.neighbourhood(ws, KEY, Extent(N, N))
    rows = hood.rows[np.arange(N)]
    ids = np.arange(0, 7 * RARE, 7)
    exact = Exact(rows).search(rows[ids], 20)[0]
    near = hood.of(ids).reshape(RARE, -1)
    shared = [len(np.intersect1d(a, b)) / 20 for a, b in zip(exact, near, strict=True)]
    assert np.mean(shared) > 0.95


# rounds --------------------------------------------------------------------------------------


def test_a_round_waits_for_no_index_records_the_one_it_used_and_is_drawn_again(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    answer(ws, session, range(40))
    early = loop.learn(ws, session)
    assert files(ws) == {}
    neighbourhood.make(ws, 2000)
    between = loop.learn(ws, session)
    make_all(ws)
    late = loop.learn(ws, session)
    answer(ws, session, range(40, 60))
    later = loop.learn(ws, session)
    ws.registry.set_embedded(KEY, DIM, 4000)
    make_all(ws)
    last = loop.learn(ws, session)
    made = [early, between, late, later, last]
    assert [index_step(ws, session, m) for m in made] == [0, 2000, N, N, 4000]
    bases = [int(np.load(ws.round_file(session.id, m.number))["index_base"]) for m in made]
    assert bases == [0, 2000, 2000, 2000, 4000]
    picks = [ws.store.picks(session.id, m.number) for m in made]
    for again in (ws, opened(ws.folder)):
        for m, then in zip(made[::-1], picks[::-1], strict=True):
            assert drawing.draw_again(again, loop.get_session(again), m) == then
    for path in ws.cache.glob("*.*"):
        path.unlink()
    fresh = opened(ws.folder)
    fresh.config = replace(fresh.config, exact_limit=10**6)  # what is recorded counts
    for m, then in zip(made, picks, strict=True):
        assert drawing.draw_again(fresh, loop.get_session(fresh), m) == then
    fresh.close()


def test_a_round_of_a_version_whose_index_did_not_grow_is_drawn_again(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    answer(ws, session, range(40))
    make_all(ws)
    made = loop.learn(ws, session)
    path = ws.round_file(session.id, made.number)
    arrays = dict(np.load(path))
    assert int(arrays.pop("index_base")) == N
    np.savez(path, **arrays)
    assert drawing.draw_again(ws, session, made) == ws.store.picks(session.id, made.number)


@pytest.mark.parametrize("goal", ["find", "classify"])
def test_a_round_looks_at_a_part_and_asks_only_of_that_but_for_audit(ws, goal):
    make_all(ws)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], goal)
    answer(ws, session, range(0, 42, 3))
    made = loop.learn(ws, session)
    among = looked_at(ws, session, made)
    assert len(among) < 0.75 * N
    assert int(np.load(ws.round_file(session.id, made.number))["looked_at"]) == len(among)
    assert set(samples.sample(ws, KEY, samples.ready(ws, KEY, N, 100), 100).tolist()) <= set(among.tolist())
    picks = ws.store.picks(session.id, made.number)
    assert {p.item for p in picks if p.reason != "audit"} <= set(among.tolist())
    left = N - len(range(0, 42, 3))
    assert all(p.p_chosen == pytest.approx(1 / left, rel=0.01) for p in picks if p.reason == "audit")
    assert "audit" in {p.reason for p in picks}


def test_what_came_after_the_index_is_looked_at(ws):
    make_all(ws)
    ws.registry.set_embedded(KEY, DIM, 3700)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    answer(ws, session, range(30))
    made = loop.learn(ws, session)
    assert index_step(ws, session, made) == N
    assert set(range(N, 3700)) <= set(looked_at(ws, session, made).tolist())


def test_more_answers_are_more_neighbourhoods(ws):
    make_all(ws)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    answer(ws, session, range(22))
    first = looked_at(ws, session, loop.learn(ws, session))
    answer(ws, session, range(1000, 1020))
    second = looked_at(ws, session, loop.learn(ws, session))
    hood = neighbourhood.neighbourhood(ws, KEY, Extent(N, N))
    assert set(hood.of(np.arange(1000, 1020)).tolist()) <= set(second.tolist())
    assert len(second) > len(first)


def test_an_example_from_outside_leads_to_a_cluster_that_the_sample_does_not_hold(ws, monkeypatch):
    monkeypatch.setattr(neighbourhood, "NEAR", RARE)
    monkeypatch.setattr(active.nearby, "STEPS", 0)
    rare = np.arange(0, 7 * RARE, 7)
    outside = unit_rows(rows_of(4000)[rare].mean(0, keepdims=True))
    seen_by = space.current(ws)
    x = space.turned(seen_by.turn, outside)
    labeled = Labeled(x, np.zeros(1, np.int64), rare[:0], outside, x[:0])
    neighbourhood.make(ws, N)
    hood = neighbourhood.neighbourhood(ws, KEY, Extent(N, N))
    sample = np.arange(2000, 2100)
    eye = Eye(seen_by.rows, labeled, None, n_labels=2, is_one=True)
    seen = looking.nearby(eye, hood, sample, np.empty(0, np.int64), spare=0)
    assert seen.among.tolist() == [*rare.tolist(), *sample.tolist()]
    assert seen.target is None


def test_before_there_is_an_example_the_sample_is_asked(ws):
    make_all(ws)
    session = loop.start_session(ws)
    picks = ws.store.picks(session.id, loop.learn(ws, session).number)
    sample = samples.sample(ws, KEY, samples.ready(ws, KEY, N, 100), 100)
    assert {p.reason for p in picks} == {"spread", "audit"}
    assert {p.item for p in picks if p.reason == "spread"} <= set(sample.tolist())


def test_a_rare_class_is_found_as_through_the_whole_pool(ws):
    make_all(ws)
    found = {}
    for limit in (0, N):
        ws.config = replace(ws.config, exact_limit=limit)
        session = loop.new_session(ws, "Is it?", ["yes", "no"], "find", seed=1)
        answer(ws, session, [0])
        found[limit] = sum(is_rare(item) for _ in range(5) for item in answer_round(ws, session))
    assert found[0] >= found[N] - 1
    assert found[0] > 0.8 * RARE


def test_a_question_can_be_answered_to_the_end(tmp_path):
    made = make_pool(tmp_path, 400)
    made.close()
    ws = opened(made.folder)
    make_all(ws)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    while answer_round(ws, session, is_target):
        assert index_step(ws, session, ws.store.rounds(session.id, last=1)[0]) == 400
    assert ws.journal.counts(session) == {"yes": 40, "no": 360, "unsure": 0, "skip": 0}
    ws.close()


def test_the_estimate_from_what_is_looked_at_is_the_one_from_the_whole_pool(ws):
    make_all(ws)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    answer(ws, session, [0])
    for _ in range(6):
        answer_round(ws, session)
    near = loop.learn(ws, session)
    ws.config = replace(ws.config, exact_limit=N)
    whole = loop.learn(ws, session)
    assert [index_step(ws, session, made) for made in (near, whole)] == [N, 0]
    assert near.estimate is not None
    assert near.estimate.share == pytest.approx(whole.estimate.share, abs=0.02)
    assert near.estimate.low == pytest.approx(whole.estimate.low, abs=0.02)


def test_files_of_other_encoders_are_no_steps(ws):
    for name in ("index-wide-v4-500.faiss", "index-wide-x.faiss", "index-other-500.faiss"):
        Path(ws.cache / name).write_bytes(b"")
    Path(ws.cache / "index-wide-v4-400+200.faiss").write_bytes(b"")
    assert neighbourhood._extents(ws, KEY) == []
    assert neighbourhood._extents(ws, "wide-v4") == [Extent(600, 400), Extent(500, 500)]


@pytest.mark.data
def test_of_real_images_as_many_are_found_as_through_the_whole_pool(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhood, "NEAR", 20)  # a third of a class, as a hundred is of a whole one
    for folder in sorted((data_dir / "aid").iterdir())[:20]:
        (tmp_path / "some" / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:60]:
            (tmp_path / "some" / folder.name / path.name).symlink_to(path)
    trial = open_trial(tmp_path / "some", tmp_path / "ws")
    loop.prepare(trial.ws, report=lambda p: None)
    truth = read_truth(trial.ws, trial.classes)
    trial.ws.config = replace(trial.ws.config, sample_size=100)
    plan = simulate.Plan(times=1.0, seeds=2, labeled=(), baseline=False)
    found = {}
    for limit in (0, 10**6):
        trial.ws.config = replace(trial.ws.config, exact_limit=limit)
        make_all(trial.ws)
        copy = trial.ws.copy_to_play_on(tmp_path / f"copy{limit}")
        wanted = simulate.tasks(copy, truth, plan, sorted(truth.items))
        played = [simulate.play(copy, task) for task in wanted]
        found[limit] = np.mean([play.hits.mean() for play in played])
        copy.close()
    trial.ws.close()
    assert found[0] > found[10**6] - 0.02
