"""How the server is reached: where it listens, what it is called outside, who passes requests on."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from labeler import addresses, places
from labeler.errors import BadInput
from labeler.identity import Identity

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SEGMENT = re.compile(r"[A-Za-z0-9._~-]+\Z")
NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z")
PORTS = {"http": 80, "https": 443}
THIS_MACHINE = ("127.0.0.0/8", "::1")
TAKEN = (  # first parts of addresses below the base path: with such a name it is not clear where it ends
    *("api", "tiles", "deck", "swipe", "static", "media", "component", "app", "auth", "oauth2callback"),
    *("_stcore", "start", "label", "search", "review", "found", "export", "training", "team", "explore"),
    *("join", "me", "disputes", "screen", "share", "learn", "board"),
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the server listens, and how browsers come to it.

    base      what stands before every address, such as "/labels"; "" for nothing.
    public    scheme and host by which browsers call the proxy, such as "https://labels.example.org"; "" when
              nobody has said.
    proxies   who is believed what they say of the requests that they pass on.
    identity  what connections are encrypted with; None: they are not.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    base: str = ""
    public: str = ""
    proxies: tuple[Network, ...] = ()
    identity: Identity | None = None

    @property
    def shared(self) -> bool:
        """Return whether everybody needs a link: others are let in, or come through a proxy."""
        return not addresses.is_local(self.host) or bool(self.proxies)

    @property
    def url(self) -> str:
        """Return the address that others open, without a slash at its end."""
        return (self.public or self._at(self._name())) + self.base

    @property
    def local_url(self) -> str:
        """Return the address for a browser on this machine, through no proxy."""
        return self._at("localhost" if self._answers_localhost() else places.reachable(self.host)) + self.base

    @property
    def plain_url(self) -> str:
        """Return the address in this network by number or by the machine's own name, through no proxy."""
        return self._at(places.reachable(self.host)) + self.base

    def trusts(self, address: str) -> bool:
        """Return whether a proxy with this address is believed."""
        here = _address(address)
        return here is not None and any(here in network for network in self.proxies)

    def _at(self, name: str) -> str:
        return f"{'https' if self.identity else 'http'}://{name}:{self.port}"

    def _answers_localhost(self) -> bool:
        return addresses.is_local(self.host) or self.host in ("0.0.0.0", "::", "")

    def _name(self) -> str:
        """Return what others call this machine: the certificate's name for it, if that is for another one."""
        called = places.reachable(self.host)
        if self.identity is None or self.identity.is_for(called) or addresses.is_local(self.host):
            return called
        return self.identity.name or called


_here: list[Reach] = []


def current() -> Reach:
    """Return how the server of this process is reached; as by default where nobody has said."""
    return _here[-1] if _here else Reach()


def use(reach: Reach) -> None:
    """Make this what `current` returns. To be called before the server is built."""
    _here[:] = [reach]


def at(path: str) -> str:
    """Return the address of a path of this server, as a browser has to ask for it.

    path  such as "/deck/deck.js".
    """
    return current().base + path


def read_base(text: str) -> str:
    """Return a base path as "/labels": "labels", "/labels" and "/labels/" are one, "" and "/" are none.

    Raises BadInput for what can't be one.
    """
    parts = text.strip().strip("/").split("/")
    if parts == [""]:
        return ""
    if ":" in text or not all(SEGMENT.match(part) and part.strip(".") for part in parts):
        raise BadInput(
            f"{text!r} is no path.", "Give letters, digits and - only, such as /labels or /bio/labels."
        )
    if parts[0].lower() in TAKEN:
        raise BadInput(f"/{parts[0]} is the name of a page here.", "Give another one, such as /labels.")
    return "/" + "/".join(parts)


def read_public(text: str) -> tuple[str, str]:
    """Return ("https://labels.example.org", "/crowd") for the address that browsers open.

    Raises BadInput for what is no such address.
    """
    do = "Give what people type, such as https://labels.example.org or https://example.org/labels."
    wrong = BadInput(f"{text!r} is no address of a web site.", do)
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except ValueError as e:  # also UnicodeError
        raise wrong from e
    is_name = NAME.match(host) and ".." not in host
    if parts.scheme not in PORTS or not (is_name or _address(host)) or "@" in parts.netloc:
        raise wrong
    if parts.query or parts.fragment:
        raise wrong
    name = f"[{host}]" if ":" in host else host
    here = name if port in (None, PORTS[parts.scheme]) else f"{name}:{port}"
    return f"{parts.scheme}://{here}", read_base(parts.path)


def read_proxies(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return addresses and networks of proxies, this machine's own for none. Raises BadInput for others."""
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in texts or THIS_MACHINE)
    except ValueError as e:
        raise BadInput(f"{e}.", "Give an address such as 10.0.0.5, or a network such as 10.0.0.0/24.") from e


def first_stranger(forwarded_for: str, reach: Reach) -> str | None:
    """Return the address that a proxy saw a request come from: the last one named that is no proxy's.

    forwarded_for  the value of X-Forwarded-For; what stands to the left of that address is the sender's own
                   word and may be anything. None when the proxy named no address.
    """
    named = [_bare(part) for part in forwarded_for.split(",") if part.strip()]
    for address in reversed(named):
        if _address(address) is None:
            return None
        if not reach.trusts(address):
            return address
    return named[-1] if named else None


def _bare(text: str) -> str:
    """Return an address without the port that some proxies add."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@lru_cache(4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
