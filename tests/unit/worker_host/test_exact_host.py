"""Handlers in a real worker host go the same way however much of them is recorded, unwound at each wait or not."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.unit.worker_host.exact_host import HostContext, HostNode
from tests.unit.worker_host.exact_programs import Interpreter, Program
from tests.unit.worker_host.test_exact_programs import PROGRAMS


def body_of(program: Program, node: HostNode) -> Any:
    async def body(ctx: Any) -> Any:
        return await Interpreter(HostContext(node, ctx)).main(program)  # type: ignore[arg-type]

    return body


def first_run(program: Program, *, seed: int, cancel_after: int | None) -> HostNode:
    node = HostNode(lambda ctx: body_of(program, node)(ctx), random.Random(seed), cancel_after)
    return node.run()


def replay(program: Program, first: HostNode, cut: int, *, unwinds: bool) -> HostNode:
    """With the first ends recorded, and the others decided as they were."""
    node = HostNode(
        lambda ctx: body_of(program, node)(ctx),
        random.Random(cut),
        unwinds=unwinds,
        journal=first.decided[:cut],
        earlier=list(first.decided[cut:]),
        given_up={place: at for place, at in first.given_up.items() if at < cut},
    )
    opened = {place: record for place, record in first.opened.items() if place in node.given_up}
    node.opened = opened
    return node.run()


@settings(
    max_examples=int(os.environ.get("EXACT_HOST_PROGRAMS", "12")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(program=PROGRAMS, seed=st.integers(0, 999), cancel_after=st.none() | st.integers(0, 4))
def test_a_handler_goes_as_it_went(program: Program, seed: int, cancel_after: int | None) -> None:
    first = first_run(program, seed=seed, cancel_after=cancel_after)

    for cut in range(len(first.decided) + 1):
        for unwinds in (False, True):
            note(f"{cut} of {len(first.decided)} recorded, unwinds: {unwinds}")
            again = replay(program, first, cut, unwinds=unwinds)
            assert (again.trace, again.end) == (first.trace, first.end)
