"""A certificate authority for development, with certificates of a server, of clients and of a cluster's peers.

Its key lies beside what it signs, so it is for trying out TLS, not for production.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_LEAF_DAYS = 397  #: the longest that clients of the web PKI accept


class Authority(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_certificates(
    directory: Path, *, hosts: Sequence[str], clients: Sequence[str], peers: Sequence[str] = ()
) -> list[Path]:
    """Writes ca, server, client-<name> and peer-<node id> as .pem and .key (0600); the paths written.

    An authority found is kept.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, written = _authority(directory)
    server = _issue(authority, hosts[0], [ExtendedKeyUsageOID.SERVER_AUTH], [_general_name(host) for host in hosts])
    written += _write(directory / "server", *server)
    for client in clients:
        written += _write(directory / f"client-{client}", *_issue(authority, client, [ExtendedKeyUsageOID.CLIENT_AUTH]))
    for peer in peers:
        # Peers call each other and answer each other; the name is the node's id, wherever it runs.
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        written += _write(directory / f"peer-{peer}", *_issue(authority, peer, both, [x509.DNSName(peer)]))
    return written


def _authority(directory: Path) -> tuple[Authority, list[Path]]:
    certificate, key = directory / "ca.pem", directory / "ca.key"
    if certificate.exists() and key.exists():
        loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey), f"{key} holds another kind of key"
        return Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded), []
    made = _new_authority()
    return made, _write(directory / "ca", *made)


def _new_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Tempolite development CA")
    builder = (
        _builder(name, name, key.public_key(), _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def _issue(
    authority: Authority,
    name: str,
    usages: Sequence[x509.ObjectIdentifier],
    alternatives: Sequence[x509.GeneralName] = (),
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(name), authority.certificate.subject, key.public_key(), _LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(authority.key, hashes.SHA256()), key


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(base: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> list[Path]:
    pem, private = base.with_name(base.name + ".pem"), base.with_name(base.name + ".key")
    private.unlink(missing_ok=True)  # so that the mode below holds for an earlier one too
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return [pem, private]
