"""Makes programs, each from its form and seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Program = list[Any]

_DEPTH_MAX = 3
_MANY = ("seq", "as_completed", "group", "queue")
_HELD = ("lock", "semaphore")
_ONE = (*_HELD, "caught", "await_set")

#: By what each of its programs has at its root.
FORMS = ("gather", "wait", "as_completed", "timeout", "group", "queue", "cancel", "mixed", "sequential")


def program_of(form: str, seed: int) -> Program:
    maker = _Maker(random.Random(f"{form}/{seed}"), form)
    return ["caught", maker.root()]


class _Maker:
    def __init__(self, random: random.Random, form: str) -> None:
        self._random = random
        self._form = form

    def root(self) -> Program:
        if self._form == "sequential":
            return ["seq", *[self._leaf() for _ in range(self._random.randint(3, 8))]]
        if self._form == "mixed":
            return ["seq", *[self._part(0) for _ in range(2)]]
        return ["seq", self._leaf(), self._of(self._form, 0), self._leaf()]

    def _parts(self, depth: int) -> list[Program]:
        return [self._part(depth + 1) for _ in range(self._random.randint(2, 4))]

    def _part(self, depth: int) -> Program:
        if depth >= _DEPTH_MAX or self._random.random() < 0.35 + 0.15 * depth:
            return self._leaf()
        return self._of(self._random.choice([*_MANY, *_ONE, "gather", "wait", "timeout", "shield", "cancel"]), depth)

    def _of(self, word: str, depth: int) -> Program:
        choice = self._random.choice
        if word in _MANY:
            return [word, *self._parts(depth)]
        if word in _HELD:
            return [word, self._leaf()]  # who has it and wants it again would wait for himself
        if word in _ONE:
            return [word, self._part(depth + 1)]
        if word == "gather":
            return ["gather", choice([True, True, False]), *self._parts(depth)]
        if word == "wait":
            when, rest = choice(["first", "first", "exception", "all", "timeout"]), choice(["cancel", "await", "leave"])
            return ["wait", when, rest, *self._parts(depth)]
        if word == "cancel":
            return ["cancel", self._leaf(), self._part(depth + 1)]
        word = choice(["timeout", "wait_for"]) if word == "timeout" else word
        return [word, choice([0, 20, 80, 300]), self._part(depth + 1)]

    def _leaf(self) -> Program:
        leaves: list[tuple[int, Callable[[], Program]]] = [
            (5, lambda: ["effect", self._milliseconds(), self._random.random() < 0.15]),
            (2, lambda: ["sleep", self._milliseconds()]),
            (1, lambda: ["pause", self._milliseconds()]),
            (3, lambda: ["signal", self._random.choice("ab")]),
            (1, lambda: ["now"]),
            (2, lambda: ["child"]),
            (1, lambda: ["refused"]),
        ]
        weights = [weight for weight, _ in leaves]
        [(_, make)] = self._random.choices(leaves, weights)
        return make()

    def _milliseconds(self) -> int:
        return self._random.choice([0, 10, 40, 120])
