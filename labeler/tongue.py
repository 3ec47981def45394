"""The words that people see, in their language: one table for each, in the folder `language`."""

import json
import re
from functools import cache, lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "language"
DEFAULT = "en"
PART = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([0-9.]{1,6}))?\s*\Z")
LONGEST = 500  # letters of a header that are looked at
FORMS = "|"  # between what is said of one and what is said of any other number
OWN = ("yes", "no")  # answers that a question has by itself; all others are the owner's words
NAME = re.compile(r"\{(\w+)\}")
QUESTIONS = ("start.question.default", "start.question.drawn")  # where the owner gave none
KEPT = 2000  # sentences of modules that are kept as they were said
END = re.compile(r"(?<=[.?!]) (?=[^\sa-z])")  # between two sentences
MOST_ENDS = 12  # of sentences, and colons, in a text that is taken apart: errors have some three
LONGEST_SAID = 2000  # letters of one


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


@cache
def _whole(language: str) -> dict[str, str]:
    """Return a language's table, what it lacks in English; made once: every request has words."""
    return tables()[DEFAULT] | tables()[language]


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return what every sentence that modules say in English looks like, with its key; the longest first."""
    english = {key: text for key, text in tables()[DEFAULT].items() if key.startswith("said.")}
    ordered = sorted(english.items(), key=lambda one: -len(NAME.sub("", one[1])))
    return [(re.compile(_pattern(text), re.DOTALL), key) for key, text in ordered]


@cache
def _marks() -> list[str]:
    """Return of each pattern the longest text that stands in it: what lacks that does not match."""
    return [max(NAME.split(tables()[DEFAULT][key])[::2], key=len) for _, key in _patterns()]


def _pattern(text: str) -> str:
    """Return the pattern of a sentence. A name stands for what has no colon, `why` for any sentences."""
    parts = NAME.split(text)  # text and names in turn
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [f"(?P<{name}>{'.*?' if name == 'why' else '(?:(?!: ).)*?'})" for name in parts[1::2]]
    return "".join(parts)


class Words:
    """The words of one language. A key that its table lacks is said in English."""

    def __init__(self, accept: str) -> None:
        self.language = choose(accept)
        self._table = _whole(self.language)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text, its names filled in."""
        return self._table[key].format(**values) if values else self._table[key]

    def count(self, key: str, n: int, **values: object) -> str:
        """Return a text about n things: of two forms, as in "{n} card|{n} cards", the right one."""
        forms = self._table[key].split(FORMS)
        return (forms[0] if n == 1 else forms[-1]).format(n=f"{n:,}", **values)

    def part(self, group: str) -> dict[str, str]:
        """Return {key: text} of a group, the keys without its name: what a script in the browser says."""
        return {k.removeprefix(group): text for k, text in self._table.items() if k.startswith(group)}

    def answer(self, label: str) -> str:
        """Return an answer as people read it. It is sent and stored by its own name."""
        return self._table[f"deck.answer.{label}"] if label in OWN else label

    def question(self, asked: str) -> str:
        """Return a question as people read it: one that is asked where the owner gave none, or theirs.

        It is stored in English, whoever starts.
        """
        english = tables()[DEFAULT]
        return next((self._table[key] for key in QUESTIONS if asked == english[key]), asked)

    def said(self, english: str) -> str:
        """Return what a module has said in English, such as an error; unknown sentences as they are.

        It may be several sentences: an error, and what to do. What stands before a colon may be a name, such
        as a file's: "b.png: It is no image."
        """
        is_ours = 0 < len(english) <= LONGEST_SAID and english.count(": ") <= MOST_ENDS
        return _said(self.language, english) if is_ours and self.language != DEFAULT else english

    def both(self, error: str, do: str) -> str:
        """Return the two sentences of an error in this language, as one line."""
        return f"{self.said(error)} {self.said(do)}".strip()

    def told(self, english: str) -> str | None:
        """Return one or more sentences of a module in this language, None where a table lacks one of them.

        Each part is looked at once: a text that somebody has made for it costs no more than its parts.
        """
        ends = [0, *(head + 1 for head in _ends(english)), len(english) + 1]
        told: dict[int, str | None] = {ends[-1]: ""}  # from here to the end
        for i in range(len(ends) - 2, -1, -1):
            told[ends[i]] = None
            for end in ends[i + 1 :]:  # the shortest first: what fills a sentence may look like its end
                if told[end] is None or (one := self._one(english[ends[i] : end - 1])) is None:
                    continue
                told[ends[i]] = f"{one} {told[end]}".rstrip()
                break
        return told[0]

    def _one(self, sentence: str) -> str | None:
        for (pattern, key), mark in zip(_patterns(), _marks(), strict=True):
            if mark in sentence and (match := pattern.fullmatch(sentence)):
                told = {"why": self.said, "reason": self.reason, "label": self.answer}
                parts = {k: told.get(k, str)(v) for k, v in match.groupdict().items()}
                return self._table[key].format(**parts)
        return None

    def reason(self, english: str) -> str:
        """Return what the system says of a disk in this language. Behind it may stand a file: "… (a.csv)"."""
        said, bracket, name = english.partition(" (")
        return f"{self.said(said)}{bracket}{name}"


def _ends(text: str) -> list[int]:
    """Return where sentences may end within a text, ascending; nowhere in one that has a great many ends."""
    ends = [match.start() for match in END.finditer(text)]
    return ends if len(ends) <= MOST_ENDS else []


@lru_cache(KEPT)
def _said(language: str, english: str) -> str:
    """Return what `Words.said` does; kept, as a page says the same again and again."""
    words = Words(language)
    if (whole := words.told(english)) is not None:
        return whole
    for at in _ends(english):
        head, tail = english[:at], english[at + 1 :]
        if words.told(head) is not None or words.told(tail) is not None:
            return f"{words.said(head)} {words.said(tail)}"
    name, colon, rest = english.partition(": ")
    return f"{name}{colon}{words.said(rest)}"


ENGLISH = Words("")
