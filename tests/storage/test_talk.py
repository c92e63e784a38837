"""The reports' SQL and the rules' Python mean the same by the talk of a call."""

from __future__ import annotations

import random
from itertools import count

import pytest

from qa_service.domain.entries import CallStarted, Gap
from qa_service.domain.talk import Talk, Turn, measure_pace
from qa_service.storage.reports import read_view
from qa_service.storage.store import PostgresStore
from tests.storage.builders import (
    TOPIC,
    a_batch,
    a_call,
    a_leg,
    a_started_leg,
    an_entry,
    an_utterance,
)

pytestmark = pytest.mark.postgres

LEGS = {"a": "agent", "c": "customer", "o": "other", "a2": "agent"}
SAID = (
    ("en", "well, I have  told you - twice!"),
    ("de", "Ja, genau; das geht so nicht."),
    ("zh", "您好，请问有什么可以帮您？"),
    ("ja-JP", "お電話、ありがとうございます。"),
    (None, "... hm?"),
)


def made_up(seed: int):
    """Turns of a call that overlap, follow and cut each other, in the order of their beginnings; and gaps."""
    rng = random.Random(seed)
    legs = rng.sample(list(LEGS), rng.randint(2, 4))
    free_at = dict.fromkeys(legs, 0)
    turns, gaps, at_ms = [], [], 0
    for _ in range(rng.randint(0, 25)):
        leg = rng.choice(legs)
        start = max(at_ms, free_at[leg]) + rng.choice([0, 0, 100, 200, 350, 900, 12_000])
        if rng.random() < 0.1:
            gaps.append((leg, start, start + 500, rng.choice(["lost", "not_sent", "paused"])))
            free_at[leg] = start + 500
            continue
        end = start + rng.choice([100, 300, 400, 600, 1500, 2000, 2600, 5000])
        turns.append((leg, start, end, *rng.choice(SAID)))
        free_at[leg] = end
        at_ms = max(start, end - rng.choice([0, 0, 100, 200, 250, 1000, 3000]))
    turns.sort(key=lambda turn: (turn[1], turn[2], turn[0]))
    return legs, turns, gaps


def entries_of(call_id: str, legs, turns, gaps):
    seq, ordinals = count(1), {leg: count(1) for leg in legs}
    yield an_entry(next(seq), CallStarted("abc", 0), call_id=call_id, leg=None)
    for leg in legs:
        yield an_entry(next(seq), a_started_leg(role=LEGS[leg]), call_id=call_id, leg=leg)
    for leg, start, end, language, text in turns:
        said = an_utterance(next(ordinals[leg]), call_id=call_id, leg=leg, text=text, language=language)
        yield an_entry(next(seq), said, call_id=call_id, leg=leg, ms=(start, end))
    for leg, start, end, reason in gaps:
        yield an_entry(
            next(seq), Gap(reason=reason, start_pos=0, end_pos=0), call_id=call_id, leg=leg, ms=(start, end)
        )


def by_python(turns, gaps) -> dict[str, object]:
    talk, blind = Talk(), [gap for gap in gaps if gap[3] != "not_sent"]
    cuts, delays, paces = [], {"agent": [], "customer": []}, {}
    last: Turn | None = None
    for leg, start, end, language, text in turns:
        for gap in [gap for gap in blind if gap[1] < start]:
            talk.lose(gap[2])
            blind.remove(gap)
        turn = Turn(leg, LEGS[leg], start, end)
        heard = talk.hear(turn)
        cuts += [(turn.role, other.role) for other in heard.interrupted]
        if heard.response_ms is not None and {turn.role, last.role} == {"agent", "customer"}:
            delays[turn.role].append(heard.response_ms / 1000)
        pace = measure_pace(text, language, end - start)
        if pace is not None:
            amount, length = paces.get((turn.role, pace.unit), (0, 0))
            said = pace.per_minute * (end - start) / 60_000
            paces[turn.role, pace.unit] = amount + said, length + (end - start) / 60_000
        last = turn if last is None or turn.end_ms >= last.end_ms else last
    talk.settle()
    rate = {key: amount / length for key, (amount, length) in paces.items()}
    return {
        "talk_s": talk.anybody_ms / 1000,
        "overtalk_share": talk.overtalk_ms / talk.anybody_ms if talk.anybody_ms else None,
        "agent_interruptions": cuts.count(("agent", "customer")),
        "customer_interruptions": cuts.count(("customer", "agent")),
        "agent_responses": len(delays["agent"]),
        "customer_responses": len(delays["customer"]),
        "agent_response_avg_s": mean(delays["agent"]),
        "customer_response_avg_s": mean(delays["customer"]),
        **{
            f"{role}_pace_{unit}_per_min": rate.get((role, unit))
            for role in ("agent", "customer")
            for unit in ("words", "characters")
        },
    }


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


async def test_reports_and_rules_measure_the_same_of_made_up_calls(database):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 0, "w")
    calls = {f"call-{seed:03}": made_up(seed) for seed in range(150)}
    await store.write(
        a_batch(
            claim,
            calls=tuple(a_call(call_id, ended=True) for call_id in calls),
            legs=tuple(
                a_leg(leg, call_id, role=LEGS[leg]) for call_id, (legs, *_) in calls.items() for leg in legs
            ),
            entries=tuple(entry for call_id, call in calls.items() for entry in entries_of(call_id, *call)),
        )
    )

    found = {row["call_id"]: row for row in await read_view(database, "call_quality", len(calls))}

    for call_id, (_, turns, gaps) in calls.items():
        expected = by_python(turns, gaps)
        assert {name: found[call_id][name] for name in expected} == {
            name: pytest.approx(value) if value is not None else None for name, value in expected.items()
        }, call_id
