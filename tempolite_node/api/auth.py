"""Who may call what: one rule per method, and nothing without a rule."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from tempolite_node.api.status import PermissionDenied, Unauthenticated
from tempolite_node.config import ApiConfig, Role

_EXECUTIONS = "/tempolite.v1.ExecutionService/"
_NODE = "/tempolite.v1.NodeService/"

#: The least role that may call the method. None: open to everyone.
RULES: Mapping[str, Role | None] = {
    _EXECUTIONS + "EnqueueExecution": Role.OPERATOR,
    _EXECUTIONS + "GetExecution": Role.READER,
    _EXECUTIONS + "GetExecutionTree": Role.READER,
    _EXECUTIONS + "ListExecutions": Role.READER,
    _EXECUTIONS + "CountExecutions": Role.READER,
    _EXECUTIONS + "WaitExecution": Role.READER,
    _EXECUTIONS + "SendSignal": Role.OPERATOR,
    _EXECUTIONS + "ReceiveSignals": Role.READER,
    _EXECUTIONS + "CancelExecution": Role.OPERATOR,
    _EXECUTIONS + "TerminateExecution": Role.OPERATOR,
    _EXECUTIONS + "ResolveCompensation": Role.OPERATOR,
    _NODE + "GetNodeInfo": Role.READER,
    _NODE + "ListHandlers": Role.READER,
    _NODE + "GetStats": Role.READER,
    _NODE + "WaitStats": Role.READER,
    _NODE + "ListPools": Role.READER,
    _NODE + "GetPool": Role.READER,
    _NODE + "ScalePool": Role.ADMIN,
    _NODE + "PausePool": Role.ADMIN,
    _NODE + "ResumePool": Role.ADMIN,
    # A load balancer has no token. Watch stays open for as long as its caller likes, so it needs one.
    "/grpc.health.v1.Health/Check": None,
    "/grpc.health.v1.Health/List": None,
    "/grpc.health.v1.Health/Watch": Role.READER,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.READER,
}

_RANK = {Role.READER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


class Authenticator:
    """Knows callers by bearer token or by client certificate; without either in the config, everyone is admin."""

    def __init__(self, config: ApiConfig) -> None:
        self._open = not config.authenticates
        self._certificates = config.has_client_certificates
        self._tokens = [(token.sha256, token.role) for token in config.tokens]
        self._clients = {client.name: client.role for client in config.clients}

    def admit_by_metadata(self, method: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
        """True: it may go on. False: the client certificate decides. Raises when it may not."""
        if method not in RULES:
            raise PermissionDenied(f"no rule for {method}")
        needed = RULES[method]
        if needed is None or self._open:
            return True
        given = [value for key, value in metadata or () if key == "authorization"]
        if given:
            _require(needed, self._role_of_token(given), method)
            return True
        if not self._certificates:
            raise Unauthenticated("no token; send the metadata `authorization: Bearer <token>`")
        return False

    def admit_by_certificate(self, method: str, auth_context: Mapping[str, Iterable[bytes]]) -> None:
        """Raises unless the connection's certificate has a role that suffices."""
        needed = RULES[method]
        assert needed is not None, f"{method} is open"
        names: Sequence[bytes] = [
            *auth_context.get("x509_common_name", ()),
            *auth_context.get("x509_subject_alternative_name", ()),
        ]
        roles = [role for name in names if (role := self._clients.get(name.decode("utf-8", "replace"))) is not None]
        if not roles:
            raise Unauthenticated("neither a token nor a certificate whose name is in api.clients")
        _require(needed, max(roles, key=_RANK.__getitem__), method)

    def _role_of_token(self, given: Sequence[str | bytes]) -> Role:
        scheme, _, token = str(given[0]).partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        # Every hash is compared, in constant time, so that the time taken tells nothing.
        roles = [role for known, role in self._tokens if hmac.compare_digest(known, digest)]
        if len(given) != 1 or scheme.lower() != "bearer" or not roles:
            raise Unauthenticated("the token is not valid")
        return roles[0]


def _require(needed: Role, role: Role, method: str) -> None:
    if _RANK[role] < _RANK[needed]:
        raise PermissionDenied(f"{method.rpartition('/')[2]} needs the role {needed}; the caller is {role}")
