"""Logs: one JSON object per line; repeated lines of libraries are dropped, ours never."""

import io
import json
import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest
import structlog

from core.settings import TelemetrySettings
from core.telemetry import logs


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Yield a stream in place of stderr; restore the logging set-up afterwards."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr", text)
    logs.configure(TelemetrySettings(log_format="json", log_level="info"), process="test")
    yield text
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_event_with_fields_and_what_is_bound(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(group="tagging")
    structlog.get_logger("ours").info("batch_done", images=3)
    structlog.get_logger("ours").debug("not shown")

    (line,) = lines(stream)
    assert (line["event"], line["images"], line["group"]) == ("batch_done", 3, "tagging")
    assert (line["level"], line["process"]) == ("info", "test")
    assert "timestamp" in line


def test_an_exception_is_a_field_of_its_line(stream: io.StringIO) -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.get_logger("ours").exception("failed")

    (line,) = lines(stream)
    assert "ZeroDivisionError: integer" in str(line["exception"])


def test_a_traceback_on_a_terminal_shows_no_values_of_variables(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)  # pytest replaces it between set-up and call
    logs.configure(TelemetrySettings(log_format="console", log_level="info"), process="test")
    secret = uuid4().hex
    try:
        _ = 1 // (len(secret) - len(secret))
    except ZeroDivisionError:
        structlog.get_logger("ours").exception("failed")

    assert "ZeroDivisionError" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_an_error_of_a_client_library_is_a_warning_and_ours_stays_an_error(
    stream: io.StringIO,
) -> None:
    logging.getLogger("aiokafka.consumer.fetcher").error("Failed fetch messages from %s: %s", 1, 2)
    logging.getLogger("asyncio").error("Unclosed AIOKafkaConnection")
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    structlog.get_logger("ours").error("halted")

    assert [line["level"] for line in lines(stream)] == ["warning", "warning", "error", "error"]


def test_the_same_words_of_a_library_pass_once_while_ours_all_pass(stream: io.StringIO) -> None:
    for node in range(50):
        logging.getLogger("aiokafka.cluster").error("Unable to connect to %s", node)
        structlog.get_logger("ours").warning("waiting", failures=node)

    told = lines(stream)
    assert sum(line["event"] == "waiting" for line in told) == 50
    assert sum("Unable" in str(line["event"]) for line in told) == 1


def test_after_a_while_the_flood_is_counted() -> None:
    now = [0.0]
    kept = logs.RepeatFilter(clock=lambda: now[0])

    def record() -> logging.LogRecord:
        return logging.LogRecord("lib", logging.ERROR, "", 0, "again", None, None)

    assert kept.filter(record())
    assert not kept.filter(record())
    assert not kept.filter(record())
    now[0] = logs.QUIET_S
    last = record()
    assert kept.filter(last)
    assert last.getMessage() == "again (and 2 more like it)"
