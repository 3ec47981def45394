"""Reference pictures and words: what a person gives to say what is looked for."""

import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from labeler import encoders, files, images
from labeler.domain import LabelEvent, Session
from labeler.errors import BadInput, Missing, writing
from labeler.items import shown_path
from labeler.searching import clean_words
from labeler.store import WORDS, Example
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from active.embedding import Encoder

EXAMPLE_IDS = uuid.UUID("7c0f3d1e-52a4-4d8f-9a61-4f6a3d1b9e02")  # name space of the events that examples make


def add_example(
    ws: Workspace, session: Session, name: str, data: bytes, label: str | None = None
) -> int | None:
    """Take a reference picture; return its item when it is in the pool, else None.

    In the pool it becomes an answer on a card of its own. Outside it is kept in the workspace
    and stands as one more example of `label` (None: the target). Given twice, it counts once.
    Raises BadInput for a picture that can't be read.
    """
    label = session.target if label is None else label
    numbers = ws.store.label_numbers(session.id)
    if label not in numbers:
        raise Missing(f"There is no label {label!r}.", f"Use one of {', '.join(session.labels)}.")
    open_picture(ws, data, name=Path(name).name[:200])
    content_hash = images.content_hash(data)
    path = ws.example_file(content_hash)
    if not path.exists():
        with writing("The example"):
            files.save_atomic(path, data)
    shown = shown_path(Path(name).name[:200])[0]
    ws.store.add_example(session.id, content_hash, shown, numbers[label])
    link_examples(ws, session)
    return ws.catalog.pool_item_by_hash(content_hash)


def add_words(ws: Workspace, session: Session, text: str) -> None:
    """Take words that describe the target: what lies near to them is asked first. Twice the same count once.

    Raises BadInput for none, for too many, and where the encoder that is wanted reads no text.
    """
    words = clean_words(text)
    why = encoders.why_no_words(ws.config.encoder)
    if why is not None:
        raise BadInput(why)
    ws.store.add_example(session.id, WORDS + images.content_hash(words.encode()), words, 0)


def open_picture(ws: Workspace, data: bytes, *, name: str = "The picture") -> "Image":
    """Return the decoded picture, RGB and upright. Raises BadInput when it can't be read."""
    try:
        return images.decode(data, want_px=512, max_megapixels=ws.config.max_megapixels).image
    except files.Unreadable as e:
        raise BadInput(
            f"{name} can't be used: {e.reason}", "Give another picture, such as a JPEG or PNG."
        ) from e


def examples(ws: Workspace, session: Session) -> list[Example]:
    """Return the reference pictures of a session, in order of arrival."""
    return ws.store.examples(session.id)


def link_examples(ws: Workspace, session: Session) -> int:
    """Turn reference pictures that have appeared in the pool into answers; return how many."""
    waiting = [e for e in ws.store.examples(session.id) if e.item is None]
    found = {e.id: item for e in waiting if (item := ws.catalog.pool_item_by_hash(e.hash)) is not None}
    if not found:
        return 0
    person = ws.roster.owner().id
    with ws.store.transaction():
        for example in ws.store.examples(session.id):
            item = found.get(example.id) if example.item is None else None  # another one may have been here
            if item is None:
                continue
            card = ws.dealing.add_card(session.id, item, person, "asked", time.time())
            event = LabelEvent(
                id=str(uuid.uuid5(EXAMPLE_IDS, f"{session.id}/{example.hash}")),
                item=item, answer=session.labels[example.label], at=datetime.now(UTC), card=card,
            )  # fmt: skip
            ws.journal.add_events(session, person, [event])
            ws.store.link_example(example.id, item)
    return len(found)


def embed_examples(ws: Workspace, encoder: "Encoder") -> int:
    """Give every reference picture a vector of this encoder; return how many were new."""
    waiting = ws.store.unembedded_examples(encoder.key)
    done = 0
    for example in waiting:
        if example.is_words:
            done += _embed_words(ws, encoder, example)
            continue
        try:
            data = ws.example_file(example.hash).read_bytes()
            picture = open_picture(ws, data, name=example.name)
        except (OSError, BadInput):
            continue  # its file is gone or broken; it was whole when it was given
        ws.store.set_example_vector(example.id, encoder.key, encoder.encode([picture])[0])
        done += 1
    return done


def _embed_words(ws: Workspace, encoder: "Encoder", example: Example) -> int:
    from active.embedding import read

    try:
        row = read(encoder, [example.name])[0]
    except ValueError:
        return 0  # another encoder was chosen since; it goes by the pictures
    ws.store.set_example_vector(example.id, encoder.key, row)
    return 1
