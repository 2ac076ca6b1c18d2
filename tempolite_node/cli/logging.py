"""Sets up the log: what this process logs goes to the thread that writes it, as lines of JSON or of text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog

from tempolite_node.config import LogConfig
from tempolite_node.logger.lines import Line, is_terminal, line_format
from tempolite_node.logger.records import line_of, set_level
from tempolite_node.logger.writer import LogWriter


def configure_logging(config: LogConfig) -> LogWriter:
    """Once, before anything logs. Lines of the standard library's logging (gRPC, asyncio) come out alike.

    The writer is to be stopped when nothing is logged any more.
    """
    writer = LogWriter(line_format(config.format, terminal=is_terminal()))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.StackInfoRenderer(),
            # Not dict_tracebacks: it logs local variables, payloads and secrets among them.
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToWriter(writer)]
    set_level(config.level)
    writer.start()
    return writer


class _ToWriter(logging.Handler):
    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        said: object = record.msg
        if isinstance(said, Mapping) and hasattr(record, "_logger"):
            self._writer.put(_line_of_structlog(record, said))
        else:
            self._writer.put(line_of(record, {}))


def _line_of_structlog(record: logging.LogRecord, said: Mapping[str, Any]) -> Line:
    fields = dict(said)
    event = str(fields.pop("event", ""))
    exception = "\n".join(filter(None, (fields.pop("exception", ""), fields.pop("stack", ""))))
    return Line(record.created, record.levelname.lower(), record.name, event, fields, exception)
