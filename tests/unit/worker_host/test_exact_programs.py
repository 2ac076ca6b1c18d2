"""Programs of tasks, waits, races, cancels, timeouts and scopes go the same way in each replay."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.unit.worker_host.exact_programs import Program, first_run, replay, seen_by

_SECONDS = st.sampled_from([0, 0.001, 0.5, 2, 5])
_OPERATIONS = st.sampled_from(["op", "odd", "other"])
_LEAVES = st.one_of(
    st.builds(lambda name: ["op", name], _OPERATIONS),
    st.builds(lambda name: ["body", name], _OPERATIONS),
    st.builds(lambda seconds: ["sleep", seconds], _SECONDS),
    st.builds(lambda times: ["yield", times], st.integers(1, 4)),
    st.just(["fail"]),
    st.builds(lambda number: ["set", number], st.integers(0, 1)),
    st.builds(lambda number: ["await_set", number], st.integers(0, 1)),
    st.just(["await_notified"]),
    st.builds(lambda name, times: ["loop", name, times], _OPERATIONS, st.integers(1, 2)),
)


def _more(part: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    parts = st.lists(part, min_size=1, max_size=4)
    wrappers = st.sampled_from(["caught", "lock", "semaphore", "notify", "detached"])
    many = st.sampled_from(["seq", "gathers", "as_completed", "group", "queue", "stream"])
    return st.one_of(
        st.builds(lambda word, each: [word, each], wrappers, part),
        st.builds(lambda word, each: [word, *each], many, parts),
        st.builds(
            lambda word, one, two: [word, one, two], st.sampled_from(["stubborn", "cleanup", "cancel"]), part, part
        ),
        st.builds(
            lambda word, seconds, each: [word, seconds, each],
            st.sampled_from(["timeout", "wait_for", "shield", "move_on"]),
            _SECONDS,
            part,
        ),
        st.builds(lambda kind, each: ["gather", kind, *each], st.sampled_from(["collect", "raise"]), parts),
        st.builds(
            lambda kind, rest, each: ["wait", kind, rest, *each],
            st.sampled_from(["first", "exception", "all", "timeout"]),
            st.sampled_from(["cancel", "await", "leave"]),
            parts,
        ),
        st.builds(lambda after, each: ["nursery", after, *each], st.none() | part, parts),
        st.builds(lambda after, each: ["nested_scopes", after, *each], part, parts),
    )


PROGRAMS = st.recursive(_LEAVES, _more, max_leaves=10)


@settings(
    max_examples=int(os.environ.get("EXACT_PROGRAMS", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(program=PROGRAMS, seed=st.integers(0, 999), cancel_after=st.none() | st.integers(0, 4))
def test_a_program_goes_as_it_went_however_much_of_it_is_recorded(
    program: Program, seed: int, cancel_after: int | None
) -> None:
    first = first_run(program, seed=seed, cancel_after=cancel_after)

    assert seen_by(first_run(program, seed=seed, cancel_after=cancel_after)) == seen_by(first)
    for cut in range(len(first.decided) + 1):
        for batches in (False, True):
            note(f"{cut} of {len(first.decided)} recorded, batches: {batches}")
            assert seen_by(replay(program, first, cut, batches=batches)) == seen_by(first)
