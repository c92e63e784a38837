"""The sample calls are what their manifest says, and everything in them may be passed on."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from qa_service.audio.g711 import decode_ulaw, encode_ulaw
from qa_service.samples import load_provenance, load_samples
from qa_service.telephony.publish import plan_call

CALLS = {call.id: call for call in load_samples()}
CHANNELS = {"customer": 0, "agent": 1}
# Voices that the emotion model is not trained on; a call with any other would flatter it.
HELD_OUT_ACTORS = {"03", "08"}

every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def read(call) -> np.ndarray:
    samples, _ = soundfile.read(call.path, dtype="int16", always_2d=True)
    return samples


def dbfs(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean((samples / 32768.0) ** 2) + 1e-12)


def pauses_between(lines) -> list[int]:
    return [later.start_ms - line.end_ms for line, later in pairwise(lines)]


def between(call, samples: np.ndarray, part) -> np.ndarray:
    per_ms = call.rate_hz // 1000
    return samples[part.start_ms * per_ms : part.end_ms * per_ms]


@every_call
def test_a_file_is_the_one_that_the_manifest_describes(call):
    info = soundfile.info(call.path)

    assert (info.channels, info.samplerate, info.subtype) == (2, call.rate_hz, "PCM_16")
    assert info.frames * 1000 // info.samplerate == call.duration_ms
    assert hashlib.sha256(call.path.read_bytes()).hexdigest() == call.sha256


def test_the_samples_are_small_enough_to_ship():
    assert sum(call.path.stat().st_size for call in CALLS.values()) < 3_000_000


@every_call
def test_a_call_has_been_through_a_telephone_line(call):
    samples = read(call)
    spectrum = np.abs(np.fft.rfft(samples[:, 0].astype(float))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / call.rate_hz)

    assert decode_ulaw(encode_ulaw(samples.reshape(-1))).tolist() == samples.reshape(-1).tolist()
    # µ-law's own noise fills the edges again, far below the speech.
    assert spectrum[hz < 150].mean() < spectrum[(hz > 300) & (hz < 1000)].mean() / 100


@every_call
def test_nothing_is_clipped(call):
    assert np.abs(read(call).astype(int)).max() < 32_000


@every_call
def test_every_line_is_heard_on_its_own_leg_alone(call):
    samples = read(call)
    for line in call.lines:
        spoken = between(call, samples, line)

        assert dbfs(spoken[:, CHANNELS[line.leg]]) > -32, line
        assert dbfs(spoken[:, 1 - CHANNELS[line.leg]]) < -55, line


@every_call
def test_speech_is_at_a_usual_level(call):
    samples = read(call)
    for line in call.lines:
        channel = between(call, samples, line)[:, CHANNELS[line.leg]]
        frames = channel[: len(channel) // 160 * 160].reshape(-1, 160)
        levels = np.array([dbfs(frame) for frame in frames])
        active = levels[levels > np.percentile(levels, 98) - 20]

        assert -26 < 10 * np.log10(np.mean(10 ** (active / 10))) < -18, line


@every_call
def test_lines_follow_one_another_within_the_call(call):
    marks = [mark for line in call.lines for mark in (line.start_ms, line.end_ms)]

    assert marks == sorted(marks)
    assert marks[0] > 0
    assert marks[-1] < call.duration_ms


@every_call
def test_a_silence_is_silent_on_both_legs(call):
    samples = read(call)
    for silence in call.silences:
        assert max(dbfs(leg) for leg in between(call, samples, silence).T) < -55


def test_dead_air_is_expected_where_nobody_speaks_for_longer_than_the_rule_allows():
    for call in CALLS.values():
        pauses = [
            later.start_ms - line.end_ms for line, later in zip(call.lines, call.lines[1:], strict=False)
        ]

        assert ("dead-air" in call.expected_alerts) == (max(pauses) > 12_000)


def test_a_leg_says_who_is_on_it():
    for call in CALLS.values():
        audio = call.call_audio()
        customer, agent = (leg.info for leg in audio.legs)

        assert audio.call_id == call.id
        assert (customer.role, customer.agent_id) == ("customer", None)
        assert customer.subject
        assert agent.role == "agent"
        assert agent.agent_id
        assert {customer.queue, agent.queue} == {call.queue}


def test_a_call_can_be_played_under_another_id():
    assert CALLS["en-reader"].call_audio("call-2").call_id == "call-2"


@every_call
def test_playing_a_call_sends_the_file_s_own_samples(call):
    samples = read(call)
    frames = {"customer": b"", "agent": b""}
    for due in plan_call(call.call_audio(), start_ts=0):
        frames[getattr(due.record, "leg", "customer")] += getattr(due.record, "audio", b"")
    for leg, channel in CHANNELS.items():
        heard = decode_ulaw(frames[leg])

        assert heard[: len(samples)].tolist() == samples[:, channel].tolist()


def test_the_angry_customer_is_one_real_voice_with_pauses_between_his_sentences():
    lines = [line for line in CALLS["de-angry-customer"].lines if line.leg == "customer"]
    actors = {line.source.removeprefix("emodb/")[:2] for line in lines}
    # EmoDB names files by actor, sentence, emotion (W: anger, from the German word) and version.
    angry = [line for line in lines if line.source[-2] == "W"]
    pauses = pauses_between(angry)

    assert actors == {"03"}
    assert len(angry) >= 4
    assert min(pauses) > 1200


def test_only_voices_held_out_of_the_emotion_training_are_used():
    clips = [
        line.source for call in CALLS.values() for line in call.lines if line.source.startswith("emodb/")
    ]

    assert {clip.removeprefix("emodb/")[:2] for clip in clips} == HELD_OUT_ACTORS


def test_every_voice_has_a_licence_that_allows_passing_it_on():
    provenance = load_provenance()
    voices = {line.source.partition("/")[0] for call in CALLS.values() for line in call.lines}

    assert voices == set(provenance)
    for source in provenance.values():
        assert source.what
        assert source.licence.startswith(("CC0", "public domain", "Apache-2.0", "free software"))


def test_there_is_a_card_number_and_a_code_to_remove():
    contained = [line.contains for line in CALLS["en-cancellation"].lines if line.contains]

    assert contained == ["card_number", "cvv"]
