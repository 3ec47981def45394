import re
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from labeler import api, places, reach
from labeler.errors import BadInput
from labeler.identity import Identity
from labeler.reach import Reach, first_stranger, read_base, read_proxies, read_public
from labeler.server.desk import Desk
from tests.certificates import make_certificate


@pytest.mark.parametrize("text", ["labels", "/labels", "labels/", "/labels/", " /labels/ "])
def test_a_base_path_is_read_with_and_without_slashes(text):
    assert read_base(text) == "/labels"


def test_a_base_path_may_have_parts_or_be_none():
    assert read_base("bio/labels-2.x_~") == "/bio/labels-2.x_~"
    assert read_base("/") == read_base("") == ""


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "a/../b",
        "a//b",
        "a b",
        "a?b",
        "a#b",
        "a%2fb",
        "a\\b",
        "https://x/labels",
        "C:/labels",
        "ä",
        "a\nb",
        "'a",
    ],
)
def test_what_is_no_base_path_is_refused(text):
    with pytest.raises(BadInput):
        read_base(text)


def test_a_base_path_is_not_named_as_a_page_or_a_part_of_the_server():
    home = (Path(__file__).parent.parent / "pages" / "home.py").read_text()
    pages = re.findall(r'"(\w+)"', home[home.index("PAGES = ") :].partition("\n")[0])
    assert len(pages) > 5
    ours = {
        route.path.strip("/").split("/")[0].partition("{")[0]
        for route in api.routes(Desk(), PlainTextResponse())
    }
    assert {"api", "tiles", "deck"} <= ours
    for name in [*pages, "training", *(ours - {""}), "static", "media", "_stcore", "API"]:
        with pytest.raises(BadInput, match="is the name of a page here"):
            read_base(f"{name}/x")
    assert read_base("x/api") == "/x/api"


@pytest.mark.parametrize(
    ("text", "origin", "base"),
    [
        ("https://labels.example.org", "https://labels.example.org", ""),
        ("https://Labels.example.org/", "https://labels.example.org", ""),
        ("https://example.org:443/crowd/", "https://example.org", "/crowd"),
        ("http://example.org:8080/crowd", "http://example.org:8080", "/crowd"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443", ""),
        ("https://bücher.example", "https://xn--bcher-kva.example", ""),
    ],
)
def test_a_public_address_is_read_as_browsers_write_it(text, origin, base):
    assert read_public(text) == (origin, base)


@pytest.mark.parametrize(
    "text",
    ["labels.example.org", "/labels", "ftp://x", "https://", "https://u@x", "https://u:p@x", "https://x?y",
     "https://x#y", "https://x y", "https://x:99999", "https://x:a", "https://..x", "https://x/api",
     "https://" + "a" * 70, ""],
)  # fmt: skip
def test_what_is_no_public_address_is_refused(text):
    with pytest.raises(BadInput):
        read_public(text)


def test_a_proxy_is_on_this_machine_unless_told():
    here = Reach(proxies=read_proxies(()))
    assert all(map(here.trusts, ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]))
    assert not any(map(here.trusts, ["10.0.0.5", "2001:db8::1", "", "testclient", "::ffff:10.0.0.5"]))
    there = Reach(proxies=read_proxies(["10.0.0.0/24", "2001:db8::1"]))
    assert all(map(there.trusts, ["10.0.0.5", "2001:db8::1", "::ffff:10.0.0.5"]))
    assert not any(map(there.trusts, ["127.0.0.1", "10.0.1.5", "2001:db8::2"]))
    assert not Reach().trusts("127.0.0.1")
    for text in ("proxy", "10.0.0.5/24", "10.0.0"):
        with pytest.raises(BadInput):
            read_proxies([text])


@pytest.mark.parametrize(
    ("said", "sender"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (
            "127.0.0.1, 198.51.100.1, 203.0.113.7",
            "203.0.113.7",
        ),  # the sender's own word
        ("203.0.113.7, 127.0.0.1", "203.0.113.7"),  # a second proxy on this machine
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("127.0.0.1", "127.0.0.1"),
        ("198.51.100.1, unknown", None),
        ("198.51.100.1, <script>", None),
        (" , ", None),
        ("", None),
    ],
)
def test_the_sender_is_the_last_one_that_is_no_proxy(said, sender):
    assert first_stranger(said, Reach(proxies=read_proxies(()))) == sender


def test_addresses_are_said_as_they_are_opened(tmp_path, monkeypatch):
    called = {"127.0.0.1": "localhost", "0.0.0.0": "192.168.1.5"}
    monkeypatch.setattr(places, "reachable", called.get)
    plain = Reach()
    assert (plain.url, plain.local_url, plain.shared) == ("http://localhost:8501",) * 2 + (False,)
    room = Reach("0.0.0.0")
    assert (room.url, room.local_url) == ("http://192.168.1.5:8501", "http://localhost:8501")
    assert room.shared
    behind = Reach(base="/crowd", public="https://labels.test", proxies=read_proxies(()))
    assert (behind.url, behind.local_url) == ("https://labels.test/crowd", "http://localhost:8501/crowd")
    assert behind.shared
    named = Identity(*make_certificate(tmp_path / "a", names=("labels.test",)))
    secure = Reach("0.0.0.0", identity=named)
    assert (secure.url, secure.plain_url) == ("https://labels.test:8501", "https://192.168.1.5:8501")
    numbered = Identity(*make_certificate(tmp_path / "b", names=("labels.test", "192.168.1.5")))
    assert Reach("0.0.0.0", identity=numbered).url == "https://192.168.1.5:8501"
    nameless = Identity(*make_certificate(tmp_path / "c", names=("localhost",)))
    assert Reach("0.0.0.0", identity=nameless).url == "https://192.168.1.5:8501"
    assert Reach(identity=named).url == "https://localhost:8501"


def test_what_nobody_has_said_is_this_machine_alone(monkeypatch):
    monkeypatch.setattr(reach, "_here", [])
    assert reach.current() == Reach()
    assert reach.at("/swipe") == "/swipe"
    reach.use(Reach(base="/crowd"))
    assert reach.at("/swipe") == "/crowd/swipe"
