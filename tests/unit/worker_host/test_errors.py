"""What is recorded of an error says what those that it stands for say of another attempt, and none can hide it."""

from __future__ import annotations

from typing import Any

import pytest

from tempolite_node.engine.model import Failure, RetryPolicy, RetryState
from tempolite_node.engine.retry import retry_at_ms
from tempolite_node.worker_host.failures import failed_step, failure_of, is_cancelled
from tempolite_sdk import (
    Cancelled,
    ExecutionCancelled,
    ExecutionCompensated,
    ExecutionFailed,
    ExecutionTerminated,
    ExecutionTimedOut,
    NonRetryable,
    RetryAfter,
    SideEffectFailed,
    WaitTimeout,
)
from tempolite_sdk.errors import FailureInfo


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def next_attempt(failure: Failure, *named: str) -> int | RetryState:
    policy = RetryPolicy(initial_interval_ms=1, jitter=0, non_retryable_errors=named)
    return retry_at_ms(policy, failure=failure, failures=1, failed_at_ms=0, jitter=0.0, deadline_ms=None)


def grouped(error: BaseException) -> BaseException:
    return BaseExceptionGroup("several", [OSError("down"), BaseExceptionGroup("inner", [error])])


def behind_from(error: BaseException) -> BaseException:
    return raised(RuntimeError("outer"), raised(ValueError("between"), error))


HIDDEN = pytest.mark.parametrize("hide", [grouped, behind_from], ids=["in a group in a group", "behind from"])


@HIDDEN
def test_non_retryable_counts_wherever_it_is(hide: Any) -> None:
    assert next_attempt(failure_of(hide(NonRetryable("never")))) is RetryState.NON_RETRYABLE_FAILURE


@HIDDEN
def test_an_error_that_the_policy_names_counts_wherever_it_is_and_so_does_one_derived_from_it(hide: Any) -> None:
    failure = failure_of(hide(ConnectionResetError("gone")))
    assert next_attempt(failure, "ConnectionError") is RetryState.NON_RETRYABLE_FAILURE
    assert next_attempt(failure, "KeyError") == 1


@HIDDEN
def test_retry_after_counts_wherever_it_is(hide: Any) -> None:
    assert next_attempt(failure_of(hide(RetryAfter(7)))) == 7_000


def test_of_several_delays_the_longest_counts() -> None:
    assert failure_of(ExceptionGroup("both", [RetryAfter(2), RetryAfter(5)])).retry_after_ms == 5_000


def test_retry_after_says_itself_what_follows_whatever_it_was_raised_from() -> None:
    assert next_attempt(failure_of(raised(RetryAfter(3), NonRetryable("never")))) == 3_000


@HIDDEN
def test_a_cancel_counts_wherever_it_is(hide: Any) -> None:
    assert is_cancelled(hide(Cancelled()))
    assert not is_cancelled(hide(ValueError()))


def test_a_group_of_base_exceptions_is_looked_into_as_well() -> None:
    group = BaseExceptionGroup("several", [KeyboardInterrupt(), NonRetryable("never")])
    assert next_attempt(failure_of(group)) is RetryState.NON_RETRYABLE_FAILURE


def test_an_error_that_was_raised_while_another_was_handled_is_another_one() -> None:
    error = ValueError("in the handling")
    error.__context__ = NonRetryable("never")
    assert next_attempt(failure_of(error)) == 1


def test_what_was_recorded_of_a_side_effect_that_failed_counts_for_the_error_that_tells_of_it() -> None:
    told = SideEffectFailed("charge", FailureInfo("Declined", bases=("Declined", "PaymentError")), 3)
    assert next_attempt(failure_of(raised(RuntimeError(), told)), "PaymentError") is RetryState.NON_RETRYABLE_FAILURE


SPENT = [
    SideEffectFailed("charge", FailureInfo("Declined"), 3),
    ExecutionFailed("child"),
    ExecutionTimedOut("child"),
    ExecutionCompensated("child"),
    ExecutionCancelled("child"),
    ExecutionTerminated("child"),
    failed_step("book", Failure(type="SideEffectFailed", spent=True), exact=True),
]


@pytest.mark.parametrize("error", SPENT, ids=[type(error).__name__ for error in SPENT])
def test_what_comes_from_a_side_effect_or_child_that_has_spent_its_retries_says_so(error: Exception) -> None:
    assert failure_of(error).spent
    assert failure_of(grouped(error)).spent
    assert failure_of(behind_from(error)).spent
    assert not failure_of(raised(RetryAfter(1), error)).spent


def test_a_step_has_no_retries_of_its_own_and_nor_has_a_wait() -> None:
    assert not failure_of(failed_step("book", Failure(type="ValueError"), exact=True)).spent
    assert not failure_of(WaitTimeout()).spent


def test_a_circle_of_causes_and_a_chain_without_end_are_looked_at_once() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    assert {"ValueError", "KeyError"} <= set(failure_of(one).bases)
    error: Exception = NonRetryable("at the bottom")
    for _ in range(5_000):
        error = raised(RuntimeError(), error)  # type: ignore[assignment]
    assert failure_of(error).type == "RuntimeError"


class _Raises:
    """A field that can't be read."""

    def __get__(self, *_: object) -> Any:
        raise RuntimeError("not yours")


class _OddName(type):
    __name__ = _Raises()


class OddClass(Exception):
    __class__ = _Raises()


class OddArgs(Exception):
    args = _Raises()


class OddCause(Exception):
    __cause__ = _Raises()
    __context__ = _Raises()
    __traceback__ = _Raises()


class OddText(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class OddTextClass(Exception):
    class Text(str):
        def encode(self, *_: object) -> bytes:
            raise RuntimeError

        def __len__(self) -> int:
            raise RuntimeError

    def __str__(self) -> str:
        return self.Text("odd")


class OddMeta(Exception, metaclass=_OddName):
    pass


class OddDelay(RetryAfter):
    delay = _Raises()

    def __init__(self) -> None:
        Exception.__init__(self)


class OddFailure(SideEffectFailed):
    failure = _Raises()

    def __init__(self) -> None:
        Exception.__init__(self)


class OddEverything(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


ODD = [OddClass, OddArgs, OddCause, OddText, OddTextClass, OddMeta, OddDelay, OddFailure, OddEverything]


@pytest.mark.parametrize("kind", ODD, ids=[type.__dict__["__name__"].__get__(kind) for kind in ODD])
def test_an_error_whose_own_fields_raise_is_recorded_like_any_other(kind: type[Exception]) -> None:
    for error in (raised(kind()), raised(ValueError("outer"), kind()), grouped(kind())):
        failure = failure_of(error)
        assert (type(failure.type), type(failure.message)) == (str, str)
        assert kind.__mro__[0].__qualname__ in failure.bases
        assert is_cancelled(error) is False
