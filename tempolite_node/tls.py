"""The certificates that a server of the node shows to those who connect. They may change while it listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from tempolite_node.errors import StartError


@dataclass(frozen=True, slots=True)
class Pems:
    """What is in the files, and must fit together."""

    certificate: bytes
    key: bytes
    authority: bytes | None  #: who connects must show a certificate of it; None: need not show any


def read_pems(*, certificate: Path, key: Path, authority: Path | None) -> Pems:
    """StartError: a file can't be read."""
    try:
        return Pems(
            certificate=certificate.read_bytes(),
            key=key.read_bytes(),
            authority=None if authority is None else authority.read_bytes(),
        )
    except OSError as error:
        raise StartError(f"can't read {error.filename}: {error.strerror}") from error


class ServerCertificates:
    """Those of the connections that are made from now on; what is connected stays so."""

    def __init__(self, pems: Pems) -> None:
        self.current = pems
        self._next: grpc.ServerCertificateConfiguration | None = None

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.current),
            self._fetch,
            require_client_authentication=self.current.authority is not None,
        )

    def replace(self, pems: Pems) -> None:
        """Whether a certificate must be shown stays as it was. By any thread."""
        assert (pems.authority is None) == (self.current.authority is None), "an authority can't come or go"
        self.current = pems
        self._next = _configuration(pems)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """At each handshake, by a thread of gRPC. None: nothing has changed."""
        following, self._next = self._next, None
        return following


def _configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.authority)
