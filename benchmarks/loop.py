"""The one event loop of a benchmark: grpc.aio belongs to the loop that used it first, and does not outlive it well."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_runner = asyncio.Runner()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return _runner.run(coroutine)
