import logging
import os

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from labeler import identity
from labeler.errors import BadInput
from labeler.identity import Identity
from tests.certificates import make_certificate


@pytest.fixture
def good(tmp_path):
    return make_certificate(tmp_path / "good")


def wrong(certificate, key) -> str:
    """Return both sentences about a pair that can't be used."""
    with pytest.raises(BadInput) as e:
        Identity(certificate, key)
    assert e.value.error.endswith(".")
    assert e.value.do
    return f"{e.value.error} {e.value.do}"


def test_a_certificate_knows_whom_it_is_for(tmp_path):
    names = ("localhost", "*.labels.test", "labels.test", "192.168.1.5", "::1")
    found = Identity(*make_certificate(tmp_path, names=names))
    assert found.name == "labels.test"
    assert all(map(found.is_for, ["localhost", "LABELS.test", "a.labels.test", "192.168.1.5", "[::1]"]))
    assert not any(map(found.is_for, ["a.b.labels.test", "192.168.1.6", "example.org", "", "test"]))


def test_a_certificate_without_names_is_for_nobody(tmp_path):
    found = Identity(*make_certificate(tmp_path, names=()))
    assert found.name is None
    assert not found.is_for("nobody")


def test_each_pair_that_browsers_would_refuse_is_told_apart(tmp_path, good):
    certificate, key = good
    other = make_certificate(tmp_path / "other")
    der = tmp_path / "site.der"
    der.write_bytes(b"\x30\x82\x01\x0a")
    assert "no-such.pem can't be read" in wrong(tmp_path / "no-such.pem", key)
    assert "Check the name given to --key" in wrong(certificate, tmp_path)
    assert "does not belong to the certificate" in wrong(certificate, other[1])
    assert "holds a key and no certificate. Give the key to --key" in wrong(key, key)
    assert "holds a certificate and no key. Give the certificate to --certificate" in wrong(
        certificate, certificate
    )
    assert "no certificate in PEM form" in wrong(der, key)
    assert "no key in PEM form" in wrong(certificate, der)
    locked = make_certificate(tmp_path / "locked", password="secret")
    assert "protected by a password. Write one without: openssl pkey -in site.key" in wrong(*locked)
    assert "ended on" in wrong(*make_certificate(tmp_path / "old", days=(-30, -1)))
    assert "begins on" in wrong(*make_certificate(tmp_path / "early", days=(1, 30)))
    client = make_certificate(tmp_path / "client", use=ExtendedKeyUsageOID.CLIENT_AUTH)
    assert "Browsers would refuse" in wrong(*client)


def test_a_damaged_pair_is_refused_and_never_asked_for_a_password(good):
    certificate, key = good
    lines = certificate.read_text().splitlines()
    certificate.write_text("\n".join([lines[0], "AAAA" + lines[1][4:], *lines[2:]]))
    assert "can't be used" in wrong(certificate, key)


def test_both_may_lie_in_one_file(tmp_path, good):
    one = tmp_path / "one.pem"
    one.write_bytes(good[1].read_bytes() + good[0].read_bytes())
    assert Identity(one, one).is_for("localhost")


def test_renewed_files_are_taken_up_and_half_a_renewal_is_not(tmp_path, good, monkeypatch, caplog):
    monkeypatch.setattr(identity, "LOOK_S", -1.0)
    found = Identity(*good)
    before = found.context()
    assert found.context() is before
    new = make_certificate(tmp_path / "new", names=("new.test",), days=(-1, 60))
    with caplog.at_level(logging.WARNING):
        os.replace(new[0], good[0])  # the key is still the old one
        assert found.context() is before
    assert "does not belong to the certificate" in caplog.text
    os.replace(new[1], good[1])
    assert found.context() is not before
    assert found.is_for("new.test")
    good[0].unlink()
    assert found.is_for("new.test")
    assert found.context() is not before


def test_files_are_looked_at_only_now_and_then(good, monkeypatch):
    found = Identity(*good)
    looks = []
    monkeypatch.setattr(identity, "_stamp", looks.append)
    for _ in range(50):
        found.context()
    assert looks == []
