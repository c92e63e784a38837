"""Health is told from evidence: what is checked now, not what was meant."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from structlog.testing import capture_logs

from qa_service import metrics
from qa_service.web import health
from qa_service.web.health import BindError, Check, HealthServer, Heartbeat


async def _get(server: HealthServer, path: str) -> tuple[int, dict]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{server.port}{path}") as answer:
        return answer.status, await answer.json()


async def _asynchronously_fine() -> Check:
    return Check(ok=True, detail="written 1 s ago")


async def test_a_part_is_ready_when_every_check_holds():
    checks = {"kafka": lambda: Check(ok=True, detail="2 partitions"), "postgres": _asynchronously_fine}
    async with HealthServer("127.0.0.1", 0, checks) as server:
        status, body = await _get(server, "/readyz")

    assert status == 200
    assert body == {
        "status": "ready",
        "checks": {
            "kafka": {"ok": True, "detail": "2 partitions"},
            "postgres": {"ok": True, "detail": "written 1 s ago"},
        },
    }


async def test_one_failing_check_is_named():
    checks = {"kafka": lambda: Check(ok=False, detail="unreachable"), "postgres": _asynchronously_fine}
    async with HealthServer("127.0.0.1", 0, checks) as server:
        status, body = await _get(server, "/readyz")

    assert (status, body["status"]) == (503, "not ready")
    assert body["checks"]["kafka"] == {"ok": False, "detail": "unreachable"}
    assert body["checks"]["postgres"]["ok"] is True


async def test_a_check_that_raises_has_failed_and_keeps_its_words_for_the_log():
    def broken() -> Check:
        raise RuntimeError("password=hunter2")

    with capture_logs() as lines:
        readiness = await health.judge_readiness({"broken": broken})

    assert readiness.checks["broken"] == Check(ok=False, detail="RuntimeError while checking; see the log")
    assert [line["event"] for line in lines] == ["readiness_check_failed"]


async def test_a_check_that_hangs_has_failed(monkeypatch):
    async def hang() -> Check:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.01)

    readiness = await health.judge_readiness({"slow": hang, "fast": _asynchronously_fine})

    assert not readiness.checks["slow"].ok
    assert readiness.checks["fast"].ok


async def test_a_part_lives_while_its_heart_beats():
    now = 100.0
    heartbeat = Heartbeat(5.0, clock=lambda: now)
    async with HealthServer("127.0.0.1", 0, {}, heartbeat=heartbeat) as server:
        now = 105.0
        assert (await _get(server, "/livez"))[0] == 200
        now = 105.1
        assert (await _get(server, "/livez"))[0] == 503
        heartbeat.beat()

        assert (await _get(server, "/livez"))[0] == 200


async def test_metrics_are_exposed_in_the_format_asked_for():
    metrics.UTTERANCES.inc()
    async with (
        HealthServer("127.0.0.1", 0, {}) as server,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{server.port}/metrics") as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "qa_utterances_total" in await answer.text()


async def test_a_blocked_event_loop_shows_in_the_metrics(monkeypatch):
    monkeypatch.setattr(health, "_LAG_INTERVAL_S", 0.01)
    slow = "qa_event_loop_lag_seconds_sum"
    before = metrics.REGISTRY.get_sample_value(slow)
    async with HealthServer("127.0.0.1", 0, {}):
        await asyncio.sleep(0)  # let the watcher begin its nap
        time.sleep(0.1)  # noqa: ASYNC251 - blocking the loop is the point
        async with asyncio.timeout(5):
            while metrics.REGISTRY.get_sample_value(slow) < before + 0.08:  # noqa: ASYNC110 - metrics wake nobody
                await asyncio.sleep(0.01)


async def test_an_address_in_use_gives_one_line_with_the_remedy():
    async with HealthServer("127.0.0.1", 0, {}) as first:
        with pytest.raises(BindError) as caught:
            async with HealthServer("127.0.0.1", first.port, {}):
                pass

    message = str(caught.value)

    assert "\n" not in message
    assert message.startswith(f"cannot listen on 127.0.0.1:{first.port} for health checks: ")
    assert "QA_HEALTH_PORT" in message
