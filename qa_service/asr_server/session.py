"""One session: what its client says and sends, carried out in order.

Decided here: texts are taken one at a time, so audio is always heard under the configuration that came
before it; and when an utterance is looked at. A final is decoded ahead while the silence that will end the
utterance passes. Everything of the session happens in the event loop but two things: voice activity, on the
thread for it, and recognition, on the scheduler's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, assert_never

import structlog

from qa_service import metrics
from qa_service.asr_server.ear import Ear
from qa_service.asr_server.errors import LegStateRefused
from qa_service.asr_server.segmenter import Boundary, Endpoint, Onset, OpenSpeech
from qa_service.asr_server.turn import FIRST_LOOK_MS, Turn
from qa_service.asr_server.utterances import Utterances
from qa_service.asr_server.workplace import Workplace
from qa_service.audio.resample import PCM_SAMPLE_BYTES
from qa_service.protocol import (
    AppendAudio,
    Clear,
    Command,
    Commit,
    Configure,
    Finish,
    ServerSession,
    SessionConfig,
)

_log = structlog.get_logger(__name__)

_SPECULATE_AFTER_MS: Final = 192  # of silence (six frames): shorter pauses are mostly inside words
_GUESS_AFTER_MS: Final = 96  # of silence, where a thread is idle: half of these pauses are inside speech
_TAIL_MS: Final = 192  # of silence after the last voiced frame that belongs to the sound recognised
_PAUSE_MS: Final = 64  # of silence at which a look is not begun: a final may be wanted next
_PROGRESS_MS: Final = 200  # at least between two reports of progress
_MAX_MANUAL_TURN_MS: Final = 30 * 60_000  # of uncommitted audio, so that memory is bounded


class Session:
    """The pipeline of one connection.

    ``send`` takes the texts for the client, in order, at once; ``congested`` says that the client reads too
    slowly for partials.
    """

    def __init__(
        self,
        protocol: ServerSession,
        workplace: Workplace,
        send: Callable[[str], None],
        *,
        congested: Callable[[], bool] = lambda: False,
    ) -> None:
        self.finished = False
        self._protocol = protocol
        self._workplace = workplace
        self._send = send
        self._congested = congested
        self._config = protocol.config
        self._ear = self._open_ear(base_ms=0)
        self._utterances = Utterances(protocol, workplace, self._tell, self._tell_progress)
        self._told_progress_ms = 0

    @property
    def fault(self) -> asyncio.Future[None]:
        """Gets the exception if anything inside fails: the session is then of no use any more."""
        return self._utterances.fault

    async def receive(self, text: str) -> None:
        """Carry out one text of the client to the end; only recognition goes on after it."""
        receipt = self._protocol.receive_text(text)
        self._tell(receipt.replies)
        for command in receipt.commands:
            await self._carry_out(command)

    def close(self) -> None:
        """The client is gone: give up whatever was still to be done."""
        self._utterances.close()

    async def _carry_out(self, command: Command) -> None:
        match command:
            case Configure(config, leg_state):
                self._configure(config)
                if leg_state is not None:
                    self._resume_leg(leg_state)
            case AppendAudio(audio):
                await self._hear(audio)
            case Commit(item_id):
                self._commit(item_id)
            case Clear():
                self._clear()
            case Finish():
                await self._finish()
            case _:
                assert_never(command)

    # Configuration.

    def _configure(self, config: SessionConfig) -> None:
        """Settings of endpointing and of recognition count from the next utterance on, the rest at once."""
        before, self._config = self._config, config
        self._utterances.config = config
        if (before.input_audio_format, before.sample_rate, before.manual) != (
            config.input_audio_format,
            config.sample_rate,
            config.manual,
        ):
            self._ear = self._open_ear(base_ms=self._ear.track.end_ms)
        elif self._utterances.current is None:
            self._ear.reconfigure(config.turn_detection)

    def _open_ear(self, base_ms: int) -> Ear:
        return Ear(self._config, self._workplace.models.detector, self._workplace.voices, base_ms)

    def _resume_leg(self, leg_state: str) -> None:
        """Go on from what an earlier session of the leg has learnt, if nothing of this one was heard yet."""
        refused = self._refusal_of(leg_state)
        if refused is not None:
            _log.warning("leg_state_refused", reason=refused)
        metrics.SERVER_LEG_STATES[refused or "taken"].inc()
        self._tell(self._protocol.leg_state_answer(refused))

    def _refusal_of(self, leg_state: str) -> str | None:
        """Why a state cannot be taken; None: it has been."""
        if self._protocol.received_ms != 0:
            return "too_late"
        try:
            self._utterances.memory.resume(leg_state, with_voice=self._config.extensions.emotion)
        except LegStateRefused as error:
            return error.reason
        return None

    # Audio.

    async def _hear(self, audio: bytes) -> None:
        async for piece in self._ear.pieces(audio):
            metrics.SERVER_AUDIO.inc(len(piece) / PCM_SAMPLE_BYTES / self._ear.track.rate_hz)
            if self._config.manual:
                self._hear_manual(piece)
            else:
                await self._hear_voice(piece)
            self._tell_progress()
        if self._ear.fault is not None:
            self._tell(self._protocol.undecodable_audio(_in_words(self._ear.fault)))

    async def _hear_voice(self, piece: bytes) -> None:
        self._follow(await self._ear.listen(piece))
        segmenter, turn = self._ear.segmenter, self._utterances.current
        if turn is not None and (speech := segmenter.open) is not None:
            self._look_ahead(turn, speech)
        self._ear.track.forget_before(segmenter.processed_ms)

    def _follow(self, boundaries: Iterable[Boundary]) -> None:
        for boundary in boundaries:
            match boundary:
                case Onset(start_ms):
                    item_id, text = self._protocol.speech_started(start_ms)
                    self._send(text)
                    self._begin(item_id, start_ms)
                case Endpoint():
                    self._end(boundary)
                case _:
                    assert_never(boundary)

    def _hear_manual(self, piece: bytes) -> None:
        """In manual mode all audio belongs to the turn that the next commit ends."""
        track = self._ear.track
        turn = self._utterances.current or self._begin(self._protocol.manual_item(), self._ear.turn_start_ms)
        if track.end_ms - turn.start_ms >= _MAX_MANUAL_TURN_MS:
            message = "This turn is longer than 30 minutes; commit it. Audio beyond that is thrown away."
            self._tell(self._protocol.undecodable_audio(message))
            return
        track.append(piece)
        if turn.wants_look(track.end_ms):
            self._look(turn, track.end_ms)

    def _clear(self) -> None:
        self._utterances.abandon()
        self._ear.clear()
        self._ear.reconfigure(self._config.turn_detection)

    async def _finish(self) -> None:
        if not self._config.manual:
            self._follow(await self._ear.listen_to_rest())
            received_ms = self._protocol.received_ms
            end_ms = self._ear.track.end_ms if received_ms is None else received_ms
            self._follow(self._ear.segmenter.flush(end_ms))
        await self._utterances.settled()
        if self.fault.done():
            return
        self._tell(self._protocol.progress(self._ear.track.end_ms))
        self._send(self._protocol.finished())
        self.finished = True

    # Utterances.

    def _begin(self, item_id: str, start_ms: int) -> Turn:
        due_ms = start_ms + self._ear.padding_ms + FIRST_LOOK_MS
        return self._utterances.begin(item_id, start_ms, look_due_ms=due_ms)

    def _look_ahead(self, turn: Turn, speech: OpenSpeech) -> None:
        """Ask for a look at an utterance that goes on, or for its final while it pauses."""
        segmenter = self._ear.segmenter
        if turn.speculation is not None and turn.speculation.speech_end_ms != speech.speech_end_ms:
            self._utterances.resume(turn)
        if turn.speculation is not None:
            return
        if self._may_have_ended(segmenter.silence_ms):
            sound = self._ear.sound(turn.start_ms, speech.speech_end_ms + _TAIL_MS, speech.voiced_ms)
            due_in_s = segmenter.silence_left_ms / 1000
            self._utterances.speculate(turn, sound, speech_end_ms=speech.speech_end_ms, due_in_s=due_in_s)
        elif segmenter.silence_ms > _PAUSE_MS:
            self._workplace.scheduler.expect_final(turn, segmenter.silence_left_ms / 1000)
        elif turn.wants_look(speech.speech_end_ms):
            self._look(turn, speech.speech_end_ms, speech.voiced_ms)

    def _may_have_ended(self, silence_ms: int) -> bool:
        if silence_ms >= _SPECULATE_AFTER_MS:
            return True
        return silence_ms >= _GUESS_AFTER_MS and self._workplace.scheduler.has_idle_thread

    def _look(self, turn: Turn, heard_ms: int, voiced_ms: int | None = None) -> None:
        if not self._congested():
            self._utterances.look(turn, self._ear.sound(turn.start_ms, heard_ms, voiced_ms), heard_ms)

    def _end(self, endpoint: Endpoint) -> None:
        """The utterance has ended: tell so, and owe its final."""
        turn = self._utterances.current
        assert turn is not None  # noqa: S101 - the segmenter ends only what it has begun
        self._tell(self._protocol.speech_stopped(turn.item_id, endpoint.end_ms))
        end_ms = min(endpoint.speech_end_ms + _TAIL_MS, endpoint.end_ms)
        sound = partial(self._ear.sound, turn.start_ms, end_ms, endpoint.voiced_ms)
        self._utterances.end(turn, sound, speech_end_ms=endpoint.speech_end_ms)
        self._ear.reconfigure(self._config.turn_detection)

    def _commit(self, item_id: str) -> None:
        # There is no turn yet if all that was committed is half a sample.
        turn = self._utterances.current or self._begin(item_id, self._ear.turn_start_ms)
        end_ms = self._ear.track.end_ms
        self._utterances.end(turn, partial(self._ear.sound, turn.start_ms, end_ms), speech_end_ms=end_ms)
        self._ear.forget_turn()

    # What goes out.

    def _tell(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._send(text)

    def _tell_progress(self) -> None:
        """Report what is heard and settled, if enough is new."""
        here_ms = self._ear.turn_start_ms if self._config.manual else self._ear.segmenter.processed_ms
        owed_from_ms = self._utterances.owed_from_ms
        processed_ms = here_ms if owed_from_ms is None else min(here_ms, owed_from_ms)
        if processed_ms - self._told_progress_ms >= _PROGRESS_MS:
            self._told_progress_ms = processed_ms
            self._tell(self._protocol.progress(processed_ms))


def _in_words(fault: str) -> str:
    return f"Some of the audio cannot be decoded: {fault}. Its place is filled, and the stream goes on."
