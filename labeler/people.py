"""Who is asking: links, the cookie of each device, and the person behind it."""

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeler.domain import Person, Role
from labeler.errors import BadInput
from labeler.roster import Link
from labeler.workspace import Workspace

COOKIE = "labeler_client"
TOKEN_FILE = "owner-token"
TOKEN_FACT = "owner_token_hash"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # 256 random bits as secrets.token_urlsafe writes them
LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?\Z", re.IGNORECASE)
FORWARDING = re.compile(  # what proxies, tunnels and content networks add to the requests they pass on
    r"forwarded|x-forwarded|via\Z|x-real-|x-original-|x-client-|x-cluster-client-|x-remote-|true-client-ip|"
    r"client-ip|proxy-|x-proxy|wl-proxy-|x-host\Z|x-scheme\Z|cf-|cdn-|fly-|fastly-|tailscale-|x-envoy-|x-azure-|"
    r"x-appengine-|x-amz|x-arr-|x-varnish|surrogate-"
)
MOST_COOKIES = 4  # of ours that one request may bring; each may cost a look into the database
MOST_KNOWN = 10_000  # people kept in memory
FRESH_S = 1.0  # how long somebody who was sent away may still be let in
LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: none is taken for another one
CODE_LENGTH, GROUP = 18, 6  # 90 random bits
MISREAD = str.maketrans({"o": "0", "i": "1", "l": "1"})
LONGEST_NAME = 30


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
    def role(self) -> Role:
        """Return what they may do."""
        return "own" if self.owner or self.person is None else self.person.role


GUEST = Visitor("", owner=False, guest=True)


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
) -> tuple[str, Link]:
    """Make a link; return its code, which is stored nowhere, and what is known of it.

    lasts_s  for how long it lets people in; None: until it is withdrawn. most: how many devices.
    person   whose other devices it is for; None: for new people.
    """
    code = new_code()
    ends_at = None if lasts_s is None else time.time() + lasts_s
    link = ws.roster.add_link(
        hash_token(code), role, ends_at=ends_at, most=most, session=session, person=person, made_by=made_by
    )
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


def owner_link(ws: Workspace, url: str, path: str = "/") -> str:
    """Return the link that lets its first opener in as the owner.

    url  of the server, such as "http://192.168.1.5:8501". path: "/swipe" for a phone.
    """
    return f"{url.rstrip('/')}{path}?token={owner_token(ws)}"


def is_loopback(host: str) -> bool:
    """Return whether an address of a peer, or one to listen on, is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def neighbourhood(peer: str) -> str:
    """Return what limits count an address as: of IPv6 its /64, which is what one household is given."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def is_local(host: str) -> bool:
    """Return whether a server that listens on `host` is for this machine alone, under its own names."""
    return host.lower().strip("[]") in ("localhost", "127.0.0.1", "::1")


def is_direct(headers: Mapping[str, str], peer: str | None) -> bool:
    """Return whether a request came straight from this machine, through no proxy, under its own name.

    headers  lower-case names. The Host header counts because a foreign name may point here (DNS rebinding).
    """
    if peer is None or not is_loopback(peer) or not LOCAL_HOST.match(headers.get("host", "")):
        return False
    return not any(map(FORWARDING.match, headers))


def client_cookies(header: str, stamp: str) -> list[str]:
    """Return the well-formed client cookies of a Cookie header, at most 4.

    stamp  of the workspace: first come those that were set for it where another server of this
           machine had set its own before.
    """
    found: dict[str, list[str]] = {f"{COOKIE}_{stamp}": [], COOKIE: []}
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name in found and TOKEN.match(value):
            found[name].append(value)
    return [value for values in found.values() for value in values][:MOST_COOKIES]


class Door:
    """Knows who may come in. `shared`: the server listens to other machines too."""

    def __init__(self, ws: Workspace, *, shared: bool) -> None:
        self._ws = ws
        self.shared = shared
        owner_token(ws)
        self._known: dict[str, Person] = {}
        self._changed = ""
        self._looked_at = -FRESH_S

    def is_stale(self) -> bool:
        """Return whether somebody whom memory knows may have been sent away since the last `refresh`."""
        return bool(self._known) and time.monotonic() - self._looked_at >= FRESH_S

    def refresh(self) -> None:
        """Forget whom memory knows where somebody was sent away or erased. Reads the database."""
        changed = self._ws.roster.changed()  # also by another process
        if changed != self._changed:
            self._known.clear()
        self._changed, self._looked_at = changed, time.monotonic()

    def knows_code(self, code: str) -> bool:
        """Return whether there is a link with this code, also one that is shut. Reads the database."""
        return self._ws.roster.link(hash_token(code)) is not None

    def join(self, ws: Workspace, code: str, name: str) -> tuple[Visitor, Link]:
        """Let a device in by a link's code. To be run by the writer.

        Raises Missing for a code that lets nobody in, BadInput for a name that can't be shown.
        """
        cookie = secrets.token_urlsafe(32)
        key = _key("link", cookie)
        person, link = ws.roster.join(hash_token(code), read_name(name), key)
        return Visitor(key, owner=person.role == "own", person=person, cookie=cookie), link

    def opens(self, token: str) -> bool:
        """Return whether this is the token of the owner's link. Reads the database."""
        stored = self._ws.store.fact(TOKEN_FACT) or ""
        return hmac.compare_digest(stored, hash_token(token))

    def known(self, cookies: Sequence[str], *, direct: bool) -> Visitor | None:
        """Return the visitor of one of these cookies as far as memory knows; None: ask `look_up`."""
        for key in self._keys(cookies, direct):
            if person := self._known.get(key):
                return Visitor(key, self._owns(person, direct), person)
        return None

    def look_up(self, cookies: Sequence[str], *, direct: bool) -> Visitor | None:
        """Return the visitor of one of these cookies, None when none gives access. Reads the database.

        A cookie that this workspace never made is taken as a new client's on a direct request:
        servers on two ports of one machine share their cookies, and must not take them from each other.
        """
        for key in self._keys(cookies, direct):
            if person := self._ws.roster.person_by_token(key):
                self._remember(key, person)
                return Visitor(key, self._owns(person, direct), person)
        return Visitor(_key("here", cookies[0]), owner=True) if self.is_owner(direct) else None

    def welcome(self, *, direct: bool) -> Visitor | None:
        """Return a new client on a request without a cookie, None when it has no access."""
        if not self.is_owner(direct):
            return None
        cookie = secrets.token_urlsafe(32)
        return Visitor(_key("here", cookie), owner=True, cookie=cookie)

    def admit(self, cookies: Sequence[str]) -> Visitor:
        """Return the owner who came with the link: with a cookie they brought if that was made by the
        link before, else with a fresh one. A cookie from elsewhere could be known to others."""
        for key in self._keys(cookies, direct=False):
            if person := self._known.get(key) or self._ws.roster.person_by_token(key):
                return Visitor(key, owner=person.role == "own", person=person)
        cookie = secrets.token_urlsafe(32)
        return Visitor(_key("link", cookie), owner=True, cookie=cookie)

    def enter(self, ws: Workspace, visitor: Visitor) -> Person:
        """Return the person of a visitor, stored now if need be. To be run by the writer."""
        person = ws.roster.person_by_token(visitor.key)
        if person is None:
            ws.roster.add_person(f"client {visitor.key[:6]}", "own", visitor.key)
            person = ws.roster.person_by_token(visitor.key)
            assert person is not None
        return person

    def _remember(self, key: str, person: Person) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[key] = person

    def is_owner(self, direct: bool) -> bool:
        """Return whether the connection alone makes its client the owner."""
        return direct and not self.shared

    def _owns(self, person: Person, direct: bool) -> bool:
        return person.role == "own" or self.is_owner(direct)

    def _keys(self, cookies: Sequence[str], direct: bool) -> list[str]:
        """Return the keys under which cookies may be stored. One that was taken on a direct request
        counts on such requests only: it never opens a shared server."""
        kinds = ["link", "here"] if self.is_owner(direct) else ["link"]
        return [_key(kind, cookie) for cookie in cookies for kind in kinds]


def _key(kind: str, cookie: str) -> str:
    return hash_token(f"{kind}:{cookie}")
