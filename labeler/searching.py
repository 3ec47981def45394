"""Search: the items that are like some examples and unlike others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from active.arrays import Rows
from labeler import coding, images, lull
from labeler.domain import UNSURE, Item
from labeler.errors import BadInput, Missing, NotReady
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.embedding import Encoder

SPARE = 20  # items that are looked up beyond those that are wanted, as files of some may be gone
MOST_WORDS = 200  # letters of a description; a network reads the first 60 words or so


def get_item(ws: Workspace, item: int) -> Item:
    """Return one item. Raises Missing."""
    found = ws.catalog.item(item)
    if found is None:
        raise Missing(f"There is no item {item}.", f"Items go from 0 to {ws.catalog.count_items() - 1}.")
    return found


def item_rows(ws: Workspace, items: Sequence[int]) -> Rows:
    """Return the vectors of items.

    Raises Missing for an unknown one and for one that could not be seen, NotReady for one not embedded yet.
    """
    used = ws.registry.in_use()
    for item in items:
        get_item(ws, item)
        if used is None or item >= used[2]:
            raise NotReady(f"Item {item} is not embedded yet.", "Try again in a moment.")
    if used is None:
        raise nothing_yet()
    rows = np.asarray(ws.vectors(used[0], used[1]).rows(0, used[2])[np.asarray(items, np.int64)])
    for item, row in zip(items, rows, strict=True):
        if np.ptp(row) == 0:  # no picture's row: its file was gone when it was to be embedded
            raise Missing(f"Item {item} could not be seen, so nothing is like it.", "Search by another one.")
    return rows


def known_row(ws: Workspace, data: bytes) -> Rows | None:
    """Return the vector (1, d) of a picture that is in the pool and embedded, None for any other.

    No encoder is needed for it, and it is found while the encoder is being changed too.
    """
    item, used = ws.catalog.item_by_hash(images.content_hash(data)), ws.registry.in_use()
    if item is None or used is None or item >= used[2]:
        return None
    try:
        return item_rows(ws, [item])
    except Missing:  # its file was gone when it was to be embedded
        return None


def encoder_key(ws: Workspace) -> str:
    """Return the key of the encoder in use, "" before anything is embedded."""
    used = ws.registry.in_use()
    return "" if used is None else used[0]


def word_row(encoder: "Encoder", text: str) -> Rows:
    """Return the vector (1, d) of words. Raises BadInput for none, for too many, and where none are read."""
    from active.embedding import read

    words = clean_words(text)
    try:
        return read(encoder, [words])
    except ValueError as e:
        error, _, do = str(e).partition(". ")
        raise BadInput(f"{error.rstrip('.')}.", do or "Search by pictures.") from e


def clean_words(text: str) -> str:
    """Return words with single spaces. Raises BadInput for none and for too many."""
    words = " ".join(text.split())
    if not words or len(words) > MOST_WORDS or not words.isprintable():
        raise BadInput("That describes nothing.", f"Give words, up to {MOST_WORDS} letters.")
    return words


def check_used(ws: Workspace, key: str) -> None:
    """Raise NotReady while the images are still searched by what another encoder saw."""
    used = ws.registry.in_use()
    if used is not None and used[0] != key:
        raise NotReady(
            "The encoder is being changed, and the new one has not seen all images yet.",
            "Search by an image of the pool, or wait until the change is done.",
        )


def stacked(rows: Sequence[Rows]) -> Rows | None:
    """Return rows under each other, None for none. Raises BadInput when they differ in length."""
    if len({r.shape[1] for r in rows}) > 1:
        raise BadInput("The vectors differ in length.", "Give an embedding made by the encoder in use.")
    return np.concatenate(rows) if rows else None


def neighbours(
    ws: Workspace,
    like: Rows,
    unlike: Rows | None = None,
    k: int = 50,
    *,
    apart: bool = False,
    exact: bool = False,
    by: Sequence[int] = (),
) -> list[tuple[int, float]]:
    """Return the k items nearest to `like` and away from `unlike`, as (item, cosine), best first.

    like, unlike  (n, d) vectors of the encoder in use. Items whose files are gone are left out.
    by            items that are searched by: a known image from outside the pool is found by itself, as any
                  other is. Else who searches by it could tell which it is.
    apart         they lie apart from all pictures, as words do: many more are compared then.
    exact         compare all items, up to three million. Without it all of up to 100,000 are compared, and of
                  up to a million where nobody else searches and it takes no longer than 0.7 s. Else nearly
                  always the nearest are found: the share is measured (`coding`).
    Raises NotReady before anything is embedded, and where a very large pool has no codes yet, BadInput for
    vectors of another size, and for too many items to compare all.
    """
    from active.arrays import unit_rows
    from active.search import combine

    used = ws.registry.in_use()
    if used is None or used[2] == 0:
        raise nothing_yet()
    key, dim, n = used
    for rows in (like, unlike):
        if rows is not None and (rows.ndim != 2 or rows.shape[1] != dim):
            raise BadInput(
                f"A vector has {rows.shape[-1]} numbers; this pool's have {dim}.", f"Give {dim} numbers."
            )
    try:
        query = combine(unit_rows(like), None if unlike is None else unit_rows(unlike))
    except ValueError as e:
        raise BadInput(f"The example can't be used: {e}", "Give finite numbers, at least one example.") from e
    with lull.here.search() as is_alone:
        index = coding.index(ws, key, dim, n, apart=apart, exact=exact, is_alone=is_alone)
        k = max(0, min(k, n))
        own = ws.catalog.outside_among(by)
        among = min(n, k + SPARE)
        while True:
            ids, cos = index.search(query, among)
            gone = ws.catalog.absent_among(ids[0].tolist()) - own
            found = [
                (int(i), min(1.0, float(c)))
                for i, c in zip(ids[0], cos[0], strict=True)
                if int(i) not in gone
            ]
            if len(found) >= k or among >= n:
                return found[:k]
            among = min(n, 2 * among)


def described(ws: Workspace, number: int | None, items: Sequence[int]) -> list[tuple[str, str | None]]:
    """Return of each item where it lies in the folder of images, as text, and its answer, if it has one.

    number  of the session whose answers are meant; None: the newest. Raises Missing for an unknown one.
    """
    session = ws.store.session(number)
    answers = ws.journal.answers(session.id)
    session = ws.store.session(session.id)  # read after the answers: it knows all of their labels
    said = dict(zip(answers.items.tolist(), answers.labels.tolist(), strict=True))
    paths = ws.catalog.shown_paths(items)
    labels = [said.get(item) for item in items]
    words = [None if n is None else UNSURE if n < 0 else session.labels[n] for n in labels]
    return [(paths.get(item, ""), word) for item, word in zip(items, words, strict=True)]


def nothing_yet() -> NotReady:
    """Return what is raised by a search before anything is embedded."""
    return NotReady("Nothing is embedded yet.", "Try again in a moment.")
