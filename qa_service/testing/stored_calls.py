"""Made-up calls as the service stores them: for back-tests, reports and their tests, in any number.

A call is two people who take turns, pause, talk over each other and cut each other off. Some customers are
angry and calm down, some audio is lost. What is said mixes everyday sentences with some that rules look for,
in four languages. The log is written by the service's own
:class:`~qa_service.domain.call_log.CallLog`, so incidents are what the rules make of it. One seed, one call.

    python -m qa_service.testing.stored_calls --calls 500 --judge
"""

# ruff: noqa: RUF001 - Chinese and Japanese have commas and marks of their own

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import click

from qa_service.contract.info import Role
from qa_service.domain.call_log import CallLog, CallOutputs
from qa_service.domain.emotions import EmotionPolicy
from qa_service.domain.entries import (
    Body,
    CallEnded,
    CallStarted,
    Gap,
    GapReason,
    LegEnded,
    LegStarted,
    Quiet,
    Utterance,
)
from qa_service.domain.identities import utterance_id
from qa_service.domain.writes import CallRow, LegRow, WriteBatch
from qa_service.protocol.events import Emotion
from qa_service.rules.ruleset import RuleSet, default_rule_set
from qa_service.rules.scorecards import Scorecard, ScoredRules, default_scorecard
from qa_service.settings import Settings
from qa_service.storage.database import Database
from qa_service.storage.judgements import judge
from qa_service.storage.scorecards import save_scorecard
from qa_service.storage.store import PostgresStore

RATE: Final = 8000
TOPIC: Final = "telephony.audio"
_CALLS_A_BATCH: Final = 20
_FINAL_AFTER_MS: Final = 900
"""From the end of speech to its row: closing silence and recognition."""
_DAY_MS: Final = 24 * 3_600_000
_ANGRY_CALLS: Final = 0.15
_SPEAKS_ON: Final = 0.15
_TELLING: Final = 0.06
"""Share of sentences that rules look for."""
_CALLS_WITH_GAP: Final = 0.05
_GAP_MS: Final = 3000


@dataclass(frozen=True, slots=True)
class _Language:
    code: str
    weight: int
    ms_a_sign: int
    """Length of speech per character: about 150 words, or 270 characters of Chinese, a minute."""
    agent: Sequence[str]
    customer: Sequence[str]
    telling_agent: Sequence[str]
    """Sentences that rules look for."""
    telling_customer: Sequence[str]


_LANGUAGES: Final = (
    _Language(
        "en",
        5,
        70,
        (
            "Thank you for calling, how may I help you today?",
            "Let me have a look at your account, that will take a moment.",
            "I can see the invoice here, it was sent on the third of this month.",
            "Would you like me to send you a confirmation by email?",
            "The technician will come between nine and eleven.",
            "One moment please.",
            "I understand.",
        ),
        (
            "Hello, I am calling about my last bill.",
            "It is higher than it was before and nobody told me why.",
            "The connection has been down since Monday evening.",
            "Could you check that again for me?",
            "Yes, that is the right address.",
            "All right.",
            "No, I have already tried that twice.",
        ),
        (
            "Just to let you know, this call may be recorded for training.",
            "I guarantee that this will not happen again.",
            "Please calm down.",
        ),
        (
            "In that case I want to cancel my contract.",
            "I would like to close my account today.",
            "This is outrageous, I have been waiting for weeks!",
        ),
    ),
    _Language(
        "de",
        3,
        68,
        (
            "Guten Tag, was kann ich für Sie tun?",
            "Ich sehe gerade in Ihrem Vertrag nach.",
            "Die Rechnung ging am dritten des Monats hinaus.",
            "Einen Augenblick bitte.",
        ),
        (
            "Ich rufe wegen meiner letzten Rechnung an.",
            "Seit Montag geht bei mir das Internet nicht mehr.",
            "Das habe ich doch schon zweimal versucht.",
            "Ja, genau.",
        ),
        ("Das Gespräch wird zu Schulungszwecken aufgezeichnet.", "Das kann ich Ihnen garantieren."),
        ("Dann kündige ich eben.", "Ich möchte den Vertrag zum Monatsende beenden."),
    ),
    _Language(
        "zh",
        1,
        220,
        ("您好，请问有什么可以帮您？", "请稍等，我帮您查一下。", "好的，已经为您登记了。"),
        ("我想问一下上个月的账单。", "网络从星期一开始就断了。", "对，是这个地址。"),
        ("本次通话可能会被录音。", "我保证不会再发生。"),
        ("我要取消合同。", "太过分了，我要投诉！"),
    ),
    _Language(
        "ja",
        1,
        160,
        ("お電話ありがとうございます。", "少々お待ちください。", "確認いたしました。"),
        ("先月の請求書について聞きたいのですが。", "月曜日からつながりません。", "はい、そうです。"),
        ("この通話は録音されます。",),
        ("解約したいです。", "いい加減にしてください。"),
    ),
)
_PARTIES: Final[tuple[tuple[Role, EmotionPolicy], ...]] = (("customer", "on"), ("agent", "off_role"))
_QUEUES: Final = ("billing", "support", "retention")
_AGENTS: Final = tuple(f"agent-{number:02}" for number in range(1, 13))
_GAPS: Final[tuple[GapReason, ...]] = ("lost", "paused", "not_sent", "recogniser_failed")


class _Turn(NamedTuple):
    leg: Role
    start_ms: int
    end_ms: int
    text: str
    language: str
    emotion: Emotion | None
    confidence: float | None


class _Line(NamedTuple):
    """A line of the log that is to be, and when it becomes known."""

    known_ms: int
    leg: Role
    start_ms: int
    end_ms: int
    body: Body


class MadeUpCall(NamedTuple):
    """A call that has ended, as one transaction would hold it."""

    call: CallRow
    legs: tuple[LegRow, ...]
    outputs: CallOutputs


def make_call(
    seed: int,
    *,
    rules: RuleSet,
    origin_ts: int,
    card: Scorecard | None = None,
    longest_ms: int = 300_000,
) -> MadeUpCall:
    """Make up the call of a seed; ``origin_ts`` is when it begins, in Unix milliseconds."""
    rng = random.Random(seed)  # noqa: S311 - made up, and the same each time
    call_id = f"made-up-{seed:06}"
    graded = ScoredRules(rules.start(call_id), call_id=call_id, card=card)
    log = CallLog(call_id, rules=graded, recording_template=None)
    log.add(None, 0, 0, CallStarted(rules.hash, origin_ts))
    legs = _describe(rng, call_id, log)
    turns = list(_talk(rng, rng.randrange(longest_ms // 5, longest_ms)))
    end_ms = max(turn.end_ms for turn in turns) + 2000
    lines = [line for leg in legs for line in _cover(rng, leg, turns, end_ms)]
    for line in sorted(lines, key=lambda line: line.known_ms):
        log.add(line.leg, line.start_ms, line.end_ms, line.body)
    for leg in legs:
        log.add(leg.leg_id, end_ms, end_ms, LegEnded("stop"))
    log.add(None, end_ms, end_ms, CallEnded())
    call = CallRow(
        call_id=call_id,
        rule_set_hash=rules.hash,
        origin_ts=origin_ts,
        call_seq=log.call_seq,
        control_offset=seed,
        tenant=None,
        ended=True,
    )
    return MadeUpCall(call, tuple(legs), log.take_outputs())


def _describe(rng: random.Random, call_id: str, log: CallLog) -> list[LegRow]:
    queue, agent_id = rng.choice(_QUEUES), rng.choice(_AGENTS)
    legs = []
    for role, policy in _PARTIES:
        started = LegStarted(
            role=role,
            role_is_explicit=True,
            emotion_policy=policy,
            codec="pcmu",
            rate=RATE,
            queue=queue,
            agent_id=agent_id if role == "agent" else None,
            direction="inbound",
            subject=f"s-{rng.randrange(10_000)}" if role == "customer" else None,
            source_offset=0,
        )
        log.add(role, 0, 0, started)
        described = {name: getattr(started, name) for name in started.__struct_fields__}
        del described["source_offset"]
        legs.append(
            LegRow(
                call_id=call_id,
                leg_id=role,
                emotion_enforced_by="recogniser",
                origin_ms=0,
                covered_until=0,
                ordinal=0,
                paused=False,
                ended=True,
                **described,
            )
        )
    return legs


def _talk(rng: random.Random, length_ms: int) -> Iterator[_Turn]:
    """Who says what when: mostly in turns, at times over each other, with a long pause now and then."""
    language = rng.choices(_LANGUAGES, [each.weight for each in _LANGUAGES])[0]
    is_angry_call, calm_after = rng.random() < _ANGRY_CALLS, rng.randrange(4, 12)
    at_ms, leg = rng.randrange(300, 2500), rng.choice(_PARTIES)[0]
    spoke_until: dict[Role, int] = {"agent": 0, "customer": 0}
    for number in range(10_000):
        if at_ms >= length_ms and number > 1:
            return
        text = _sentence(rng, language, leg)
        start_ms = max(at_ms, spoke_until[leg] + 300)
        end_ms = start_ms + max(400, int(len(text) * language.ms_a_sign * rng.uniform(0.8, 1.25)))
        emotion, confidence = _feel(rng, leg, is_angry=is_angry_call and number < calm_after)
        yield _Turn(leg, start_ms, end_ms, text, language.code, emotion, confidence)
        spoke_until[leg] = end_ms
        delay_ms = rng.choices(
            (rng.randrange(200, 1800), -rng.randrange(250, 1500), rng.randrange(2000, 18_000)), (80, 14, 6)
        )[0]
        at_ms = max(end_ms + delay_ms, start_ms + 250)
        if rng.random() >= _SPEAKS_ON:
            leg = "agent" if leg == "customer" else "customer"


def _sentence(rng: random.Random, language: _Language, leg: str) -> str:
    plain, telling = (
        (language.agent, language.telling_agent)
        if leg == "agent"
        else (language.customer, language.telling_customer)
    )
    return rng.choice(telling if rng.random() < _TELLING else plain)


def _feel(rng: random.Random, leg: str, *, is_angry: bool) -> tuple[Emotion | None, float | None]:
    if leg != "customer":
        return None, None
    labels: tuple[Emotion | None, ...] = ("angry", "neutral", "happy", None)
    weights = (60, 25, 8, 7) if is_angry else (2, 70, 20, 8)
    emotion = rng.choices(labels, weights)[0]
    return emotion, None if emotion is None else round(rng.uniform(0.4, 0.98), 2)


def _cover(rng: random.Random, leg: LegRow, turns: Sequence[_Turn], end_ms: int) -> Iterator[_Line]:
    """The lines of one leg, which cover it from beginning to end."""
    role, covered = leg.role, 0
    loudness = rng.gauss(-26, 4)
    gap = rng.choice(_GAPS) if rng.random() < _CALLS_WITH_GAP else None
    for ordinal, turn in enumerate([turn for turn in turns if turn.leg == role], 1):
        if gap is not None and turn.start_ms - covered > _GAP_MS:
            yield _Line(turn.start_ms, role, covered, covered + _GAP_MS, _gap(gap, covered))
            covered, gap = covered + _GAP_MS, None
        yield from _stay_quiet(role, covered, turn.start_ms)
        said = Utterance(
            utterance_id=utterance_id(leg.call_id, leg.leg_id, ordinal),
            ordinal=ordinal,
            text=turn.text,
            language=turn.language,
            emotion=turn.emotion,
            emotion_confidence=turn.confidence,
            emotion_abstained=role == "customer" and turn.emotion is None,
            start_pos=_position(turn.start_ms),
            end_pos=_position(turn.end_ms),
            time_source="server",
            engine="made-up",
            model="made-up",
            loudness_dbfs=round(min(loudness + rng.gauss(4 if turn.emotion == "angry" else 0, 2), -3), 1),
        )
        yield _Line(turn.end_ms + _FINAL_AFTER_MS, role, turn.start_ms, turn.end_ms, said)
        covered = turn.end_ms
    yield from _stay_quiet(role, covered, end_ms)


def _stay_quiet(role: Role, start_ms: int, end_ms: int) -> Iterator[_Line]:
    """Quiet in steps of a second, as coverage advances; what is left over goes without a line."""
    for at_ms in range(start_ms, end_ms - 999, 1000):
        until = at_ms + 1000
        body = Quiet(start_pos=_position(at_ms), end_pos=_position(until), time_source="progress")
        yield _Line(until + _FINAL_AFTER_MS, role, at_ms, until, body)


def _gap(reason: GapReason, start_ms: int) -> Gap:
    return Gap(reason=reason, start_pos=_position(start_ms), end_pos=_position(start_ms + _GAP_MS))


def _position(ms: int) -> int:
    return ms * RATE // 1000


async def store_calls(
    database: Database,
    seeds: Sequence[int],
    *,
    rules: RuleSet,
    card: Scorecard | None = None,
    first_day: dt.date,
    days: int = 14,
) -> None:
    """Make up calls, spread over some days, and store them as a worker would."""
    store = PostgresStore(database)
    await store.save_rule_set(rules.hash, rules.source)
    if card is not None:
        await save_scorecard(database, card)
    claim = await store.claim(TOPIC, 0, "made-up calls")
    began = int(dt.datetime.combine(first_day, dt.time(8), dt.UTC).timestamp() * 1000)
    for nth, first in enumerate(range(0, len(seeds), _CALLS_A_BATCH), 1):
        calls = [
            make_call(
                seed,
                rules=rules,
                card=card,
                origin_ts=began + seed % days * _DAY_MS + seed * 7919 % 36_000_000,
            )
            for seed in seeds[first : first + _CALLS_A_BATCH]
        ]
        await store.write(
            WriteBatch(
                topic=claim.topic,
                partition=claim.partition,
                epoch=claim.epoch,
                token=claim.token,
                write_seq=claim.write_seq + nth,
                next_offset=nth,
                calls=tuple(made.call for made in calls),
                legs=tuple(leg for made in calls for leg in made.legs),
                entries=tuple(entry for made in calls for entry in made.outputs.entries),
                incidents=tuple(change for made in calls for change in made.outputs.incidents),
                scores=tuple(score for made in calls for score in made.outputs.scores),
            )
        )


async def judge_some(database: Database, seeds: Sequence[int], *, rules: RuleSet, share: float = 0.5) -> int:
    """Acknowledge or dismiss a share of the calls' alerts, by seed; returns how many were judged."""
    judged = 0
    for seed in seeds:
        made, rng = make_call(seed, rules=rules, origin_ts=0), random.Random(seed)  # noqa: S311 - as above
        opened = {c.incident_id: c for c in made.outputs.incidents}
        for change in opened.values():
            if rng.random() < share:
                is_right = rng.random() < (0.6 if change.rule_id == "dead-air" else 0.85)
                await judge(
                    database,
                    str(change.incident_id),
                    "acknowledged" if is_right else "dismissed",
                    by="made-up supervisor",
                    reason=None if is_right else "made up",
                )
                judged += 1
    return judged


async def _fill(url: str, calls: int, *, is_judged: bool) -> None:
    database, rules, card, seeds = Database(url), default_rule_set(), default_scorecard(), range(calls)
    try:
        await store_calls(database, seeds, rules=rules, card=card, first_day=dt.date(2026, 1, 1))
        judged = await judge_some(database, seeds, rules=rules) if is_judged else 0
    finally:
        await database.close()
    click.echo(f"{calls} calls stored, {judged} alerts judged")


def main() -> None:
    """Fill the database that the settings name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=500, help="how many (500)")
    parser.add_argument("--judge", action="store_true", help="judge half of their alerts, too")
    arguments = parser.parse_args()
    url = Settings().database_url.get_secret_value()
    asyncio.run(_fill(url, arguments.calls, is_judged=arguments.judge))


if __name__ == "__main__":
    main()
