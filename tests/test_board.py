"""Goals, streaks and the board: only for who wants them, and never for agreeing."""

from datetime import UTC, date, datetime, timedelta

import pytest

from labeler import board, members, people
from labeler.errors import BadInput
from tests.served import answer, is_problem, visit
from tests.test_joining import HTML, PHONE, joined
from tests.test_thanks import say


def give(client, label, items, ms=900):
    client.post("/api/labels", json={"events": [answer(i, label, ms=ms) for i in items]})


def points(ws):
    return dict(board._count(ws, ws.store.session()))


def test_points_are_for_cards_answered_and_not_for_agreeing(app, ws, code):
    anna, bert, carla = (joined(app, code, name) for name in ("Anna", "Bert", "Carla"))
    for one in (anna, bert, carla):
        one.post("/me", data={"do": "board"}, headers=HTML)
    give(anna, "yes", range(6))
    give(bert, "no", range(6))  # against everybody
    give(carla, "yes", range(3))
    give(carla, "unsure", range(3, 6))
    assert points(ws) == {"Anna": 6, "Bert": 6, "Carla": 6}
    give(carla, "skip", range(6, 9))
    give(carla, "yes", range(9, 20), ms=board.SEEN_MS - 1)
    give(carla, None, [0])
    give(anna, "no", [1])  # mended: one card is one point
    assert points(ws) == {"Anna": 6, "Bert": 6, "Carla": 5}


def test_the_board_shows_who_wants_to_be_seen_and_nobody_else(app, ws, code):
    anna, bert = joined(app, code, "Anna <b>x"), joined(app, code, "Bert")
    for one in (anna, bert):
        give(one, "yes", range(4))
    assert "Nobody is on it yet" in bert.get("/board").text
    anna.post("/me", data={"do": "board"}, headers=HTML)
    shown = bert.get("/board").text
    assert "Anna &lt;b&gt;x" in shown
    assert "Bert" not in shown
    owner = joined(app, people.make_link(ws, "own", lasts_s=3600)[0], "Olga")
    assert owner.get("/screen/now").json()["board"] == [{"name": "Anna <b>x", "points": "4"}]
    anna.post("/me", data={"do": "off"}, headers=HTML)
    assert "Anna" not in bert.get("/board").text
    anna.post("/me", data={"do": "board"}, headers=HTML)
    known = ws.roster.named("Anna <b>x").id
    assert members.kept_of(ws, known)["chosen"] == {"goal": 0, "on_board": True}
    members.erase(ws, known)
    assert ws.roster.wishes() == {}
    assert points(ws) == {}
    assert is_problem(visit(app, url=PHONE, peer="192.168.1.9").get("/board"), 401)


def test_a_goal_is_off_until_it_is_set_and_says_how_far_today_is(app, ws, code):
    anna = joined(app, code, "Anna")
    give(anna, "yes", range(4))
    assert "<progress" not in anna.get("/me", headers=HTML).text
    assert anna.post("/me", data={"do": "goal", "goal": "5"}, headers=HTML).status_code == 303
    assert "Today: 4 of 5." in anna.get("/me", headers=HTML).text
    assert "Hoy: 4 de 5." in anna.get("/me", headers={**HTML, "accept-language": "es"}).text
    assert anna.post("/me", data={"do": "goal", "goal": "99999"}, headers=HTML).status_code == 400
    anna.post("/me", data={"do": "goal", "goal": "0"}, headers=HTML)
    assert "<progress" not in anna.get("/me", headers=HTML).text


def test_a_streak_is_of_days_in_a_row_and_today_may_still_come(ws, monkeypatch):
    person = ws.roster.add_person("a", "swipe").id
    board.set_goal(ws, person, 2)

    def gave(days_ago, items):
        noon = datetime.combine(date.today() - timedelta(days=days_ago), datetime.min.time()).astimezone()
        at = (noon + timedelta(hours=12)).astimezone(UTC).isoformat(timespec="milliseconds")
        monkeypatch.setattr("labeler.journal.timestamp", lambda: at)  # events are never changed afterwards
        for item in items:
            say(ws, person, item, "yes")

    assert board.day(ws, person) == board.Day(2, 0, 0)
    gave(1, (1, 2))
    gave(2, (3, 4, 5))
    gave(3, (6,))
    gave(4, (7, 8))
    assert board.day(ws, person) == board.Day(2, 0, 2)
    gave(0, (9, 10))
    assert board.day(ws, person) == board.Day(2, 2, 3)
    with pytest.raises(BadInput):
        board.set_goal(ws, person, -1)
    board.set_goal(ws, person, 0)
    assert board.day(ws, person) == board.Day(0, 0, 0)
