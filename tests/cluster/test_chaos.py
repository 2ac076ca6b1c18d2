"""Nodes are killed, frozen, stopped and started again at random, under load: nothing acknowledged is lost, nothing
recorded is done again, and in the end all nodes hold the same.

CHAOS_S: for how many seconds. CHAOS_SEED: of the dice; what the nodes make of them is another matter.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tempolite_sdk import Client, ExecutionCompensated, ExecutionHandle
from tests.e2e.daemon import PATIENCE_S

from .cluster import Cluster, Memory, Node
from .conftest import Found

SECONDS = float(os.environ.get("CHAOS_S", "20"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))

HANDLERS = [
    *(f"chaotic:{name}" for name in ("transfer", "judge", "converse")),
    *(f"recovering:{name}" for name in ("work", "work_async", "add", "nap")),
]
NODES = {
    "a": {},
    "b": {"handlers": ["transfer", "judge", "converse", "work", "work_async", "add", "nap"]},
    "c": {"handlers": ["judge", "converse", "work", "work_async", "add"]},
}
POOLS = {pool: {"workers": 4} for pool in ("handler", "saga", "compensation", "side_effect")}


@dataclass
class Asked:
    handle: ExecutionHandle[Any]
    expected: object  #: its result; None: it is undone


@dataclass
class Customers:
    """Threads that ask for one execution after the other, each with a client of all nodes in an order of its own."""

    cluster: Cluster
    acknowledged: list[Asked] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(4)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "a customer still waits for an answer"

    def _run(self, number: int) -> None:
        dice = random.Random(f"{SEED} customer {number}")
        nodes = list(self.cluster.nodes.values())
        dice.shuffle(nodes)
        asks: list[Callable[[Client, str, random.Random], Asked]] = [transfer, converse, work, nap]
        try:
            with self.cluster.client(*nodes) as client:
                count = 0
                while not self._over.wait(dice.uniform(0, 0.1)):
                    count += 1
                    ask = dice.choice(asks)
                    self.acknowledged.append(ask(client, f"{ask.__name__}-{number}-{count}", dice))
        except BaseException as error:
            self.errors.append(error)


def transfer(client: Client, id: str, dice: random.Random) -> Asked:
    amount, fails = dice.randrange(1, 1_000), dice.random() < 0.3
    handle = client.options(id=id).enqueue("transfer", amount, fails)
    return Asked(handle, None if fails else f"transferred {amount}")


def converse(client: Client, id: str, dice: random.Random) -> Asked:
    words = [f"word {number}" for number in range(dice.randrange(1, 4))]
    handle = client.options(id=id).enqueue("converse", len(words))
    for word in words:
        handle.send_signal("word", word)
    return Asked(handle, words)


def work(client: Client, id: str, dice: random.Random) -> Asked:
    number = dice.randrange(1_000)
    handle = client.options(id=id).enqueue(dice.choice(["work", "work_async"]), number)
    return Asked(handle, [number, number + 1, number])


def nap(client: Client, id: str, dice: random.Random) -> Asked:
    return Asked(client.options(id=id).enqueue("nap", dice.uniform(0, 5)), "awake")


class Monkey:
    """Does one bad thing after the other to the nodes, and remembers what was recorded before each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dice = random.Random(f"{SEED} monkey")
        self.memories: list[Memory] = []
        self.did: list[str] = []

    def rage(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._dice.uniform(0.2, 3.0))
            act = self._dice.choice(
                [self._kill, self._kill, self._restart, self._freeze, self._freeze, self._stop, self._kill_all]
            )
            node = self._dice.choice(list(self._cluster.nodes.values()))
            self.did.append(f"{act.__name__.strip('_')} {node.id}")
            self.memories.append(self._cluster.remember())
            act(node)

    def _kill(self, node: Node) -> None:
        node.kill()
        time.sleep(self._dice.uniform(0.0, 5.0))
        node.start()

    def _restart(self, node: Node) -> None:
        node.restart()

    def _freeze(self, node: Node) -> None:
        node.pause()
        time.sleep(self._dice.uniform(0.1, 6.0))
        node.resume()

    def _stop(self, node: Node) -> None:
        assert node.stop() == 0
        node.start()

    def _kill_all(self, _node: Node) -> None:
        for node in self._cluster.nodes.values():
            node.kill()
        self._cluster.heal()


@pytest.mark.timeout(600 + 2 * SECONDS)
def test_whatever_happens_nothing_is_lost_and_nothing_recorded_is_done_again(cluster: Found) -> None:
    nodes = cluster(*HANDLERS, nodes=NODES, pools=POOLS, cluster={"node_timeout": "2s"})
    customers, monkey = Customers(nodes), Monkey(nodes)
    # when: nodes die and freeze while customers ask
    customers.start()
    monkey.rage(SECONDS)
    nodes.heal()
    customers.stop()
    print(f"seed {SEED}: {len(customers.acknowledged)} executions; the monkey did: {', '.join(monkey.did)}")
    # then: no customer was told of an error, and everything that was acknowledged ends as it should
    assert customers.errors == []
    with nodes.client() as client:
        for asked in customers.acknowledged:
            check_ending(client, asked)
        assert client.count(status=["stuck", "suspended"]) == 0
    # and: nothing that was recorded was done again, the books balance, and all stores are equal
    for memory in monkey.memories:
        memory.check_nothing_ran_again()
    assert sum(books(nodes).values()) == 0
    stored = nodes.check_equal_stores()
    ids = {row[1] for row in stored["executions"]}
    assert {asked.handle.id for asked in customers.acknowledged} <= ids


def check_ending(client: Client, asked: Asked) -> None:
    handle = client.handle(asked.handle.id)
    if asked.expected is None:
        with pytest.raises(ExecutionCompensated):
            handle.result(PATIENCE_S)
    else:
        assert handle.result(PATIENCE_S) == asked.expected


def books(world: Cluster) -> dict[str, int]:
    """By entry: what was booked and not undone."""
    entries: dict[str, int] = {}
    for line in sorted(world.effects()):  # booked before undone
        what, _, rest = line.partition(" ")
        if what in ("booked", "undone"):
            entry, amount = rest.rsplit(" ", 1)
            entries[entry] = int(amount) if what == "booked" else 0
    return entries
