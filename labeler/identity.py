"""What the server proves itself with over HTTPS: a certificate and its key, read again when they change."""

import ipaddress
import logging
import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from labeler.errors import BadInput

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
KEY = b"PRIVATE KEY-----"
LOCKED = (b"ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
MOST_BYTES = 1 << 20
LOOK_S = 10.0  # how often the files are looked at, when somebody connects
ANY_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the dates are read, and checked here

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Proof:
    """One certificate as it was read. names: hosts and addresses that it is for, lower case."""

    context: ssl.SSLContext
    names: tuple[str, ...]
    begins: datetime
    ends: datetime


class Identity:
    """A certificate and its key in two PEM files. Raises BadInput for those that browsers would refuse."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._seen = self._look()
        self._looked_at = time.monotonic()
        self._proof = read(certificate, key)

    @property
    def name(self) -> str | None:
        """Return the first name on the certificate by which others may come, None when it has none."""
        return next((n for n in self._proof.names if "." in n and "*" not in n and not _is_number(n)), None)

    @property
    def ends(self) -> datetime:
        """Return until when browsers accept it."""
        return self._proof.ends

    def is_for(self, host: str) -> bool:
        """Return whether a browser that opens `host` accepts the names on the certificate."""
        host = host.lower().strip("[]")
        wild = "*." + host.partition(".")[2]
        return host in self._proof.names or (wild in self._proof.names and not _is_number(host))

    def context(self) -> ssl.SSLContext:
        """Return what a new connection is encrypted with. Renewed files are taken up within seconds; where
        they are no good, or only one is there yet, the ones before stay and the log says so."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_S:
            self._looked_at = now
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._proof = read(*self._files)
                except BadInput as e:
                    log.warning("The new certificate is not used: %s %s", e.error, e.do)
        return self._proof.context

    def _look(self) -> list[tuple[int, int] | None]:
        return [_stamp(path) for path in self._files]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def read(certificate: Path, key: Path) -> Proof:
    """Return what two PEM files prove. Raises BadInput with what is wrong with them."""
    chain, secret = _read_file(certificate, "--certificate"), _read_file(key, "--key")
    first = CERTIFICATE.search(chain)
    if first is None:
        if KEY in chain:
            raise BadInput(f"{certificate} holds a key and no certificate.", "Give the key to --key.")
        raise BadInput(f"{certificate} holds no certificate in PEM form.", _PEM.format("CERTIFICATE"))
    if any(mark in secret for mark in LOCKED):
        raise BadInput(
            f"The key {key} is protected by a password.",
            f"Write one without: openssl pkey -in {key.name} -out open-{key.name}",
        )
    if KEY not in secret:
        if CERTIFICATE.search(secret):
            raise BadInput(f"{key} holds a certificate and no key.", "Give the certificate to --certificate.")
        raise BadInput(f"{key} holds no key in PEM form.", _PEM.format("PRIVATE KEY"))
    context = _context(certificate, key)
    proof = _shake_hands(context, first[0].decode("ascii", "replace"), certificate)
    now = datetime.now(UTC)
    if now > proof.ends:
        raise BadInput(f"The certificate {certificate} ended on {proof.ends:%Y-%m-%d}.", "Renew it.")
    if now < proof.begins:
        raise BadInput(
            f"The certificate {certificate} begins on {proof.begins:%Y-%m-%d %H:%M} UTC.",
            "Set this computer's clock if it is wrong; else wait, or use another certificate.",
        )
    return proof


_PEM = "Give a PEM file: text with a line -----BEGIN {}-----. openssl turns other kinds into one."


def _read_file(path: Path, option: str) -> bytes:
    try:
        with open(path, "rb") as f:
            return f.read(MOST_BYTES)
    except OSError as e:
        raise BadInput(
            f"{path} can't be read: {e.strerror}.",
            f"Check the name given to {option}, and that you may read the file.",
        ) from e


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")  # never ask at the terminal
    except ssl.SSLError as e:
        if e.reason == "KEY_VALUES_MISMATCH":
            raise BadInput(
                f"The key {key} does not belong to the certificate {certificate}.",
                "Give the key that the certificate was made with; the server's own certificate comes first.",
            ) from e
        why = (e.reason or "it is damaged").replace("_", " ").lower()
        raise BadInput(f"{certificate} and {key} can't be used: {why}.", "Make them anew.") from e
    except OSError as e:
        raise BadInput(f"{certificate} and {key} can't be read: {e.strerror}.", "Check them.") from e
    return context


def _shake_hands(server: ssl.SSLContext, certificate: str, path: Path) -> Proof:
    """Return what a browser that trusts this certificate learns of it: one connection, within memory.

    This also proves that the pair works. Raises BadInput where a browser would refuse whatever the name is.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ANY_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=certificate)
        ends = (
            client.wrap_bio(to_client, to_server),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        for _ in range(4):  # two are enough
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        told = ends[0].getpeercert()
    except (ssl.SSLError, ValueError) as e:
        why = getattr(e, "verify_message", "") or getattr(e, "reason", None) or "it is damaged"
        raise BadInput(f"Browsers would refuse {path}: {why}.", "Get a certificate for a web server.") from e
    assert told, "the client has verified it"
    names = told.get("subjectAltName", ())
    return Proof(server, tuple(map(_plain, names)), _time(told["notBefore"]), _time(told["notAfter"]))


def _plain(name: object) -> str:
    """Return one name of a certificate, addresses as Python writes them."""
    assert isinstance(name, tuple)
    text = str(name[1]).strip().lower()
    return str(ipaddress.ip_address(text)) if _is_number(text) else text


def _time(text: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
