"""What a session has learnt of its leg, handed on to the leg's next one."""

from __future__ import annotations

import binascii
import zlib

import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.emotion_recogniser import EmotionEstimate
from qa_service.asr_server.errors import LegStateRefused
from qa_service.asr_server.leg_memory import LegMemory
from qa_service.protocol import LANGUAGES, MAX_LEG_STATE_CHARS


class Tally:
    """Is as sure of anger as it has heard utterances of the speaker; its own past is that number."""

    def __init__(self, heard: int = 0, model: bytes = b"m1") -> None:
        self.heard = heard
        self.model = model

    def hear(self, _samples: object) -> object:
        return "a voice"

    def open(self) -> Tally:
        return Tally(0, self.model)

    def resume(self, past: bytes) -> Tally | None:
        return Tally(past[2], self.model) if past[:2] == self.model else None

    def judge(self, _heard: object) -> EmotionEstimate:
        self.heard += 1
        return EmotionEstimate(label="angry", confidence=self.heard / 100)

    def past(self) -> bytes:
        return self.model + bytes([self.heard])


def taught(utterances: int = 2, emotions: Tally | None = None) -> LegMemory:
    memory = LegMemory(emotions or Tally())
    for _ in range(utterances):
        memory.judge("a voice")
        memory.belief.observe({"de": 0.9, "en": 0.1}, 5.0)
    return memory


def reason_of(memory: LegMemory, text: str) -> str:
    with pytest.raises(LegStateRefused) as refusal:
        memory.resume(text, with_voice=True)
    return refusal.value.reason


def test_the_next_session_goes_on_where_the_last_one_was() -> None:
    first, second = taught(), LegMemory(Tally())
    second.resume(first.write(with_voice=True), with_voice=True)

    assert second.judge("a voice") == first.judge("a voice")
    assert second.belief.weights == first.belief.weights != {}


def test_where_emotion_is_off_nothing_of_the_voice_is_handed_out() -> None:
    second = LegMemory(Tally())
    second.resume(taught().write(with_voice=False), with_voice=True)

    assert second.judge("a voice").confidence == 0.01
    assert second.belief.weights != {}


def test_where_emotion_is_off_nothing_of_the_voice_is_taken() -> None:
    second = LegMemory(Tally())
    second.resume(taught().write(with_voice=True), with_voice=False)

    assert second.judge("a voice").confidence == 0.01


def test_without_an_emotion_model_the_language_is_handed_on() -> None:
    first, second = LegMemory(None), LegMemory(None)
    first.belief.observe({"de": 1.0}, 5.0)
    second.resume(first.write(with_voice=True), with_voice=True)

    assert second.belief.weights == {"de": 1.0}
    assert second.judge("a voice") == EmotionEstimate()


@pytest.mark.parametrize("emotions", [Tally(model=b"m2"), None])
def test_a_state_of_another_model_is_refused_whole(emotions: Tally | None) -> None:
    memory = LegMemory(emotions)

    assert reason_of(memory, taught().write(with_voice=True)) == "other_model"
    assert memory.belief.weights == {}


def test_a_state_of_another_version_is_refused() -> None:
    data = binascii.a2b_base64(taught().write(with_voice=True))
    text = binascii.b2a_base64(b"\x02" + data[1:], newline=False).decode()

    assert reason_of(taught(0), text) == "other_version"


def test_a_state_that_is_too_long_is_refused_unread() -> None:
    assert reason_of(taught(0), "A" * (MAX_LEG_STATE_CHARS + 4)) == "too_long"


@pytest.mark.parametrize("text", ["a state", "ü", "AQ=", "AQ==", "AQAAAAA="])
def test_a_state_that_is_none_is_refused(text: str) -> None:
    assert reason_of(taught(0), text) == "malformed"


def test_a_state_of_another_form_is_refused_though_it_is_whole() -> None:
    body = b"\x93\x01\x02\x03"
    data = b"\x01" + zlib.crc32(body).to_bytes(4, "big") + body

    assert reason_of(taught(0), binascii.b2a_base64(data, newline=False).decode()) == "malformed"


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_damage_to_any_bit_is_found(place: int, bit: int) -> None:
    data = bytearray(binascii.a2b_base64(taught().write(with_voice=True)))
    data[place % len(data)] ^= 1 << bit
    memory = LegMemory(Tally())

    assert reason_of(memory, binascii.b2a_base64(data, newline=False).decode()) in {
        "malformed",
        "other_version",
    }
    assert memory.judge("a voice").confidence == 0.01


@given(st.text(max_size=60))
def test_no_text_does_harm(text: str) -> None:
    with pytest.raises(LegStateRefused):
        LegMemory(None).resume(text, with_voice=True)


def test_a_belief_in_every_language_is_handed_on_in_little_space() -> None:
    memory = LegMemory(None)
    everything = {**dict.fromkeys(LANGUAGES, 0.03), **{f"x{number}": 0.001 for number in range(80)}}
    memory.belief.observe(everything, 5.0)

    assert len(memory.write(with_voice=True)) < 600
