"""The words that people see, in their language: one table for each, in the folder `language`."""

import json
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "language"
DEFAULT = "en"
PART = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([0-9.]{1,6}))?\s*\Z")
LONGEST = 500  # letters of a header that are looked at


@cache
def tables() -> dict[str, dict[str, str]]:
    """Return {language: {key: text}} of all tables; a text may hold names in braces."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def choose(accept: str) -> str:
    """Return the language, of those there are, that a browser likes most; English where it likes none.

    accept  its Accept-Language header (RFC 9110, 12.5.4).
    """
    liked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept[:LONGEST].split(",")):
        match = PART.match(part)
        if match is None or match[1].lower() not in tables():
            continue
        try:
            weight = float(match[2] or 1)
        except ValueError:
            continue
        if weight > 0:
            liked.append((-weight, place, match[1].lower()))
    return min(liked)[2] if liked else DEFAULT


class Words:
    """The words of one language. A key that its table lacks is said in English."""

    def __init__(self, accept: str) -> None:
        self.language = choose(accept)
        self._table = tables()[DEFAULT] | tables()[self.language]

    def __call__(self, key: str, **values: object) -> str:
        """Return a text, its names filled in."""
        return self._table[key].format(**values) if values else self._table[key]
