"""What a library repeats is heard once a minute."""

from __future__ import annotations

import logging

from qa_service.cli.repeats import RepeatFilter


def record(name: str, message: str, level: int = logging.ERROR, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, arguments, None)


def test_a_message_passes_once_a_minute_whatever_its_arguments() -> None:
    now = [0.0]
    repeats = RepeatFilter("aiokafka", 60.0, clock=lambda: now[0])
    passed = []
    for second in range(130):
        now[0] = float(second)
        passed.append(repeats.filter(record("aiokafka.conn", "node %s is away", logging.ERROR, second)))

    assert [second for second, is_shown in enumerate(passed) if is_shown] == [0, 60, 120]


def test_other_messages_and_other_libraries_are_left_alone() -> None:
    repeats = RepeatFilter("aiokafka", clock=lambda: 0.0)
    repeats.filter(record("aiokafka.conn", "away"))

    assert repeats.filter(record("aiokafka.conn", "something else"))
    assert repeats.filter(record("aiokafkaesque", "away"))
    assert all(repeats.filter(record("qa_service", "away")) for _ in range(2))
