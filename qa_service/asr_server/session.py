"""One session: what its client says and sends, carried out in order, and what it is told.

Decided here: texts are taken one at a time, so audio is always heard under the configuration that came
before it. Everything of the session happens in the event loop but two things: voice activity, on the thread
for it, and recognition, on the scheduler's. A final is decoded ahead while the silence that will end the
utterance passes; speech that resumes turns it into a look at the unfinished utterance.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar, assert_never

import structlog

from qa_service import metrics
from qa_service.asr_server.audibility import VoiceFrame
from qa_service.asr_server.audio_track import AudioTrack
from qa_service.asr_server.emotion_recogniser import EmotionRecogniser
from qa_service.asr_server.engines import Engine, Hints
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.language_belief import LanguageBelief
from qa_service.asr_server.recognition import Finding, Sound, UtteranceRecogniser
from qa_service.asr_server.scheduler import Job, Priority, Scheduler
from qa_service.asr_server.segmenter import Boundary, Endpoint, Endpointing, Onset, OpenSpeech, Segmenter
from qa_service.asr_server.turn import FIRST_LOOK_MS, Said, Speculation, Turn
from qa_service.asr_server.voice_activity import SAMPLE_RATE_HZ as VOICE_RATE_HZ, VoiceDetector
from qa_service.audio.opus_stream import OpusStream
from qa_service.audio.resample import PCM_SAMPLE_BYTES, StreamResampler, samples_of_pcm
from qa_service.protocol import (
    AppendAudio,
    Clear,
    Command,
    Commit,
    Configure,
    Finish,
    ResultDetail,
    ServerSession,
    SessionConfig,
    TurnDetection,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_PIECE_MS: Final = 500  # of a long append that is heard at a time, so that results come while it is worked on
_SPECULATE_AFTER_MS: Final = 192  # of silence (six frames): shorter pauses are mostly inside words
_GUESS_AFTER_MS: Final = 96  # of silence, where a thread is idle: half of these pauses are inside speech
_TAIL_MS: Final = 192  # of silence after the last voiced frame that belongs to the sound recognised
_PAUSE_MS: Final = 64  # of silence at which a look is not begun: a final may be wanted next
_OPUS_TRACK_HZ: Final = 16_000  # what Opus is decoded to; it has no rate of its own (section 3.2)
# Of Opus that are decoded in the event loop: a second of speech, about 2 ms. To change threads takes longer
# than to decode the packets of 20 ms that most clients send.
_OPUS_AT_ONCE_BYTES: Final = 2048
_PROGRESS_MS: Final = 200  # at least between two reports of progress
_MAX_MANUAL_TURN_MS: Final = 30 * 60_000  # of uncommitted audio, so that memory is bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What is loaded once and shared by all sessions; ``emotions`` None where there is no emotion model."""

    engine: Engine
    detector: VoiceDetector
    emotions: EmotionRecogniser | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where the work of all sessions is done."""

    models: Models
    scheduler: Scheduler
    voice_thread: Executor


class Session:
    """The pipeline of one connection.

    ``send`` takes the texts for the client, in order, at once; ``congested`` says that the client reads too
    slowly for partials. `fault` gets the exception if anything inside fails: the session is then of no use
    any more.
    """

    def __init__(
        self,
        protocol: ServerSession,
        workplace: Workplace,
        send: Callable[[str], None],
        *,
        congested: Callable[[], bool] = lambda: False,
    ) -> None:
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished = False
        self._protocol = protocol
        self._workplace = workplace
        self._send = send
        self._congested = congested
        self._config = protocol.config
        self._ear = self._open_ear(base_ms=0)
        # The utterance that takes audio at present, if there is one.
        self._turn: Turn | None = None
        # Ended utterances whose final is still to come, oldest first.
        self._owed: dict[str, Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._belief = LanguageBelief()
        self._last_said = Said()
        models = workplace.models
        self._mood = models.emotions.open() if models.emotions else None
        self._told_progress_ms = 0

    # What comes in.

    async def receive(self, text: str) -> None:
        """Carry out one text of the client to the end; only recognition goes on after it."""
        receipt = self._protocol.receive_text(text)
        self._tell(receipt.replies)
        for command in receipt.commands:
            await self._carry_out(command)

    def close(self) -> None:
        """The client is gone: give up whatever was still to be done."""
        if self._turn is not None:
            self._abandon(self._turn)
        for task in self._tasks:
            task.cancel()

    async def _carry_out(self, command: Command) -> None:
        match command:
            case Configure(config):
                self._configure(config)
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

    def _configure(self, config: SessionConfig) -> None:
        """Settings of endpointing and of recognition count from the next utterance on, the rest at once."""
        before, self._config = self._config, config
        if (before.input_audio_format, before.sample_rate, before.manual) != (
            config.input_audio_format,
            config.sample_rate,
            config.manual,
        ):
            self._ear = self._open_ear(base_ms=self._ear.track.end_ms)
        elif self._turn is None:
            self._reconfigure_endpointing()

    def _reconfigure_endpointing(self) -> None:
        if self._config.turn_detection is not None:
            self._ear.segmenter.reconfigure(_endpointing(self._config.turn_detection))

    def _open_ear(self, base_ms: int) -> _Ear:
        return _Ear(self._config, self._workplace.models.detector, base_ms)

    async def _hear(self, audio: bytes) -> None:
        async for piece in self._pieces(audio):
            metrics.SERVER_AUDIO.inc(len(piece) / PCM_SAMPLE_BYTES / self._ear.track.rate_hz)
            if self._config.manual:
                self._hear_manual(piece)
            else:
                await self._hear_voice(piece)
            self._tell_progress()

    async def _pieces(self, audio: bytes) -> AsyncIterator[bytes]:
        """An append as PCM, bit by bit; longer ones of Opus are decoded on the thread for voice activity."""
        opus = self._ear.opus
        if opus is None:
            for piece in _cut(audio, self._ear.track.rate_hz):
                yield piece
            return
        decode_some = partial(next, opus.push(audio), None)
        is_short = len(audio) <= _OPUS_AT_ONCE_BYTES
        while (pcm := decode_some() if is_short else await self._on_voice_thread(decode_some)) is not None:
            if pcm:
                yield pcm
        if opus.fault is not None:
            self._tell(self._protocol.undecodable_audio(_in_words(opus.fault)))

    async def _hear_voice(self, piece: bytes) -> None:
        self._ear.track.append(piece)
        boundaries = await self._judge(partial(self._ear.listen, piece))
        self._follow(boundaries)
        if self._turn is not None and (speech := self._ear.segmenter.open) is not None:
            self._look_ahead(self._turn, speech)
        self._ear.track.forget_before(self._ear.segmenter.processed_ms)

    async def _judge(self, listen: Callable[[], list[VoiceFrame]]) -> list[Boundary]:
        """The boundaries in what comes next; the voice activity is computed on the thread for it."""
        return self._ear.segmenter.push(await self._on_voice_thread(listen))

    async def _on_voice_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workplace.voice_thread, work)

    def _follow(self, boundaries: Iterable[Boundary]) -> None:
        for boundary in boundaries:
            match boundary:
                case Onset(start_ms):
                    item_id, text = self._protocol.speech_started(start_ms)
                    self._send(text)
                    self._turn = self._begin(item_id, start_ms)
                case Endpoint():
                    self._end(boundary)
                case _:
                    assert_never(boundary)

    def _hear_manual(self, piece: bytes) -> None:
        """In manual mode all audio belongs to the turn that the next commit ends."""
        track = self._ear.track
        if self._turn is None:
            self._turn = self._begin(self._protocol.manual_item(), self._ear.turn_start_ms)
        if track.end_ms - self._turn.start_ms >= _MAX_MANUAL_TURN_MS:
            message = "This turn is longer than 30 minutes; commit it. Audio beyond that is thrown away."
            self._tell(self._protocol.undecodable_audio(message))
            return
        track.append(piece)
        if self._turn.wants_look(track.end_ms):
            self._ask_look(self._turn, self._sound(self._turn.start_ms, track.end_ms), track.end_ms)

    def _clear(self) -> None:
        if self._turn is not None:
            self._abandon(self._turn)
            self._turn = None
        self._ear.segmenter.drop()
        self._ear.turn_start_ms = self._ear.track.end_ms
        self._ear.track.forget_before(self._ear.track.end_ms)
        self._reconfigure_endpointing()

    async def _finish(self) -> None:
        if not self._config.manual:
            self._follow(await self._judge(self._ear.listen_to_rest))
            received_ms = self._protocol.received_ms
            self._follow(
                self._ear.segmenter.flush(self._ear.track.end_ms if received_ms is None else received_ms)
            )
        while self._owed and self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if self.fault.done():
                return
        self._tell(self._protocol.progress(self._ear.track.end_ms))
        self._send(self._protocol.finished())
        self.finished = True

    # Utterances.

    def _begin(self, item_id: str, start_ms: int) -> Turn:
        return Turn(
            item_id=item_id,
            start_ms=start_ms,
            recogniser=UtteranceRecogniser(self._workplace.models.engine),
            hints=Hints(language=self._config.language, corpus=self._config.corpus_text),
            emotion_on=self._config.extensions.emotion,
            look_due_ms=start_ms + self._ear.padding_ms + FIRST_LOOK_MS,
        )

    def _look_ahead(self, turn: Turn, speech: OpenSpeech) -> None:
        """Ask for a look at an utterance that goes on, or for its final while it pauses."""
        segmenter = self._ear.segmenter
        if turn.speculation is not None and turn.speculation.speech_end_ms != speech.speech_end_ms:
            self._resume(turn)
        if turn.speculation is None and self._may_have_ended(segmenter.silence_ms):
            self._speculate(turn, speech)
        elif segmenter.silence_ms <= _PAUSE_MS and turn.wants_look(speech.speech_end_ms):
            sound = self._sound(turn.start_ms, speech.speech_end_ms, speech.voiced_ms)
            self._ask_look(turn, sound, speech.speech_end_ms)

    def _may_have_ended(self, silence_ms: int) -> bool:
        if silence_ms >= _SPECULATE_AFTER_MS:
            return True
        return silence_ms >= _GUESS_AFTER_MS and self._workplace.scheduler.has_idle_thread

    def _speculate(self, turn: Turn, speech: OpenSpeech) -> None:
        self._give_up_look(turn)
        sound = self._sound(turn.start_ms, speech.speech_end_ms + _TAIL_MS, speech.voiced_ms)
        job = self._ask_final(turn, sound, Priority.SPECULATIVE)
        turn.speculation = Speculation(job, speech.speech_end_ms)

    def _resume(self, turn: Turn) -> None:
        """Speech goes on: what was decoded as a final is a look at the unfinished utterance."""
        assert turn.speculation is not None  # noqa: S101 - the caller has seen it
        job, heard_ms = turn.speculation.job, turn.speculation.speech_end_ms
        turn.speculation = None
        if job.done or job.running:
            turn.look = job
            turn.plan_look(heard_ms)
            self._start(self._show(turn, job, heard_ms))
        else:
            self._workplace.scheduler.give_up(job)

    def _end(self, endpoint: Endpoint) -> None:
        """The utterance has ended: tell so, and owe its final."""
        turn, self._turn = self._turn, None
        assert turn is not None  # noqa: S101 - the segmenter ends only what it has begun
        self._tell(self._protocol.speech_stopped(turn.item_id, endpoint.end_ms))
        ahead = turn.speculation
        if ahead is not None and ahead.speech_end_ms == endpoint.speech_end_ms:
            job = ahead.job
            self._workplace.scheduler.promote(job, Priority.FINAL)
        else:
            end_ms = min(endpoint.speech_end_ms + _TAIL_MS, endpoint.end_ms)
            sound = self._sound(turn.start_ms, end_ms, endpoint.voiced_ms)
            job = self._ask_final(turn, sound, Priority.FINAL)
        self._owe(turn, job, duration_s=(endpoint.speech_end_ms - turn.start_ms) / 1000)
        self._reconfigure_endpointing()

    def _commit(self, item_id: str) -> None:
        track = self._ear.track
        turn, self._turn = self._turn, None
        if turn is None:  # all that was committed is half a sample
            turn = self._begin(item_id, self._ear.turn_start_ms)
        sound = self._sound(turn.start_ms, track.end_ms)
        self._ear.turn_start_ms = track.end_ms
        track.forget_before(track.end_ms)
        self._owe(turn, self._ask_final(turn, sound, Priority.FINAL), duration_s=sound.duration_s)

    def _sound(self, start_ms: int, end_ms: int, voiced_ms: int | None = None) -> Sound:
        track = self._ear.track
        return Sound(
            pcm=track.read(start_ms, end_ms),
            rate_hz=track.rate_hz,
            voiced_s=None if voiced_ms is None else voiced_ms / 1000,
        )

    # Recognition.

    def _ask_look(self, turn: Turn, sound: Sound, heard_ms: int) -> None:
        if self._congested():
            return
        hints = replace(turn.hints, prefix=turn.agreement.text)
        work = partial(self._look_now, turn, sound, hints)
        turn.look = self._workplace.scheduler.submit(Priority.PARTIAL, turn, work)
        turn.plan_look(heard_ms)
        self._start(self._show(turn, turn.look, heard_ms))

    def _ask_final(self, turn: Turn, sound: Sound, priority: Priority) -> Job[Finding]:
        # Off at any time of an utterance means off for all of it.
        emotion_on = turn.emotion_on and self._config.extensions.emotion
        emotions = self._workplace.models.emotions if emotion_on else None
        hints = replace(turn.hints, prefix=turn.agreement.text)
        work = partial(self._conclude_now, turn, sound, hints, emotions)
        return self._workplace.scheduler.submit(priority, turn, work)

    # These two run on a thread of the scheduler, with what is known of the language by then.

    def _look_now(self, turn: Turn, sound: Sound, hints: Hints) -> Finding:
        return turn.recogniser.look(sound, self._informed(turn, hints))

    def _conclude_now(
        self, turn: Turn, sound: Sound, hints: Hints, emotions: EmotionRecogniser | None
    ) -> Finding:
        return turn.recogniser.conclude(sound, self._informed(turn, hints), emotions)

    def _informed(self, turn: Turn, hints: Hints) -> Hints:
        """Hints with what the session has learnt by now."""
        return replace(
            hints,
            language_prior=self._belief.prior,
            language_heard=turn.language_heard,
            before=self._last_said.before(turn.start_ms),
        )

    async def _show(self, turn: Turn, job: Job[Finding], heard_ms: int) -> None:
        """Tell what a look has found, unless the final was faster."""
        try:
            finding = await job.result()
        except EngineError as error:
            # The final will meet the same fault and be answered for.
            _log.warning("look_failed", item=turn.item_id, error=str(error))
            return
        turn.learn_cost(heard_ms, finding.cost_s)
        turn.learn_language(heard_ms, finding.transcript.language_probabilities)
        if turn.item_id not in self._unfinished or not finding.transcript.text:
            return
        shown = turn.take(finding.transcript.text)
        detail = self._detail(emotion_abstained=True)
        language = finding.transcript.language
        self._tell(
            self._protocol.partial(turn.item_id, shown.text, shown.stash, language=language, detail=detail)
        )

    @property
    def _unfinished(self) -> set[str]:
        """Ids of the utterances of which there is still something to tell."""
        return {*self._owed, *((self._turn.item_id,) if self._turn else ())}

    def _owe(self, turn: Turn, job: Job[Finding], *, duration_s: float) -> None:
        turn.ended = True
        self._give_up_look(turn)
        self._owed[turn.item_id] = turn
        self._start(self._settle(turn, job, duration_s, time.monotonic()))

    async def _settle(self, turn: Turn, job: Job[Finding], duration_s: float, ended: float) -> None:
        """Tell the final of an utterance that ended at ``ended``."""
        try:
            finding = await job.result()
        except EngineError as error:
            _log.error("recognition_failed", item=turn.item_id, error=str(error))
            metrics.SERVER_RECOGNITION_FAILURES.inc()
            texts = self._protocol.failed(turn.item_id, "recognition_failed", str(error))
        else:
            metrics.SERVER_FINAL_EXCESS.observe(time.monotonic() - ended)
            self._belief.observe(finding.transcript.language_probabilities, duration_s)
            self._last_said = Said(finding.transcript.text, turn.start_ms + round(1000 * duration_s))
            texts = self._completed(turn, finding)
        self._tell(texts)
        del self._owed[turn.item_id]
        self._tell_progress()

    def _completed(self, turn: Turn, finding: Finding) -> tuple[str, ...]:
        """The final result, with the emotion if one may be judged and was."""
        label, confidence = None, None
        # The switch may have been turned off since: then the answer is not to be had either.
        if self._mood is not None and finding.voice is not None and self._config.extensions.emotion:
            estimate = self._mood.judge(finding.voice)
            label, confidence = estimate.label, estimate.confidence
        return self._protocol.completed(
            turn.item_id,
            finding.transcript.text,
            language=finding.transcript.language,
            emotion=label,
            detail=self._detail(
                emotion_confidence=None if label is None else confidence, emotion_abstained=label is None
            ),
        )

    def _detail(self, *, emotion_abstained: bool, emotion_confidence: float | None = None) -> ResultDetail:
        capabilities = self._workplace.models.engine.capabilities
        return ResultDetail(
            emotion_confidence=emotion_confidence,
            emotion_abstained=emotion_abstained,
            engine=capabilities.engine,
            model=capabilities.model,
        )

    def _give_up_look(self, turn: Turn) -> None:
        if turn.look is not None:
            self._workplace.scheduler.give_up(turn.look)

    def _abandon(self, turn: Turn) -> None:
        """Nobody wants to hear of this utterance any more."""
        turn.ended = True
        self._give_up_look(turn)
        if turn.speculation is not None:
            self._workplace.scheduler.give_up(turn.speculation.job)

    # What goes out.

    def _tell(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._send(text)

    def _tell_progress(self) -> None:
        """Report what is heard and settled, if enough is new."""
        starts = [turn.start_ms for turn in self._owed.values()]
        here_ms = self._ear.turn_start_ms if self._config.manual else self._ear.segmenter.processed_ms
        processed_ms = min([here_ms, *starts])
        if processed_ms - self._told_progress_ms >= _PROGRESS_MS:
            self._told_progress_ms = processed_ms
            self._tell(self._protocol.progress(processed_ms))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish_task)

    def _finish_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.fault.done():
            self.fault.set_exception(error)


class _Ear:
    """How a session hears its audio: one format, one mode."""

    def __init__(self, config: SessionConfig, detector: VoiceDetector, base_ms: int) -> None:
        is_opus = config.input_audio_format == "opus"
        rate_hz = _OPUS_TRACK_HZ if is_opus else config.sample_rate
        self.track = AudioTrack(rate_hz, base_ms)
        self.opus = OpusStream(rate_hz) if is_opus else None
        turn_detection = config.turn_detection or TurnDetection()
        self.padding_ms = 0 if config.manual else turn_detection.prefix_padding_ms
        self.segmenter = Segmenter(_endpointing(turn_detection), base_ms)
        # Manual mode: where the audio that is not committed begins.
        self.turn_start_ms = base_ms
        self._resampler = StreamResampler(rate_hz, VOICE_RATE_HZ)
        self._voice = detector.open()

    def listen(self, pcm: bytes) -> list[VoiceFrame]:
        """The frames that ``pcm`` completes; runs on the thread for it."""
        return self._voice.push(self._resampler.push(samples_of_pcm(pcm)))

    def listen_to_rest(self) -> list[VoiceFrame]:
        """The frames of what was still held back."""
        return self._voice.push(self._resampler.finish())


def _endpointing(turn_detection: TurnDetection) -> Endpointing:
    return Endpointing(
        speech_probability=turn_detection.speech_probability,
        silence_ms=turn_detection.silence_duration_ms,
        padding_ms=turn_detection.prefix_padding_ms,
    )


def _in_words(fault: str) -> str:
    return f"Some of the audio cannot be decoded: {fault}. Its place is filled, and the stream goes on."


def _cut(audio: bytes, rate_hz: int) -> Iterator[bytes]:
    size = _PIECE_MS * rate_hz // 1000 * PCM_SAMPLE_BYTES
    return (audio[start : start + size] for start in range(0, len(audio), size))
