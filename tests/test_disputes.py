"""What people disagree about: for the owner and reviewers, votes only after one's own answer."""

import re
import uuid

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from labeler import disputes, loop, people
from tests.pools import make_pool
from tests.served import is_problem, served, visit
from tests.test_pages import HOME
from tests.test_votes import Crowd, voted

HTML = {"accept": "text/html"}
PHONE = "http://192.168.1.5:8501"


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 80, images=True)
    yield ws
    ws.close()


@pytest.fixture
def crowd(ws):
    """Five people on 80 images: four see well, one always says no; they differ about items 0 and 1."""
    crowd = Crowd(ws, loop.new_session(ws, "Is it green?", ("yes", "no"), votes=5), 5)
    table = {}
    for item in range(80):
        truth = "no" if item % 2 == 0 else "yes"
        table[item] = [truth, truth, truth, truth, "no"]
    table[0] = ["yes", "no", "yes", "no", "no"]
    table[1] = ["yes", "yes", "no", None, "no"]
    voted(ws, crowd, table)
    return crowd


def test_the_least_settled_come_first_and_what_an_owner_said_is_settled(ws, crowd):
    waiting = disputes.queue(ws, crowd.session)
    assert {d.item for d in waiting[:2]} == {0, 1}
    assert waiting[0].unsettled >= waiting[1].unsettled > waiting[2].unsettled
    assert next(d for d in waiting if d.item == 0).votes == {"yes": 2, "no": 3}
    assert 2 not in {d.item for d in waiting}  # all say no
    crowd.owner(0, "yes")
    assert 0 not in {d.item for d in disputes.queue(ws, crowd.session)}
    assert 1 not in {d.item for d in disputes.queue(ws, crowd.session, but=crowd.people[0])}


def test_agreement_has_an_interval_and_prevalence(ws, crowd):
    whole, labels = disputes.agree(ws, crowd.session)
    assert 0.3 < whole.low < whole.alpha < whole.high < 1
    assert whole.items == 80
    assert np.isclose(labels[0].share[0] + labels[1].share[0], 1)
    fresh = loop.new_session(ws, "Nobody?", ("yes", "no"), votes=3)
    assert disputes.agree(ws, fresh) is None
    assert disputes.queue(ws, fresh) == []
    assert disputes.doubts(ws, fresh) == []


def test_who_always_says_the_same_is_shown_with_the_reason(ws, crowd):
    found = disputes.doubts(ws, crowd.session)
    assert [d.person for d in found] == [crowd.people[4]]
    assert any("“no”" in text or "don't look" in text for text in found[0].says)


def test_pages_that_ask_again_and_again_are_told_the_same_for_some_seconds(ws, crowd, monkeypatch):
    before = disputes.lately(ws, crowd.session)
    assert (before.disputed, len(before.doubts)) == (len(disputes.queue(ws, crowd.session)), 1)
    crowd.owner(0, "yes")
    assert disputes.lately(ws, crowd.session) is before
    monkeypatch.setattr("labeler.lately.time.monotonic", lambda: float("inf"))
    assert disputes.lately(ws, crowd.session).disputed == before.disputed - 1


def test_the_team_page_shows_agreement_and_how_many_are_disputed(ws, crowd, monkeypatch):
    monkeypatch.setenv("LABELER_WORKSPACE", str(ws.folder))
    test = AppTest.from_file(str(HOME), default_timeout=30)
    test.switch_page("team.py").run()
    assert not test.exception
    known = disputes.lately(ws, crowd.session)
    shown = "\n".join(m.value for m in test.markdown)
    assert f"**{known.whole.alpha:.2f} (" in shown
    assert f"{known.disputed} images are disputed" in shown
    assert len(known.spans) == 4  # of 80 images
    assert sum(span.known.items for span in known.spans) == 80
    assert [span.until for span in known.spans] == sorted(span.until for span in known.spans)
    for span in known.spans:
        assert f"{span.until.astimezone():%Y-%m-%d %H:%M} | 20 | {span.known.alpha:.2f}" in shown
    assert {m.label for m in test.metric} >= {"On now", "Answers a minute", "Found", "Looked at"}


def test_a_reviewer_judges_and_sees_the_votes_afterwards_only(ws, crowd, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, _):
        client = visit(app, url=PHONE, peer="192.168.1.7")
        code = people.make_link(ws, "review", lasts_s=60)[0]
        assert client.post("/join", data={"token": code, "name": "Rita"}).status_code == 303
        first = client.get("/disputes", headers=HTML)
        assert first.status_code == 200
        assert "Is it green?" in first.text
        assert "×" not in first.text
        item = re.search(r'name="item" value="(\d+)"', first.text)[1]
        assert (
            client.get(re.search(r'<img class="tile" alt="" src="([^"]+)"', first.text)[1]).status_code == 200
        )
        assert "×" not in client.get(f"/disputes?seen={item}", headers=HTML).text  # not before one's own
        client.post("/disputes", data={"item": item, "label": "skip"}, headers=HTML)
        assert "×" not in client.get(f"/disputes?seen={item}", headers=HTML).text  # nothing was judged
        client.post("/disputes", data={"item": item, "label": "no"}, headers=HTML)
        assert client.post("/api/undo", json={"id": str(uuid.uuid4())}).status_code == 200
        assert "×" not in client.get(f"/disputes?seen={item}", headers=HTML).text  # nor does it stand
        done = client.post("/disputes", data={"item": item, "label": "yes"}, headers=HTML)
        assert done.status_code == 303
        after = client.get(done.headers["location"], headers=HTML).text
        assert "× yes" in after
        assert re.search(r'name="item" value="(\d+)"', after)[1] != item
        said = ws.journal.log(crowd.session, int(item))[-1]
        assert (said.answer, ws.roster.person(said.person).name) == ("yes", "Rita")
        for body in (
            {"item": "x", "label": "yes"},
            {"item": item, "label": "<b>"},
            {"item": "99999", "label": "yes"},
        ):
            assert client.post("/disputes", data=body, headers=HTML).status_code == 400


def test_who_swipes_sees_no_disputes(ws, crowd, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, _):
        client = visit(app, url=PHONE, peer="192.168.1.8")
        code = people.make_link(ws, "swipe", lasts_s=60)[0]
        assert client.post("/join", data={"token": code, "name": "Sam"}).status_code == 303
        assert is_problem(client.get("/disputes"), 403)
        assert is_problem(client.post("/disputes", data={"item": "0", "label": "yes"}), 403)
        assert is_problem(visit(app, url=PHONE, peer="192.168.1.9").get("/disputes"), 401)
