import threading
import time

import pytest

from labeler.database import connect
from labeler.errors import BadInput, Blocked, NotReady
from labeler.writer import LATER, Writer
from tests.pools import event, make_pool


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 50)
    yield ws
    ws.close()


@pytest.fixture
def writer(ws):
    writer = Writer(ws)
    writer.start()
    yield writer
    writer.stop()


def test_jobs_of_many_threads_are_all_done_and_share_commits(ws, writer):
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    person = ws.roster.owner().id
    commits = []
    writer.submit(
        lambda w: w.store.conn.set_trace_callback(lambda q: commits.append(q) if q == "COMMIT" else None)
    )
    futures = []

    def send(i):
        futures.append(writer.submit(lambda w: w.journal.add_events(session, person, [event(i, "yes")])))

    threads = [threading.Thread(target=send, args=(i,)) for i in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(f.result(10).accepted for f in futures) == 50
    assert ws.journal.count_events(session.id) == 50
    assert len(commits) <= 50


def test_an_answer_that_comes_meanwhile_waits_for_one_of_those_that_can_wait(writer):
    order, gate, begun, go = [], threading.Event(), threading.Event(), threading.Event()

    def first(w):
        begun.set()
        assert go.wait(10)
        order.append("first")

    writer.submit(lambda w: gate.wait(10))  # the others wait meanwhile
    late = [writer.submit(first, later=True)]
    late += [writer.submit(lambda w, i=i: order.append(i), later=True) for i in range(4)]
    gate.set()
    assert begun.wait(10)
    answer = writer.submit(lambda w: order.append("answer"))
    go.set()
    for future in (answer, *late):
        future.result(10)
    assert order == ["first", "answer", 0, 1, 2, 3]


def test_a_job_that_fails_is_rolled_back_alone(ws, writer):
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    person = ws.roster.owner().id

    def fails(w):
        w.journal.add_events(session, person, [event(1, "yes")])
        raise BadInput("No.", "Stop.")

    bad = writer.submit(fails)
    good = writer.submit(lambda w: w.journal.add_events(session, person, [event(2, "yes")]))
    with pytest.raises(BadInput, match=r"No\. Stop\."):
        bad.result(10)
    assert good.result(10).accepted == 1
    assert ws.journal.answers(session.id).items.tolist() == [2]


def test_a_result_is_given_out_only_after_the_commit(ws, writer):
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    person = ws.roster.owner().id
    for i in range(20):
        writer.submit(lambda w, i=i: w.journal.add_events(session, person, [event(i, "no")])).result(10)
        assert ws.journal.count_events(session.id) == i + 1  # another connection sees it


def test_when_the_commit_fails_nobody_is_told_that_it_worked(ws):
    writer = Writer(ws)
    writer.start()

    def ends_the_transaction(w):
        w.store.conn.execute("ROLLBACK")

    first = writer.submit(ends_the_transaction)
    with pytest.raises(Exception, match="no transaction|no such savepoint|cannot"):
        first.result(10)
    assert writer.submit(lambda w: 7).result(10) == 7
    writer.stop()


def test_after_stop_a_job_is_refused(ws):
    writer = Writer(ws)
    writer.start()
    writer.stop()
    with pytest.raises(NotReady, match="stopping"):
        writer.submit(lambda w: 1).result(1)


def test_a_disk_that_fills_up_inside_a_job_is_said_to_those_before_it_and_what_was_not_begun_goes_on(ws):
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    person = ws.roster.owner().id
    writer = Writer(ws)

    def fill(w):
        pages = w.store.conn.execute("PRAGMA page_count").fetchone()[0]
        w.store.conn.execute(f"PRAGMA max_page_count = {pages + 4}")
        w.store.set_fact("big", "x" * 10_000_000)

    jobs = [
        writer.submit(lambda w: w.journal.add_events(session, person, [event(1, "yes")])),
        writer.submit(fill),
        writer.submit(lambda w: w.journal.add_events(session, person, [event(2, "yes")])),
    ]
    writer.start()
    for job in jobs[:2]:
        with pytest.raises(
            Blocked, match="Nothing could be stored: .*labeler.db can't be written: the disk is full"
        ):
            job.result(10)
    assert jobs[2].result(10).accepted == 1
    assert ws.journal.count_events(session.id) == 1
    writer.submit(lambda w: w.store.conn.execute("PRAGMA max_page_count = 1000000")).result(10)
    again = writer.submit(lambda w: w.journal.add_events(session, person, [event(1, "yes")]))
    assert again.result(10).accepted == 1
    writer.stop()


def test_what_can_wait_lets_answers_go_first_and_still_gets_on(writer):
    """As when two hundred people ask for cards in one moment while others answer."""
    order, go = [], threading.Event()
    first = writer.submit(lambda w: go.wait(10))
    waits = [writer.submit(lambda w, i=i: order.append(("later", i)), later=True) for i in range(30)]
    quick = [writer.submit(lambda w, i=i: order.append(("soon", i))) for i in range(30)]
    go.set()
    for future in (first, *waits, *quick):
        future.result(10)
    assert [i for kind, i in order if kind == "soon"] == list(range(30))
    assert [i for kind, i in order if kind == "later"] == list(range(30))
    last_soon = order.index(("soon", 29))
    behind = sum(kind == "later" for kind, _ in order[:last_soon])
    assert 0 < behind <= 3 * LATER  # the thirty took three commits


def test_a_writer_waits_for_another_process_no_longer_than_that_writes(ws, writer):
    other = connect(ws.folder / "labeler.db")
    other.execute("BEGIN IMMEDIATE")
    waiting = writer.submit(lambda w: w.store.set_fact("a", "b"))
    assert not waiting.done()
    time.sleep(0.1)  # beyond the first tries: then it is SQLite that waits
    assert not waiting.done()
    other.execute("ROLLBACK")
    waiting.result(10)
    assert ws.store.fact("a") == "b"
    other.close()
