"""The level of the log is changed while worker hosts run."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tempolite_node.config import HostsConfig
from tempolite_node.driver.inputs import Inputs
from tempolite_node.logger.lines import LineFormat
from tempolite_node.logger.writer import LogWriter
from tempolite_node.protocol import messages
from tempolite_node.supervisor.supervisor import Supervisor

MODULE = """
import logging
from dataclasses import dataclass
from tempolite_sdk import HandlerContext

@dataclass
class Order:
    sku: str

    def __post_init__(self) -> None:
        logging.getLogger("shop").debug("checking %s", self.sku)

def pack(ctx: HandlerContext, order: Order) -> None: ...
"""


class Lines:
    def __init__(self) -> None:
        self._ours, self.descriptor = os.pipe()

    def all(self) -> list[dict[str, Any]]:
        """Once nobody writes any more."""
        os.close(self.descriptor)
        with open(self._ours, "rb") as file:
            return [json.loads(line) for line in file]


def test_the_hosts_that_run_and_those_that_start_later_log_by_the_new_level(tmp_path: Path) -> None:
    (tmp_path / "shop_of_levels.py").write_text(MODULE)
    lines, inputs = Lines(), Inputs()
    log = LogWriter(LineFormat.JSON, descriptor=lines.descriptor)
    log.start()
    stopping = threading.Event()

    def read() -> None:
        """In the place of the driver."""
        while not stopping.is_set():
            inputs.take(100, lambda: 0.05)

    async def serve() -> None:
        load = messages.Load(
            handlers=(messages.HandlerSpec(name="pack", target="shop_of_levels:pack"),),
            python_path=(str(tmp_path),),
            max_parked=10,
            park_ttl_ms=1_000_000,
            payload_bytes_max=1_000,
        )
        up = asyncio.Event()
        supervisor = Supervisor(
            HostsConfig(),
            load,
            inputs,
            log,
            hash_seed=1,
            up=lambda _number, _handlers, _hash_seed: up.set(),
            down=lambda _number, _message, _crashed, _out_of_memory: None,
        )
        await supervisor.start()
        await supervisor.check_arguments([("pack", b'[{"sku":"unseen"}]')])
        supervisor.update(replace(load, log_level="debug"))
        await supervisor.check_arguments([("pack", b'[{"sku":"seen"}]')])
        up.clear()
        for host in supervisor.describe(lambda _: 0, lambda _: 0):
            os.kill(host.pid, 9)
        await up.wait()
        await supervisor.check_arguments([("pack", b'[{"sku":"seen later"}]')])
        supervisor.update(replace(load, log_level="info"))
        await supervisor.check_arguments([("pack", b'[{"sku":"unseen again"}]')])
        await supervisor.flush_logs()
        await supervisor.stop()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        asyncio.run(asyncio.wait_for(serve(), 60))
    finally:
        stopping.set()
        reader.join(60)
        inputs.close()
    assert log.stop(60)
    assert [line["event"] for line in lines.all() if line["logger"] == "shop"] == [
        "checking seen",
        "checking seen later",
    ]
