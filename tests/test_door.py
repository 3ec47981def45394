"""What a signature tells of a cookie, and that cookies from before there were any go on."""

import base64
import hashlib
import hmac
import subprocess
import sys

import pytest

from labeler import people, roster
from labeler.database import Cursor
from labeler.door import COOKIE, WELL_FORMED, Door, client_cookies, is_signed, key_of, sign
from labeler.workspace import Workspace

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def ws(tmp_path):
    ws = Workspace.open(tmp_path / "ws")
    yield ws
    ws.close()


@pytest.fixture
def old(tmp_path):
    """A workspace with somebody's cookie from before cookies were signed: 43 times "o"."""
    ws = Workspace.open(tmp_path / "old")
    ws.roster.add_person("Old", "swipe", key_of("link", "o" * 43))
    yield ws
    ws.close()


@pytest.fixture
def looks(monkeypatch):
    """What is asked of the database, in order."""
    said, execute = [], Cursor.execute
    monkeypatch.setattr(Cursor, "execute", lambda self, *a: said.append(a) or execute(self, *a))
    return said


def join(door, ws, name="Ann"):
    """Return the cookie of somebody who comes in by a link."""
    code, _ = people.make_link(ws, "swipe", lasts_s=3600)
    return door.join(ws, code, name)[0].cookie


def other(letter):
    """Return another letter that a cookie may hold."""
    return LETTERS[(LETTERS.index(letter) + 1) % 64]


FORGED = {
    "no signature": lambda cookie, _: cookie[:43],
    "another secret": lambda cookie, _: other(cookie[0]) + cookie[1:],
    "another secret's end": lambda cookie, _: cookie[:42] + other(cookie[42]) + cookie[43:],
    "another signature": lambda cookie, _: cookie[:44] + other(cookie[44]) + cookie[45:],
    "the same bits, written otherwise": lambda cookie, _: cookie[:-1] + other(cookie[-1]),
    "invented": lambda cookie, _: f"{'x' * 43}.{'y' * 43}",
    "another workspace's": lambda _, theirs: theirs,
    "another workspace's signature": lambda cookie, theirs: cookie[:44] + theirs[44:],
    "the hash in the database": lambda cookie, _: key_of("link", cookie[:43])[:43],
    "turned round": lambda cookie, _: f"{cookie[44:]}.{cookie[:43]}",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_cookie_that_was_not_signed_here_is_known_as_such_without_a_look(ws, old, looks, forge):
    door, elsewhere = Door(ws, shared=True), Door(old, shared=True)
    cookie, theirs = join(door, ws), join(elsewhere, old)
    forged = forge(cookie, theirs)
    assert WELL_FORMED.match(forged)
    assert forged != cookie
    looks.clear()
    assert not door.may_know([forged], direct=True)
    assert door.known([forged], direct=True) is None
    assert door.look_up([forged], direct=True) is None
    assert not door.has_ended([forged])
    assert looks == []
    assert door.may_know([cookie], direct=True)
    assert door.look_up([forged, cookie], direct=True).person.name == "Ann"
    assert looks


def test_a_cookie_that_was_cut_off_is_none(ws):
    cookie = join(Door(ws, shared=True), ws)
    assert client_cookies(f"{COOKIE}={cookie}", "") == [cookie]
    assert [n for n in range(88) if client_cookies(f"{COOKIE}={cookie[:n]}", "")] == [43, 87]


def test_every_cookie_that_is_given_is_signed_with_the_workspaces_own_key(ws, old):
    door, elsewhere = Door(ws, shared=False), Door(old, shared=False)
    signer, before = ws.roster.cookie_key()
    assert before is False
    assert len(signer) == 64
    given = [join(door, ws), door.welcome(direct=True).cookie, door.admit([]).cookie]
    assert all(is_signed(cookie, signer) and WELL_FORMED.match(cookie) for cookie in given)
    assert len({cookie[:43] for cookie in given}) == len({cookie[43:] for cookie in given}) == 3
    assert not is_signed(join(elsewhere, old), signer)


def test_the_database_knows_a_cookie_by_the_hash_of_its_secret_as_before(ws):
    cookie = join(Door(ws, shared=True), ws)
    assert ws.roster.person_by_token(key_of("link", cookie[:43])).name == "Ann"


def test_cookies_go_on_after_a_restart(ws, tmp_path):
    cookie = join(Door(ws, shared=True), ws)
    ws.close()
    again = Workspace.open(tmp_path / "ws")
    assert Door(again, shared=True).look_up([cookie], direct=False).person.name == "Ann"
    again.close()


def test_who_was_sent_away_is_told_so_by_a_signed_cookie_alone(ws):
    door = Door(ws, shared=True)
    cookie = join(door, ws)
    assert not door.has_ended([cookie])
    ws.roster.send_away(ws.roster.named("Ann").id)
    assert door.has_ended([cookie])
    assert not door.has_ended([cookie[:43]])


def test_cookies_from_before_they_were_signed_go_on_and_new_ones_are_signed(old):
    for _ in range(2):  # a second start too
        door = Door(old, shared=True)
        assert door.look_up(["o" * 43], direct=False).person.name == "Old"
        assert door.known(["o" * 43], direct=False).person.name == "Old"
    assert door.look_up(["x" * 43], direct=False) is None
    new = join(door, old)
    assert door.look_up([new], direct=False).person.name == "Ann"
    assert not door.may_know([f"{'o' * 43}.{'o' * 43}"], direct=False), "a wrong signature is worse than none"
    old.roster.send_away(old.roster.named("Old").id)
    door.refresh()
    assert door.look_up(["o" * 43], direct=False) is None
    assert door.has_ended(["o" * 43])


def test_of_the_owner_who_came_by_the_link_before_cookies_were_signed_the_link_makes_nobody_new(old):
    owner = old.roster.add_person("client", "own", key_of("link", "p" * 43))
    visitor = Door(old, shared=True).admit(["p" * 43])
    assert (visitor.person.id, visitor.cookie) == (owner.id, None)


@pytest.mark.parametrize("theirs", ["b" * 43, f"{'b' * 43}.{'s' * 43}"])
def test_what_another_server_has_set_names_a_client_of_its_own_on_this_computer(ws, theirs):
    door = Door(ws, shared=False)
    mine = door.enter(ws, door.look_up([theirs], direct=True))
    assert door.look_up([theirs], direct=True).person == mine
    assert door.known([theirs], direct=True).person == mine
    for another in (f"c{theirs[1:]}", f"{theirs[:-1]}c", f"{'b' * 43}.{'t' * 43}"):
        assert door.enter(ws, door.look_up([another], direct=True)).id != mine.id
    assert door.look_up([theirs], direct=False) is None
    assert Door(ws, shared=True).look_up([theirs], direct=True) is None


def test_a_cookie_that_was_not_stored_yet_names_the_same_client_in_its_next_request(ws):
    door = Door(ws, shared=False)
    first = door.welcome(direct=True)
    assert door.look_up([first.cookie], direct=True).key == first.key
    mine = door.enter(ws, first)
    assert door.look_up([first.cookie], direct=True).person == mine


def test_of_two_that_make_the_key_at_once_the_second_takes_the_firsts(ws, tmp_path, monkeypatch):
    first, begin = Workspace.open(tmp_path / "ws"), roster.transaction

    def late(conn):
        monkeypatch.setattr(roster, "transaction", begin)
        first.roster.cookie_key()
        first.roster.add_person("Ann", "swipe", key_of("link", "a" * 43))
        return begin(conn)

    monkeypatch.setattr(roster, "transaction", late)
    assert ws.roster.cookie_key() == first.roster.cookie_key()
    assert ws.roster.cookie_key()[1] is False
    first.close()


def test_processes_that_start_at_once_sign_with_one_key(ws):
    code = """
import pathlib, sys
from labeler import door, workspace
ws = workspace.Workspace.open(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
input()
print(door.Door(ws, shared=False).welcome(direct=True).cookie, flush=True)
"""
    command = [sys.executable, "-c", code, str(ws.folder)]
    pipe = subprocess.PIPE
    starts = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for one in starts:
        assert one.stdout.readline() == "ready\n"
    for one in starts:
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60)[0] for one in starts]
    assert [one.returncode for one in starts] == [0] * 4
    signer, _ = ws.roster.cookie_key()
    assert all(is_signed(cookie.strip(), signer) for cookie in said)


def test_a_signature_is_the_hmac_that_everybody_computes():
    want = hmac.new(b"k" * 64, b"cookie:" + b"a" * 43, hashlib.sha256).digest()
    cookie = sign("a" * 43, "k" * 64)
    secret, _, signature = cookie.partition(".")
    assert (secret, base64.urlsafe_b64decode(f"{signature}=")) == ("a" * 43, want)
