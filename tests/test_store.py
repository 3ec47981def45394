import pytest

from labeler.errors import BadInput, Missing, NotReady
from labeler.workspace import Workspace
from tests.pools import event, make_pool


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 100)
    yield ws
    ws.close()


@pytest.fixture
def session(ws):
    return ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)


@pytest.fixture
def people(ws):
    return [ws.roster.add_person(name, "own", name).id for name in ("ann", "bob")]


def test_labels_can_be_added_and_renamed_and_late_answers_find_them(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes")])
    session = ws.store.name_label(session, 2, "maybe")
    session = ws.store.name_label(session, 0, "island")
    assert session.labels == ("island", "no", "maybe")
    assert ws.journal.add_events(session, people[0], [event(2, "yes"), event(3, "island")]).accepted == 2
    assert ws.journal.counts(session)["island"] == 3
    with pytest.raises(BadInput, match="another label"):
        ws.store.name_label(session, 1, "yes")
    with pytest.raises(BadInput, match="repeat"):
        ws.store.name_label(session, 1, "Island")


def test_sessions_share_images_but_not_labels(ws, session, people):
    other = ws.store.add_session("Is it round?", ["round", "square", "other"], "classify", ws.config)
    ws.journal.add_events(session, people[0], [event(1, "yes")])
    assert ws.journal.counts(other) == {"round": 0, "square": 0, "other": 0, "unsure": 0, "skip": 0}
    assert ws.store.session().id == other.id
    for wrong in (99, 0, -1, 2**70):
        with pytest.raises(Missing):
            ws.store.session(wrong)


def test_opening_a_file_that_is_no_database_says_so(tmp_path):
    (tmp_path / "labeler.db").write_bytes(b"not a database" * 100)
    with pytest.raises(NotReady, match="is damaged, or no database"):
        Workspace.open(tmp_path)
