from __future__ import annotations

from math import inf

import msgspec
import pytest

from qa_service.contract.errors import ContractViolation, Reason
from qa_service.contract.info import Consent, ConsentChange, LegChange, LegInfo
from qa_service.contract.records import (
    AudioFrame,
    CallEnd,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    Record,
)
from qa_service.domain.actions import AbandonSession, FinishSession, OpenSession
from qa_service.domain.call import CALM_TICK_S, Call, CallPolicy
from qa_service.domain.call_log import CallOutputs
from qa_service.domain.entries import (
    CallEnded,
    EarlyWords,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.writes import StoredCall
from qa_service.protocol.events import (
    Completed,
    Partial,
    ResultDetail,
    ServerEvent,
    SessionFinished,
    SpeechStarted,
    SpeechStopped,
)
from tests.domain.builders import FRAME, ORIGIN_TS, NoRules, frame, session_updated, start, word

ANGRY = Completed("a", "hello", "en", "angry", ResultDetail(emotion_confidence=0.9, engine="e", model="m"))


class Desk:
    """A call that is handed records and answers, and what came of it."""

    def __init__(self, call: Call | None = None) -> None:
        self.rules = NoRules()
        self.call = call or Call.begin(
            "call", origin_ts=ORIGIN_TS, rule_set_hash="hash", rules=self.rules, policy=CallPolicy()
        )
        self.offset = -1
        self.now = 10.0
        self.entries: list[LogEntry] = []
        self.actions: list[object] = []
        self.partials: list[object] = []
        self.events: list[dict] = []
        self.outcomes: list[str] = []

    def take(self, *records: Record, offset: int | None = None) -> Desk:
        for record in records:
            self.offset = self.offset + 1 if offset is None else offset
            self.now += 0.02
            self.outcomes.append(
                self.call.handle(record, self.offset, record_ms=ORIGIN_TS + self.offset * 20, now=self.now)
            )
            self._collect()
        return self

    def hear(self, *events: ServerEvent, leg: str = "customer") -> Desk:
        number = self.call.parties[leg].leg.recognition.number  # type: ignore[union-attr]
        for event in events:
            self.call.receive(leg, number, event, now=self.now, at_ms=5)
            self._collect()
        return self

    def tick(self, seconds: float = 0.2, *, caught_up: bool = True, record_ms: int = ORIGIN_TS) -> Desk:
        self.now += seconds
        self.call.tick(now=self.now, record_ms=record_ms, read_until=self.now if caught_up else -inf)
        self._collect()
        return self

    def speak(self, frames: range, *, leg: str = "customer") -> Desk:
        return self.take(*(frame(index, word(1), leg=leg) for index in frames))

    def bodies(self, *kinds: type) -> list:
        return [entry.body for entry in self.entries if isinstance(entry.body, kinds)]

    def restored(self) -> Desk:
        """A successor that begins with what this one would have stored."""
        stored = StoredCall(
            topic="telephony.audio",
            partition=0,
            call=self.call.row(),
            legs=tuple(self.call.leg_row(leg) for leg in self.call.parties),
            entries=tuple(self.entries),
        )
        successor = Desk(Call.restore(stored, rules=NoRules(), policy=CallPolicy()))
        successor.offset = self.offset
        return successor

    def _collect(self) -> None:
        outputs = self.call.take_outputs()
        self.entries += outputs.entries
        self.actions += [action for _, action in outputs.actions]
        self.partials += outputs.partials
        self.events += [msgspec.json.decode(event.data) for event in outputs.outbox]


def update(leg: str = "customer", **changed: object) -> LegUpdate:
    return LegUpdate(leg, ORIGIN_TS, LegChange(**changed))  # type: ignore[arg-type]


def stop(leg: str = "customer") -> LegStop:
    return LegStop(leg, ORIGIN_TS)


def a_turn(result: Completed = ANGRY) -> tuple[ServerEvent, ...]:
    return (session_updated(extensions=True), SpeechStarted("a", 0), SpeechStopped("a", 1000), result)


def spoken_by(*records: Record) -> Desk:
    desk = Desk().take(*records)
    leg = next(iter(desk.call.parties), "customer")
    return desk.speak(range(100), leg=leg)


def test_rules_see_every_entry_once_and_in_order() -> None:
    desk = spoken_by(start()).hear(*a_turn())

    assert desk.rules.entries == desk.entries
    assert [entry.call_seq for entry in desk.entries] == [1, 2, 3]


def test_legs_stand_on_one_clock() -> None:
    desk = Desk().take(start(), start("agent", ts=ORIGIN_TS + 5000, role="agent"))

    assert [entry.start_ms for entry in desk.entries] == [0, 0, 5000]


def test_a_leg_nobody_announced_begins_where_its_audio_does() -> None:
    desk = Desk().take(AudioFrame("x", 80_000, 500, ORIGIN_TS, word(1), "pcm_s16le"), stop("x"))
    desk.hear(SessionFinished(), leg="x")

    [started] = desk.bodies(LegStarted)
    assert (started.role, started.role_is_explicit, started.emotion_policy) == (
        "other",
        False,
        "off_unknown_role",
    )
    assert desk.bodies(Gap) == []
    assert [entry.start_ms for entry in desk.entries if entry.leg_id] == [0, 0, 20]


@pytest.mark.parametrize("first", [update("x", queue="sales"), LegPause("x", ORIGIN_TS)])
def test_the_first_audio_places_a_leg_that_was_met_in_the_middle(first: Record) -> None:
    desk = Desk().take(first, LegResume("x", ORIGIN_TS))
    desk.take(AudioFrame("x", 80_000, 500, ORIGIN_TS + 1000, word(1), "pcm_s16le"), stop("x"))
    desk.hear(SessionFinished(), leg="x")

    assert desk.bodies(Gap) == []
    assert desk.call.parties["x"].call_ms(80_000) == 1000


# --- emotions -----------------------------------------------------------------------------------


def shown_emotions(desk: Desk) -> set[object]:
    """Every emotion in entries, events and partials."""
    desk.hear(Partial("a", "hel", "lo", "en", "angry"), *a_turn())
    return (
        {body.emotion for body in desk.bodies(Utterance)}
        | {body.emotion_confidence for body in desk.bodies(Utterance)}
        | {event["emotion"] for event in desk.events}
        | {partial.emotion for partial in desk.partials}  # type: ignore[attr-defined]
    )


def test_a_customers_emotion_is_kept() -> None:
    assert shown_emotions(spoken_by(start())) == {"angry", 0.9}


@pytest.mark.parametrize(
    "records",
    [
        [start(role="agent")],
        [start(role="other")],
        [start(consent=Consent(emotion=False))],
        [],
        [update(queue="sales")],
        [start(), update(role="agent")],
        [start(), update(consent=ConsentChange(emotion=False))],
        [start(role="agent", consent=Consent(emotion=False)), update(role="customer")],
    ],
)
def test_nobody_elses_emotion_is_known(records: list[Record]) -> None:
    desk = spoken_by(*records)

    assert not desk.call.session_config("customer").extensions.emotion
    assert shown_emotions(desk) == {None}
    assert desk.call.leg_row("customer").emotion_policy != "on"


@pytest.mark.parametrize("role", ["agent", "other", "customer"])
def test_a_refusal_outlives_a_restart_whatever_the_role_was(role: str) -> None:
    desk = Desk().take(start(role=role, consent=Consent(emotion=False))).restored()

    desk.take(update(role="customer")).speak(range(100))

    assert shown_emotions(desk) == {None}


def test_what_was_said_before_a_leg_became_a_customers_stays_unjudged() -> None:
    desk = spoken_by(start(role="agent"))
    desk.hear(session_updated(extensions=True, emotion=False), SpeechStarted("a", 0))
    desk.take(update(role="customer"))
    assert isinstance(desk.actions[-1], FinishSession)

    desk.speak(range(100, 200)).hear(ANGRY, SessionFinished())
    desk.hear(SpeechStarted("a", 0), SpeechStopped("a", 1000), ANGRY)

    assert [body.emotion for body in desk.bodies(Utterance)] == [None, "angry"]
    assert desk.call.session_config("customer").extensions.emotion


@pytest.mark.parametrize("restart", [False, True])
def test_a_replay_of_what_was_said_before_is_not_judged_either(*, restart: bool) -> None:
    desk = spoken_by(start(role="agent")).take(update(role="customer"))
    if restart:
        desk = desk.restored().take(*(frame(index, word(1)) for index in range(100)))
    else:
        desk.call.session_lost("customer", 1, now=desk.now)
        desk.tick(1)

    assert not desk.call.session_config("customer").extensions.emotion
    assert shown_emotions(desk) == {None}


def test_losing_the_right_to_an_emotion_ends_the_session_at_once() -> None:
    desk = spoken_by(start()).take(update(role="agent")).tick()

    assert [type(action) for action in desk.actions if not hasattr(action, "pcm")] == [
        OpenSession,
        AbandonSession,
        OpenSession,
    ]


def test_an_update_that_does_not_concern_the_recogniser_leaves_it_alone() -> None:
    desk = spoken_by(start()).take(update(queue="sales", agent_id="7"))

    assert not any(isinstance(action, AbandonSession | FinishSession) for action in desk.actions)
    assert desk.bodies(LegUpdated)[0].queue == "sales"


@pytest.mark.parametrize(("extensions", "by"), [(True, "recogniser"), (False, "boundary")])
def test_a_row_says_who_kept_the_policy(*, extensions: bool, by: str) -> None:
    desk = spoken_by(start(role="agent")).hear(session_updated(extensions=extensions, emotion=False))

    assert desk.call.leg_row("customer").emotion_enforced_by == by


def test_an_abstention_is_something_else_than_neutral() -> None:
    detail = ResultDetail(emotion_confidence=0.2, emotion_abstained=True)
    desk = spoken_by(start()).hear(*a_turn(Completed("a", "hello", "en", "neutral", detail)))

    [spoken] = desk.bodies(Utterance)
    assert (spoken.emotion, spoken.emotion_confidence, spoken.emotion_abstained) == (None, None, True)


RANKED = ResultDetail(
    emotion_confidence=0.9,
    emotion_distribution={"angry": 0.9, "other": 0.1, "made_up": 0.5},
    anger_score=7.5,
    anger_rank=0.02,
    anger_daily=12.5,
)


def test_a_customers_rank_of_anger_is_kept_and_announced() -> None:
    desk = spoken_by(start()).hear(*a_turn(Completed("a", "hello", "en", "angry", RANKED)))

    [spoken] = desk.bodies(Utterance)
    assert (spoken.anger_score, spoken.anger_rank, spoken.anger_daily) == (7.5, 0.02, 12.5)
    assert spoken.emotion_distribution == {"angry": 0.9, "other": 0.1}
    assert desk.events[0]["anger_rank"] == 0.02
    assert desk.events[0]["emotion_distribution"] == {"angry": 0.9, "other": 0.1}


@pytest.mark.parametrize("role", ["agent", "other"])
def test_nobody_elses_anger_is_ranked(role: str) -> None:
    desk = spoken_by(start(role=role)).hear(*a_turn(Completed("a", "hello", "en", "angry", RANKED)))

    [spoken] = desk.bodies(Utterance)
    ranked = (spoken.anger_score, spoken.anger_rank, spoken.anger_daily, spoken.emotion_distribution)
    assert ranked == (None, None, None, None)
    assert desk.events[0]["anger_rank"] is None


def test_a_recogniser_that_tells_nothing_more_leaves_the_rank_open() -> None:
    desk = spoken_by(start()).hear(*a_turn(Completed("a", "hello", "en", "angry")))

    [spoken] = desk.bodies(Utterance)
    assert (spoken.emotion, spoken.anger_rank, spoken.emotion_distribution) == ("angry", None, None)


# --- what the recogniser has learnt ---------------------------------------------------------------


def offered(desk: Desk) -> bool | str:
    return desk.call.session_config("customer").extensions.leg_state


def learnt(item: str, state: str, text: str = "hello") -> Completed:
    return Completed(item, text, "en", "angry", ResultDetail(leg_state=state))


def test_a_leg_offers_the_state_as_of_its_newest_released_result() -> None:
    desk = spoken_by(start())
    assert offered(desk) is True
    desk.hear(*a_turn(learnt("a", "one")))
    assert offered(desk) == "one"

    desk.hear(SpeechStarted("b", 1000), SpeechStopped("b", 1300), SpeechStarted("c", 1400))
    desk.hear(SpeechStopped("c", 1700), learnt("c", "three"))
    assert offered(desk) == "one"  # "b" is not released, so a replay begins before it
    desk.hear(learnt("b", "two"))
    assert offered(desk) == "three"


def test_a_turn_without_words_is_learnt_from_as_well() -> None:
    desk = spoken_by(start()).hear(*a_turn(learnt("a", "one", text="")))

    assert desk.bodies(Utterance) == []
    assert offered(desk) == "one"


def test_a_successor_offers_the_state_that_was_stored() -> None:
    desk = spoken_by(start()).hear(*a_turn(learnt("a", "one")))

    assert desk.call.leg_row("customer").recogniser_state == "one"
    assert offered(desk.restored()) == "one"


def test_a_recogniser_that_hands_out_no_state_leaves_the_last_one() -> None:
    desk = spoken_by(start()).hear(*a_turn(learnt("a", "one")))
    desk.hear(SpeechStarted("b", 1000), SpeechStopped("b", 1300), Completed("b", "bye"))

    assert offered(desk) == "one"


def test_nothing_is_kept_of_a_leg_that_has_ended() -> None:
    desk = spoken_by(start()).hear(*a_turn(learnt("a", "one"))).take(stop()).hear(SessionFinished())

    assert desk.bodies(LegEnded)
    assert desk.call.leg_row("customer").recogniser_state is None


@pytest.mark.parametrize("change", [{"role": "agent"}, {"consent": ConsentChange(emotion=False)}])
def test_losing_the_right_to_an_emotion_forgets_what_was_learnt_of_the_voice(
    change: dict[str, object],
) -> None:
    desk = spoken_by(start()).hear(*a_turn(learnt("a", "one"))).take(update(**change)).tick()

    assert offered(desk) is True
    assert desk.call.leg_row("customer").recogniser_state is None


# --- redaction ----------------------------------------------------------------------------------


def test_card_numbers_leave_neither_entries_nor_events_nor_partials() -> None:
    desk = spoken_by(start())
    desk.hear(Partial("a", "it is 4111 11", "11 1111 1111", "en", "neutral"))
    desk.hear(*a_turn(Completed("a", "it is 4111 1111 1111 1111")))

    assert desk.bodies(Utterance)[0].text == "it is [card number]"
    assert "11" not in str((desk.events[0]["text"], desk.partials))


def test_a_number_that_goes_on_after_a_restart_is_still_redacted() -> None:
    desk = spoken_by(start()).hear(*a_turn(Completed("a", "it is 4111 1111"))).restored()

    desk.take(*(frame(index, word(2)) for index in range(100)))
    desk.hear(session_updated(extensions=True), SpeechStarted("b", 100), SpeechStopped("b", 1500))
    desk.hear(Completed("b", "1111 1111 thanks"))

    assert "1111" not in desk.bodies(Utterance)[0].text


# --- records that are odd -------------------------------------------------------------------------


def refusal(desk: Desk, record: Record) -> Reason:
    """Why a record is refused; the call must be as before."""
    before = (desk.call.row(), [desk.call.leg_row(leg) for leg in desk.call.parties])
    with pytest.raises(ContractViolation) as caught:
        desk.take(record)

    assert (desk.call.row(), [desk.call.leg_row(leg) for leg in desk.call.parties]) == before
    assert desk.call.outputs == CallOutputs()
    return caught.value.reason


def test_half_a_sample_is_refused() -> None:
    odd = AudioFrame("customer", 0, 0, ORIGIN_TS, b"\0\0\0")

    assert refusal(Desk().take(start()), odd) == Reason.ODD_BYTES


def test_a_packet_that_is_no_opus_is_refused() -> None:
    opus = LegStart("customer", ORIGIN_TS, "opus", 8000, LegInfo(role="customer"))
    desk = Desk().take(opus)

    assert refusal(desk, AudioFrame("customer", 0, 0, ORIGIN_TS, b"\x83")) == Reason.BAD_OPUS_PACKET


def test_another_rate_is_refused() -> None:
    desk = Desk().take(start(), frame(0))

    assert refusal(desk, frame(1, rate=16_000)) == Reason.RATE_CHANGED
    assert refusal(desk, start(rate=16_000)) == Reason.RATE_CHANGED


def test_positions_that_run_backwards_are_refused() -> None:
    desk = Desk().take(start(), frame(0), frame(1))

    assert (
        refusal(desk, AudioFrame("customer", 0, 9, ORIGIN_TS, bytes(320))) == Reason.POSITION_RUNS_BACKWARDS
    )


def test_positions_that_jump_beyond_a_day_are_refused() -> None:
    desk = Desk().take(start(), frame(0))

    assert (
        refusal(desk, AudioFrame("customer", 10**17, 1, ORIGIN_TS, bytes(320))) == Reason.POSITION_JUMPS_AHEAD
    )


def test_a_second_start_changes_the_leg() -> None:
    desk = Desk().take(start(), frame(0), start(role="agent"))

    assert [type(entry.body) for entry in desk.entries[-2:]] == [LegStarted, LegUpdated]
    assert desk.call.leg_row("customer").role == "agent"


def test_a_second_start_before_audio_may_change_the_format_and_keeps_a_pause() -> None:
    desk = Desk().take(start(), LegPause("customer", ORIGIN_TS), start(rate=16_000))
    desk.take(*(AudioFrame("customer", 320 * i, i, ORIGIN_TS, word(1, 320)) for i in range(10)))

    assert desk.call.leg_row("customer").rate == 16_000
    assert desk.actions == []


def test_an_update_before_the_start_opens_the_leg() -> None:
    desk = Desk().take(update(queue="sales"), start())

    assert [type(entry.body) for entry in desk.entries[1:]] == [LegStarted, LegUpdated, LegUpdated]
    assert desk.call.leg_row("customer").emotion_policy == "on"


def test_a_leg_that_nobody_announced_waits_for_frames_that_were_overtaken() -> None:
    desk = Desk().take(frame(1), frame(0), *(frame(index) for index in range(2, 5)))

    assert desk.outcomes == ["accepted"] * 5
    assert desk.call.parties["customer"].leg.received_until == 5 * FRAME
    assert desk.call.leg_row("customer").covered_until == 0


def test_nothing_is_claimed_of_what_was_before_a_leg_that_is_met_in_the_middle() -> None:
    desk = Desk().take(frame(100))

    assert desk.call.leg_row("customer").covered_until == 100 * FRAME


def test_a_stop_ends_once() -> None:
    desk = spoken_by(start()).take(stop(), stop()).hear(SessionFinished()).take(stop())

    assert desk.outcomes[-3:] == ["accepted", "without_effect", "without_effect"]
    assert desk.bodies(LegEnded) == [LegEnded("stop")]


def test_a_stop_is_kept_to_be_read_again_until_the_leg_has_ended() -> None:
    desk = Desk().take(start(), frame(0), *(frame(index) for index in range(1, 50)), stop())
    assert desk.call.first_uncovered_offset == 1

    desk.call.parties["customer"].leg._coverage.release_quiet(50 * FRAME, "progress")
    assert desk.call.first_uncovered_offset == 51

    desk.hear(SessionFinished())
    assert desk.call.first_uncovered_offset is None


@pytest.mark.parametrize("finished", [True, False])
def test_frames_after_a_stop_reopen_the_leg(*, finished: bool) -> None:
    desk = spoken_by(start()).take(stop())
    if finished:
        desk.hear(SessionFinished())
    desk.speak(range(100, 110))

    assert len(desk.bodies(LegStarted)) == 2
    assert desk.call.live_legs == 1
    assert desk.take(stop(), offset=50).outcomes[-1] == "repeated"


def test_a_start_after_the_end_reopens_the_leg_in_its_own_codec() -> None:
    desk = spoken_by(start()).take(stop()).hear(SessionFinished())

    desk.take(LegStart("customer", ORIGIN_TS, "pcmu", 8000, LegInfo(role="agent")))

    assert desk.bodies(LegStarted)[-1].codec == "pcmu"
    assert desk.bodies(LegStarted)[-1].emotion_policy == "off_role"
    assert desk.call.leg_row("customer").codec == "pcmu"


def test_a_call_end_ends_every_leg_and_then_the_call() -> None:
    desk = spoken_by(start()).take(start("agent", role="agent"), CallEnd(ORIGIN_TS)).hear(SessionFinished())

    assert desk.bodies(LegEnded, CallEnded) == [LegEnded("call_end"), LegEnded("call_end"), CallEnded()]
    assert desk.call.ended
    assert desk.take(CallEnd(ORIGIN_TS)).outcomes[-1] == "without_effect"


def test_audio_after_a_call_end_reopens_the_call() -> None:
    desk = spoken_by(start()).take(CallEnd(ORIGIN_TS)).hear(SessionFinished()).speak(range(100, 101))

    assert not desk.call.ended
    desk.take(CallEnd(ORIGIN_TS)).hear(SessionFinished())
    assert len(desk.bodies(CallEnded)) == 2


def test_a_leg_without_records_ends_as_idle_and_so_does_the_call() -> None:
    desk = spoken_by(start()).tick(30).tick(31)
    desk.hear(SessionFinished()).tick(61)

    assert desk.bodies(LegEnded, CallEnded) == [LegEnded("idle"), CallEnded()]


def test_nothing_is_idle_while_records_wait_to_be_read() -> None:
    desk = spoken_by(start()).tick(100, caught_up=False)

    assert desk.call.live_legs == 1
    assert not any(isinstance(action, FinishSession) for action in desk.actions)


def test_audio_while_an_idle_leg_ends_reopens_it() -> None:
    desk = spoken_by(start()).tick(61).speak(range(100, 110))
    finished_at = next(i for i, action in enumerate(desk.actions) if isinstance(action, FinishSession))

    assert not any(hasattr(action, "pcm") for action in desk.actions[finished_at:])
    assert len(desk.bodies(LegStarted)) == 2


def test_the_time_of_a_leg_taken_over_begins_anew() -> None:
    desk = spoken_by(start()).restored()

    desk.tick(record_ms=0).tick(record_ms=ORIGIN_TS + 10**6).tick(30, record_ms=ORIGIN_TS + 10**6)

    assert not desk.call.parties["customer"].is_over


def test_a_pause_stays_to_be_read_again_until_its_gap_is_released() -> None:
    desk = Desk().take(start(), LegPause("customer", ORIGIN_TS), *(frame(i, word(1)) for i in range(50)))
    assert desk.call.first_uncovered_offset == 1
    assert desk.call.leg_row("customer").paused

    desk.take(LegResume("customer", ORIGIN_TS), *(frame(i) for i in range(50, 60)), stop())
    desk.hear(SessionFinished())

    assert desk.call.first_uncovered_offset is None
    assert [gap.reason for gap in desk.bodies(Gap)] == ["paused"]


def test_paused_frames_read_again_are_no_contradiction() -> None:
    paused = [frame(i, word(1)) for i in range(10, 60)]
    desk = Desk().take(start(), *(frame(i) for i in range(10)), LegPause("customer", ORIGIN_TS), *paused)
    desk.take(LegResume("customer", ORIGIN_TS), *(frame(i) for i in range(60, 70)))
    desk.hear(session_updated(extensions=True))
    desk.call.parties["customer"].leg._coverage.release_quiet(60 * FRAME, "progress")
    desk.tick()
    successor = desk.restored()

    successor.take(*paused)

    assert set(successor.outcomes) == {"repeated"}


# --- early words --------------------------------------------------------------------------------


class EarlyRules(NoRules):
    """Rules that want to hear of a word before its utterance is finished, once."""

    has_early = True

    def would_raise(self, *words: object) -> bool:
        return "cancel" in str(words[1]) and not any(
            isinstance(entry.body, EarlyWords) for entry in self.entries
        )


def test_stable_words_that_raise_a_rule_are_logged_before_their_utterance_and_redacted() -> None:
    rules = EarlyRules()
    desk = Desk(
        Call.begin("call", origin_ts=ORIGIN_TS, rule_set_hash="hash", rules=rules, policy=CallPolicy())
    )
    desk.take(start()).speak(range(100))
    desk.hear(session_updated(extensions=True), SpeechStarted("a", 0))
    desk.hear(
        Partial("a", "please", " cancel", "en", None), Partial("a", "please cancel 4111", "", "en", None)
    )
    desk.hear(Partial("a", "please cancel 4111 it", "", "en", None))
    desk.hear(SpeechStopped("a", 1000), Completed("a", "please cancel it"))

    words, utterance = desk.bodies(EarlyWords)[0], desk.bodies(Utterance)[0]
    assert len(desk.bodies(EarlyWords)) == 1
    assert (words.ordinal, words.text, words.language) == (utterance.ordinal, "please cancel [number]", "en")
    assert rules.entries == desk.entries


def test_audio_that_is_given_up_becomes_gaps_and_opens_no_session() -> None:
    desk = Desk()
    desk.call.give_up_audio(on=True, now=0.0)
    desk.take(start()).speak(range(50)).take(LegPause("customer", ORIGIN_TS)).speak(range(50, 75))
    desk.take(LegResume("customer", ORIGIN_TS)).speak(range(75, 100))
    desk.call.give_up_audio(on=True, now=1.0)
    desk._collect()
    assert desk.call.live_legs == 1
    assert desk.call.served_legs == 0
    assert desk.call.first_uncovered_offset is None
    assert not [action for action in desk.actions if isinstance(action, OpenSession)]

    desk.speak(range(100, 150))
    desk.call.give_up_audio(on=False, now=2.0)
    desk.speak(range(150, 200))

    assert [(gap.reason, gap.start_pos // 160, gap.end_pos // 160) for gap in desk.bodies(Gap)] == [
        ("capacity", 0, 50),
        ("paused", 50, 75),
        ("capacity", 75, 100),
        ("capacity", 100, 150),
    ]
    assert len([action for action in desk.actions if isinstance(action, OpenSession)]) == 1
    assert desk.call.served_legs == 1
    assert desk.call.leg_row("customer").covered_seq == 149


def test_a_leg_whose_audio_is_given_up_ends_with_its_gap_told() -> None:
    desk = Desk()
    desk.call.give_up_audio(on=True, now=0.0)
    desk.take(start()).speak(range(5)).take(LegStop("customer", ORIGIN_TS), CallEnd(ORIGIN_TS))

    assert [(gap.reason, gap.end_pos) for gap in desk.bodies(Gap)] == [("capacity", 5 * FRAME)]
    assert desk.bodies(Quiet) == []
    assert len(desk.bodies(CallEnded)) == 1


def test_a_leg_that_comes_back_after_a_minute_goes_on_where_its_coverage_ends() -> None:
    desk = spoken_by(start()).speak(range(50))
    desk.tick(70).tick(1).hear(SessionFinished()).tick(1)
    assert [ended.reason for ended in desk.bodies(LegEnded)] == ["idle"]
    assert desk.call.ended

    desk.speak(range(3550, 3600))  # 70 s further on, with frame numbers that say so

    assert not desk.call.ended
    assert desk.call.live_legs == 1
    assert len(desk.bodies(LegStarted)) == 2


def test_a_clock_that_jumps_moves_nothing() -> None:
    steady, jumping = Desk(), Desk()
    for desk, jump in ((steady, 0), (jumping, 3_600_000)):
        desk.take(start())
        for index in range(100):
            record = frame(index, word(1))
            jumped = record.ts + (jump if index % 2 else -jump) * (index > 9)
            desk.take(msgspec.structs.replace(record, ts=jumped))
        desk.hear(SpeechStarted("a", 0), SpeechStopped("a", 1500), Completed("a", "hello"))

    assert steady.entries == jumping.entries
    assert steady.call.leg_row("customer") == jumping.call.leg_row("customer")


def test_a_final_that_comes_after_the_leg_has_ended_is_void() -> None:
    desk = spoken_by(start()).speak(range(50)).take(LegStop("customer", ORIGIN_TS))
    desk.hear(SessionFinished())
    before = list(desk.entries)

    desk.call.receive("customer", 1, Completed("late", "hello"), now=desk.now, at_ms=5)
    desk._collect()

    assert desk.entries == before
    assert desk.call.parties["customer"].leg.ended


def calm_desk() -> Desk:
    """A call on which audio flows into a session, just looked at."""
    desk = Desk().take(start()).speak(range(6)).hear(session_updated(extensions=True)).tick()
    return desk.speak(range(6, 8))


def is_calm(desk: Desk, *, after_s: float = 0.2) -> bool:
    return desk.call.is_calm(now=desk.now + after_s, read_until=desk.now + after_s)


def test_a_call_on_which_audio_flows_need_not_be_looked_at_at_every_tick():
    assert is_calm(calm_desk())


def test_a_call_is_looked_at_before_long_in_any_case():
    assert not is_calm(calm_desk(), after_s=CALM_TICK_S)


def test_a_call_is_looked_at_at_every_tick_while_something_is_due_to_the_moment():
    stalled, paused, without_session, overtaken = (calm_desk() for _ in range(4))
    for _ in range(6):
        stalled.tick()
    paused.take(LegPause("customer", ORIGIN_TS))
    without_session.call.session_lost("customer", 1, now=without_session.now)
    overtaken.hear(
        SpeechStarted("a", 0), SpeechStopped("a", 40), SpeechStarted("b", 60), SpeechStopped("b", 100)
    )
    assert is_calm(overtaken)
    overtaken.hear(Completed("b", "hello", "en", "neutral"))

    assert [is_calm(desk) for desk in (stalled, paused, without_session, overtaken)] == [False] * 4


def test_a_leg_that_has_ended_is_no_reason_to_look_at_a_call():
    desk = Desk().take(start("agent"), stop("agent"), start())
    desk = desk.speak(range(6)).hear(session_updated(extensions=True)).tick()

    assert is_calm(desk.speak(range(6, 8)))
