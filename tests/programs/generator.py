"""Makes programs out of choices, be they drawn at random or by hypothesis."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

from .interpreter import Program

T = TypeVar("T")

_DEPTH_MAX = 3
_HELD = ("lock", "semaphore")
_ONE = (*_HELD, "caught", "meet", "loop")
_MANY = ("seq", "gathers", "as_completed", "group", "queue", "stream")
_TWO = ("stubborn", "cleanup", "cancel")
_IN_TIME = ("timeout", "wait_for", "shield", "move_on")
_OTHERS = ("gather", "wait", "nursery", "nested_scopes")
_PARTS = ("seq", *_ONE, *_MANY, *_TWO, *_IN_TIME, *_OTHERS, "gather", "wait")

#: By what each of its programs has at its root.
FORMS = ("sequential", "gather", "wait", "as_completed", "timeout", "group", "queue", "cancel", "scopes", "mixed")


class Choices(Protocol):
    def choose(self, of: Sequence[T]) -> T:
        """The simplest is the first."""
        ...


class RandomChoices:
    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def choose(self, of: Sequence[T]) -> T:
        return self._random.choice(of)


def program_of(form: str, seed: int) -> Program:
    return make_program(RandomChoices(f"{form}/{seed}"), form)


def make_program(choices: Choices, form: str, *, meets: bool = False, tasks: bool = True) -> Program:
    """meets: it may wait for events that nobody sets. tasks: without, it is for synchronous code."""
    return ["caught", _Maker(choices, meets=meets, tasks=tasks).root(form)]


class _Maker:
    def __init__(self, choices: Choices, *, meets: bool, tasks: bool) -> None:
        self._choose = choices.choose
        self._meets = meets
        self._tasks = tasks
        self._held = False  #: who has a lock and wants it again would wait for himself

    def root(self, form: str) -> Program:
        match form:
            case "sequential":
                return ["seq", *[self._sequential(0) for _ in range(self._choose(range(1, 8)))]]
            case "mixed":
                return ["seq", *[self._part(0) for _ in range(self._choose((1, 2)))]]
            case "timeout":
                word: str = self._choose(_IN_TIME)
            case "scopes":
                word = self._choose(("nursery", "nested_scopes", "move_on", "stream"))
            case _:
                word = form
        return ["seq", self._leaf(), self._of(word, 0), self._leaf()]

    def _sequential(self, depth: int) -> Program:
        if depth < 2 and self._choose((False, False, False, True)):
            word = self._choose(("caught", "cleanup", "stubborn"))
            return [word, *[self._sequential(depth + 1) for _ in range(1 if word == "caught" else 2)]]
        if not self._tasks and self._choose((False, False, True)):
            parts = [self._begun() for _ in range(self._choose((2, 1, 3)))]
            return ["any", self._choose(("await", "give up", "leave")), *parts]
        return self._leaf()

    def _begun(self) -> Program:
        """What synchronous code may begin, and go on beside."""
        choose = self._choose
        match choose(("effect", "effect", "signal", "sleep", "child")):
            case "effect":
                return ["effect", choose(("ok", "ok", "quick", "fails", "retried"))]
            case "sleep":
                return ["sleep", self._milliseconds()]
            case "child":
                return ["child", choose(("ok", "fails"))]
        name = choose("ab")
        return ["signal", name, self._milliseconds()] if choose((False, False, True)) else ["signal", name]

    def _parts(self, depth: int) -> list[Program]:
        return [self._part(depth + 1) for _ in range(self._choose((2, 1, 3, 4)))]

    def _part(self, depth: int) -> Program:
        if depth >= _DEPTH_MAX or self._choose((True, False, True, False, False) if depth < 2 else (True, True, False)):
            return self._leaf()
        return self._of(self._choose(_PARTS), depth)

    def _of(self, word: str, depth: int) -> Program:
        choose = self._choose
        if word in _HELD:
            return [word, self._leaf()]
        if word in _ONE:
            return [word, self._part(depth + 1)]
        if word in _MANY:
            return [word, *self._parts(depth)]
        if word in _TWO:
            return [word, self._leaf() if word == "cancel" else self._part(depth + 1), self._part(depth + 1)]
        if word in _IN_TIME:
            return [word, self._milliseconds(), self._part(depth + 1)]
        if word == "gather":
            return [word, choose((True, True, False)), *self._parts(depth)]
        if word == "wait":
            when = choose(("first", "all", "exception", "timeout", "first"))
            return [word, when, choose(("cancel", "await", "leave")), *self._parts(depth)]
        if word == "nursery":
            return [word, choose((None, self._leaf())), *self._parts(depth)]
        assert word == "nested_scopes", word
        return [word, self._leaf(), *self._parts(depth)]

    def _leaf(self) -> Program:
        choose = self._choose
        word = choose(_LEAVES if self._tasks else _SYNC_LEAVES)
        match word:
            case "effect":
                return [word, choose(("ok", "ok", "quick", "fails", "retried", "stubborn", "spoiled", "nested"))]
            case "sleep" | "pause":
                return [word, self._milliseconds()]
            case "signal":
                name = choose("ab")
                return [word, name, self._milliseconds()] if choose((False, False, False, True)) else [word, name]
            case "child":
                return [word, choose(("ok", "ok", "fails")), choose(("wait", "wait", "leave", "cancel"))]
            case "detached":
                return [word, self._leaf()]
            case "yield":
                return [word, choose((1, 2, 4))]
            case "met":
                if not self._meets:
                    return ["now"]
                return choose((["set", 0], ["await_set", 0], ["notify", ["now"]], ["await_notified"], ["fail"]))
            case _:
                return [word]

    def _milliseconds(self) -> int:
        return self._choose((0, 10, 40, 120, 300))


_SYNC_LEAVES = ("effect",) * 6 + ("signal",) * 5 + ("sleep",) * 3 + ("child",) * 3 + ("now", "refused", "tell", "look")
_LEAVES = (*_SYNC_LEAVES, "pause", "pause", "yield", "detached", "met", "met")
