"""Whether a part lives and is ready, told from evidence: ``/livez``, ``/readyz`` and ``/metrics``.

*Live* means that the part's main loop went round recently (a :class:`Heartbeat` that the loop itself beats);
a blocked event loop cannot answer at all, which a probe takes for the same. *Ready* means that each check,
asked now, holds: a check must look at the thing (the last write, the connection, the assignment), not at what
was configured. Restarting helps against the first and not against the second, hence two paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import msgspec
import structlog
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from qa_service import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType

_log = structlog.get_logger(__name__)

# A probe of Kubernetes waits 1 s by default; a check that hangs must not look like a dead process.
CHECK_TIMEOUT_S: Final = 0.8
# Often enough to see a stall of a tenth of a second within one scrape, rare enough to cost nothing.
_LAG_INTERVAL_S: Final = 0.5


class Check(msgspec.Struct, frozen=True):
    """One thing that readiness depends on: whether it holds, and in words what was found."""

    ok: bool
    detail: str = ""


class Readiness(msgspec.Struct, frozen=True):
    """The body of ``/readyz``."""

    status: str
    checks: dict[str, Check]


Checks: TypeAlias = "Mapping[str, Callable[[], Check | Awaitable[Check]]]"


class Heartbeat:
    """A loop's sign of life: it calls :meth:`beat` each time round, at least every ``max_age_s`` seconds."""

    def __init__(self, max_age_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_age_s = max_age_s
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Note that the loop went round."""
        self._last = self._clock()

    @property
    def age_s(self) -> float:
        """Seconds since the last beat, or since the heartbeat was made."""
        return self._clock() - self._last

    def check(self) -> Check:
        """Whether the last beat is recent enough."""
        age = self.age_s
        return Check(
            age <= self.max_age_s, f"last round {age:.1f} s ago, at most {self.max_age_s:g} s allowed"
        )


class BindError(Exception):
    """The health address cannot be listened on; the message names it and the settings to change."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"cannot listen on {host}:{port} for health checks: {reason}; "
            "set QA_HEALTH_HOST and QA_HEALTH_PORT to a free address"
        )


def add_health_routes(app: web.Application, checks: Checks, *, heartbeat: Heartbeat | None = None) -> None:
    """Add ``/livez``, ``/readyz`` and ``/metrics`` to ``app`` and have it measure the lag of its event loop.

    ``checks`` are asked at each ``/readyz``, side by side; one that raises, or takes over 0.8 s, has failed.
    Without a ``heartbeat`` an answer is all that ``/livez`` shows.
    """

    async def livez(_request: web.Request) -> web.Response:
        check = Check(ok=True, detail="answering") if heartbeat is None else heartbeat.check()
        return _json_response(check, 200 if check.ok else 503)

    async def readyz(_request: web.Request) -> web.Response:
        readiness = await judge_readiness(checks)
        return _json_response(readiness, 200 if readiness.status == "ready" else 503)

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", _expose_metrics)
    app.cleanup_ctx.append(_measure_loop_lag)


async def judge_readiness(checks: Checks) -> Readiness:
    """Ask all checks side by side."""
    found = await asyncio.gather(*(_ask(name, check) for name, check in checks.items()))
    status = "ready" if all(check.ok for check in found) else "not ready"
    return Readiness(status, dict(zip(checks, found, strict=True)))


class HealthServer:
    """The health routes on a port of their own, for parts that serve nothing else.

    ``async with HealthServer(host, port, checks, heartbeat=...)``; raises :class:`BindError` on entry. Port 0
    takes a free one, see :attr:`port`.
    """

    def __init__(self, host: str, port: int, checks: Checks, *, heartbeat: Heartbeat | None = None) -> None:
        self.host = host
        self.port = port
        app = web.Application()
        add_health_routes(app, checks, heartbeat=heartbeat)
        # Probes and scrapes are short: do not hold a shutdown up for an idle keep-alive connection.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise BindError(self.host, self.port, error.strerror or str(error)) from error
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


async def _ask(name: str, check: Callable[[], Check | Awaitable[Check]]) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = check()
            return await found if inspect.isawaitable(found) else found
    except TimeoutError:
        return Check(ok=False, detail=f"no answer within {CHECK_TIMEOUT_S:g} s")
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        _log.warning("readiness_check_failed", check=name, error=repr(error))
        return Check(ok=False, detail=f"{type(error).__name__} while checking; see the log")


async def _expose_metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(metrics.REGISTRY), headers={"Content-Type": content_type})


async def _measure_loop_lag(_app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(_observe_lag(), name="event-loop-lag")
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _observe_lag() -> None:
    while True:
        due = time.monotonic() + _LAG_INTERVAL_S
        await asyncio.sleep(_LAG_INTERVAL_S)
        metrics.EVENT_LOOP_LAG.observe(max(0.0, time.monotonic() - due))


def _json_response(body: Check | Readiness, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
