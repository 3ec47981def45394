"""The door: whom a request comes from, by its cookie, its link, or the connection alone."""

import base64
import hmac
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labeler.domain import Person, Role
from labeler.links import Link
from labeler.people import TOKEN_FACT, hash_token, owner_token, read_code, read_name
from labeler.workspace import Workspace

COOKIE = "labeler_client"
WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{43}(\.[A-Za-z0-9_-]{43})?\Z")  # a secret, and its signature
MOST_COOKIES = 4  # of ours that one request may bring; each may cost a look into the database
MOST_KNOWN = 10_000  # people kept in memory
FRESH_S = 1.0  # how long somebody who was sent away may still be let in
RANK: dict[Role, int] = {"swipe": 0, "review": 1, "own": 2}  # who of higher rank may do more


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client with access. `person` is None until it does something that has to be signed.

    key     what the database holds in place of the cookie.
    owner   whether they may do everything, by the connection or by the cookie.
    cookie  a new cookie to set, None when they have one.
    guest   whether they have no access at all, but to the page where one joins.
    """

    key: str
    owner: bool
    person: Person | None = None
    cookie: str | None = None
    guest: bool = False

    @property
    def device(self) -> int | None:
        """Return which of the person's devices asks; None: one that is not stored."""
        return None if self.person is None else self.person.device

    @property
    def session(self) -> int | None:
        """Return the question that is meant where none is named: that of the link by which somebody came.

        None: the newest, as for owners, who started it.
        """
        return None if self.owner or self.person is None else self.person.session

    @property
    def role(self) -> Role:
        """Return what they may do."""
        return "own" if self.owner or self.person is None else self.person.role


GUEST = Visitor("", owner=False, guest=True)


def client_cookies(header: str, stamp: str) -> list[str]:
    """Return the well-formed client cookies of a Cookie header, at most 4.

    stamp  of the workspace: first come those that were set for it where another server of this
           machine had set its own before.
    """
    found: dict[str, list[str]] = {f"{COOKIE}_{stamp}": [], COOKIE: []}
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name in found and WELL_FORMED.match(value):
            found[name].append(value)
    return [value for values in found.values() for value in values][:MOST_COOKIES]


class Door:
    """Knows who may come in. `shared`: the server listens to other machines too."""

    def __init__(self, ws: Workspace, *, shared: bool) -> None:
        self._ws = ws
        self.shared = shared
        owner_token(ws)
        self._signer, self._takes_unsigned = ws.roster.cookie_key()
        self._known: dict[str, Person] = {}
        self._changed = ws.roster.changed()
        self._looked_at = time.monotonic()
        self._memory = threading.Lock()  # held while what memory knows is compared with `_changed`

    def is_stale(self) -> bool:
        """Return whether somebody whom memory knows may have been sent away since the last `refresh`."""
        return time.monotonic() - self._looked_at >= FRESH_S

    def refresh(self) -> bool:
        """Forget whom memory knows where somebody was sent away, erased, or may do something else now.

        Return whether there was such a thing. Reads the database.
        """
        looked_at = time.monotonic()
        changed = self._ws.roster.changed()  # also by another process
        with self._memory:
            is_other = changed != self._changed
            if is_other:
                self._known.clear()
            self._changed, self._looked_at = changed, looked_at
        return is_other

    def look_at(self, token: str) -> Literal["owner", "other"] | None:
        """Return which link somebody comes with: the owner's, another one, none. Reads the database."""
        if self.opens(token):
            return "owner"
        code = read_code(token)
        if code is None or self._ws.roster.link(hash_token(code)) is None:
            return None
        return "other"  # it may be shut

    def lets_anew(self, visitor: Visitor, code: str) -> bool:
        """Return whether a link makes somebody of a visitor that they are not yet: with more rights, or
        another person with no fewer. Whoever has more stays who they are. Reads the database.
        """
        link = self._ws.roster.link(hash_token(code))
        if link is None or link.shut(time.time()) is not None or visitor.person is None:
            return False
        role = link.role if link.person is None else self._ws.roster.person(link.person).role
        more = RANK[role] - RANK[visitor.role]
        return more > 0 or (more == 0 and link.person not in (None, visitor.person.id))

    def check_code(self, code: str) -> None:
        """Raise Missing for a code that lets nobody in (any more). Reads the database."""
        self._ws.roster.open_link(hash_token(code))

    def join(self, ws: Workspace, code: str, name: str) -> tuple[Visitor, Link]:
        """Let a device in by a link's code. To be run by the writer.

        Raises Missing for a code that lets nobody in, BadInput for a name that can't be shown.
        """
        key, cookie = self._new_cookie("link")
        person, link = ws.roster.join(hash_token(code), read_name(name), key)
        return Visitor(key, owner=person.role == "own", person=person, cookie=cookie), link

    def opens(self, token: str) -> bool:
        """Return whether this is the token of the owner's link. Reads the database."""
        stored = self._ws.store.fact(TOKEN_FACT) or ""
        return hmac.compare_digest(stored, hash_token(token))

    def may_know(self, cookies: Sequence[str], *, direct: bool) -> bool:
        """Return whether `look_up` and `has_ended` may find somebody by these cookies. Reads no database.

        So cookies that somebody invents, of which this workspace has signed none, cost none either.
        """
        return bool(self._keys(cookies, direct))

    def known(self, cookies: Sequence[str], *, direct: bool) -> Visitor | None:
        """Return the visitor of one of these cookies as far as memory knows; None: ask `look_up`.

        The first cookie decides, as it does there: it may be of somebody who has just come in anew.
        """
        for key in self._keys(cookies[:1], direct):
            if person := self._known.get(key):
                return Visitor(key, self._owns(person, direct), person)
        return None

    def look_up(self, cookies: Sequence[str], *, direct: bool) -> Visitor | None:
        """Return the visitor of one of these cookies, None when none gives access. Reads the database.

        A cookie that this workspace never made is taken as a new client's on a direct request:
        servers on two ports of one machine share their cookies, and must not take them from each other.
        """
        keys = self._keys(cookies, direct)
        if not keys:
            return None
        changed = self._ws.roster.changed()
        for key in keys:
            if person := self._ws.roster.person_by_token(key):
                self._remember(key, person, changed)
                return Visitor(key, self._owns(person, direct), person)
        if not self.is_owner(direct):
            return None
        secret, _ = self._read(cookies[0])
        return Visitor(key_of("here", secret), owner=True)

    def has_ended(self, cookies: Sequence[str]) -> bool:
        """Return whether one of these cookies gave access by a link before. Reads the database.

        Only who has held such a cookie can send it, so it tells nothing to who guesses; of somebody erased
        nothing is known any more.
        """
        return any(self._ws.roster.has_ended(key) for key in self._keys(cookies, direct=False))

    def welcome(self, *, direct: bool) -> Visitor | None:
        """Return a new client on a request without a cookie, None when it has no access."""
        if not self.is_owner(direct):
            return None
        key, cookie = self._new_cookie("here")
        return Visitor(key, owner=True, cookie=cookie)

    def admit(self, cookies: Sequence[str]) -> Visitor:
        """Return the owner who came with the link: with a cookie they brought if that is an owner's and was
        made by a link before, else with a fresh one. A cookie from elsewhere could be known to others."""
        for key in self._keys(cookies, direct=False):
            person = self._known.get(key) or self._ws.roster.person_by_token(key)
            if person is not None and person.role == "own":
                return Visitor(key, owner=True, person=person)
        key, cookie = self._new_cookie("link")
        return Visitor(key, owner=True, cookie=cookie)

    def remember(self, visitor: Visitor, changed: str) -> None:
        """Keep in memory who has come in; changed: `roster.changed` as it was in that moment."""
        if visitor.person is not None:
            self._remember(visitor.key, visitor.person, changed)

    def enter(self, ws: Workspace, visitor: Visitor) -> Person:
        """Return the person of a visitor, stored now if need be. To be run by the writer."""
        person = ws.roster.person_by_token(visitor.key)
        if person is None:
            ws.roster.add_person(f"client {visitor.key[:6]}", "own", visitor.key)
            person = ws.roster.person_by_token(visitor.key)
            assert person is not None
        return person

    def _remember(self, key: str, person: Person, changed: str) -> None:
        """Keep a person in memory, unless somebody was sent away since `changed` was read, before they were.

        Else who was sent away between the two would be let in until somebody else is.
        """
        with self._memory:
            if changed != self._changed:
                return
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = person

    def is_owner(self, direct: bool) -> bool:
        """Return whether the connection alone makes its client the owner."""
        return direct and not self.shared

    def _owns(self, person: Person, direct: bool) -> bool:
        return person.role == "own" or self.is_owner(direct)

    def _new_cookie(self, kind: str) -> tuple[str, str]:
        """Return a fresh cookie's key, and the cookie."""
        secret = secrets.token_urlsafe(32)
        return key_of(kind, secret), sign(secret, self._signer)

    def _keys(self, cookies: Sequence[str], direct: bool) -> list[str]:
        """Return the keys under which cookies may be stored. One that was taken on a direct request
        counts on such requests only: it never opens a shared server."""
        keys = []
        for cookie in cookies:
            secret, may_be_ours = self._read(cookie)
            kinds = ["link"] if may_be_ours else []
            kinds += ["here"] if self.is_owner(direct) else []
            keys += [key_of(kind, secret) for kind in kinds]
        return keys

    def _read(self, cookie: str) -> tuple[str, bool]:
        """Return what a cookie's key is made of, and whether this workspace may have made the cookie.

        It has if it is signed, and it may have if it is as all were before any was. Of what others have
        signed all is the name of a client: another signature is another client.
        """
        if is_signed(cookie, self._signer):
            return cookie.partition(".")[0], True
        return cookie, self._takes_unsigned and "." not in cookie


def sign(secret: str, signer: str) -> str:
    """Return the cookie that holds a secret: behind it a point and its signature (HMAC with SHA-256).

    signer  the workspace's own key for this, `Roster.cookie_key`.
    """
    signature = hmac.digest(signer.encode(), f"cookie:{secret}".encode(), "sha256")
    return f"{secret}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def is_signed(cookie: str, signer: str) -> bool:
    """Return whether a cookie was made with this key: another workspace's was not, nor an invented one."""
    return hmac.compare_digest(sign(cookie.partition(".")[0], signer), cookie)


def key_of(kind: str, secret: str) -> str:
    """Return what the database holds in place of a cookie: a hash, so that no copy of it opens anything.

    kind  "link" for one that a link gave, "here" for one taken on a direct request.
    """
    return hash_token(f"{kind}:{secret}")
