"""Certificates and keys as people have them: good ones, and each kind that is not."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("labels.test", "localhost", "127.0.0.1")


def make_certificate(
    folder: Path,
    *,
    names=NAMES,
    days=(-1, 30),
    password: str | None = None,
    use=ExtendedKeyUsageOID.SERVER_AUTH,
) -> tuple[Path, Path]:
    """Return (certificate, key), two PEM files in a folder; self-signed.

    days  from now on when it begins and ends. use: what it is for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
    begins, ends = (datetime.now(UTC) + timedelta(days=n) for n in days)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begins, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_name, names))), critical=False)
    lock = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = folder / "site.crt", folder / "site.key"
    certificate_file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    kind = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, lock))
    return certificate_file, key_file


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
