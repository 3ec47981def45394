"""Requests made from the API's own description: what comes back is never a 5xx, and always as described."""

import json
import math
import uuid
from collections import Counter
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from labeler.door import COOKIE
from labeler.server import guesses
from tests.listening import listening
from tests.pools import make_pool
from tests.served import begin, cookie_of

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
EXAMPLES = 15  # of each route and kind
KNOWN = {
    "session": 2,
    "item": 70,
    "items": 70,
    "like": 70,
    "unlike": 70,
}  # most of what is asked for is there
N = 60
quick = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("contract"), N, images=True)
    begin(ws)
    yield ws
    ws.close()


@pytest.fixture(scope="module")
def server(ws):
    with pytest.MonkeyPatch.context() as patch, listening(ws, patch) as running:
        yield running


@pytest.fixture(scope="module")
def shared(ws):
    with pytest.MonkeyPatch.context() as patch, listening(ws, patch, shared=True) as running:
        patch.setattr(guesses, "WRONG", 10**6)
        yield running


@pytest.fixture(scope="module")
def described(server):
    """Return the description, its numbers narrowed to where there is something."""
    document = requests.get(f"{server.url}/api/openapi.json", timeout=30).json()

    def narrow(part, name=""):
        if isinstance(part, dict):
            if part.get("type") == "integer" and name in KNOWN and "maximum" in part:
                part["maximum"] = KNOWN[name]
            named = part.get("name", name) if "in" in part else name
            for key, value in part.items():
                narrow(value, key if name == "properties" else "properties" if key == "properties" else named)
        for value in part if isinstance(part, list) else ():
            narrow(value, name)

    narrow(document)
    return schemathesis.openapi.from_dict(document)


def ask_everything(described, url, session, mode):
    """Return {status: how often}; every answer has been compared with the description."""
    statuses = Counter()
    for found in described.get_all_operations():

        @given(found.ok().as_strategy(generation_mode=mode))
        @quick
        def ask(case):
            reply = case.call(base_url=f"{url}/api", session=session, timeout=30)
            statuses[reply.status_code] += 1
            case.validate_response(reply, checks=CHECKS)

        ask()
    return statuses


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda m: m.value)
def test_the_owner_gets_what_is_described(described, server, mode):
    with requests.Session() as session:
        statuses = ask_everything(described, server.url, session, mode)
    assert statuses[200 if mode is GenerationMode.POSITIVE else 400] > 50


def test_a_stranger_gets_nothing_whatever_they_send(described, shared):
    with requests.Session() as session:
        session.cookies.set(COOKIE, f"{'a' * 43}.{'a' * 43}")
        statuses = ask_everything(described, shared.url, session, GenerationMode.POSITIVE)
    assert set(statuses) == {401}


def test_somebody_who_swipes_gets_what_is_described(described, ws, shared):
    with requests.Session() as session:
        session.cookies.set(COOKIE, cookie_of(ws))
        statuses = ask_everything(described, shared.url, session, GenerationMode.POSITIVE)
    assert statuses[403] > 10
    assert statuses[200] > 10
    assert not statuses[401]


# the label route ---------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
valid = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str), "item": st.integers(0, N - 1),
        "label": st.sampled_from(["yes", "no", "unsure", "skip", None]),
    },
    optional={
        "card": st.none() | st.integers(0, 2**53), "at": st.none() | st.datetimes().map(str),
        "ms": st.none() | st.integers(0, 10**6) | st.floats(0, 1e9), "more": json_values,
    },
)  # fmt: skip
broken = st.tuples(
    valid,
    st.sampled_from([
        {"id": 7}, {"id": "x" * 36}, {"id": None}, {"item": N}, {"item": -1}, {"item": 1.5}, {"item": "1"},
        {"item": 10**25}, {"label": "maybe"}, {"label": 1}, {"label": ["yes"]}, {"ms": "x"}, {"ms": math.nan},
        {"at": "then"}, {"at": 5}, {"card": "x"}, {"card": -1}, {"label": "\ud800"}, {"id": "\ud800"},
    ]),
).map(lambda pair: pair[0] | pair[1])  # fmt: skip


def send(server, session, body, **more):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    return session.post(f"{server.url}/api/labels", data=data, headers=headers, timeout=30, **more)


@given(
    st.lists(st.tuples(st.just(True), valid) | st.tuples(st.just(False), broken | json_values), max_size=12),
    st.data(),
)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_each_good_event_is_stored_once_and_each_bad_one_is_named(server, ws, drawn, data):
    salt = uuid.uuid4()  # other ids than in the examples before

    def fresh(event):
        known = isinstance(event, dict) and isinstance(event.get("id"), str) and len(event["id"]) == 36
        return (
            event | {"id": str(uuid.uuid5(salt, event["id"]))} if known and "x" not in event["id"] else event
        )

    events = [fresh(event) for _, event in drawn]
    good = [fresh(event) for is_good, event in drawn if is_good]
    bad = [fresh(event) for is_good, event in drawn if not is_good]
    again = data.draw(st.lists(st.sampled_from(good), max_size=3)) if good else []
    before = ws.journal.count_events(1)
    with requests.Session() as session:
        reply = send(server, session, {"events": events + again}, params={"session": 1})
    assert reply.status_code == 200, reply.text
    done, ids = reply.json(), {e["id"] for e in good}
    assert done["accepted"] == len(ids) == ws.journal.count_events(1) - before
    assert done["duplicates"] == len(good) - len(ids) + len(again)
    named = Counter(r["id"] for r in done["rejected"])
    known = (e.get("id") if isinstance(e, dict) else None for e in bad)
    assert named == Counter(
        i.encode("utf-8", "replace").decode()[:64] if isinstance(i, str) else None for i in known
    )
    stored = Counter(e.id for e in ws.journal.log(ws.store.session(1)))
    assert all(stored[uid] == 1 for uid in ids)


@given(st.binary(max_size=200) | json_values)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_a_body_that_is_no_group_of_events_is_refused(server, body):
    with requests.Session() as session:
        reply = send(server, session, body)
    assert reply.status_code == 400 or (reply.status_code == 200 and not reply.json()["accepted"])
    if reply.status_code == 400:
        assert set(reply.json()) == {"error", "do"}


anything = (
    st.text(max_size=30) | st.binary(max_size=30) | st.sampled_from(["1", "..", "%00", "1' OR 1=1", "٣"])
)


@given(st.sampled_from(["tiles", "deck", "api", "api/items", "swipe"]), anything, st.dictionaries(
    st.sampled_from(["w", "v", "session", "item", "k", "n", "have", "token"]), anything, max_size=3,
))  # fmt: skip
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_any_address_gets_what_is_there_or_two_sentences(server, room, rest, query):
    url = f"{server.url}/{room}/{quote(rest, safe='')}"
    with requests.Session() as session:
        reply = session.get(url, params=query, timeout=30)
    assert reply.status_code in (200, 400, 404, 409)
    if reply.status_code != 200:
        assert set(reply.json()) == {"error", "do"}


def test_an_event_sent_again_is_stored_once(server, ws):
    event = {"id": str(uuid.uuid4()), "item": 3, "label": "yes"}
    before = ws.journal.count_events(1)
    with requests.Session() as session:
        for _ in range(3):
            assert send(server, session, {"events": [event]}, params={"session": 1}).status_code == 200
    assert ws.journal.count_events(1) == before + 1
