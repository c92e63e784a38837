"""What a session has learnt of the leg it hears, and how it is handed on to the leg's next session.

A leg state is a text that only this server reads: what was learnt of the speaker's voice (nothing where
emotion is off) and language. Its owner is the client, which keeps the newest and gives it back when it has
to open another session for the leg. Decided here: the form of that text, and that one which is damaged,
foreign or out of date is refused in a word and does no harm.
"""

from __future__ import annotations

import binascii
import zlib
from typing import Final

import msgspec

from qa_service.asr_server.emotion_recogniser import EmotionEstimate, EmotionRecogniser, SpeakerMood
from qa_service.asr_server.errors import LegStateRefused
from qa_service.asr_server.language_belief import LanguageBelief
from qa_service.protocol import MAX_LEG_STATE_CHARS

_VERSION: Final = b"\x01"
_CHECK_BYTES: Final = 4


class _State(msgspec.Struct, array_like=True):
    languages: dict[str, float]
    voice: bytes | None


class LegMemory:
    """What one session knows of its leg; ``emotions`` None where there is no emotion model."""

    def __init__(self, emotions: EmotionRecogniser | None) -> None:
        self.belief = LanguageBelief()
        self._emotions = emotions
        self._mood: SpeakerMood | None = emotions.open() if emotions else None

    def judge(self, voice: object) -> EmotionEstimate:
        """Judge what the emotion model heard in an utterance, and learn from it."""
        return EmotionEstimate() if self._mood is None else self._mood.judge(voice)

    def write(self, *, with_voice: bool) -> str:
        """The state of the leg as a text of at most `MAX_LEG_STATE_CHARS`."""
        voice = self._mood.past() if with_voice and self._mood else None
        return _write(_State(dict(self.belief.weights), voice))

    def resume(self, text: str, *, with_voice: bool) -> None:
        """Go on from what `write` wrote in an earlier session of the leg.

        Raises:
            LegStateRefused: nothing that this server can go on from; nothing has changed.
        """
        state = _read(text)
        belief = LanguageBelief.of(state.languages)
        if with_voice and state.voice is not None:
            mood = self._emotions.resume(state.voice) if self._emotions else None
            if mood is None:
                raise LegStateRefused("other_model")
            self._mood = mood
        self.belief = belief


def _write(state: _State) -> str:
    body = msgspec.msgpack.encode(state)
    check = zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
    return binascii.b2a_base64(_VERSION + check + body, newline=False).decode("ascii")


def _read(text: str) -> _State:
    if len(text) > MAX_LEG_STATE_CHARS:
        raise LegStateRefused("too_long")
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise LegStateRefused("malformed") from error
    if data[:1] != _VERSION:
        raise LegStateRefused("other_version")
    check, body = data[1 : 1 + _CHECK_BYTES], data[1 + _CHECK_BYTES :]
    try:
        if check != zlib.crc32(body).to_bytes(_CHECK_BYTES, "big"):
            raise LegStateRefused("malformed")
        return msgspec.msgpack.decode(body, type=_State)
    except msgspec.MsgspecError as error:
        raise LegStateRefused("malformed") from error
