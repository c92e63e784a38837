"""Log lines: one format for ours and the libraries', times in UTC, nothing secret."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings

import pytest
import structlog

from qa_service import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream():
    """A stream that is no terminal; what was configured before comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_what_is_bound_to_its_call_and_leg(stream):
    logs.configure("json", stream=stream)
    with structlog.contextvars.bound_contextvars(call_id="c1", leg_id="customer"):
        structlog.get_logger("qa").info("session_opened", attempt=2)

    (line,) = _lines(stream)

    assert (line["call_id"], line["leg_id"], line["event"]) == ("c1", "customer", "session_opened")
    assert (line["attempt"], line["level"]) == (2, "info")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])


def test_a_librarys_line_looks_like_ours(stream):
    logs.configure("json", stream=stream)
    with structlog.contextvars.bound_contextvars(call_id="c1"):
        logging.getLogger("aiokafka.conn").warning("lost %s", "broker-1")

    (line,) = _lines(stream)

    assert (line["event"], line["logger"], line["level"]) == ("lost broker-1", "aiokafka.conn", "warning")
    assert line["call_id"] == "c1"


def test_warnings_of_python_are_logged(stream):
    logs.configure("json", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("coroutine was never awaited", RuntimeWarning, stacklevel=1)

    assert "coroutine was never awaited" in _lines(stream)[0]["event"]


def test_an_exception_is_one_structured_field_without_local_variables(stream):
    logs.configure("json", stream=stream)
    secret_local = "hunter2-local"  # noqa: S105, F841 - must not be seen in the log
    try:
        raise ValueError("cannot reach postgresql://qa:hunter2@db/qa")  # noqa: TRY301 - the shortest way to one
    except ValueError:
        structlog.get_logger().exception("write_failed")

    (line,) = _lines(stream)

    assert line["exception"][0]["exc_type"] == "ValueError"
    assert line["exception"][0]["exc_value"] == "cannot reach postgresql://qa:***@db/qa"
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcdef123", "Authorization: Bearer ***"),
        ("{'authorization': 'bearer abcdef123'}", "{'authorization': 'bearer ***'}"),
        ("sasl_plain_password=hunter2 host=x", "sasl_plain_password=*** host=x"),
        ('{"api_key": "abc", "model": "m"}', '{"api_key": "***", "model": "m"}'),
        ("wss://h/v1?model=m&token=abc&x=1", "wss://h/v1?model=m&token=***&x=1"),
        ("postgresql+asyncpg://qa:p%40ss@db:5432/qa", "postgresql+asyncpg://qa:***@db:5432/qa"),
        ("key sk-0123456789abcdef0123 refused", "key sk-*** refused"),
        ("QA_SERVER_API_KEYS='[\"my-key\"]'", "QA_SERVER_API_KEYS='[\"***\"]'"),
        ("the token bucket holds 3 tokens", "the token bucket holds 3 tokens"),
        ("wss://dashscope.aliyuncs.com:443/api-ws", "wss://dashscope.aliyuncs.com:443/api-ws"),
    ],
)
def test_credentials_are_masked_and_nothing_else_is(text, masked):
    assert masked == logs.mask(text)


def test_a_field_named_like_a_secret_is_masked_whole(stream):
    logs.configure("json", stream=stream)
    structlog.get_logger().info(
        "configured", api_key="abc", nested={"kafka_password": "x", "port": 1}, n=[1, "y"]
    )

    (line,) = _lines(stream)

    assert (line["api_key"], line["nested"]) == ("***", {"kafka_password": "***", "port": 1})
    assert line["n"] == [1, "y"]


def test_what_a_library_repeats_is_heard_once(stream):
    logs.configure("json", stream=stream)
    for attempt in range(3):
        logging.getLogger("aiokafka.conn").error("node %s is away", attempt)
        logging.getLogger("another").error("node %s is away", attempt)

    events = [(line["logger"], line["event"]) for line in _lines(stream)]

    assert [event for name, event in events if name == "aiokafka.conn"] == ["node 0 is away"]
    assert len([event for name, event in events if name == "another"]) == 3


def _record(name: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, arguments, None)


def test_a_repeated_message_passes_once_a_minute_whatever_its_arguments():
    now = 0.0
    repeats = logs.RepeatFilter("aiokafka", 60.0, clock=lambda: now)
    passed = []
    for second in range(130):
        now = float(second)
        passed.append(repeats.filter(_record("aiokafka.conn", "node %s is away", second)))

    assert [second for second, is_shown in enumerate(passed) if is_shown] == [0, 60, 120]


def test_other_messages_and_other_libraries_are_left_alone():
    repeats = logs.RepeatFilter("aiokafka", clock=lambda: 0.0)
    repeats.filter(_record("aiokafka.conn", "away"))

    assert repeats.filter(_record("aiokafka.conn", "something else"))
    assert repeats.filter(_record("aiokafkaesque", "away"))
    assert all(repeats.filter(_record("qa_service", "away")) for _ in range(2))


def test_lines_below_the_level_are_left_out(stream):
    logs.configure("json", "warning", stream=stream)
    structlog.get_logger().info("session_opened")
    structlog.get_logger().warning("session_lost")

    assert [line["event"] for line in _lines(stream)] == ["session_lost"]


def test_colours_are_for_terminals_alone(stream):
    terminal = Terminal()
    logs.configure("auto", stream=terminal)
    structlog.get_logger().info("session_opened")
    logs.configure("console", stream=stream)
    structlog.get_logger().info("session_opened")

    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" not in stream.getvalue()
    assert "session_opened" in stream.getvalue()


def test_a_console_traceback_is_masked_too(stream):
    logs.configure("console", stream=stream)
    try:
        raise ValueError("password=hunter2")  # noqa: TRY301 - the shortest way to one
    except ValueError:
        structlog.get_logger().exception("write_failed")

    assert "ValueError: password=***" in stream.getvalue()
