"""A page of an execution's history, as far as one message can carry."""

from __future__ import annotations

from tempolite_node.api.convert.events import event
from tempolite_node.api.convert.paging import event_token
from tempolite_node.api.convert.requests import EventsRequest
from tempolite_node.api.found import found_by_id
from tempolite_node.api.ports import Queries
from tempolite_node.api.status import InvalidRequest
from tempolite_node.protocol.messages import Violation
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb


def events_page(queries: Queries, wanted: EventsRequest, bytes_max: int) -> pb.ListExecutionEventsResponse:
    """At most page_size events, fewer when more would not fit."""
    execution = found_by_id(queries, wanted.execution_id)
    after = None
    if wanted.after is not None:
        after, row = wanted.after
        if row != execution.row:
            raise InvalidRequest([Violation("page_token", "is of the history of another execution")])
    found = queries.events(execution, after, wanted.page_size + 1, bytes_max=bytes_max)
    response = pb.ListExecutionEventsResponse()
    size = 0
    for index, each in enumerate(found):
        message = event(each, execution)
        size += message.ByteSize()
        if index and (index == wanted.page_size or size > bytes_max):
            response.next_page_token = event_token(execution, found[index - 1].place)
            break
        response.events.append(message)
    return response
