"""What a caller is told of each error."""

import pytest
import structlog
from google.rpc import error_details_pb2
from grpc import StatusCode

from tempolite_node.api import status
from tempolite_node.api.status import ERRORS, REJECTIONS, InvalidRequest, Rejected, status_of
from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.errors import NodeError, NoQuorum, OutcomeUnknown, Overloaded, StorageFailed, Unavailable
from tempolite_node.protocol.messages import Violation


def details_of(told: status.Status) -> dict[str, object]:
    details = {}
    for packed in told.message_with_details.details:
        kind = packed.TypeName().rpartition(".")[2]
        details[kind] = getattr(error_details_pb2, kind).FromString(packed.value)
    return details


def test_every_reason_of_the_engine_has_a_code():
    assert REJECTIONS.keys() == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_rejection_is_told_with_its_reason_and_message(reason):
    error = Rejected(Rejection(reason, "because"))

    told = status_of(error, "/a/B")

    assert (told.code, told.message) == (REJECTIONS[reason], "because")
    assert details_of(told)["ErrorInfo"].reason == reason.name


@pytest.mark.parametrize(
    ("error", "code", "reason", "retry_after_ms"),
    [
        (Unavailable("stopping"), StatusCode.UNAVAILABLE, "UNAVAILABLE", 500),
        (NoQuorum("alone"), StatusCode.UNAVAILABLE, "NO_QUORUM", 1_000),
        (OutcomeUnknown("cut off"), StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN", 500),
        (StorageFailed("disk full"), StatusCode.UNAVAILABLE, "STORAGE_FAILED", 5_000),
        (Overloaded("too much", retry_after_ms=70), StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 70),
        (Rejected(Rejection(Reason.QUEUE_FULL, "full")), StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 1_000),
    ],
)
def test_what_may_fare_better_later_says_when(error, code, reason, retry_after_ms):
    told = status_of(error, "/a/B")

    details = details_of(told)
    assert told.code is code
    assert details["ErrorInfo"].reason == reason
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == retry_after_ms


def test_violations_are_listed_as_far_as_a_client_can_read_them():
    error = InvalidRequest([Violation(f"arguments.field{number}", "x" * 400) for number in range(1_000)])

    told = status_of(error, "/a/B")

    assert 5 < len(details_of(told)["BadRequest"].field_violations) < 15
    assert told.message_with_details.ByteSize() + len(told.message) < 8 * 1024


@pytest.mark.parametrize("error", [RuntimeError("/secret/path"), NodeError("/secret/path"), AssertionError("/secret")])
def test_what_is_not_in_the_table_is_told_by_an_id_only(error):
    told = status_of(error, "/a/B")

    assert told.code is StatusCode.INTERNAL
    assert "secret" not in told.message
    assert b"secret" not in told.message_with_details.SerializeToString()
    assert details_of(told)["ErrorInfo"].metadata["error_id"] in told.message


def test_a_log_that_fails_changes_nothing_of_what_is_told(caplog):
    def fail(*_: object) -> None:
        raise TypeError("the renderer knows no /secret/path")

    structlog.configure(processors=[fail])
    try:
        told = status_of(RuntimeError("/secret/path"), "/a/B")
    finally:
        structlog.reset_defaults()

    assert told.code is StatusCode.INTERNAL
    assert "secret" not in told.message
    error_id = details_of(told)["ErrorInfo"].metadata["error_id"]
    assert f"unexpected error {error_id} in /a/B: RuntimeError('/secret/path')" in caplog.text
    assert "the renderer knows no" in caplog.text


def test_every_error_that_the_api_raises_is_in_the_table():
    raised = {error for error in vars(status).values() if isinstance(error, type) and issubclass(error, NodeError)}

    assert raised - {NodeError, Rejected} == ERRORS.keys()
