"""Addresses, tokens and TLS."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tempolite_sdk.client.channel import TLS, Endpoint, Target, resolve_targets
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.errors import InvalidArgument, Unavailable
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8367", Endpoint("127.0.0.1", 8367)),
        ("node-1.example:9000", Endpoint("node-1.example", 9000)),
        ("localhost", Endpoint("localhost", 8367)),
        ("[::1]:9000", Endpoint("::1", 9000)),
        ("[::1]", Endpoint("::1", 8367)),
    ],
)
def test_an_address_is_host_and_port(address: str, expected: Endpoint) -> None:
    assert Endpoint.parse(address) == expected


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("a:1,b:2", "names several endpoints"),
        ("https://node:1", "without a scheme"),
        ("::1:8367", "in brackets"),
        ("node:http", "port"),
        ("node:0", "port"),
        ("node:65536", "port"),
        (":8367", "not host:port"),
        ("node name:1", "not host:port"),
    ],
)
def test_an_address_that_is_none_is_refused_clearly(address: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        Endpoint.parse(address)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.8.9.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("10.0.0.1:1", False), ("node:1", False)],
)
def test_loopback_is_known(address: str, loopback: bool) -> None:
    assert Endpoint.parse(address).is_loopback is loopback


def test_a_token_does_not_leave_the_machine_in_the_clear() -> None:
    with pytest.raises(InvalidArgument, match=r"in the clear to 10\.0\.0\.1:8367") as refused:
        Client("10.0.0.1:8367", token="s3cret")
    assert "s3cret" not in str(refused.value)


def test_a_token_is_not_shown() -> None:
    assert "s3cret" not in repr(Target(Endpoint.parse("localhost"), token="s3cret"))


def test_a_newline_left_in_a_token_is_named() -> None:
    with pytest.raises(InvalidArgument, match="newline"):
        Client(token="s3cret\n")


def test_arguments_go_before_the_environment() -> None:
    environ = {"TEMPOLITE_ADDRESS": "other:1", "TEMPOLITE_TOKEN": "other"}
    [target] = resolve_targets("localhost:2", token="", tls=False, credentials=None, timeout=1, environ=environ)
    assert target.endpoint == Endpoint("localhost", 2)
    assert target.token == ""


@pytest.mark.parametrize("address", ["a:1, b:2,a:1", ["a:1", "b:2"], None])
def test_several_endpoints_are_one_text_or_a_sequence(address: str | list[str] | None) -> None:
    environ = {"TEMPOLITE_ADDRESS": "A:1,B:2"}
    targets = resolve_targets(address, token="", tls=False, credentials=None, timeout=1, environ=environ)
    assert [str(target.endpoint) for target in targets] == ["a:1", "b:2"]


def test_no_endpoint_at_all_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no endpoint"):
        Client([])


def test_a_token_is_refused_when_it_would_leave_in_the_clear_to_any_of_several_endpoints() -> None:
    with pytest.raises(InvalidArgument, match=r"in the clear to 10\.0\.0\.1:8367"):
        Client("localhost:8367,10.0.0.1:8367", token="s3cret")


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(InvalidArgument, match="key_file"):
        TLS(cert_file="client.pem")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"tls\.ca_file.*nowhere\.pem"):
        Client("node:1", tls=TLS(ca_file=tmp_path / "nowhere.pem"))


def test_tls_and_credentials_exclude_each_other() -> None:
    with pytest.raises(InvalidArgument, match="not both"):
        Client("node:1", tls=True, credentials=grpc.ssl_channel_credentials())


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_is_positive_and_finite(timeout: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        Client(timeout=timeout)


# --- TLS, on a real connection


class Authority:
    """Issues certificates, and keeps them as files."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._subject, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self._signed(certificate))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._builder(subject, key.public_key()).add_extension(names, critical=False)
        files = (self._directory / f"{name}.pem", self._directory / f"{name}.key")
        files[0].write_bytes(self._signed(certificate))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def secure_peer(authority: Authority, request: pytest.FixtureRequest) -> Callable[..., Peer]:
    def secure_peer(*, mutual: bool = False) -> Peer:
        certificate, key = authority.issue("node")
        credentials = grpc.ssl_server_credentials(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=authority.file.read_bytes() if mutual else None,
            require_client_auth=mutual,
        )
        peer = Peer(credentials=credentials)
        peer.answers("CountExecutions", pb.CountExecutionsResponse(count=3))
        request.addfinalizer(peer.stop)
        return peer

    return secure_peer


def test_a_node_is_known_by_its_authority(authority: Authority, secure_peer: Callable[..., Peer]) -> None:
    peer = secure_peer()
    with Client(peer.address, tls=TLS(ca_file=authority.file), token="t0ken") as client:
        assert client.count() == 3
    assert peer.metadata["CountExecutions"][0]["authorization"] == "Bearer t0ken"


def test_a_client_shows_its_own_certificate(authority: Authority, secure_peer: Callable[..., Peer]) -> None:
    certificate, key = authority.issue("client")
    tls = TLS(ca_file=authority.file, cert_file=certificate, key_file=key)
    with Client(secure_peer(mutual=True).address, tls=tls) as client:
        assert client.count() == 3


def test_a_node_of_another_authority_is_refused_without_a_repeat(
    tmp_path: Path, secure_peer: Callable[..., Peer]
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with Client(secure_peer().address, tls=TLS(ca_file=stranger.file), timeout=60) as client:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            client.count()
