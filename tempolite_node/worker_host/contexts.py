"""The SDK's contexts, made for an attempt and its scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tempolite_node.engine.model import Component, OperationKind, operation_id
from tempolite_sdk.async_contexts import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSideEffectContext,
    AsyncTransactionContext,
)
from tempolite_sdk.contexts import (
    CompensationContext,
    HandlerContext,
    SagaContext,
    SideEffectContext,
    TransactionContext,
)
from tempolite_sdk.operations import Facts

if TYPE_CHECKING:
    from tempolite_node.worker_host.attempt import AttemptRuntime

_OF_HANDLERS: dict[tuple[Component, bool], Any] = {
    (Component.HANDLER, False): HandlerContext,
    (Component.HANDLER, True): AsyncHandlerContext,
    (Component.SAGA, False): SagaContext,
    (Component.SAGA, True): AsyncSagaContext,
}


def handler_context(runtime: AttemptRuntime) -> Any:
    handler = runtime.attempt.handler
    make = _OF_HANDLERS[handler.component, handler.asynchronous]
    return make(runtime, runtime.attempt.facts())


def compensation_context(runtime: AttemptRuntime) -> Any:
    make = AsyncCompensationContext if runtime.attempt.handler.asynchronous else CompensationContext
    return make(runtime, runtime.attempt.facts())


def side_effect_context(runtime: AttemptRuntime, key: str, attempt: int) -> Any:
    make = AsyncSideEffectContext if runtime.attempt.handler.asynchronous else SideEffectContext
    return make(runtime, _facts(runtime, OperationKind.SIDE_EFFECT, key, attempt))


def transaction_context(runtime: AttemptRuntime, key: str, attempt: int) -> Any:
    make = AsyncTransactionContext if runtime.attempt.handler.asynchronous else TransactionContext
    return make(runtime, _facts(runtime, OperationKind.STEP, key, attempt))


def _facts(runtime: AttemptRuntime, kind: OperationKind, key: str, attempt: int) -> Facts:
    of_attempt = runtime.attempt.facts()
    return Facts(
        execution_id=of_attempt.execution_id,
        attempt=attempt,
        parent_id=of_attempt.parent_id,
        deadline_ms=of_attempt.deadline_ms,
        operation_id=operation_id(of_attempt.execution_id, runtime.attempt.run.run, kind, key),
        heartbeat=of_attempt.heartbeat,
    )
