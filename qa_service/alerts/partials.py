"""Partial results to Kafka as best they go: bounded, the newest of each leg only, the first thing to be shed.

Nobody waits for a partial: offering one costs a dictionary entry. What Kafka does not take in time is
replaced by what the same speaker has said since, and counted.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

import msgspec
import structlog

from qa_service import metrics
from qa_service.alerts.cloudevents import encode_event
from qa_service.domain.announcements import PARTIAL_TYPE

if TYPE_CHECKING:
    from qa_service.domain.announcements import PartialData

_log = structlog.get_logger(__name__)

# More than the legs of one worker (QA_MAX_LEGS, 500 by default), each of which has one place.
_MAX_PENDING: Final = 2000
_MAX_UNACKNOWLEDGED: Final = 2000
# Recognisers give 3 to 6 partials a second and leg; a reader follows five a second just as well.
_INTERVAL_S: Final = 0.2
# One line for a stretch of trouble, not one for each partial.
_LOG_EVERY_S: Final = 60.0


class Producer(Protocol):
    """What is used of aiokafka's producer."""

    async def send(
        self, topic: str, value: bytes, key: bytes, *, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future[Any]:
        """Hand a record over; the future is done when it is acknowledged."""
        ...


class PartialsPublisher:
    """Takes partials with :meth:`offer` and publishes them while :meth:`run` runs.

    Give it a producer of its own, so that a backlog of partials stands in nobody's way.
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        *,
        max_pending: int = _MAX_PENDING,
        max_unacknowledged: int = _MAX_UNACKNOWLEDGED,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._max_pending = max_pending
        self._max_unacknowledged = max_unacknowledged
        self._interval_s = interval_s
        # The newest partial of each leg that waits to be sent, in the order in which legs began to wait.
        self._pending: dict[tuple[str, str], PartialData] = {}
        self._unacknowledged = 0
        self._wake = asyncio.Event()
        # Loop time from which on a failure is worth a log line again.
        self._log_from = 0.0

    def offer(self, partial: PartialData) -> None:
        """Publish ``partial`` if and when that is possible; never blocks."""
        leg = (partial.call_id, partial.leg)
        if leg in self._pending:
            metrics.PARTIALS_DROPPED.inc()
        elif len(self._pending) >= self._max_pending:
            metrics.PARTIALS_DROPPED.inc()
            return
        self._pending[leg] = partial
        self._wake.set()

    async def run(self) -> None:
        """Publish what is offered, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_pending()
            await asyncio.sleep(self._interval_s)

    async def _send_pending(self) -> None:
        room = self._max_unacknowledged - self._unacknowledged
        for leg in list(self._pending)[:room]:
            partial = self._pending.pop(leg)
            try:
                await self._send(partial)
            except Exception as error:  # noqa: BLE001 - best effort: counted and told, never in the way
                self._count_failure(error)
        if self._pending:
            self._wake.set()

    async def _send(self, partial: PartialData) -> None:
        record = encode_event(
            event_id=uuid4(),
            type=PARTIAL_TYPE,
            call_id=partial.call_id,
            call_seq=None,
            time=datetime.now(UTC),
            data=msgspec.json.encode(partial),
        )
        sent = await self._producer.send(self._topic, record.value, record.key, headers=record.headers)
        self._unacknowledged += 1
        sent.add_done_callback(self._settle)

    def _settle(self, sent: asyncio.Future[Any]) -> None:
        self._unacknowledged -= 1
        if sent.cancelled():
            metrics.PARTIALS_DROPPED.inc()
        elif (error := sent.exception()) is not None:
            self._count_failure(error)
        else:
            metrics.PARTIALS_PUBLISHED.inc()

    def _count_failure(self, error: BaseException) -> None:
        metrics.PARTIALS_DROPPED.inc()
        now = asyncio.get_running_loop().time()
        if now >= self._log_from:
            self._log_from = now + _LOG_EVERY_S
            _log.warning(
                "partials_not_published", topic=self._topic, error=str(error) or type(error).__name__
            )
