"""Many executions: those that meet a filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from tempolite_sdk.client import convert
from tempolite_sdk.client.calls.call import Call, to_choice, to_component, to_consistency
from tempolite_sdk.client.cluster_info import Consistency
from tempolite_sdk.client.events import ExecutionEvent
from tempolite_sdk.client.info import ComponentLike, ExecutionInfo, ExecutionStatus, StatusLike
from tempolite_sdk.options import check_names
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Page:
    executions: tuple[ExecutionInfo, ...]
    next_token: str  #: empty on the last page


class Filter(TypedDict, total=False):
    """Which executions are meant: those that meet every condition."""

    status: StatusLike | Iterable[StatusLike] | None  #: one, several, or None: all; likewise below
    handler: str | Iterable[str] | None
    component: ComponentLike | Iterable[ComponentLike] | None
    parent: str | None  #: id of the parent
    roots_only: bool
    created_after: datetime | None  #: exclusive
    created_before: datetime | None  #: exclusive


def execution_filter(filter: Filter) -> pb.ExecutionFilter:
    check_names(Filter, filter)
    return pb.ExecutionFilter(
        statuses=[
            to_choice("status", "EXECUTION_STATUS", ExecutionStatus, each) for each in _several(filter, "status")
        ],
        handlers=_several(filter, "handler"),
        components=[to_component(each) for each in _several(filter, "component")],
        parent_id=filter.get("parent") or "",
        roots_only=filter.get("roots_only", False),
        created_after=convert.to_timestamp("created_after", filter.get("created_after")),
        created_before=convert.to_timestamp("created_before", filter.get("created_before")),
    )


def _several(filter: Mapping[str, Any], name: str) -> list[Any]:
    choices = filter.get(name)
    if choices is None:
        return []
    return [choices] if isinstance(choices, str) else list(choices)


def page(filter: pb.ExecutionFilter, page_size: int | None, token: str, consistency: Consistency | str) -> Call[Page]:
    request = pb.ListExecutionsRequest(
        filter=filter, page_size=page_size or 0, page_token=token, consistency=to_consistency(consistency)
    )
    return Call("ExecutionService/ListExecutions", request, _page)


def _page(response: pb.ListExecutionsResponse) -> Page:
    return Page(tuple(convert.execution(each) for each in response.executions), response.next_page_token)


def count(filter: pb.ExecutionFilter, consistency: Consistency | str) -> Call[int]:
    request = pb.CountExecutionsRequest(filter=filter, consistency=to_consistency(consistency))
    return Call("ExecutionService/CountExecutions", request, lambda response: int(response.count))


@dataclass(frozen=True, slots=True)
class EventPage:
    events: tuple[ExecutionEvent, ...]
    next_token: str  #: empty on the last page


def events(id: str, page_size: int | None, token: str, consistency: Consistency | str) -> Call[EventPage]:
    request = pb.ListExecutionEventsRequest(
        execution_id=id, page_size=page_size or 0, page_token=token, consistency=to_consistency(consistency)
    )
    return Call("ExecutionService/ListExecutionEvents", request, _event_page)


def _event_page(response: pb.ListExecutionEventsResponse) -> EventPage:
    return EventPage(tuple(convert.event(each) for each in response.events), response.next_page_token)
