"""Runs programs on a daemon: python -m tests.programs --programs 200. One form and seed shows its traces."""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tempolite_sdk import Client, ExecutionInfo, ExecutionStatus, FailedPrecondition
from tests.e2e.daemon import Daemon
from tests.programs.generator import FORMS, Program, program_of
from tests.programs.handlers import child, program

_TIME_S = 60  #: in which some program ends


@dataclass(frozen=True)
class Disturbance:
    name: str
    unwinds: bool
    kills: bool


DISTURBANCES = {
    each.name: each
    for each in (
        Disturbance("undisturbed", unwinds=False, kills=False),
        Disturbance("unwound", unwinds=True, kills=False),
        Disturbance("killed", unwinds=False, kills=True),
        Disturbance("both", unwinds=True, kills=True),
    )
}


@dataclass
class Run:
    """Of one program."""

    form: str
    seed: int
    id: str
    program: Program
    sent: list[str] = field(default_factory=list)


class Campaign:
    """Of programs that run beside each other, all of them disturbed in one way."""

    def __init__(self, disturbance: Disturbance, runs: Sequence[Run], directory: Path) -> None:
        self._disturbance = disturbance
        self._runs = runs
        self._random = random.Random(0)
        self._stop = threading.Event()
        self._witness = directory / "witness"
        self._witness.mkdir()
        self._daemon = Daemon(directory, self._config(directory))
        self.kills = 0

    def _config(self, directory: Path) -> dict[str, Any]:
        hosts: dict[str, Any] = {"python_path": [str(Path(__file__).parents[2])]}
        if self._disturbance.unwinds:
            hosts["max_parked"] = 0
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        return {
            "node": {"id": "programs", "data_dir": str(directory / "data")},
            "api": {"listen": f"127.0.0.1:{port}"},
            "hosts": hosts,
            "pools": {name: {"workers": 4} for name in ("handler", "side_effect")},
            "handlers": [{"target": f"tests.programs.handlers:{each.__name__}"} for each in (program, child)],
            "log": {"level": "info", "format": "json"},
        }

    def wrong(self) -> dict[str, list[str]]:
        """What is wrong with each run, by its id."""
        self._daemon.start()
        try:
            with self._daemon.client() as client:
                return self._wrong_runs(client)
        finally:
            self._daemon.close()

    def _wrong_runs(self, client: Client) -> dict[str, list[str]]:
        disturbing = threading.Thread(target=self._disturb)
        for run in self._runs:
            client.options(id=run.id).enqueue(program, run.program, str(self._witness))
        disturbing.start()
        try:
            self._send_signals(client)
            self._wait(client)
        finally:
            self._stop.set()
            disturbing.join()
        return {run.id: self._wrong(client, run) for run in self._runs}

    def _disturb(self) -> None:
        while self._disturbance.kills and not self._stop.wait(self._random.uniform(0.2, 0.8)):
            self._daemon.kill()
            self.kills += 1
            self._daemon.start()

    def _send_signals(self, client: Client) -> None:
        """As many of each name as a program can take, those of all programs in one random order."""
        sent = {run.id: run.sent for run in self._runs}
        due = []
        for run in self._runs:
            for name in "ab":
                count = json.dumps(run.program).count(f'["signal", "{name}"')
                due += [(run.id, name)] * count
        self._random.shuffle(due)
        numbers: defaultdict[tuple[str, str], int] = defaultdict(int)
        for id, name in due:
            payload = f"{name}{numbers[id, name]}"
            numbers[id, name] += 1
            try:
                client.send_signal(id, name, payload, request_id=f"{id}/{payload}")
            except FailedPrecondition:  # the program has ended without it
                continue
            sent[id].append(payload)

    def _wait(self, client: Client) -> None:
        deadline = time.monotonic() + _TIME_S
        left = {run.id for run in self._runs}
        while left and time.monotonic() < deadline:
            before = len(left)
            left = {id for id in left if not self._is_over(client.get(id))}
            if len(left) < before:
                deadline = time.monotonic() + _TIME_S
            self._stop.wait(0.2)

    def _is_over(self, info: ExecutionInfo) -> bool:
        return info.status.is_final or info.status is ExecutionStatus.SUSPENDED

    # --- what must hold

    def _wrong(self, client: Client, run: Run) -> list[str]:
        info = client.get(run.id)
        if info.status is ExecutionStatus.FAILED and self._ends_cancelled(run):
            return self._wrong_passes(run)  # in gather, anyio does not always know its own cancel
        if info.status is not ExecutionStatus.COMPLETED:
            return [f"it is {info.status.value}: {info.failure}", *self._wrong_passes(run)]
        return [*self._wrong_passes(run), *self._wrong_effects(run), *self._wrong_signals(client, run)]

    def _ends_cancelled(self, run: Run) -> bool:
        at, word, seen, *_ = json.loads(self.passes(run)[-1][-1])
        return (at, word, seen) == ("r", "caught", "cancelled")

    def _wrong_passes(self, run: Run) -> list[str]:
        """Each pass over the body sees what the one before it saw, and goes on from there."""
        wrong = []
        passes = self.passes(run)
        for number, (before, after) in enumerate(pairwise(passes)):
            both = min(len(before), len(after))
            if before[:both] != after[:both]:
                at = next(place for place in range(both) if before[place] != after[place])
                wrong.append(f"pass {number} saw {before[at]} at {at}, and pass {number + 1} {after[at]}")
        if passes and any(len(each) > len(passes[-1]) for each in passes):
            wrong.append("the last pass saw less than one before it")
        return wrong

    def passes(self, run: Run) -> list[list[str]]:
        files = sorted(self._witness.glob(f"{run.id}.pass-*"))
        return [file.read_text().splitlines() for file in files]

    def _wrong_effects(self, run: Run) -> list[str]:
        """What the last pass saw of an effect is something that happened, and it happened once, but for kills."""
        file = self._witness / f"{run.id}.world"
        happened = file.read_text().splitlines() if file.exists() else []
        wrong = [
            f"{place} happened {count} times"
            for place, count in Counter(each.partition("~")[0] for each in happened).items()
            if count > 3 + self.kills  # it may be retried
        ]
        for line in self.passes(run)[-1]:
            at, word, seen, *_ = json.loads(line)
            if word == "effect" and "~" in seen and not any(each in seen for each in happened):
                wrong.append(f"{at} saw {seen}, which never happened")
        return wrong

    def _wrong_signals(self, client: Client, run: Run) -> list[str]:
        """Each signal was received once, or waits in the inbox."""
        received = re.findall(
            r"'(\w+)'", client.handle(run.id, str).result().rpartition("; received ")[2].partition(";")[0]
        )
        kept = client.get(run.id).unconsumed_signals
        wrong = [f"{name} was received twice" for name, count in Counter(received).items() if count > 1]
        if len(received) + kept != len(run.sent):
            wrong.append(f"{len(run.sent)} signals were sent, {len(received)} received, {kept} are in the inbox")
        return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    parser.add_argument("--programs", type=int, default=50, help="of each form (default: 50)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--form", choices=FORMS, action="append", help="this one alone; may be given several times")
    parser.add_argument("--disturbance", choices=list(DISTURBANCES), action="append", help="this one alone; as --form")
    parser.add_argument("--show", action="store_true", help="the passes of each program that went wrong")
    arguments = parser.parse_args()
    failed = 0
    for form in arguments.form or FORMS:
        for name in arguments.disturbance or DISTURBANCES:
            failed += _campaign(form, DISTURBANCES[name], arguments)
    return 1 if failed else 0


def _campaign(form: str, disturbance: Disturbance, arguments: argparse.Namespace) -> int:
    seeds = range(arguments.first, arguments.first + arguments.programs)
    runs = [Run(form, seed, f"{form}-{seed}", program_of(form, seed)) for seed in seeds]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        campaign = Campaign(disturbance, runs, Path(directory))
        wrong = {id: told for id, told in campaign.wrong().items() if told}
        took_s = time.monotonic() - began
        print(
            f"{form:13} {disturbance.name:12} {len(wrong):4} of {len(runs)} wrong, "
            f"{campaign.kills} kills, {took_s:.0f} s",
            flush=True,
        )
        for run in runs:
            for each in wrong.get(run.id, ()):
                print(f"    {run.id}: {each}")
            if run.id in wrong and arguments.show:
                print(f"    {json.dumps(run.program)}")
                for number, seen in enumerate(campaign.passes(run)):
                    print(*(f"      {number}: {line}" for line in seen), sep="\n")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
