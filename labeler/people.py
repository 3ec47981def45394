"""Who is asking: the owner's link, the cookie of each client, and the person behind it."""

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeler.domain import Person
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


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client with access. `person` is None until it does something that has to be signed.

    key     what the database holds in place of the cookie.
    owner   whether they may do everything, by the connection or by the cookie.
    cookie  a new cookie to set, None when they have one.
    """

    key: str
    owner: bool
    person: Person | None = None
    cookie: str | None = None


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
            if person := self._ws.store.person_by_token(key):
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
            if person := self._known.get(key) or self._ws.store.person_by_token(key):
                return Visitor(key, owner=person.role == "own", person=person)
        cookie = secrets.token_urlsafe(32)
        return Visitor(_key("link", cookie), owner=True, cookie=cookie)

    def enter(self, ws: Workspace, visitor: Visitor) -> Person:
        """Return the person of a visitor, stored now if need be. To be run by the writer."""
        person = ws.store.person_by_token(visitor.key)
        if person is None:
            person = ws.store.add_person(f"client {visitor.key[:6]}", "own", visitor.key)
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
