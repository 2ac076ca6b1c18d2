"""From what is logged by the standard library's `logging` to a line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tempolite_node.logger.lines import Line


def line_of(record: logging.LogRecord, fields: Mapping[str, Any]) -> Line:
    """fields: of the attempt that logged it. Those of `extra=` follow; one of the same name is "extra_…"."""
    try:
        event, extra, exception = record.getMessage(), _extra(record, fields), _exception(record)
    except Exception as error:  # arguments that do not fit their text
        event = f"a line that was logged can't be made: {type(error).__name__}: {error}"
        extra = {"message": record.msg, "where": f"{record.pathname}:{record.lineno}"}
        exception = ""
    level = record.levelname.lower()
    return Line(record.created, level, record.name, event, {**fields, **extra}, exception)


#: What every record has; the rest of its attributes came by `extra=`.
_ORDINARY = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})


def _extra(record: logging.LogRecord, fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in record.__dict__.items() if name not in _ORDINARY}
    if given.get("execution_id") == fields.get("execution_id"):
        given.pop("execution_id", None)  # the context's own logger gives it
    return {f"extra_{name}" if name in fields else name: value for name, value in given.items()}


_formatter = logging.Formatter()


def _exception(record: logging.LogRecord) -> str:
    parts = [record.exc_text] if record.exc_text else []
    if record.exc_info and not record.exc_text:
        parts.append(_formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def set_level(level: str) -> None:
    """Of this process, from now on: "debug", "info", "warning" or "error"."""
    logging.getLogger().setLevel(level.upper())
