"""Logs: one event name plus fields per line, as JSON or for a terminal.

`structlog.contextvars.bind_contextvars(...)` binds fields for a task and what it starts.
"""

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from core.settings import TelemetrySettings

QUIET_S = 60.0  # one line per message text and logger; a broker outage writes hundreds a minute
#: Clients' words about servers that are away. They go on by themselves: nobody has to act.
CLIENTS = ("aiokafka", "kafka", "asyncpg", "httpx", "httpcore", "opentelemetry")


class RepeatFilter(logging.Filter):
    """Lets a message of a logger pass once per `QUIET_S`, with the number of suppressed ones.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is let through."""
        key = (record.name, str(record.msg))
        now = self._clock()
        since, kept = self._seen.get(key, (float("-inf"), 0))
        if now - since < QUIET_S:
            self._seen[key] = (since, kept + 1)
            return False
        if len(self._seen) > 1000:  # messages with values in them would grow this without bound
            self._seen.clear()
        self._seen[key] = (now, 0)
        if kept:
            record.msg = f"{record.msg} (and {kept} more like it)"
        return True


def configure(settings: TelemetrySettings, *, process: str) -> None:
    """Set up structlog and the standard library's logging for this process. Call once.

    Args:
        settings: level and format.
        process: name that stands on every line, e.g. `tagging`.
    """
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _stamp(process),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(settings.log_format, shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("aiokafka", "kafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    handler.addFilter(_OnlyLibraries(RepeatFilter()))
    handler.addFilter(_warn_at_most)


class _OnlyLibraries(logging.Filter):
    """Applies the inner filter to other people's loggers only: our lines are never dropped."""

    def __init__(self, inner: RepeatFilter) -> None:
        super().__init__()
        self._inner = inner

    def filter(self, record: logging.LogRecord) -> bool:
        ours = isinstance(record.msg, dict)  # structlog hands over its event dictionary
        return ours or self._inner.filter(record)


def _warn_at_most(record: logging.LogRecord) -> bool:
    """Let a client library's error pass as a warning; an error of ours means: somebody must act."""
    is_clients = record.name.partition(".")[0] in CLIENTS or (
        # What a client left behind: an unclosed connection, a task that nobody awaited.
        record.name == "asyncio" and "aiokafka" in record.getMessage().lower()
    )
    if is_clients and record.levelno > logging.WARNING:
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True


def _stamp(process: str) -> structlog.types.Processor:
    def add(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add


def _formatter(
    log_format: str, shared: list[structlog.types.Processor]
) -> structlog.stdlib.ProcessorFormatter:
    last: list[structlog.types.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta
    ]
    if log_format == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Plain tracebacks: structlog's own show all local variables, secrets and bodies among them.
        last += [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)
