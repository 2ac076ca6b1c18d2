"""Bounds that stand on both sides of the wire, since neither side may import the other."""

from __future__ import annotations

import pytest

from tempolite_node.api.convert.requests import BATCH_MAX
from tempolite_node.engine.model import DURATION_MS_MAX
from tempolite_sdk.client.calls.enqueues import _ATOMIC_MAX
from tempolite_sdk.durations import milliseconds_of
from tempolite_sdk.errors import InvalidArgument


def test_the_longest_duration_is_the_one_that_the_node_takes() -> None:
    assert milliseconds_of("delay", DURATION_MS_MAX / 1_000) == DURATION_MS_MAX

    with pytest.raises(InvalidArgument, match="delay must be at most ten years"):
        milliseconds_of("delay", DURATION_MS_MAX / 1_000 + 1)


def test_the_largest_batch_is_the_one_that_the_node_stores_as_a_whole() -> None:
    assert _ATOMIC_MAX == BATCH_MAX
