"""Who may call what: one rule per method, and nothing without a rule."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar

from tempolite_node.api.status import PermissionDenied, Unauthenticated
from tempolite_node.config import ApiConfig, Role

_EXECUTIONS = "/tempolite.v1.ExecutionService/"
_NODE = "/tempolite.v1.NodeService/"
_CLUSTER = "/tempolite.v1.ClusterService/"

#: The least role that may call the method. None: open to everyone.
RULES: Mapping[str, Role | None] = {
    _EXECUTIONS + "EnqueueExecution": Role.OPERATOR,
    _EXECUTIONS + "BatchEnqueueExecutions": Role.OPERATOR,
    _EXECUTIONS + "Session": Role.READER,  # and each call in it by its own rule
    _EXECUTIONS + "GetExecution": Role.READER,
    _EXECUTIONS + "GetExecutionTree": Role.READER,
    _EXECUTIONS + "ExplainExecution": Role.READER,
    _EXECUTIONS + "ListExecutionEvents": Role.READER,
    _EXECUTIONS + "ListExecutions": Role.READER,
    _EXECUTIONS + "CountExecutions": Role.READER,
    _EXECUTIONS + "WaitExecution": Role.READER,
    _EXECUTIONS + "SendSignal": Role.OPERATOR,
    _EXECUTIONS + "ReceiveSignals": Role.READER,
    _EXECUTIONS + "CancelExecution": Role.OPERATOR,
    _EXECUTIONS + "TerminateExecution": Role.OPERATOR,
    _EXECUTIONS + "DeleteExecution": Role.OPERATOR,
    _EXECUTIONS + "ResumeExecution": Role.OPERATOR,
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
    _CLUSTER + "GetCluster": Role.READER,
    _CLUSTER + "AddMember": Role.ADMIN,
    _CLUSTER + "RemoveMember": Role.ADMIN,
    _CLUSTER + "TransferLeadership": Role.ADMIN,
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
        self.changes = 0  #: how often `admit_by` has changed the rules
        self.admit_by(config)

    def admit_by(self, config: ApiConfig) -> None:
        """Knows callers by these tokens and certificates from now on; see `Caller` for those who are in."""
        self.changes += 1
        self._open = not config.authenticates
        self._certificates = config.has_client_certificates
        self._tokens = [(token.sha256, token.role) for token in config.tokens]
        self._clients = {client.name: client.role for client in config.clients}

    def admit_by_metadata(self, method: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> Role | None:
        """The caller's role, which suffices. None: the client certificate decides. Raises when it may not call."""
        if method not in RULES:
            raise PermissionDenied(f"no rule for {method}")
        if RULES[method] is None or self._open:
            return Role.ADMIN if self._open else Role.READER
        given = [value for key, value in metadata or () if key == "authorization"]
        if given:
            return require(self._role_of_token(given), method)
        if not self._certificates:
            raise Unauthenticated("no token; send the metadata `authorization: Bearer <token>`")
        return None

    def admit_by_certificate(self, method: str, auth_context: Mapping[str, Iterable[bytes]]) -> Role:
        """The role of the connection's certificate, which suffices. Raises when it may not call."""
        names: Sequence[bytes] = [
            *auth_context.get("x509_common_name", ()),
            *auth_context.get("x509_subject_alternative_name", ()),
        ]
        roles = [role for name in names if (role := self._clients.get(name.decode("utf-8", "replace"))) is not None]
        if not roles:
            raise Unauthenticated("neither a token nor a certificate whose name is in api.clients")
        return require(max(roles, key=_RANK.__getitem__), method)

    def _role_of_token(self, given: Sequence[str | bytes]) -> Role:
        scheme, _, token = str(given[0]).partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        # Every hash is compared, in constant time, so that the time taken tells nothing.
        roles = [role for known, role in self._tokens if hmac.compare_digest(known, digest)]
        if len(given) != 1 or scheme.lower() != "bearer" or not roles:
            raise Unauthenticated("the token is not valid")
        return roles[0]


class Caller:
    """Who makes a call. A call may stay open for long, and a token be revoked meanwhile."""

    __slots__ = ("_admit", "_as_of", "_authenticator", "_role")

    def __init__(self, authenticator: Authenticator, role: Role, admit: Callable[[], Role | None]) -> None:
        """admit: the role by the rules of the time, as at the call's begin."""
        self._authenticator = authenticator
        self._role = role
        self._as_of = authenticator.changes
        self._admit = admit

    @property
    def role(self) -> Role:
        """By the rules as they are now. Raises when it may not call any more."""
        if self._as_of != self._authenticator.changes:
            role = self._admit()
            if role is None:
                raise Unauthenticated("the rules have changed since this call began; call again")
            self._role, self._as_of = role, self._authenticator.changes
        return self._role


#: Who calls, while the call is served.
caller: ContextVar[Caller] = ContextVar("caller")


def require(role: Role, method: str) -> Role:
    """The role, if it may call the method. PermissionDenied: it may not."""
    needed = RULES[method]
    if needed is not None and _RANK[role] < _RANK[needed]:
        raise PermissionDenied(f"{method.rpartition('/')[2]} needs the role {needed}; the caller is {role}")
    return role
