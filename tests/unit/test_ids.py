"""Ids that are made: what they must be, and what they may never become."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from tempolite_node.ids import id_of_request
from tempolite_sdk.ids import uuid_of

NAMESPACE = uuid.UUID("6f1d4c7e-2b0a-5e52-9c0e-7a1f9d3b8e64")


@given(st.binary(min_size=16, max_size=16), st.sampled_from([4, 5, 7]))
def test_an_id_is_written_as_the_standard_library_writes_it(octets: bytes, version: int) -> None:
    written = uuid.UUID(uuid_of(octets, version=version))

    assert written.version == version
    assert written.variant == uuid.RFC_4122
    free = (1 << 128) - 1 & ~(0xF << 76) & ~(0x3 << 62)
    assert written.int & free == int.from_bytes(octets, "big") & free


@given(st.text(min_size=1, max_size=200))
def test_a_request_has_one_id_for_ever(request_id: str) -> None:
    assert id_of_request(request_id) == str(uuid.uuid5(NAMESPACE, request_id))
