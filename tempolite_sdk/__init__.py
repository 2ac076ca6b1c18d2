"""Clients of a node, and the contexts that handlers are written against. These are the public names.

Each is imported when it is first asked for: `import tempolite_sdk` loads next to nothing, and handlers load no gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers; a test compares the two lists
    from tempolite_sdk.async_contexts import (
        AsyncCompensationContext,
        AsyncHandlerContext,
        AsyncSagaContext,
        AsyncSagaStep,
        AsyncSideEffect,
        AsyncSideEffectContext,
        AsyncTransactionContext,
    )
    from tempolite_sdk.begun import Begun
    from tempolite_sdk.client.async_client import AsyncClient
    from tempolite_sdk.client.async_handle import AsyncExecutionHandle
    from tempolite_sdk.client.channel import TLS
    from tempolite_sdk.client.cluster_info import ClusterInfo, Consistency, MemberInfo
    from tempolite_sdk.client.events import EventKind, ExecutionEvent
    from tempolite_sdk.client.explanation import Cause, CauseKind, Explanation, TimeSpent
    from tempolite_sdk.client.info import (
        AttemptInfo,
        Component,
        ComponentStats,
        ExecutionInfo,
        ExecutionStatus,
        HandlerInfo,
        IdConflict,
        IdReuse,
        NodeInfo,
        OperationInfo,
        OperationKind,
        OperationStatus,
        Payload,
        Pool,
        Resolution,
        RetryState,
        SentSignal,
        Stats,
        UnconsumedSignal,
    )
    from tempolite_sdk.client.sync_client import Client
    from tempolite_sdk.client.sync_handle import ExecutionHandle
    from tempolite_sdk.client.tree import ExecutionTree
    from tempolite_sdk.contexts import (
        CompensationContext,
        HandlerContext,
        SagaContext,
        SagaStep,
        SideEffect,
        SideEffectContext,
        TransactionContext,
    )
    from tempolite_sdk.errors import (
        AlreadyExists,
        BatchRefused,
        Cancelled,
        ContextMisuse,
        DeadlineExceeded,
        ExecutionCancelled,
        ExecutionCompensated,
        ExecutionError,
        ExecutionFailed,
        ExecutionTerminated,
        ExecutionTimedOut,
        FailedPrecondition,
        FailureInfo,
        FieldViolation,
        InvalidArgument,
        NodeFault,
        NonRetryable,
        NotFound,
        NotInHandler,
        OutcomeUnknown,
        PermissionDenied,
        QueueFull,
        RetryAfter,
        SideEffectFailed,
        StepFailed,
        TempoliteError,
        Unauthenticated,
        Unavailable,
        WaitCycle,
        WaitTimeout,
    )
    from tempolite_sdk.handlers import ChildHandle, RetryPolicy
    from tempolite_sdk.signals import Signal

#: Where each public name is defined.
_HOMES = {
    name: module
    for module, names in {
        "tempolite_sdk.async_contexts": (
            "AsyncCompensationContext",
            "AsyncHandlerContext",
            "AsyncSagaContext",
            "AsyncSagaStep",
            "AsyncSideEffect",
            "AsyncSideEffectContext",
            "AsyncTransactionContext",
        ),
        "tempolite_sdk.begun": ("Begun",),
        "tempolite_sdk.client.async_client": ("AsyncClient",),
        "tempolite_sdk.client.async_handle": ("AsyncExecutionHandle",),
        "tempolite_sdk.client.channel": ("TLS",),
        "tempolite_sdk.client.cluster_info": ("ClusterInfo", "Consistency", "MemberInfo"),
        "tempolite_sdk.client.events": ("EventKind", "ExecutionEvent"),
        "tempolite_sdk.client.explanation": ("Cause", "CauseKind", "Explanation", "TimeSpent"),
        "tempolite_sdk.client.info": (
            "AttemptInfo",
            "Component",
            "ComponentStats",
            "ExecutionInfo",
            "ExecutionStatus",
            "HandlerInfo",
            "IdConflict",
            "IdReuse",
            "NodeInfo",
            "OperationInfo",
            "OperationKind",
            "OperationStatus",
            "Payload",
            "Pool",
            "Resolution",
            "RetryState",
            "SentSignal",
            "Stats",
            "UnconsumedSignal",
        ),
        "tempolite_sdk.client.sync_client": ("Client",),
        "tempolite_sdk.client.sync_handle": ("ExecutionHandle",),
        "tempolite_sdk.client.tree": ("ExecutionTree",),
        "tempolite_sdk.contexts": (
            "CompensationContext",
            "HandlerContext",
            "SagaContext",
            "SagaStep",
            "SideEffect",
            "SideEffectContext",
            "TransactionContext",
        ),
        "tempolite_sdk.errors": (
            "AlreadyExists",
            "BatchRefused",
            "Cancelled",
            "ContextMisuse",
            "DeadlineExceeded",
            "ExecutionCancelled",
            "ExecutionCompensated",
            "ExecutionError",
            "ExecutionFailed",
            "ExecutionTerminated",
            "ExecutionTimedOut",
            "FailedPrecondition",
            "FailureInfo",
            "FieldViolation",
            "InvalidArgument",
            "NodeFault",
            "NonRetryable",
            "NotFound",
            "NotInHandler",
            "OutcomeUnknown",
            "PermissionDenied",
            "QueueFull",
            "RetryAfter",
            "SideEffectFailed",
            "StepFailed",
            "TempoliteError",
            "Unauthenticated",
            "Unavailable",
            "WaitCycle",
            "WaitTimeout",
        ),
        "tempolite_sdk.handlers": ("ChildHandle", "RetryPolicy"),
        "tempolite_sdk.signals": ("Signal",),
    }.items()
    for name in names
}

__all__ = [
    "TLS",
    "AlreadyExists",
    "AsyncClient",
    "AsyncCompensationContext",
    "AsyncExecutionHandle",
    "AsyncHandlerContext",
    "AsyncSagaContext",
    "AsyncSagaStep",
    "AsyncSideEffect",
    "AsyncSideEffectContext",
    "AsyncTransactionContext",
    "AttemptInfo",
    "BatchRefused",
    "Begun",
    "Cancelled",
    "Cause",
    "CauseKind",
    "ChildHandle",
    "Client",
    "ClusterInfo",
    "CompensationContext",
    "Component",
    "ComponentStats",
    "Consistency",
    "ContextMisuse",
    "DeadlineExceeded",
    "EventKind",
    "ExecutionCancelled",
    "ExecutionCompensated",
    "ExecutionError",
    "ExecutionEvent",
    "ExecutionFailed",
    "ExecutionHandle",
    "ExecutionInfo",
    "ExecutionStatus",
    "ExecutionTerminated",
    "ExecutionTimedOut",
    "ExecutionTree",
    "Explanation",
    "FailedPrecondition",
    "FailureInfo",
    "FieldViolation",
    "HandlerContext",
    "HandlerInfo",
    "IdConflict",
    "IdReuse",
    "InvalidArgument",
    "MemberInfo",
    "NodeFault",
    "NodeInfo",
    "NonRetryable",
    "NotFound",
    "NotInHandler",
    "OperationInfo",
    "OperationKind",
    "OperationStatus",
    "OutcomeUnknown",
    "Payload",
    "PermissionDenied",
    "Pool",
    "QueueFull",
    "Resolution",
    "RetryAfter",
    "RetryPolicy",
    "RetryState",
    "SagaContext",
    "SagaStep",
    "SentSignal",
    "SideEffect",
    "SideEffectContext",
    "SideEffectFailed",
    "Signal",
    "Stats",
    "StepFailed",
    "TempoliteError",
    "TimeSpent",
    "TransactionContext",
    "Unauthenticated",
    "Unavailable",
    "UnconsumedSignal",
    "WaitCycle",
    "WaitTimeout",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
