"""What the operations of contexts come to, without the asking.

Each operation is a conversation: a generator that yields what it asks of the node (`Ask`) or has user code run
(`RunUserCode`), and is sent the answer. Synchronous and asynchronous code differ in how that is carried out, and in
nothing else; but operations of code that runs on a loop of its own say first that they have their place (`InOrder`),
and asynchronous code of side effects and steps may take leave of some once more (`GiveUpAgain`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from msgspec import Struct

from tempolite_node.engine.commands import AnyRequest
from tempolite_node.engine.effects import AnyAnswer, Refused
from tempolite_node.engine.model import OperationKind
from tempolite_node.protocol.messages import ChildRequest, Record
from tempolite_node.worker_host.failures import refusal
from tempolite_node.worker_host.scopes import Scope

T = TypeVar("T")


class Ask(Struct):
    """Ask the node. Sent the answer."""

    request: AnyRequest | ChildRequest
    scope: Scope
    #: The answer may take long: the stack may be unwound meanwhile.
    waits: tuple[OperationKind, str] | None = None


class RunUserCode(Struct):
    """Run user code in a scope. Sent what it returns, or thrown what it raises, or BodyTimeout."""

    call: Callable[[], Any]  #: returns an awaitable for asynchronous code
    scope: Scope
    timeout_s: float | None = None


class GiveUpAgain(Struct):
    """The code took leave of this before it was run again, and does so once more. Sent on when it does not.

    That is when it has come to all that was recorded then, when it goes another way, or after `within_s`.
    """

    scope: Scope
    within_s: float


class InOrder(Struct):
    """The operation has its place. Sent on when it is to be carried out, or when what it came to is to be released.

    Yielded by code whose answers are released in the order of the log, before anything else.
    """

    kind: OperationKind
    key: str
    record: Record | None


class UserCodeTimeout(Exception):
    """The time of the body is up. What it still does is ignored."""


Conversation = Generator[Ask | RunUserCode | GiveUpAgain | InOrder, Any, T]


def ask(
    request: AnyRequest | ChildRequest, scope: Scope, *, waits: tuple[OperationKind, str] | None = None
) -> Conversation[AnyAnswer]:
    """The node's answer. Raises what the code did wrong when the node refuses.

    waits: the operation for whose end the stack waits, if it does.
    """
    answer: AnyAnswer = yield Ask(request, scope, waits)
    if isinstance(answer, Refused):
        raise refusal(answer)
    return answer
