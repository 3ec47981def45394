"""Addresses of peers: which are this machine, which count as one, what came straight from here."""

import ipaddress
import re
from collections.abc import Mapping

LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?\Z", re.IGNORECASE)
FORWARDING = re.compile(  # what proxies, tunnels and content networks add to the requests they pass on
    r"forwarded|x-forwarded|via\Z|x-real-|x-original-|x-client-|x-cluster-client-|x-remote-|true-client-ip|"
    r"client-ip|proxy-|x-proxy|wl-proxy-|x-host\Z|x-scheme\Z|cf-|cdn-|fly-|fastly-|tailscale-|x-envoy-|x-azure-|"
    r"x-appengine-|x-amz|x-arr-|x-varnish|surrogate-"
)


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
