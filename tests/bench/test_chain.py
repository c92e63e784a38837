from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qa_service.bench.chain import cut_to, programme
from qa_service.bench.delays import (
    Arrival,
    ChainReport,
    MeasuredAlert,
    Played,
    anger_rules,
    find_speech_end,
    keeps_to,
    make_report,
    measure,
    speech_ends,
)
from qa_service.bench.scoring import spread
from qa_service.samples import SampleCall, load_samples
from tests.support.waiting import eventually

BEGAN_TS = 1_700_000_000_000
SILENCE_MS = 800
SAMPLES = {sample.id: sample for sample in load_samples()}
ANGRY = SAMPLES["de-angry-customer"]
ANGRY_ENDS_MS = 33_460
"""Where the second angry utterance of that call stops, which completes what the rule asks for ..."""
NEXT_ANGRY_ENDS_MS = 40_540
"""... and the third, if one of the two before it passes for something else."""


def played(sample: SampleCall = ANGRY, *, is_whole: bool = True) -> Played:
    return Played("call-1", sample, BEGAN_TS, is_whole)


def arrival(
    rule_id: str = "angry-customer",
    *,
    ends_ms: tuple[int, ...] = (28_960, ANGRY_ENDS_MS),
    state: str = "opened",
) -> Arrival:
    """An alert that was due at once and came 40 + 5 + 3 + 2 ms after the silence."""
    due_ms = BEGAN_TS + ANGRY_ENDS_MS + SILENCE_MS
    data: dict[str, Any] = {
        "call_id": "call-1",
        "rule_id": rule_id,
        "evidence": [{"utterance_id": f"u{end}", "leg": "customer", "end_ms": end} for end in ends_ms],
        "stamps": {"final_at": due_ms + 40, "durable_at": due_ms + 45, "published_at": due_ms + 48},
    }
    return Arrival({"id": rule_id, "type": f"qa.alert.{state}", "data": data}, due_ms + 50.0)


def report(*arrivals: Arrival, call: Played | None = None) -> ChainReport:
    return make_report(
        [call or played()], arrivals, legs=2, seconds=60, silence_ms=SILENCE_MS, player_late_ms=0
    )


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_each_line_of_a_sample_ends_where_its_last_sound_does(sample: SampleCall) -> None:
    ends = speech_ends(sample)

    for line in sample.lines:
        within = [end for end in ends[line.leg] if line.start_ms < end <= line.end_ms]
        assert line.end_ms - 400 < max(within) <= line.end_ms, line


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_ends_of_speech_are_ends_of_published_frames(sample: SampleCall) -> None:
    assert not any(end % 20 for ends in speech_ends(sample).values() for end in ends)


def test_an_utterance_that_ends_near_no_end_of_speech_is_not_placed() -> None:
    assert find_speech_end(ANGRY, "customer", ANGRY_ENDS_MS + 120) == ANGRY_ENDS_MS
    assert find_speech_end(ANGRY, "customer", ANGRY_ENDS_MS + 900) is None
    assert find_speech_end(ANGRY, "nobody", ANGRY_ENDS_MS) is None


def test_an_alert_is_counted_from_the_utterance_that_completed_its_evidence() -> None:
    measured = measure(arrival(), played(), SILENCE_MS)

    assert measured == MeasuredAlert(
        call_id="call-1",
        rule_id="angry-customer",
        speech_end_ms=ANGRY_ENDS_MS,
        excess_ms=50.0,
        final_ms=40.0,
        durable_ms=5.0,
        published_ms=3.0,
        arrived_ms=2.0,
    )


def test_an_alert_whose_speech_is_not_found_is_counted_apart() -> None:
    found = report(arrival(ends_ms=(35_500,)))

    assert (found.anger.unplaced, found.anger.excess_ms.count, found.meets_bar) == (1, 0, None)


def test_rules_on_anger_and_on_words_are_told_apart() -> None:
    found = report(arrival(), arrival("recording-notice"))

    assert anger_rules() == {"angry-customer"}
    assert (found.anger.excess_ms.count, found.words.excess_ms.count) == (1, 1)


def test_later_states_of_an_incident_are_not_measured() -> None:
    assert report(arrival(state="updated")).alerts == ()


def test_an_alert_on_silence_is_expected_but_not_measured() -> None:
    silence = arrival("dead-air")
    silence.event["data"]["evidence"] = [{"utterance_id": None, "leg": None, "end_ms": 38_000}]
    found = report(silence, call=played(SAMPLES["en-cancellation"]))

    assert found.alerts == ()
    assert found.missed == ("cancellation-request in call-1", "recording-notice in call-1")
    assert found.unexpected == ()


def test_alerts_that_did_not_come_and_alerts_that_should_not_have_are_named() -> None:
    found = report(arrival("agent-conduct"), arrival())

    assert found.missed == ("recording-notice in call-1",)
    assert found.unexpected == ("agent-conduct in call-1",)


def test_a_call_that_was_cut_off_owes_no_alert() -> None:
    found = report(arrival(), call=played(is_whole=False))

    assert (found.missed, found.unexpected) == ((), ())


@pytest.mark.parametrize(
    ("values", "kept"),
    [([500.0, 1000.0], True), ([501.0, 501.0], False), ([1.0, 1.0, 1001.0], False), ([], None)],
)
def test_a_bar_is_on_the_median_and_on_the_95th_percentile(values: list[float], kept: bool | None) -> None:  # noqa: FBT001 - a parameter of the test
    assert keeps_to(spread(values), (500.0, 1000.0)) is kept


def test_every_line_plays_an_angry_call_every_other_time_and_all_others_in_turn() -> None:
    for line in range(4):
        calls = [sample.id for sample in itertools.islice(programme(line), 8)]
        assert calls[line % 2 :: 2] == ["de-angry-customer"] * 4
        assert set(calls) == set(SAMPLES)


def test_a_call_is_cut_at_a_whole_frame_on_all_legs() -> None:
    call = cut_to(ANGRY.call_audio(), 1_510)

    assert {leg.duration_ms for leg in call.legs} == {1_500}
    assert cut_to(call, 60_000) == call


@pytest.mark.models
@pytest.mark.timeout(400)
async def test_the_command_measures_an_angry_call_on_an_existing_kafka(kafka_bootstrap: str) -> None:
    process = await start(
        "--legs", "2", "--seconds", "45", "--existing-kafka", "--json", kafka=kafka_bootstrap
    )
    output, complaints = await process.communicate()

    assert process.returncode == 0, complaints.decode()
    found = msgspec.json.decode(output, type=ChainReport)
    assert (found.version, found.calls, found.missed, found.unexpected) == (1, 1, (), ())
    (angry,) = [alert for alert in found.alerts if alert.rule_id == "angry-customer"]
    assert angry.speech_end_ms in {ANGRY_ENDS_MS, NEXT_ANGRY_ENDS_MS}
    # Below it an alert would have come before its utterance can have ended: the measure would be wrong.
    assert angry.excess_ms > -150
    assert found.words.excess_ms.count >= 1


@pytest.mark.models
@pytest.mark.timeout(300)
async def test_an_interrupted_run_exits_130_and_leaves_no_process_behind() -> None:
    process = await start("--legs", "2")
    assert process.stderr is not None
    said = b""
    while "· calls" not in said.decode():
        line = await process.stderr.readline()
        assert line, said.decode()
        said += line
    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, complaints = await process.communicate()

    assert process.returncode == 130, complaints.decode()
    assert len(children) >= 5
    await eventually(lambda: not any(is_alive(pid) for pid in children), "the parts to be gone")


async def start(*options: str, kafka: str | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "qa_service", "bench", "alerts", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | ({"QA_KAFKA_BOOTSTRAP": kafka} if kafka else {}),
    )


def descendants(pid: int) -> list[int]:
    """Every process below one, at any depth."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [found for child in children for found in (int(child), *descendants(int(child)))]


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
