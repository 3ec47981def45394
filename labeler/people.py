"""What people come in with: links and their codes, names, the owner's token."""

import hashlib
import os
import re
import secrets
import time
import unicodedata

from labeler.domain import Role
from labeler.errors import BadInput
from labeler.links import Link, Made
from labeler.workspace import Workspace

TOKEN_FILE = "owner-token"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # 256 random bits as secrets.token_urlsafe writes them
TOKEN_FACT = "owner_token_hash"
LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: none is taken for another one
CODE_LENGTH, GROUP = 18, 6  # 90 random bits
MISREAD = str.maketrans({"o": "0", "i": "1", "l": "1"})
LONGEST_NAME = 30


def new_code() -> str:
    """Return a fresh code for a link: 90 random bits, in three groups that can be read aloud."""
    letters = [secrets.choice(LETTERS) for _ in range(CODE_LENGTH)]
    return "-".join("".join(letters[i : i + GROUP]) for i in range(0, CODE_LENGTH, GROUP))


def read_code(text: str) -> str | None:
    """Return a code as `new_code` writes it, however it was typed; None for what can be none."""
    plain = re.sub(r"[\s-]", "", text[:100]).lower().translate(MISREAD)
    if len(plain) != CODE_LENGTH or any(c not in LETTERS for c in plain):
        return None
    return "-".join(plain[i : i + GROUP] for i in range(0, CODE_LENGTH, GROUP))


def read_name(text: str) -> str:
    """Return a nickname as it is kept. Raises BadInput for one that can't be shown."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise BadInput("The nickname is empty.", "Give one, or take the one that is offered.")
    if len(name) > LONGEST_NAME:
        raise BadInput("The nickname is too long.", f"Use at most {LONGEST_NAME} letters.")
    if any(unicodedata.category(c)[0] == "C" for c in name):  # also marks that turn the text around them
        raise BadInput("The nickname holds characters that can't be shown.", "Use letters and digits.")
    return name


def make_link(
    ws: Workspace,
    role: Role,
    *,
    lasts_s: float | None,
    most: int | None = None,
    session: int | None = None,
    person: int | None = None,
    made_by: int | None = None,
    made_with: Made | None = None,
) -> tuple[str, Link]:
    """Make a link; return its code, which is stored nowhere, and what is known of it.

    lasts_s  for how long it lets people in; None: until it is withdrawn. most: how many devices.
    person   whose other devices it is for; None: for new people.
    """
    code = new_code()
    ends_at = None if lasts_s is None else time.time() + lasts_s
    link = ws.roster.add_link(
        hash_token(code), role, ends_at=ends_at, most=most, session=session, person=person,
        made_by=made_by, made_with=made_with,
    )  # fmt: skip
    if person is None:
        _codes[link.id] = code
    return code, link


_codes: dict[int, str] = {}
"""The codes of the links that this process made: the pages can show them again until it ends."""


def code_of(link: int) -> str | None:
    """Return the code of a link that this process made; None for any other: it is stored nowhere."""
    return _codes.get(link)


def join_url(url: str, code: str) -> str:
    """Return the address at which one joins with a code; url: of the server."""
    return f"{url.rstrip('/')}/join?token={code}"


def hash_token(token: str) -> str:
    """Return what is stored in place of a secret of 256 random bits."""
    return hashlib.sha256(token.encode("ascii", "replace")).hexdigest()


def owner_token(ws: Workspace) -> str:
    """Return the token of the owner's link, made at the first call.

    It is readable in a file of the workspace that only its owner may read, so that the link can be
    shown again; the database holds its hash. Delete the file to make earlier links void.
    """
    path = ws.folder / TOKEN_FILE
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        token = path.read_text("ascii", "replace").strip()
        if not TOKEN.match(token):  # written halfway
            path.unlink()
            return owner_token(ws)
    else:
        token = secrets.token_urlsafe(32)
        with open(fd, "w", encoding="ascii") as f:
            f.write(token + "\n")
    if ws.store.fact(TOKEN_FACT) != hash_token(token):
        ws.store.set_fact(TOKEN_FACT, hash_token(token))
    return token


def renew_owner_token(ws: Workspace) -> None:
    """Make the owner's links that were ever shown void; cookies that were given stay."""
    (ws.folder / TOKEN_FILE).unlink(missing_ok=True)
    owner_token(ws)


def owner_link(ws: Workspace, url: str, path: str = "/") -> str:
    """Return the link that lets its first opener in as the owner.

    url  of the server, such as "http://192.168.1.5:8501". path: "/swipe" for a phone.
    """
    return f"{url.rstrip('/')}{path}?token={owner_token(ws)}"
