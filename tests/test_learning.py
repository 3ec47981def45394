import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from active.learner import Head, fit_head
from labeler import drawing, judging, learning, loop, people, predicting, samples, space, trainer
from labeler.errors import BadInput, NotReady
from labeler.workspace import Workspace
from tests.pools import DIM, KEY, event, is_target, make_pool


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 300)
    yield ws
    ws.close()


def answer_round(ws, session, person, n=20):
    cards = loop.next_cards(ws, session, person, n, have=[])
    events = [event(c.item, "yes" if is_target(c.item) else "no", c.id) for c in cards]
    loop.record(ws, session, person, events)
    return cards


def test_the_basis_is_a_power_of_two_times_512_and_never_more_than_the_pool():
    assert [space.basis_for(n, 1024) for n in (0, 511, 512, 1023, 1024, 10_000)] == [
        0,
        0,
        512,
        512,
        1024,
        8192,
    ]
    assert space.basis_for(10_000, 256) == 0


def test_the_loop_finds_the_target_faster_than_chance(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    person = loop.owner(ws)
    found = shown = 0
    while shown < 60:
        loop.learn(ws, session)
        cards = answer_round(ws, session, person)
        shown += len(cards)
        found += sum(is_target(c.item) for c in cards)
    assert found >= 18  # chance alone: 6 of the 30


def test_the_more_people_answer_the_more_answers_make_a_round(ws):
    """Else 200 people would have a round every tenth of a second, most of it never dealt."""
    people.make_link(ws, "swipe", lasts_s=60)  # so that a round is made for as many
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    loop.learn(ws, session)
    crowd = [ws.roster.add_person(f"p{i}", "swipe").id for i in range(30)]
    needed = []
    for n in range(60):
        answer_round(ws, session, crowd[n % 30], 1)
        if n in (18, 28, 58, 59):
            needed.append(learning.needs_round(ws, session, now=time.time()))
    assert needed == [False, False, False, True]  # 30 people: 60 answers


def test_ten_people_have_a_round_after_each_batch(ws):
    people.make_link(ws, "swipe", lasts_s=60)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    loop.learn(ws, session)
    crowd = [ws.roster.add_person(f"p{i}", "swipe").id for i in range(10)]
    for n in range(20):
        assert not learning.needs_round(ws, session, now=time.time())
        answer_round(ws, session, crowd[n % 10], 1)
    assert learning.needs_round(ws, session, now=time.time())


def test_every_card_carries_its_reason_round_and_probability(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    person = loop.owner(ws)
    reasons = set()
    for _ in range(6):
        made = loop.learn(ws, session)
        for card in answer_round(ws, session, person):
            reasons.add(card.reason)
            assert card.round == made.number
            assert card.p_chosen is not None
            assert 0 < card.p_chosen <= 1
            assert (card.p_chosen == 1) == (card.reason in ("find", "uncertain")) or card.reason == "spread"
    assert {"find", "audit", "spread"} <= reasons


def test_the_same_recorded_round_gives_the_same_cards(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "classify")
    person = loop.owner(ws)
    made = []
    for _ in range(5):
        made.append(loop.learn(ws, session))
        answer_round(ws, session, person, n=17)
    loop.set_goal(ws, session, "find")
    session = loop.get_session(ws, session.id)
    for number in made:
        assert drawing.draw_again(ws, session, number) == ws.store.picks(session.id, number.number)


def test_until_something_is_found_half_of_the_cards_are_unlike_what_was_refused_or_is_held(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    person = loop.owner(ws)
    loop.learn(ws, session)
    cards = loop.next_cards(ws, session, person, 25, have=[])
    loop.record(ws, session, person, [event(c.item, "no", c.id) for c in cards[:20]])
    made = loop.learn(ws, session)
    picks = ws.store.picks(session.id, made.number)
    assert {p.reason for p in picks} == {"spread", "audit"}
    first = next(p.item for p in picks if p.reason == "spread")
    asked = [*(c.item for c in cards), *(p.item for p in picks if p.reason == "audit")]
    rows = space.current(ws).rows
    unlike = np.array([p.reason == "spread" and p.p_chosen == 1 for p in picks])
    assert unlike.sum() >= 28
    near = (rows @ rows[asked].T).max(1)
    near[asked] = 2
    assert near[first] == near.min()
    assert drawing.draw_again(ws, session, made) == picks


def test_audit_cards_are_drawn_uniformly_with_the_probability_they_carry(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    person = loop.owner(ws)
    audits = 0
    for _ in range(8):
        made = loop.learn(ws, session)
        left_out = np.load(ws.round_file(session.id, made.number))["left_out"]
        for pick in ws.store.picks(session.id, made.number)[: session.batch_size]:
            if pick.reason == "audit":
                audits += 1
                assert pick.p_chosen == pytest.approx(1 / (made.pool - len(left_out)))
        answer_round(ws, session, person)
    assert audits == 8  # 5 % of eight batches of twenty


def test_answered_held_skipped_and_vanished_items_are_left_out(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    one, two = loop.owner(ws), ws.roster.add_person("bob", "own", "bob").id
    loop.learn(ws, session)
    held = loop.next_cards(ws, session, two, 5, have=[])
    answered = answer_round(ws, session, one, n=5)
    (skipped,) = loop.next_cards(ws, session, one, 1, have=[])
    loop.record(ws, session, one, [event(skipped.item, "skip", skipped.id)])
    ws.catalog.mark_absent([299])
    made = loop.learn(ws, session)
    out = {c.item for c in [*held, *answered, skipped]} | {299}
    assert not out & {p.item for p in ws.store.picks(session.id, made.number)}


def test_before_anything_is_embedded_cards_are_drawn_at_random_from_what_is_decoded(tmp_path):
    ws = make_pool(tmp_path, 200, embedded=False)
    session = loop.start_session(ws)
    made = loop.learn(ws, session)
    picks = ws.store.picks(session.id, made.number)
    assert not made.embedded
    assert {(p.reason, p.p_chosen) for p in picks} == {("spread", len(picks) / 200)}
    assert drawing.draw_again(ws, session, made) == picks
    ws.close()


def big(ws, size=100):
    """The same workspace, where a sample of `size` stands for the pool."""
    ws.config = replace(ws.config, sample_size=size)
    return ws


def kept_samples(ws):
    return {p.name: dict(np.load(p)) for p in sorted((ws.folder / "cache").glob("sample-*.npz"))}


def all_samples(ws):
    while (step := samples.due(ws)) is not None:
        samples.make(ws, step)


def test_samples_are_made_for_pools_each_a_quarter_larger():
    assert samples.steps(99, 100) == []
    assert samples.steps(100, 100) == [100]
    assert samples.steps(101, 100) == [100]
    assert samples.steps(195, 100) == [100, 125, 156, 195]
    steps = samples.steps(10_000_000, 100_000)
    assert 8_000_000 < steps[-1] <= 10_000_000


def test_a_round_waits_for_no_sample_and_records_the_one_it_used(ws):
    big(ws)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "classify")
    loop.record(ws, session, loop.owner(ws), [event(i, "yes" if is_target(i) else "no") for i in range(40)])
    early = loop.learn(ws, session)
    assert kept_samples(ws) == {}
    samples.make(ws, samples.due(ws))
    between = loop.learn(ws, session)
    all_samples(ws)
    late = loop.learn(ws, session)
    used = [int(np.load(ws.round_file(session.id, m.number))["sample_step"]) for m in (early, between, late)]
    assert used == [100, 125, 243]
    picks = [ws.store.picks(session.id, m.number) for m in (early, between, late)]
    assert {p.reason for p in picks[2]} >= {"uncertain"}
    before = kept_samples(ws)
    assert [int(f["counts"].sum()) for f in before.values()] == [125, 156, 195, 243]
    for path in (ws.folder / "cache").glob("*.npz"):
        path.unlink()
    again = Workspace.open(ws.folder)
    for made, then in zip((late, early, between), (picks[2], picks[0], picks[1]), strict=True):
        assert drawing.draw_again(again, loop.get_session(again), made) == then
    after = kept_samples(again)
    assert after.keys() == before.keys()
    for name, arrays in after.items():
        assert all(np.array_equal(arrays[part], before[name][part]) for part in ("ids", "counts"))
    again.close()


def test_the_sample_is_the_same_whether_the_pool_came_at_once_or_in_parts(tmp_path):
    rows = np.random.default_rng(1).normal(size=(1500, 300)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = []
    for name, parts in (("whole", (1500,)), ("parts", (400, 610, 1100, 1500))):
        (tmp_path / name).mkdir()
        ws = big(make_pool(tmp_path / name, 1500, embedded=False))
        ws.registry.use("wide", 300)
        done = 0
        for upto in parts:
            ws.vectors("wide", 300).append(rows[done:upto])
            ws.registry.set_embedded("wide", 300, upto)
            all_samples(ws)
            done = upto
        found.append(kept_samples(ws))
        ws.close()
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == len(samples.steps(1500, 100)) - 1
    for name, arrays in found[0].items():
        assert np.array_equal(arrays["ids"], found[1][name]["ids"])
        assert np.array_equal(arrays["counts"], found[1][name]["counts"])


def test_a_damaged_sample_is_made_again(ws):
    big(ws)
    all_samples(ws)
    whole = kept_samples(ws)
    name = list(whole)[-1]
    (ws.folder / "cache" / name).write_bytes(b"PK cut off")
    again = big(Workspace.open(ws.folder))
    assert samples.due(again) == 243
    all_samples(again)
    assert np.array_equal(kept_samples(again)[name]["ids"], whole[name]["ids"])
    again.close()


def test_the_trainer_makes_samples_in_a_thread_until_none_is_due(ws):
    big(ws)
    assert trainer.wants_sample(ws)
    thread = threading.Thread(target=trainer.keep_sample, args=(ws,))
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert not trainer.wants_sample(ws)
    assert len(kept_samples(ws)) == 4


def test_a_pool_no_larger_than_its_sample_needs_none(ws):
    big(ws, 300)
    session = loop.start_session(ws, goal="classify")
    made = loop.learn(ws, session)
    assert samples.due(ws) is None
    assert int(np.load(ws.round_file(session.id, made.number))["sample_step"]) == 0


def test_an_empty_pool_makes_no_round(tmp_path):
    ws = make_pool(tmp_path, 0, embedded=False)
    assert loop.learn(ws, loop.start_session(ws)) is None
    ws.close()


def test_the_pool_runs_dry_without_an_error(tmp_path):
    ws = make_pool(tmp_path, 30)
    session = loop.start_session(ws)
    for _ in range(4):
        loop.learn(ws, session)
        answer_round(ws, session, loop.owner(ws))
    assert loop.next_cards(ws, session, loop.owner(ws), 20, have=[]) == []
    assert ws.journal.counts(session) == {"yes": 3, "no": 27, "unsure": 0, "skip": 0}
    ws.close()


def test_a_round_is_due_after_a_batch_when_cards_run_short_and_when_the_pool_grows(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")

    def due() -> bool:
        return learning.needs_round(ws, session, now=0.0)

    assert due()
    loop.learn(ws, session)
    assert not due()
    answer_round(ws, session, loop.owner(ws), 19)
    assert not due()
    answer_round(ws, session, loop.owner(ws), 1)
    assert due()
    loop.learn(ws, session)
    ws.registry.set_embedded(KEY, 8, 300)
    assert not due()


def test_predictions_cover_the_pool_and_are_rough_before_audits(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no", "cloud"], "find")
    assert predicting.predict(ws, session) is None
    person = loop.owner(ws)
    for _ in range(3):
        loop.learn(ws, session)
        answer_round(ws, session, person)
    loop.learn(ws, session)
    got = predicting.predict(ws, session)
    assert got.probs.shape == (300, 3)
    assert got.rough
    assert np.allclose(got.probs.sum(1), 1, atol=1e-4)
    right = (got.probs[:, 0] > 0.5) == np.array([is_target(i) for i in range(300)])
    assert right.mean() > 0.9


def test_a_large_pool_is_turned_to_256_numbers_and_appended_to(tmp_path):
    ws = make_pool(tmp_path, 0, embedded=False)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1500, 300)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    stored = ws.vectors("wide", 300)
    stored.append(rows[:600])
    ws.registry.use("wide", 300)
    ws.registry.set_embedded("wide", 300, 600)
    first = space.current(ws)
    assert (first.basis, first.rows.shape) == (512, (600, 256))
    stored.append(rows[600:1000])
    ws.registry.set_embedded("wide", 300, 1000)
    second = space.current(ws)
    assert (second.basis, second.rows.shape) == (512, (1000, 256))
    assert np.array_equal(second.rows[:600], first.rows)
    stored.append(rows[1000:])
    ws.registry.set_embedded("wide", 300, 1500)
    assert space.current(ws).basis == 1024
    assert np.allclose(np.linalg.norm(space.current(ws).rows, axis=1), 1, atol=1e-4)
    ws.close()


def test_another_encoder_makes_a_round_once_it_has_seen_half_the_pool(ws):
    session = loop.start_session(ws)
    loop.learn(ws, session)
    rows = ws.vectors(KEY, DIM).rows()
    ws.registry.use("other", DIM)
    ws.vectors("other", DIM).append(rows[:200])
    ws.registry.set_embedded("other", DIM, 100)
    assert not learning.needs_round(ws, session, now=0.0)
    ws.registry.set_embedded("other", DIM, 200)
    assert learning.needs_round(ws, session, now=0.0)
    made = loop.learn(ws, session)
    assert (made.encoder, made.pool) == ("other", 200)
    first = ws.store.rounds(session.id)[0]
    assert drawing.draw_again(ws, session, first) == ws.store.picks(session.id, first.number)


def test_the_first_batch_is_neighbours_of_the_example_and_a_spread(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    loop.record(ws, session, loop.owner(ws), [event(10, "yes")])
    made = loop.learn(ws, session)
    picks = ws.store.picks(session.id, made.number)[:20]
    assert {p.reason for p in picks} == {"find", "spread", "audit"}
    likely = [p.item for p in picks if p.reason == "find"]
    assert sum(is_target(i) for i in likely) >= 0.8 * len(likely)


def test_an_example_given_after_the_first_round_makes_another(ws):
    session = loop.start_session(ws)
    loop.learn(ws, session)
    assert not learning.needs_round(ws, session, now=0.0)
    ws.store.link_example(ws.store.add_example(session.id, "hash", "a.png", 0), 10)
    assert learning.needs_round(ws, session, now=0.0)
    loop.learn(ws, session)
    assert not learning.needs_round(ws, session, now=0.0)


def test_many_devices_and_vanished_picks_do_not_starve_the_deck(tmp_path):
    ws = make_pool(tmp_path, 900)
    session = loop.start_session(ws)
    people = [ws.roster.add_person(f"p{i}", "own", f"p{i}").id for i in range(5)]
    loop.learn(ws, session)
    for person in people:
        if learning.needs_round(ws, session, now=time.time()):
            loop.learn(ws, session)
        assert len(loop.next_cards(ws, session, person, 20, have=[])) == 20
    loop.learn(ws, session)
    newest = ws.store.rounds(session.id)[-1].number
    ws.catalog.mark_absent([p.item for p in ws.store.picks(session.id, newest)])
    assert learning.needs_round(ws, session, now=0.0)
    ws.close()


def test_when_nothing_is_left_no_round_is_made_again_and_again(tmp_path):
    ws = make_pool(tmp_path, 10)
    session = loop.start_session(ws)
    loop.learn(ws, session)
    assert not learning.needs_round(ws, session, now=0.0)
    answer_round(ws, session, loop.owner(ws), 10)
    assert learning.needs_round(ws, session, now=time.time())  # one, which knows that all was asked
    loop.learn(ws, session)
    assert not learning.needs_round(ws, session, now=time.time())
    ws.close()


def test_without_a_target_yet_find_takes_no_item_for_likely(ws):
    session = loop.start_session(ws, "Which?", ["a", "b", "c"], "find")
    loop.record(ws, session, loop.owner(ws), [event(i, "bc"[i % 2]) for i in range(1, 9)])
    made = loop.learn(ws, session)
    assert {p.reason for p in ws.store.picks(session.id, made.number)} == {"spread", "audit"}


def test_a_round_is_drawn_again_after_a_restart_a_new_label_and_a_pool_that_grew(tmp_path):
    ws = make_pool(tmp_path, 1500, embedded=False)
    rows = np.random.default_rng(1).normal(size=(1500, 300)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ws.registry.use("wide", 300)
    for lo, hi in ((0, 600), (600, 871), (871, 900)):
        ws.vectors("wide", 300).append(rows[lo:hi])
        ws.registry.set_embedded("wide", 300, hi)
        space.current(ws)
    session = loop.start_session(ws, goal="classify")
    loop.record(ws, session, loop.owner(ws), [event(i, "yes") for i in range(25)])
    made = loop.learn(ws, session)
    picks = ws.store.picks(session.id, made.number)
    loop.add_label(ws, session, "other")
    ws.vectors("wide", 300).append(rows[900:])
    ws.registry.set_embedded("wide", 300, 1500)
    ws.close()
    again = Workspace.open(ws.folder)
    assert drawing.draw_again(again, loop.get_session(again), made) == picks
    again.close()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off"])
def test_a_damaged_round_file_is_passed_over(ws, damage):
    session = loop.start_session(ws)
    loop.record(ws, session, loop.owner(ws), [event(i, "yes" if is_target(i) else "no") for i in range(30)])
    first, second = loop.learn(ws, session), loop.learn(ws, session)
    ws.round_file(session.id, second.number).write_bytes(damage)
    assert predicting.predict(ws, session).round == first.number
    assert len(predicting.predict(ws, session).probs) == len(space.current(ws).rows)  # later ones too
    with pytest.raises(NotReady, match="gone or damaged"):
        drawing.draw_again(ws, session, second)


def play(ws, session, person, *, until):
    """Answer rounds until so many of the target are found; return the found."""
    found = 0
    while found < until:
        loop.learn(ws, session)
        found += sum(is_target(c.item) for c in answer_round(ws, session, person))
    loop.learn(ws, session)
    return found


def test_a_round_says_how_much_has_been_found_once_it_can(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    person = loop.owner(ws)
    assert loop.session_status(ws, session)["estimate"] is None
    found = play(ws, session, person, until=15)
    said = loop.session_status(ws, session)["estimate"]
    assert 0 < said["low"] <= said["share"] <= said["high"] <= 1
    assert said["low"] <= found / 30 <= said["high"]
    assert found - 1e-6 <= said["total_low"] <= said["total"] <= said["total_high"]
    assert said["total"] == pytest.approx(found / said["share"])
    assert 0 <= said["next_finds"] <= 50
    assert ws.store.rounds(session.id)[0].estimate is None


def test_the_estimate_narrows_to_certainty(ws):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    play(ws, session, loop.owner(ws), until=30)
    while answer_round(ws, session, loop.owner(ws)):
        loop.learn(ws, session)
    known = [(r.shown, r.estimate) for r in ws.store.rounds(session.id) if r.estimate]
    first, last = known[0][1], known[-1][1]
    half = next(e for shown, e in known if shown >= 200)
    most = next(e for shown, e in known if shown >= 260)
    for more, less in ((half, first), (most, half), (last, most)):
        assert more.low > less.low
        assert more.high - more.low < less.high - less.low
    assert (last.low, last.high) == (1, 1)  # everything was asked


def test_the_last_answers_bring_one_round_and_not_one_each(ws):
    """Nothing is left to ask as soon as the last cards are in people's hands."""
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    person, held, rounds = loop.owner(ws), [], []
    for at in range(400):
        if learning.needs_round(ws, session, now=time.time()):
            loop.learn(ws, session)
            rounds.append(at)
        if len(held) < 12:
            held += loop.next_cards(ws, session, person, 20 - len(held), have=[c.id for c in held])
        if not held:
            break
        card = held.pop(0)
        answer = event(card.item, "yes" if is_target(card.item) else "no", card.id)
        loop.record(ws, session, person, [answer])
    made = ws.store.rounds(session.id)
    assert made[-1].shown == 300
    assert not learning.needs_round(ws, session, now=time.time())
    assert len(rounds) <= 300 // 20 + 3
    assert made[-1].estimate.low == 1


def test_where_doubtful_images_are_asked_nothing_is_said_of_what_is_found(ws):
    session = loop.start_session(ws, "Which?", ["yes", "no"], "classify")
    play(ws, session, loop.owner(ws), until=12)
    assert loop.session_status(ws, session)["estimate"] is None


def test_an_answer_taken_back_while_a_round_is_made_leaves_it_without_an_estimate(ws, monkeypatch):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    play(ws, session, loop.owner(ws), until=12)
    reasons = ws.journal.reasons

    def one_less(number):
        items, why = reasons(number)
        return items[1:], why[1:]

    monkeypatch.setattr(ws.journal, "reasons", one_less)
    assert loop.learn(ws, session).estimate is None


def test_an_estimate_survives_the_database_and_more_labels(ws):
    session = loop.start_session(ws, "Which?", ["yes", "no", "maybe"], "find")
    person = loop.owner(ws)
    for _ in range(5):
        loop.learn(ws, session)
        cards = loop.next_cards(ws, session, person, 20, have=[])
        say = [("yes" if is_target(c.item) else "maybe" if c.item % 3 else "no") for c in cards]
        loop.record(
            ws, session, person, [event(c.item, label, c.id) for c, label in zip(cards, say, strict=True)]
        )
    made = loop.learn(ws, session)
    assert made.estimate is not None
    assert ws.store.rounds(session.id)[-1] == made


# a target, and how right the head is --------------------------------------------------------


def test_a_target_is_kept_with_its_past_and_belongs_to_one_question(ws):
    session = loop.new_session(ws, "Is it?", ["yes", "no"], seed=1)
    other = loop.start_session(ws, "Is it another?")
    assert session.target_share is None
    for share in (0.9, 0.9, 0.95, None):
        session = loop.set_target(ws, session, share)
        assert session.target_share == share
    assert [share for share, _ in ws.store.targets(session.id)] == [0.9, 0.95, None]
    loop.set_target(ws, session, 0.8)
    again = Workspace.open(ws.folder)
    assert loop.get_session(again, session.id).target_share == 0.8
    assert loop.get_session(again, other.id).target_share is None
    again.close()


@pytest.mark.parametrize("share", [0.0, 0.49, 1.0, 95.0, -0.5, float("nan"), float("inf")])
def test_a_target_that_no_estimate_can_reach_is_refused(ws, share):
    session = loop.set_target(ws, loop.start_session(ws), 0.9)
    with pytest.raises(BadInput, match="can't be a target"):
        loop.set_target(ws, session, share)
    assert loop.get_session(ws, session.id).target_share == 0.9


def test_advice_comes_with_a_target_and_changes_with_it_without_a_new_round(ws):
    session = loop.new_session(ws, "Is it?", ["yes", "no"], seed=2)
    person = loop.owner(ws)
    session = loop.set_target(ws, session, 0.95)
    assert loop.session_status(ws, session)["advice"] is None  # nothing is known yet
    found = play(ws, session, person, until=15)
    early = loop.session_status(ws, session)["advice"]
    assert (early["target"], early["reached"]) == (0.95, False)
    assert early["cards_to_next"] > 0
    assert early["cards_to_sure"] is None or early["cards_to_sure"] >= (early["cards_to_target"] or 0)
    low = loop.session_status(ws, loop.set_target(ws, session, 0.5))["advice"]
    assert low["chance"] >= early["chance"]
    assert loop.session_status(ws, loop.set_target(ws, session, None))["advice"] is None
    session = loop.set_target(ws, session, 0.85)
    play(ws, session, person, until=30 - found)
    for _ in range(8):
        answer_round(ws, session, person)
        loop.learn(ws, session)
        if (late := loop.session_status(ws, session)["advice"])["reached"]:
            break
    assert late["reached"]
    assert late["chance"] >= 0.9
    assert late["cards_to_target"] == 0
    assert loop.session_status(ws, session)["estimate"]["next_finds"] == late["next_finds"]


def test_advice_is_what_the_whole_estimate_gives(ws, monkeypatch):
    """The distribution that is stored with the round is the one that the round had."""
    from active import recall

    seen = []
    whole = recall.estimate
    monkeypatch.setattr(recall, "estimate", lambda *a, **k: seen.append(whole(*a, **k)) or seen[-1])
    session = loop.set_target(ws, loop.new_session(ws, "Is it?", ["yes", "no"], seed=1), 0.9)
    play(ws, session, loop.owner(ws), until=20)
    for target in (0.5, 0.8, 0.9, 0.95, 0.999):
        said = loop.session_status(ws, loop.set_target(ws, session, target))["advice"]
        assert said["chance"] == pytest.approx(seen[-1].chance(target), abs=1e-12)
        shown = [r.shown for r in ws.store.rounds(session.id, last=2)]
        both = [e and recall.advise(e, target, cards=c) for e, c in zip(seen[-2:], shown, strict=True)]
        assert said["reached"] == all(one is not None and one.reached for one in both)


def test_without_the_rounds_file_nothing_is_advised(ws):
    session = loop.set_target(ws, loop.new_session(ws, "Is it?", ["yes", "no"], seed=1), 0.9)
    play(ws, session, loop.owner(ws), until=15)
    newest = ws.store.rounds(session.id, last=1)[0].number
    ws.round_file(session.id, newest).write_bytes(b"")
    facts = loop.session_status(ws, session)
    assert facts["estimate"] is not None
    assert facts["advice"] is None


def test_the_head_is_judged_by_audit_cards_alone(ws):
    session = loop.new_session(ws, "Is it?", ["yes", "no"], seed=1)
    person = loop.owner(ws)
    assert loop.status(ws, session)["session"]["quality"] is None
    play(ws, session, person, until=30)
    known = ws.store.quality(session.id)
    items, why = ws.journal.reasons(session.id)
    audit = items[why == "audit"]
    assert known.audit == len(audit) > 0
    assert known.audit < len(items) / 4
    for number, judged in enumerate(known.labels):
        for at in judged:
            assert at.cards <= known.audit
            assert at.right <= sum(is_target(int(i)) == (number == 0) for i in audit)
            assert (at.precision is None) == (at.cards == 0)
    told = loop.status(ws, session)["session"]["quality"]
    assert list(told["labels"]) == ["yes", "no"]
    assert told["labels"]["no"][0]["cards"] == known.labels[1][0].cards


@pytest.mark.parametrize("goal", ["find", "classify"])
def test_the_head_is_not_judged_by_what_it_learned_by_heart(ws, monkeypatch, goal):
    """Each audit card's score is that of a head which learned from all the others, fitted anew here."""
    session = loop.new_session(ws, "Is it?", ["yes", "no"], goal, seed=1)
    ws.config = replace(ws.config, audit_share=0.2)
    person = loop.owner(ws)
    rng = np.random.default_rng(0)
    for _ in range(3):
        loop.learn(ws, session)
        cards = loop.next_cards(ws, session, person, 20, have=[])
        coin = rng.random(len(cards)) < 0.3  # wrong answers, which a head may learn by heart
        events = [
            event(c.item, "yes" if is_target(c.item) ^ bool(odd) else "no", c.id)
            for c, odd in zip(cards, coin, strict=True)
        ]
        loop.record(ws, session, person, events)
    judged = []
    monkeypatch.setattr(judging, "quality", lambda *a: judged.append(a))
    made = loop.learn(ws, session)
    ((probs, labels, is_audit),) = judged
    items, why = ws.journal.reasons(session.id)
    assert (why == "audit").tolist() == is_audit.tolist()
    answers = ws.journal.answers(session.id)
    rows = space.current(ws).rows
    y = answers.labels[np.searchsorted(answers.items, items)]
    assert y.tolist() == labels.tolist()
    by_heart = predicting.predict(ws, session, items).probs
    stored = np.load(ws.round_file(session.id, made.number))
    fitted = Head.from_arrays({k[5:]: v for k, v in stored.items() if k.startswith("head_")})
    off, off_by_heart = [], []
    for place in np.flatnonzero(is_audit):
        rest = np.sort(np.delete(items, place))
        said = answers.labels[np.searchsorted(answers.items, rest)]
        chance = np.random.default_rng(made.seed)
        head = fit_head(rows[rest], said, pool=rows, is_rare=goal == "find", rng=chance)
        true = fitted.probabilities(head.decision(rows[[items[place]]]))[0]
        off.append(abs(probs[place] - true).max())
        off_by_heart.append(abs(by_heart[place] - true).max())
    assert len(off) >= 10
    assert np.mean(off) < 0.3 * np.mean(off_by_heart)


def test_three_labels_are_judged_each_by_itself_and_a_new_one_waits(ws):
    session = loop.new_session(ws, "Which?", ["yes", "no", "maybe"], seed=1)
    person = loop.owner(ws)
    for _ in range(6):
        loop.learn(ws, session)
        cards = loop.next_cards(ws, session, person, 20, have=[])
        say = [("yes" if is_target(c.item) else "maybe" if c.item % 3 else "no") for c in cards]
        loop.record(
            ws, session, person, [event(c.item, label, c.id) for c, label in zip(cards, say, strict=True)]
        )
    loop.learn(ws, session)
    assert len(ws.store.quality(session.id).labels) == 3
    session = loop.add_label(ws, session, "never")
    assert list(loop.status(ws, session)["session"]["quality"]["labels"]) == ["yes", "no", "maybe"]


def test_an_export_says_what_was_known(ws, tmp_path):
    session = loop.set_target(ws, loop.new_session(ws, "Is it?", ["yes", "no"], seed=1), 0.9)
    play(ws, session, loop.owner(ws), until=20)
    loop.export(ws, session, format="jsonl", out=tmp_path / "out")
    about = json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    facts = loop.status(ws, session)["session"]
    for name in ("estimate", "advice", "quality", "target_share", "round", "goal"):
        assert about[name] == json.loads(json.dumps(facts[name])), name
    assert [t["share"] for t in about["targets"]] == [0.9]
    assert about["round_at"].startswith("20")
    assert {"made_at", "files"} <= set(about)
    new = loop.new_session(ws, "Is it new?", ["yes", "no"])
    loop.export(ws, new, format="csv", out=tmp_path / "new")
    about = json.loads((tmp_path / "new" / "export.json").read_text("utf-8"))
    empty = ("estimate", "advice", "quality", "target_share", "round_at")
    assert [about[name] for name in empty] == [None] * len(empty)
