"""Takes what is logged in the worker host to the node, which writes it with its own lines."""

from __future__ import annotations

import logging

from tempolite_node.protocol import messages
from tempolite_node.worker_host.channel import Channel


class NodeLogHandler(logging.Handler):
    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record).encode("utf-8", "backslashreplace").decode()
            line = messages.LogLine(
                level=record.levelname.lower(),
                logger=record.name,
                message=message,
                execution_id=getattr(record, "execution_id", ""),
                at_ms=round(record.created * 1_000),
            )
        except Exception:
            self.handleError(record)  # arguments that do not fit their text: told on stderr, as logging does
        else:
            self._channel.send(line)


def configure_logging(channel: Channel, level: str) -> None:
    root = logging.getLogger()
    root.handlers = [NodeLogHandler(channel)]
    set_log_level(level)


def set_log_level(level: str) -> None:
    logging.getLogger().setLevel(level.upper())
