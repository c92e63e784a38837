from __future__ import annotations

import pytest

from qa_service.asr_server.agreement import Shown
from qa_service.asr_server.engines import Hints
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.load import Priority
from qa_service.asr_server.recognition import Finding, UtteranceRecogniser
from qa_service.asr_server.scheduler import Job
from qa_service.asr_server.turn import Said, Speculation, Turn


def job() -> Job[Finding]:
    def work() -> Finding:
        raise NotImplementedError

    return Job(Priority.PARTIAL, "turn", 0.0, work, 0.0)


def turn() -> Turn:
    return Turn(
        item_id="item",
        start_ms=1000,
        recogniser=UtteranceRecogniser(ScriptedEngine()),
        hints=Hints(),
        emotion_on=True,
        look_due_ms=2000,
    )


def test_looks_are_a_second_of_sound_apart() -> None:
    it = turn()
    due = [it.wants_look(1999), it.wants_look(2000)]
    it.plan_look(2100, 1.0)

    assert due == [False, True]
    assert (it.wants_look(3099), it.wants_look(3100)) == (False, True)


def test_slow_looks_are_made_less_often() -> None:
    it = turn()
    it.plan_look(2000, 1.0)
    it.learn_cost(2000, cost_s=1.5)

    assert (it.wants_look(4999), it.wants_look(5000)) == (False, True)


def test_a_look_that_waits_may_be_replaced_and_one_that_runs_may_not() -> None:
    it = turn()
    it.look = job()
    waiting = it.wants_look(2000)
    it.look.future.set_running_or_notify_cancel()

    assert (waiting, it.wants_look(2000)) == (True, False)


def test_no_look_is_wanted_while_a_final_is_decoded_or_when_all_is_said() -> None:
    it = turn()
    it.speculation = Speculation(job(), 1900)
    speculating = it.wants_look(2000)
    it.speculation, it.ended = None, True

    assert (speculating, it.wants_look(2000)) == (False, False)


def test_sound_that_may_be_cut_off_at_the_cap_is_not_looked_at() -> None:
    assert not turn().wants_look(58_000)


def test_stable_text_stands_still_while_a_final_is_decoded() -> None:
    it = turn()
    it.take("one two three")
    it.speculation = Speculation(job(), 1900)

    assert it.take("one two three four") == Shown("", "one two three four")
    it.speculation = None
    assert it.take("one two three four") == Shown("one two", " three four")


def test_what_was_said_counts_as_context_after_a_short_pause_only() -> None:
    said = Said("one zero zero", end_ms=5000)

    assert (said.before(7000), said.before(7001)) == ("one zero zero", "")
    assert Said().before(0) == ""


@pytest.mark.parametrize(
    ("heard_ms", "probability", "is_enough"), [(3000, 0.95, True), (2999, 0.99, False), (3000, 0.94, False)]
)
def test_a_language_is_detected_until_it_is_clear(
    heard_ms: int, probability: float, *, is_enough: bool
) -> None:
    it = turn()
    found = {"en": probability, "de": 1 - probability}
    it.learn_language(heard_ms, found)
    it.learn_language(heard_ms, {})

    assert it.language_heard == (found if is_enough else {})
