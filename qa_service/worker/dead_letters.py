"""What becomes of records that cannot be used."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord

from qa_service import metrics
from qa_service.contract.dead_letters import encode_dead_letter
from qa_service.contract.errors import ContractViolation, Reason

_log = structlog.get_logger(__name__)

SEND_WITHIN_S = 5.0
"""A partition is held back meanwhile, and what it holds must not grow old without a word."""


class DeadLetters:
    """The topic for records that cannot be used; they are kept there byte for byte, with the reason."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def send(self, record: ConsumerRecord, violation: ContractViolation) -> None:
        """Keep a record; returns once the broker has it. Raises KafkaError or TimeoutError."""
        letter = encode_dead_letter(
            record.key,
            record.headers,
            record.value,
            violation=violation,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        async with asyncio.timeout(SEND_WITHIN_S):
            await self._producer.send_and_wait(
                self._topic, letter.value, key=letter.key, headers=list(letter.headers)
            )
        metrics.POISON[violation.reason.value].inc()
        if violation.reason is Reason.CALL_ON_OTHER_PARTITION:
            return  # as many as a producer sends, and told once a call
        _log.warning(
            "record_refused",
            reason=violation.reason.value,
            detail=violation.message,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            sent_to=self._topic,
        )
