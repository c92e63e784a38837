"""How log lines look and what never gets into one.

Every line, ours or a library's, goes one way: structlog's processors, then one handler on standard error
(standard output belongs to results). What is bound with ``structlog.contextvars`` (``call_id``, ``leg_id``,
``session``) stands on each line of that context. What a library repeats is heard once a minute. Two rules are
enforced here and not left to callers: times are ISO 8601 in UTC, and secrets are masked, in exceptions too,
which is also why tracebacks never show local variables.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, TypeAlias

import structlog
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat: TypeAlias = Literal["auto", "console", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

MASK: Final = "***"

_SECRET_NAME = r"(?:[\w-]*(?:password|passwd|secret|api[_-]?keys?|token)|authorization|pwd)"  # noqa: S105 - a pattern
_SECRET_KEY = re.compile(_SECRET_NAME, re.IGNORECASE)
_SECRETS: Final = (
    # Authorization: Bearer abc, also inside a printed header mapping.
    (re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1\2{MASK}"),
    # postgresql://user:password@host
    (re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), rf"\1:{MASK}@"),
    # password=abc, "api_key": "abc", ?token=abc
    (
        re.compile(
            rf"(?<!\w)({_SECRET_NAME})([\"']?\s*[=:]\s*[\[\"']*)(?!bearer|basic)[^\s\"'&,;)}}]+",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
    # The form of the cloud's keys, wherever one stands.
    (re.compile(r"\bsk-[A-Za-z0-9-]{16,}"), f"sk-{MASK}"),
)

# Libraries that say at "info" what only their own developers want to know.
_CHATTY: Final = ("aiokafka", "aiohttp.access", "asyncio", "alembic.runtime", "sqlalchemy.engine")

# aiokafka tells each failed attempt on an error level, and makes some ten attempts a second while a broker is
# away. What that means is said by our own events; its lines are kept for the details, one of each kind.
_REPETITIVE: Final = "aiokafka"
REPEATS_EVERY_S: Final = 60.0


class RepeatFilter(logging.Filter):
    """Lets a message of the loggers below ``name`` pass once in so many seconds, whatever its arguments."""

    def __init__(
        self, name: str, every_s: float = REPEATS_EVERY_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._prefix = name
        self._every_s = every_s
        self._clock = clock
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be shown."""
        if record.name.split(".")[0] != self._prefix or record.levelno < logging.WARNING:
            return True
        kind, now = (record.name, str(record.msg)), self._clock()
        passed = self._passed.get(kind)
        if passed is not None and now - passed < self._every_s:
            return False
        self._passed[kind] = now
        return True


def configure(
    format: LogFormat = "auto",  # noqa: A002 - the setting's own name
    level: LogLevel = "info",
    *,
    stream: TextIO | None = None,
) -> None:
    """Set up logging of the whole process; called once at start, again to change it.

    ``auto`` means ``console`` where ``stream`` (default: standard error) is a terminal, else ``json``.
    """
    target = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and target.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.addFilter(RepeatFilter(_REPETITIVE))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=_final_processors(console=console, colours=target.isatty()),
        )
    )
    _route_standard_library(handler, number)


def mask(text: str) -> str:
    """Return ``text`` with whatever looks like a credential replaced."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask credentials in the values of a log line, at any depth; a value named like a secret, whole."""
    return {name: _mask_value(name, value) for name, value in event.items()}


def _mask_value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.fullmatch(name):
        return MASK
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _mask_value(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mask_value("", inner) for inner in value]
    return mask(str(value))


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _final_processors(*, console: bool, colours: bool) -> list[Processor]:
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback
        )
        return [without_meta, structlog.processors.format_exc_info, mask_secrets, renderer]
    as_fields = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return [without_meta, as_fields, _order_fields, mask_secrets, structlog.processors.JSONRenderer()]


def _order_fields(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put time, level and event first, so that a line reads from the left."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}


def _route_standard_library(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)
    logging.captureWarnings(capture=True)
