import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler import addresses, people
from labeler.door import COOKIE, MOST_COOKIES, WELL_FORMED, Door, client_cookies
from labeler.workspace import Workspace


@pytest.fixture
def ws(tmp_path):
    ws = Workspace.open(tmp_path / "ws")
    yield ws
    ws.close()


def headers(host="localhost:8501", **more):
    return {"host": host} | more


def test_the_owner_token_is_random_kept_once_and_readable_by_its_owner_alone(ws, tmp_path):
    token = people.owner_token(ws)
    assert people.TOKEN.match(token)
    assert people.owner_token(ws) == token
    assert people.owner_token(Workspace.open(tmp_path / "other")) != token
    if os.name == "posix":
        assert stat.S_IMODE((ws.folder / people.TOKEN_FILE).stat().st_mode) == 0o600
    assert ws.store.fact(people.TOKEN_FACT) == people.hash_token(token)
    assert token not in (ws.store.fact(people.TOKEN_FACT) or "")


def test_deleting_the_token_file_makes_earlier_links_void(ws):
    old = people.owner_token(ws)
    (ws.folder / people.TOKEN_FILE).unlink()
    new = people.owner_token(ws)
    door = Door(ws, shared=True)
    assert door.opens(new)
    assert not door.opens(old)


def test_the_link_leads_to_a_page_with_the_token(ws):
    token = people.owner_token(ws)
    assert people.owner_link(ws, "http://h:8501/") == f"http://h:8501/?token={token}"
    assert people.owner_link(ws, "http://h:8501", "/swipe") == f"http://h:8501/swipe?token={token}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"])
def test_loopback_addresses(host):
    assert addresses.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "test", "127.0.0.1.x"])
def test_addresses_of_others(host):
    assert not addresses.is_loopback(host)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8501", "[::1]:8501", "[::1]"])
def test_a_request_under_this_machines_own_name_is_direct(host):
    assert addresses.is_direct(headers(host), "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.com", "a@localhost", "localhost:x", ""]
)
def test_a_foreign_name_that_points_here_is_not_direct(host):
    assert not addresses.is_direct(headers(host), "127.0.0.1")


@pytest.mark.parametrize(
    "name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"]
)
def test_a_forwarded_request_is_not_direct(name):
    assert not addresses.is_direct(headers() | {name: "1"}, "127.0.0.1")


def test_a_request_from_another_machine_is_not_direct():
    assert not addresses.is_direct(headers(), "192.168.1.5")
    assert not addresses.is_direct(headers(), None)


@given(st.text())
def test_any_cookie_header_is_survived(text):
    assert all(WELL_FORMED.match(found) for found in client_cookies(text, "1f2e3d4c"))


def test_the_client_cookie_is_found_among_others():
    token = "a" * 43
    assert client_cookies(f"x=1; {COOKIE}={token}; y", "") == [token]
    assert client_cookies(f"{COOKIE}=short; {COOKIE}={token}", "") == [token]
    assert client_cookies(f"{COOKIE}={token}'", "") == []
    signed = f"{token}.{'s' * 43}"
    assert client_cookies(f"{COOKIE}={signed}; {COOKIE}={signed}.{token}", "") == [signed]
    assert not any(client_cookies(f"{COOKIE}={signed[:n]}", "") for n in range(87) if n != 43)
    both = f"{COOKIE}={token}; {COOKIE}_ab={'b' * 43}; {COOKIE}_cd={'c' * 43}"
    assert client_cookies(both, "ab") == ["b" * 43, token]
    assert len(client_cookies(f"{COOKIE}={token};" * 1000, "ab")) == MOST_COOKIES


def test_every_browser_on_an_unshared_server_is_a_client_of_its_own_and_owner(ws):
    door = Door(ws, shared=False)
    one, two = door.welcome(direct=True), door.welcome(direct=True)
    assert one.owner
    assert one.cookie != two.cookie
    assert door.enter(ws, one).id != door.enter(ws, two).id
    again = door.look_up([one.cookie], direct=True)
    assert again.person == door.enter(ws, one)
    assert door.known([one.cookie], direct=True) == again


def test_the_cookie_itself_is_not_stored(ws):
    door = Door(ws, shared=False)
    visitor = door.welcome(direct=True)
    door.enter(ws, visitor)
    stored = "\n".join(ws.store.conn.iterdump())
    assert visitor.key in stored
    assert not any(part in stored for part in visitor.cookie.split("."))


def test_a_cookie_of_another_server_on_this_machine_is_kept_as_a_clients_name(ws):
    door = Door(ws, shared=False)
    theirs = "b" * 43
    visitor = door.look_up([theirs], direct=True)
    assert visitor.cookie is None
    assert door.enter(ws, visitor).id == door.enter(ws, door.look_up([theirs], direct=True)).id


def test_a_cookie_taken_on_a_direct_request_opens_nothing_elsewhere(ws):
    door = Door(ws, shared=False)
    cookie = door.welcome(direct=True).cookie
    door.enter(ws, door.look_up([cookie], direct=True))
    door.look_up([cookie], direct=True)
    assert door.known([cookie], direct=False) is None
    assert door.look_up([cookie], direct=False) is None
    assert Door(ws, shared=True).look_up([cookie], direct=True) is None


def test_nobody_comes_into_a_shared_server_without_the_link(ws):
    door = Door(ws, shared=True)
    assert door.welcome(direct=True) is None
    assert door.look_up(["c" * 43], direct=True) is None
    assert not door.opens("")
    assert not door.opens("é")


def test_the_link_gives_a_fresh_cookie_and_the_same_person_when_opened_again(ws):
    door = Door(ws, shared=True)
    planted = "d" * 43
    visitor = door.admit([planted])
    assert visitor.cookie not in (None, planted)
    person = door.enter(ws, visitor)
    again = door.admit([visitor.cookie])
    assert (again.person, again.cookie) == (person, None)
    assert door.look_up([visitor.cookie], direct=False).owner


def test_memory_of_people_is_bounded(ws, monkeypatch):
    monkeypatch.setattr("labeler.door.MOST_KNOWN", 2)
    door = Door(ws, shared=False)
    for _ in range(5):
        visitor = door.welcome(direct=True)
        door.enter(ws, visitor)
        assert door.look_up([visitor.cookie], direct=True).person
    assert len(door._known) <= 2


def test_who_is_sent_away_in_the_moment_of_joining_is_not_remembered(ws):
    """The join is stored; before the server hears of it, somebody else has seen the person sent away."""
    door = Door(ws, shared=True)
    code, _ = people.make_link(ws, "swipe", lasts_s=3600)
    visitor, _ = door.join(ws, code, "Mia")
    changed = ws.roster.changed()
    ws.roster.send_away(visitor.person.id)
    door.refresh()
    door.remember(visitor, changed)
    assert door.known([visitor.cookie], direct=False) is None
    visitor, _ = door.join(ws, code, "Ada")
    door.remember(visitor, ws.roster.changed())
    assert door.known([visitor.cookie], direct=False).person == visitor.person
