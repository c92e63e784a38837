"""The utterances of one session: what is recognised of them, and what the client is told of it.

Decided here: what a recognition knows beforehand, what becomes of its answer, and in which order finals are
learnt from. A final decoded ahead of the end of the silence becomes the final, or a look at an utterance that
goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial

import structlog

from qa_service import metrics
from qa_service.asr_server.emotion_recogniser import EmotionEstimate, EmotionRecogniser
from qa_service.asr_server.engines import Hints
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.leg_memory import LegMemory
from qa_service.asr_server.load import Priority
from qa_service.asr_server.recognition import Finding, Sound, UtteranceRecogniser
from qa_service.asr_server.scheduler import Job
from qa_service.asr_server.turn import Said, Speculation, Turn
from qa_service.asr_server.workplace import Workplace
from qa_service.protocol import ResultDetail, ServerSession

_log = structlog.get_logger(__name__)


class Utterances:
    """The utterance that takes audio, and those whose final is still to come.

    ``tell`` takes texts for the client, ``told_final`` is called when it has got a final. `fault` gets the
    exception if anything inside fails.
    """

    def __init__(
        self,
        protocol: ServerSession,
        workplace: Workplace,
        tell: Callable[[Iterable[str]], None],
        told_final: Callable[[], None],
    ) -> None:
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.memory = LegMemory(workplace.models.emotions)
        # The utterance that takes audio at present, if there is one.
        self.current: Turn | None = None
        # What the client has configured; settings of recognition count from the next utterance on.
        self.config = protocol.config
        self._protocol = protocol
        self._models = workplace.models
        self._scheduler = workplace.scheduler
        self._tell = tell
        self._told_final = told_final
        # Ended utterances whose final is still to come, oldest first.
        self._owed: dict[str, Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_said = Said()
        # Settles the newest of the ended utterances.
        self._last_settlement: asyncio.Task[None] | None = None

    @property
    def owed_from_ms(self) -> int | None:
        """Where the first utterance begins whose final is still to come; None if there is none."""
        return min((turn.start_ms for turn in self._owed.values()), default=None)

    def begin(self, item_id: str, start_ms: int, *, look_due_ms: int) -> Turn:
        """An utterance begins, and takes audio from now on."""
        self.current = Turn(
            item_id=item_id,
            start_ms=start_ms,
            recogniser=UtteranceRecogniser(self._models.engine),
            hints=Hints(language=self.config.language, corpus=self.config.corpus_text),
            emotion_on=self.config.extensions.emotion,
            look_due_ms=look_due_ms,
        )
        return self.current

    def look(self, turn: Turn, sound: Sound, heard_ms: int) -> None:
        """Recognise and tell what has been said up to ``heard_ms``."""
        hints = replace(turn.hints, prefix=turn.agreement.text)
        work = partial(self._look_now, turn, sound, hints)
        turn.look = self._scheduler.submit(Priority.PARTIAL, turn, work)
        turn.plan_look(heard_ms, self._scheduler.partial_interval_s)
        self._start(self._show(turn, turn.look, heard_ms))

    def speculate(self, turn: Turn, sound: Sound, *, speech_end_ms: int, due_in_s: float) -> None:
        """Decode the final ahead: the speech that ended at ``speech_end_ms`` may be all."""
        self._give_up_look(turn)
        job = self._ask_final(turn, sound, Priority.SPECULATIVE, due_in_s=due_in_s)
        turn.speculation = Speculation(job, speech_end_ms)

    def resume(self, turn: Turn) -> None:
        """Speech goes on: what was decoded as a final is a look at the unfinished utterance."""
        assert turn.speculation is not None  # noqa: S101 - the caller has seen it
        job, heard_ms = turn.speculation.job, turn.speculation.speech_end_ms
        turn.speculation = None
        if job.done or job.running:
            turn.look = job
            turn.plan_look(heard_ms, self._scheduler.partial_interval_s)
            self._start(self._show(turn, job, heard_ms))
        else:
            self._scheduler.give_up(job)

    def end(self, turn: Turn, sound: Callable[[], Sound], *, speech_end_ms: int) -> None:
        """The utterance is over: owe its final, of ``sound`` if it was not decoded ahead."""
        ahead = turn.speculation
        if ahead is not None and ahead.speech_end_ms == speech_end_ms:
            job = ahead.job
            self._scheduler.promote(job)
        else:
            job = self._ask_final(turn, sound(), Priority.FINAL)
        self.current = None
        turn.ended = True
        self._give_up_look(turn)
        self._owed[turn.item_id] = turn
        settle = self._settle(turn, job, speech_end_ms, time.monotonic(), after=self._last_settlement)
        self._last_settlement = self._start(settle)

    def abandon(self) -> None:
        """Nobody wants to hear of the current utterance any more."""
        turn, self.current = self.current, None
        if turn is None:
            return
        turn.ended = True
        self._give_up_look(turn)
        if turn.speculation is not None:
            self._scheduler.give_up(turn.speculation.job)

    def close(self) -> None:
        """The client is gone: give up whatever was still to be done."""
        self.abandon()
        for task in self._tasks:
            task.cancel()

    async def settled(self) -> None:
        """Wait until every final that is owed has been told, or `fault` is set."""
        while self._owed and self._tasks and not self.fault.done():
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    # Recognition.

    def _ask_final(
        self, turn: Turn, sound: Sound, priority: Priority, *, due_in_s: float = 0.0
    ) -> Job[Finding]:
        # Off at any time of an utterance means off for all of it.
        emotion_on = turn.emotion_on and self.config.extensions.emotion
        emotions = self._models.emotions if emotion_on else None
        hints = replace(turn.hints, prefix=turn.agreement.text)
        work = partial(self._conclude_now, turn, sound, hints, emotions)
        return self._scheduler.submit(priority, turn, work, due_in_s=due_in_s)

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
            language_prior=self.memory.belief.prior,
            language_heard=turn.language_heard,
            before=self._last_said.before(turn.start_ms),
        )

    def _give_up_look(self, turn: Turn) -> None:
        if turn.look is not None:
            self._scheduler.give_up(turn.look)

    # What the client is told.

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
        is_unfinished = turn is self.current or turn.item_id in self._owed
        if not is_unfinished or not finding.transcript.text:
            return
        shown = turn.take(finding.transcript.text)
        detail = self._detail(EmotionEstimate())
        language = finding.transcript.language
        self._tell(
            self._protocol.partial(turn.item_id, shown.text, shown.stash, language=language, detail=detail)
        )

    async def _settle(
        self,
        turn: Turn,
        job: Job[Finding],
        speech_end_ms: int,
        ended: float,
        *,
        after: asyncio.Task[None] | None,
    ) -> None:
        """Tell the final of an utterance that ended at ``ended``, ``after`` what came before is settled.

        The client gets finals in their order in any case; what is learnt from them keeps it too.
        """
        try:
            finding = await job.result()
        except EngineError as error:
            _log.error("recognition_failed", item=turn.item_id, error=str(error))
            metrics.SERVER_RECOGNITION_FAILURES.inc()
            texts = self._protocol.failed(turn.item_id, "recognition_failed", str(error))
        else:
            metrics.SERVER_FINAL_EXCESS.observe(time.monotonic() - ended)
            if after is not None:
                await asyncio.wait([after])
            duration_s = (speech_end_ms - turn.start_ms) / 1000
            self.memory.belief.observe(finding.transcript.language_probabilities, duration_s)
            self._last_said = Said(finding.transcript.text, speech_end_ms)
            texts = self._completed(turn, finding)
        self._tell(texts)
        del self._owed[turn.item_id]
        self._told_final()

    def _completed(self, turn: Turn, finding: Finding) -> tuple[str, ...]:
        """The final result, with the emotion if one may be judged and was."""
        estimate, asked = EmotionEstimate(), self.config.extensions
        # The switch may have been turned off since: then the answer is not to be had either.
        if finding.voice is not None and asked.emotion:
            estimate = self.memory.judge(finding.voice)
        leg_state = self.memory.write(with_voice=asked.emotion) if asked.leg_state else None
        return self._protocol.completed(
            turn.item_id,
            finding.transcript.text,
            language=finding.transcript.language,
            emotion=estimate.label,
            detail=self._detail(estimate, leg_state),
        )

    def _detail(self, estimate: EmotionEstimate, leg_state: str | None = None) -> ResultDetail:
        capabilities = self._models.engine.capabilities
        return ResultDetail(
            emotion_confidence=None if estimate.label is None else estimate.confidence,
            emotion_abstained=estimate.label is None,
            emotion_distribution=None if estimate.distribution is None else dict(estimate.distribution),
            anger_score=estimate.anger_score,
            anger_rank=estimate.anger_rank,
            anger_daily=estimate.anger_daily,
            engine=capabilities.engine,
            model=capabilities.model,
            leg_state=leg_state,
        )

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish_task)
        return task

    def _finish_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.fault.done():
            self.fault.set_exception(error)
