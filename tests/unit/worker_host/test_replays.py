"""Random programs on a whole node, unwound at each wait and crashed at each commit: what replays is what ran."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from tests.programs.generator import FORMS, make_program
from tests.programs.replays import DISTURBANCES, UNDISTURBED, Setting, World, wrong_between, wrong_with

T = TypeVar("T")

PROGRAMS = int(os.environ.get("TEMPOLITE_PROGRAMS", "300"))
IS_CAMPAIGN = "TEMPOLITE_PROGRAMS" in os.environ
#: A cancel that comes behind an end, of which the code has heard before the crash.
_CANCELLED_BEHIND_AN_END = Setting(
    program=["caught", ["seq", ["any", "await", ["effect", "quick"], ["effect", "ok"]], ["effect", "ok"]]],
    moves=[0],
    asynchronous=False,
    cancel_after=0,
    looks=False,
)
_MOVES = st.lists(st.integers(0, 255), min_size=1, max_size=25)


class _Drawn:
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def choose(self, of: Sequence[T]) -> T:
        return self._draw(st.sampled_from(of))


@st.composite
def settings_of_runs(draw: st.DrawFn) -> Setting:
    form = draw(st.sampled_from([*FORMS, "sync"]))
    asynchronous = form != "sync"
    program = make_program(_Drawn(draw), form if asynchronous else "sequential", meets=asynchronous, tasks=asynchronous)
    return Setting(
        program=program,
        moves=draw(_MOVES),
        asynchronous=asynchronous,
        cancel_after=draw(st.one_of(st.none(), st.integers(0, 6))),
        workers=draw(st.sampled_from([4, 1])),
        looks=draw(st.booleans()),
        one_by_one=draw(st.booleans()),
    )


@pytest.mark.timeout(0 if IS_CAMPAIGN else 300)
def test_a_program_goes_as_it_went_whatever_becomes_of_its_node() -> None:
    counts: Counter[str] = Counter()

    @settings(
        max_examples=PROGRAMS,
        derandomize=not IS_CAMPAIGN,  # those of the suite are the same each time
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(setting=settings_of_runs(), other=_MOVES)
    @example(setting=_CANCELLED_BEHIND_AN_END, other=[0])
    def goes_as_it_went(setting: Setting, other: Sequence[int]) -> None:
        runs = [World(setting, each).run() for each in DISTURBANCES]
        runs.append(World(replace(setting, moves=other), UNDISTURBED).run())
        wrong: list[Any] = []
        for run in runs:
            note(f"{run.name}: {run.moves}, {run.crashes} crashes, {len(run.passes)} passes: {run.end}")
            wrong += [(run.name, each) for each in wrong_with(run)]
        assert wrong + wrong_between(runs) == []
        counts["programs"] += 1
        counts["that can end two ways"] += len({run.end for run in runs}) > 1
        counts["whose answers came in the same order each time"] += len({run.schedule for run in runs[:-1]}) == 1
        counts["crashes"] += sum(run.crashes for run in runs)
        counts["passes"] += sum(len(run.passes) for run in runs)

    goes_as_it_went()
    print(*(f"{count:,} {what}" for what, count in counts.items()), sep=", ")
    assert counts["that can end two ways"], counts


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(
            Setting(["caught", ["gather", True, ["child", "ok", "cancel"], ["signal", "a"]]], moves=[1, 0]),
            id="a cancel of a child has its place as soon as it is recorded",
        ),
        pytest.param(
            Setting(["caught", ["queue", ["effect", "ok"], ["sleep", 40]]], moves=[0], cancel_after=0),
            id="a task group takes the cancel of its execution for one",
        ),
        pytest.param(
            Setting(
                ["caught", ["seq", ["any", "leave", ["sleep", 0], ["signal", "a"]], ["effect", "ok"]]],
                moves=[1, 0],
                asynchronous=False,
            ),
            id="a signal that was taken for a wait is in the inbox when the code ends without it",
        ),
    ],
)
def test_what_went_wrong_once_goes_right(setting: Setting) -> None:
    runs = [World(setting, each).run() for each in DISTURBANCES]

    assert [each for run in runs for each in wrong_with(run)] + wrong_between(runs) == []
