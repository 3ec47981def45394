"""Nicknames that are offered to people who join: two plain words, easy to say and to remember."""

import secrets

from labeler.tongue import Words

BETWEEN = ", "  # two words of a list in the table of a language


def offered_name(words: Words) -> str:
    """Return a nickname in somebody's language, such as "Snowy Grove"."""
    first, second = (secrets.choice(words(key).split(BETWEEN)) for key in ("name.first", "name.second"))
    return words("name.offered", first=first, second=second)
