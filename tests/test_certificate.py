import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest

from active import bound, recall
from labeler import certificate, drawing, learning, loop, predicting, trainer
from labeler.arrays import load_arrays
from labeler.errors import BadInput, Conflict, NotReady
from labeler.workspace import Workspace
from tests.pools import DIM, KEY, event, is_target, make_pool
from tests.test_cli import run


@pytest.fixture
def ws(tmp_path):
    """A pool of 1,000 with 100 targets, of which 90 are found among 150 answers."""
    ws = make_pool(tmp_path, 1000)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    loop.learn(ws, session)
    targets, others = range(0, 900, 10), range(1, 61)
    say(ws, [*targets, *(i for i in others if not is_target(i))])
    loop.learn(ws, session)
    yield ws
    ws.close()


def say(ws, items, answer=None):
    """Answer items outside of any card: rightly, or all with `answer`."""
    session = loop.newest_session(ws)
    events = [event(i, answer or ("yes" if is_target(i) else "no")) for i in items]
    loop.record(ws, session, loop.owner(ws), events)


def deal(ws, n=20):
    return loop.next_cards(ws, loop.newest_session(ws), loop.owner(ws), n, have=[])


def swipe(ws, cards, answer=None):
    session = loop.newest_session(ws)
    events = [event(c.item, answer or ("yes" if is_target(c.item) else "no"), c.id) for c in cards]
    loop.record(ws, session, loop.owner(ws), events)


def swipe_all(ws):
    shown = []
    while cards := deal(ws):
        swipe(ws, cards)
        shown += cards
    return shown


def played(folder):
    """A pool of which 160 cards were dealt and answered."""
    ws = make_pool(folder, 1000)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    for _ in range(8):
        loop.learn(ws, session)
        swipe(ws, deal(ws))
    loop.learn(ws, session)
    return ws


def begin(ws, share=0.8, cards=None):
    return certificate.begin(ws, loop.newest_session(ws), share, cards)


def look(ws):
    return certificate.look(ws, loop.newest_session(ws))


def told(ws):
    return loop.session_status(ws, loop.newest_session(ws))["certificate"]


def drawn(ws):
    session = loop.newest_session(ws)
    newest = ws.store.rounds(session.id)[-1]
    return [p.item for p in ws.store.picks(session.id, newest.number)]


# the price ---------------------------------------------------------------------------------


def test_the_price_is_what_begin_draws_and_what_it_says_it_would_say(ws):
    session = loop.newest_session(ws)
    offer = certificate.price(ws, session, 0.8)
    assert (offer.left, offer.found, offer.unsure) == (1000 - 144, 90, 0)
    assert offer.says(offer.draws, 0) >= 0.8 > offer.says(offer.draws - 1, 0)
    assert begin(ws).draws == offer.draws
    swipe_all(ws)
    now = look(ws)
    assert now.at_least == pytest.approx(offer.says(offer.draws, now.finds))


def test_what_the_estimate_expects_makes_it_dearer_and_stays_known_while_it_runs(tmp_path):
    ws = played(tmp_path)
    session = loop.newest_session(ws)
    offer = certificate.price(ws, session, 0.95)
    last = ws.store.rounds(session.id)[-1].estimate
    assert offer.missed == round(last.total) - offer.found > 0
    assert offer.if_missed > offer.draws
    session = loop.set_target(ws, session, 0.95)
    before = loop.status(ws, session)["session"]
    assert None not in (before["advice"], before["quality"])
    begin(ws)
    assert ws.store.rounds(session.id)[-1].estimate == last
    while_running = loop.status(ws, session)["session"]
    assert [while_running[k] for k in ("advice", "quality")] == [before[k] for k in ("advice", "quality")]
    ws.close()


def test_when_not_even_all_would_do_it_says_so_and_begins_nothing(ws):
    session = loop.newest_session(ws)
    say(ws, range(901, 931), "unsure")
    offer = certificate.price(ws, session, 0.9)
    assert (offer.draws, offer.if_missed, offer.unsure) == (None, None, 29 + 1)
    with pytest.raises(BadInput, match="Not even all 826 images would do for 90 %: 30 could not be told"):
        begin(ws, 0.9)
    assert look(ws) is None
    begin(ws, 0.9, 50)  # a number of one's own may be drawn all the same


def test_what_can_be_drawn_and_what_cannot(tmp_path):
    ws = make_pool(tmp_path, 30)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    with pytest.raises(NotReady, match="Nothing has been found that is 'yes'"):
        begin(ws)
    say(ws, range(20))
    with pytest.raises(BadInput, match="11 cards can't be drawn from 10"):
        begin(ws, cards=11)
    assert begin(ws, cards=10).left == 10
    swipe_all(ws)
    assert (look(ws).at_least, look(ws).finds) == (1.0, 1)
    with pytest.raises(NotReady, match="Every image has been asked"):
        begin(ws)
    assert certificate.of_round(ws, session, 99) is None
    ws.close()


# dealing -----------------------------------------------------------------------------------


def test_only_the_draws_are_dealt_each_with_its_probability_and_no_round_is_made(ws):
    session = loop.newest_session(ws)
    begun = begin(ws)
    items = drawn(ws)
    assert len(set(items)) == begun.draws
    assert not {i for i in items if i < 900 and is_target(i)}
    cards = deal(ws)
    swipe(ws, cards)
    assert trainer.learn(ws, session.id)["problem"] is None
    assert not learning.needs_round(ws, session, now=0.0)
    more = swipe_all(ws)
    assert {c.item for c in [*cards, *more]} == set(items)
    assert {(c.reason, c.p_chosen) for c in more} == {("audit", begun.draws / begun.left)}
    assert deal(ws) == []
    assert learning.needs_round(ws, session, now=0.0)
    assert trainer.learn(ws, session.id)["problem"] is None
    assert {c.reason for c in deal(ws)} >= {"find"}
    assert look(ws).state == "done"


def test_a_certificates_round_is_drawn_again_the_same(ws):
    session = loop.newest_session(ws)
    ws.catalog.mark_absent([999])
    begin(ws)
    made = ws.store.rounds(session.id)[-1]
    swipe_all(ws)
    loop.learn(ws, session)
    ws.catalog.mark_absent([998])
    assert drawing.draw_again(ws, session, made) == ws.store.picks(session.id, made.number)
    assert 999 not in {p.item for p in ws.store.picks(session.id, made.number)}


def test_skipped_draws_come_back_first_among_others_then_alone(ws):
    begun = begin(ws, cards=30)
    first = deal(ws, 3)
    swipe(ws, first, "skip")
    rest = swipe_all_but_skipped(ws, {c.item for c in first})
    assert len(rest) == 27
    back = deal(ws, 20)
    assert [c.item for c in back] == [c.item for c in first]
    swipe(ws, back[:1], "skip")
    swipe(ws, back[1:])
    assert look(ws).answered == begun.draws - 1
    (last,) = deal(ws)
    assert (last.item, look(ws).state) == (first[0].item, "running")
    swipe(ws, [last])
    assert look(ws).state == "done"


def swipe_all_but_skipped(ws, skipped):
    shown = []
    while cards := [c for c in deal(ws, 9) if c.item not in skipped]:
        swipe(ws, cards)
        shown += cards
        if len(shown) == 27:
            break
    return shown


def test_another_process_that_learns_meanwhile_stores_no_round(ws, monkeypatch):
    session = loop.newest_session(ws)
    other = Workspace.open(ws.folder)
    draw = drawing.draw

    def begun_meanwhile(*args):
        out = draw(*args)
        begin(other)
        return out

    monkeypatch.setattr(drawing, "draw", begun_meanwhile)
    made = loop.learn(ws, session)
    monkeypatch.undo()
    assert certificate.of_round(ws, session, made.number).state == "running"
    assert drawing.draw_again(ws, session, made) == ws.store.picks(session.id, made.number)
    stored = load_arrays(ws.round_file(session.id, made.number)) or {}
    assert all(
        name.startswith("estimate_") for name in stored
    )  # the certificate's own, not the refused round's
    assert {c.reason for c in deal(ws, 50)} == {"audit"}
    assert predicting.predict(ws, session) is not None  # the last head is still there
    other.close()


def test_a_server_that_runs_deals_what_another_process_began(ws):
    before = deal(ws)
    out = run("certificate", "--share", "80", "--begin", "--workspace", ws.folder).stdout
    assert out.startswith("Certificate running, 0 of ")
    after = deal(ws)
    assert {c.item for c in after} <= set(drawn(ws))
    assert {c.reason for c in after} == {"audit"}
    session, person = loop.newest_session(ws), loop.owner(ws)
    undrawn = [c.id for c in before if c.item not in drawn(ws)]
    assert len(undrawn) > 10
    held = [c.id for c in (*before, *after)]
    assert loop.gone_cards(ws, session, person, held) == undrawn  # what the deck holds is let go
    again = loop.next_cards(ws, session, person, 50)  # a reload
    assert {c.item for c in again} <= set(drawn(ws))
    items = {c.item for c in before if c.id in undrawn}
    assert not items & set(ws.dealing.held(session.id, time.time()))  # and anybody may have it after the end
    assert loop.ask_about(ws, session, [min(items)]) == 1  # what a person wants to see comes all the same
    assert [c.item for c in loop.next_cards(ws, session, person, 1, have=[])] == [min(items)]


def test_an_answer_that_is_taken_back_while_one_runs_is_asked_again_at_once(ws):
    session, person = loop.newest_session(ws), loop.owner(ws)
    card = deal(ws, 1)[0]
    given = event(card.item, "yes", card.id)
    loop.record(ws, session, person, [given])
    begin(ws)
    loop.undo(ws, session, person, str(uuid.uuid4()))
    assert loop.gone_cards(ws, session, person, [card.id]) == []
    assert card.id in [c.id for c in loop.next_cards(ws, session, person, 50)]  # a reload


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_leaves_a_certificate_whole_or_none(ws, when):
    code = f"""
import os, signal
from pathlib import Path
from labeler import certificate, draws, loop
from labeler.workspace import Workspace
ws = Workspace.open(Path({str(ws.folder)!r}))
if {when == "before"}:
    draws.add = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
certificate.begin(ws, loop.newest_session(ws), 0.8)
os.kill(os.getpid(), signal.SIGKILL)
"""
    session = loop.newest_session(ws)
    rounds = len(ws.store.rounds(session.id))
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    assert done.returncode == -signal.SIGKILL
    if when == "before":
        assert look(ws) is None
        assert len(ws.store.rounds(session.id)) == rounds
        begin(ws)
    assert len(drawn(ws)) == look(ws).draws
    swipe(ws, deal(ws))
    ws.close()
    again = Workspace.open(ws.folder)
    assert look(again).answered == 20
    swipe_all(again)
    assert look(again).state == "done"
    again.close()


# what it says ------------------------------------------------------------------------------


def test_partly_answered_or_cancelled_it_says_nothing(ws):
    begun = begin(ws)
    swipe(ws, deal(ws))
    assert (look(ws).state, look(ws).answered, look(ws).at_least) == ("running", 20, None)
    with pytest.raises(Conflict, match=rf"A certificate is running: 20 of {begun.draws} cards"):
        begin(ws)
    certificate.cancel(ws, loop.newest_session(ws))
    assert (look(ws).state, look(ws).at_least) == ("cancelled", None)
    with pytest.raises(NotReady, match="No certificate is running"):
        certificate.cancel(ws, loop.newest_session(ws))
    session = loop.newest_session(ws)
    assert learning.needs_round(ws, session, now=0.0)
    assert loop.learn(ws, session).embedded
    swipe_all(ws)  # even if all draws are answered later
    assert (look(ws).state, look(ws).at_least) == ("cancelled", None)


def test_a_second_one_is_counted(ws):
    begin(ws, cards=5)
    certificate.cancel(ws, loop.newest_session(ws))
    begin(ws, cards=5)
    swipe_all(ws)
    assert look(ws).number == 2
    assert "number 2 of this question" in run("status", "--workspace", ws.folder).stdout


def test_unsure_counts_as_missed_before_and_among_the_draws(ws):
    say(ws, [901, 902], "unsure")
    begun = begin(ws, cards=200)
    cards = deal(ws, 50)
    swipe(ws, cards[:3], "unsure")
    swipe(ws, cards[3:])
    swipe_all(ws)
    now = look(ws)
    assert now.unsure == 3
    most = 90 + 2 + bound.at_most(begun.left, draws=200, hits=now.finds + 3)
    assert now.at_most == most
    assert now.at_least == pytest.approx((90 + now.finds) / most)


def test_draws_whose_files_are_gone_are_waited_for_and_count_as_missed_when_finished(ws):
    begun = begin(ws, cards=40)
    gone = drawn(ws)[:2]
    ws.catalog.mark_absent(gone)
    swipe_all(ws)
    now = look(ws)
    assert (now.state, now.answered, now.gone) == ("running", 38, 2)
    assert "2 of them have no file any more" in run("status", "--workspace", ws.folder).stdout
    ended = certificate.finish(ws, loop.newest_session(ws))
    assert ended.state == "done"
    assert ended.at_most == 90 + bound.at_most(begun.left, draws=40, hits=ended.finds + 2)
    assert loop.learn(ws, loop.newest_session(ws)).embedded


def test_an_answer_taken_back_after_the_end_counts_as_missed(ws):
    begin(ws)
    swipe_all(ws)
    loop.learn(ws, loop.newest_session(ws))
    before = look(ws)
    no = next(i for i in drawn_by_certificate(ws) if not is_target(i))
    loop.correct(ws, loop.newest_session(ws), loop.owner(ws), no, None)
    after = look(ws)
    assert after.state == "done"
    assert after.at_least < before.at_least
    loop.correct(ws, loop.newest_session(ws), loop.owner(ws), 10, None)  # found before the draws
    assert look(ws).at_least < after.at_least
    say(ws, [no, 10])
    assert look(ws).at_least == before.at_least


def drawn_by_certificate(ws):
    session = loop.newest_session(ws)
    made = next(r for r in ws.store.rounds(session.id) if certificate.of_round(ws, session, r.number))
    return [p.item for p in ws.store.picks(session.id, made.number)]


def test_what_is_found_later_counts_and_what_comes_later_does_not(ws):
    begin(ws, cards=100)
    swipe_all(ws)
    before = look(ws)
    say(ws, range(900, 1000, 10))
    after = look(ws)
    assert after.at_most == before.at_most
    assert after.at_least == pytest.approx(100 / after.at_most)
    assert after.at_least > before.at_least
    files = ws.store.conn
    files.execute("INSERT INTO items(id, hash, width, height) VALUES (1000, 'new', 9, 9)")
    say(ws, [1000])
    assert (look(ws).at_least, look(ws).joined) == (after.at_least, 1)
    assert "1 images came later and are not covered" in run("status", "--workspace", ws.folder).stdout


def test_found_images_whose_files_are_gone_are_not_boasted_of(ws):
    ws.catalog.mark_absent(range(0, 500, 10))
    offer = certificate.price(ws, loop.newest_session(ws), 0.5)
    assert offer.found == 40
    begin(ws, cards=100)
    swipe_all(ws)
    now = look(ws)
    assert now.at_most == 40 + bound.at_most(now.left, draws=100, hits=now.finds)
    assert now.at_least == pytest.approx((40 + now.finds) / now.at_most)


def test_vectors_that_come_while_it_runs_change_nothing(ws):
    ws.registry.set_embedded(KEY, DIM, 1000)
    begin(ws)
    items = set(drawn(ws))
    session = loop.newest_session(ws)
    assert loop.learn(ws, session) == ws.store.rounds(session.id)[-1]
    assert set(drawn(ws)) == items


# whether it is right -----------------------------------------------------------------------


def test_each_image_is_drawn_as_often_as_any_other(tmp_path):
    ws = make_pool(tmp_path, 60)
    times = np.zeros(60, int)
    for seed in range(200):
        session = loop.new_session(ws, f"Is it {seed}?", ["yes", "no"], seed=seed)
        loop.record(ws, session, loop.owner(ws), [event(i, "yes" if i == 0 else "no") for i in range(20)])
        certificate.begin(ws, session, 0.9, 10)
        times[[p.item for p in ws.store.picks(session.id, 1)]] += 1
    assert times[:20].sum() == 0
    expected = 200 * 10 / 40
    deviation = math.sqrt(expected * (1 - 10 / 40))
    assert np.abs(times[20:] - expected).max() < 4 * deviation
    assert np.square((times[20:] - expected) / deviation).mean() < 1.6
    ws.close()


def test_it_is_right_in_95_of_100_cases_through_the_real_thing(tmp_path):
    """Pools with as many missed as makes it hardest; labels found in whatever way before."""
    ws = make_pool(tmp_path, 240)
    rng = np.random.default_rng(0)
    right = []
    for seed in range(120):
        session = loop.new_session(ws, f"Is it {seed}?", ["yes", "no"], seed=seed)
        missed = int(rng.choice([0, 5, 6, 12, 20]))
        is_yes = np.zeros(240, bool)
        is_yes[:40] = True
        is_yes[rng.choice(np.arange(60, 240), missed, replace=False)] = True

        def answers(items, is_yes=is_yes):
            return [event(int(i), "yes" if is_yes[i] else "no") for i in items]

        loop.record(ws, session, loop.owner(ws), answers(range(60)))
        certificate.begin(ws, session, 0.8, 80)
        items = [p.item for p in ws.store.picks(session.id, 1)]
        loop.record(ws, session, loop.owner(ws), answers(items))
        now = certificate.look(ws, session)
        right.append(now.at_least <= (40 + is_yes[items].sum()) / (40 + missed) + 1e-12)
    assert len(right) == 120
    assert np.mean(right) >= 0.95
    ws.close()


@pytest.mark.parametrize("left", [40, 150])
def test_the_bound_covers_in_95_of_100_for_every_number_that_may_be_missed(left):
    """Exact, no chance in it: every number of draws and of missed images."""
    worst = 1.0
    for draws in {1, left // 8, left // 3, left - 2, left}:
        most = [bound.at_most(left, draws=draws, hits=x) for x in range(draws + 1)]
        for missed in range(left + 1):
            right = sum(
                math.comb(missed, x) * math.comb(left - missed, draws - x) / math.comb(left, draws)
                for x in range(min(missed, draws) + 1)
                if draws - x <= left - missed and most[x] >= missed
            )
            worst = min(worst, right)
    assert 0.95 <= worst < 0.97  # not far above: no more draws than it takes


def test_thousands_of_certificates_on_drawn_pools():
    """Unsure answers may hide anything, and people label before and after; seeded."""
    rng = np.random.default_rng(5)
    right = 0
    for _ in range(4000):
        left, found = int(rng.integers(50, 5000)), int(rng.integers(5, 400))
        missed = int(rng.integers(0, max(2, min(left, found) // 3)))
        draws = int(rng.integers(1, left + 1))
        hits = int(rng.hypergeometric(missed, left - missed, draws)) if missed else 0
        told = int(rng.binomial(hits, 0.9))  # the rest of the hits could not be told
        before = int(rng.integers(0, 4))
        said = bound.certificate(left, found=found, draws=draws, finds=told, unsure=(before, hits - told))
        true = (found + told) / (found + int(rng.integers(0, before + 1)) + missed)
        right += said <= true + 1e-12
    assert right >= 0.95 * 4000


def test_later_estimates_take_the_draws_for_what_they_are(tmp_path):
    """The even draws' answers weigh the estimate by their exact, hypergeometric chance."""
    left, n, hits = 400, 60, 3
    yes = np.zeros(600, bool)
    yes[:50] = True
    yes[200 + np.array([5, 20, 41])] = True
    why = np.array(["find"] * 200 + ["audit"] * n)
    asked = recall.Asked(yes[: 200 + n], why, 600 - np.arange(200 + n), np.zeros(200 + n))
    remaining = np.array([0.0, 5.0, 40.0])
    got = recall._audit_likelihood(asked, remaining, wrong=0.0)
    exact = [
        math.log(math.comb(int(r) + hits, hits) * math.comb(left - int(r) - hits, n - hits))
        for r in remaining
    ]
    assert np.diff(got) == pytest.approx(np.diff(exact), abs=1e-6)
    ws = played(tmp_path)
    begin(ws)
    swipe_all(ws)
    session = loop.newest_session(ws)
    items, reasons = ws.journal.reasons(session.id)
    assert set(items[reasons == "audit"]) >= set(drawn_by_certificate(ws))
    before, after = ws.store.rounds(session.id)[-1].estimate, loop.learn(ws, session).estimate
    assert after.total >= ws.journal.counts(session)["yes"] - 1e-6
    assert after.high - after.low < before.high - before.low
    ws.close()


# the command -------------------------------------------------------------------------------


def test_the_command_tells_the_price_begins_says_and_gives_up(ws):
    at = ("--workspace", ws.folder)
    offer = certificate.price(ws, loop.newest_session(ws), 0.8)
    out = run("certificate", "--share", "80", *at).stdout
    assert f"{offer.draws} cards drawn evenly, if none of them is yes" in out
    assert "at least 80 % found" in out
    assert look(ws) is None
    assert (
        json.loads(run("certificate", "--share", "80", "--json", *at).stdout)["price"]["left"] == offer.left
    )
    said = json.loads(run("certificate", "--share", "80", "--begin", "--json", *at).stdout)["certificate"]
    assert (said["state"], said["draws"], said["at_least"]) == ("running", offer.draws, None)
    assert (
        f"A certificate is running: 0 of {offer.draws}" in run("certificate", "--begin", *at, code=1).stderr
    )
    swipe(ws, deal(ws))
    assert told(ws) == certificate.to_json(look(ws))
    out = run("certificate", *at).stdout
    assert (
        out == f"Certificate running, 20 of {offer.draws:,} cards answered; it says nothing before the end\n"
    )
    assert "was given up, so it says nothing" in run("certificate", "--cancel", *at).stdout
    run("certificate", "--begin", "--cards", "30", *at)
    swipe_all(ws)
    done = run("certificate", *at).stdout
    percent = math.floor(100 * look(ws).at_least)
    before, now = done.splitlines()[:2]
    assert before == f"Before      over {offer.draws} cards was given up, so it says nothing"
    assert now.startswith(f"Certificate at least {percent} % found (95 % sure), from 30 cards drawn evenly")
    (one,) = json.loads(run("certificate", "--json", *at).stdout)["earlier"]
    assert (one["state"], one["number"], one["at_least"]) == ("cancelled", 1, None)
    assert "Price" in done
    assert f"Certificate at least {percent} %" in run("status", *at).stdout


def test_the_command_ends_early_on_the_safe_side(ws):
    begin(ws, cards=100)
    swipe(ws, deal(ws))
    out = run("certificate", "--finish", "--workspace", ws.folder).stdout
    assert "80 have no answer and count as missed" in out
    assert look(ws).at_least < 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        ("--begin", "--cancel"),
        ("--cards", "9"),
    ],
)
def test_wrong_options_are_refused(ws, wrong):
    run("certificate", *wrong, "--workspace", ws.folder, code=2)


def test_a_share_is_a_percentage_in_any_of_three_ways(ws):
    at = ("--json", "--workspace", ws.folder)
    prices = [json.loads(run("certificate", "--share", x, *at).stdout)["price"] for x in ("80", "80%", "0.8")]
    assert prices[0] == prices[1] == prices[2]
    for wrong in ("100", "0", "-5", "1e1", "ninety", "0.5 %x"):
        assert "Give a percentage from 1 to 99.9" in run("certificate", "--share", wrong, *at, code=1).stderr


def test_a_share_that_is_too_large_says_what_is_in_the_way(ws):
    say(ws, range(901, 911), "unsure")
    assert "Not even all" in run("certificate", "--share", "99", "--workspace", ws.folder).stdout
    failed = run("certificate", "--share", "99", "--begin", "--workspace", ws.folder, code=1).stderr
    assert "Not even all" in failed
    assert "Give a lower --share" in failed
