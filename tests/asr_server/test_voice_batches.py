from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from qa_service.asr_server.audibility import VoiceFrame
from qa_service.asr_server.voice_activity import FRAME_SAMPLES, Float32
from qa_service.asr_server.voice_batches import VoiceBatches, judge_all

DEADLINE_S = 10.0


class CountingStream:
    """Gives one frame for each sample, and notes what it was asked."""

    def __init__(self) -> None:
        self.pushed: list[int] = []

    def push(self, samples: Float32) -> list[VoiceFrame]:
        self.pushed.append(len(samples))
        return [VoiceFrame(float(sample)) for sample in samples]


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def sound(*values: float) -> Callable[[], Float32]:
    return lambda: np.array(values, dtype=np.float32)


async def test_each_stream_gets_its_own_frames(thread: ThreadPoolExecutor) -> None:
    batches = VoiceBatches(thread)
    streams = [CountingStream() for _ in range(20)]
    async with asyncio.timeout(DEADLINE_S):
        found = await asyncio.gather(
            *(batches.judge(stream, sound(number, number)) for number, stream in enumerate(streams))
        )

    assert [[frame.probability for frame in frames] for frames in found] == [[n, n] for n in range(20)]


async def test_what_comes_at_the_same_time_is_one_batch(thread: ThreadPoolExecutor) -> None:
    batches, jobs = VoiceBatches(thread), 0
    submit = thread.submit

    def counting(*work: object) -> object:
        nonlocal jobs
        jobs += 1
        return submit(*work)  # type: ignore[arg-type] # passed on as it came

    thread.submit = counting  # type: ignore[assignment, method-assign] # only counts
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(batches.judge(CountingStream(), sound(1.0)) for _ in range(8)))

    assert jobs == 1


async def test_sound_that_cannot_be_had_concerns_only_its_session(thread: ThreadPoolExecutor) -> None:
    def broken() -> Float32:
        raise ValueError("no such sound")

    batches = VoiceBatches(thread)
    async with asyncio.timeout(DEADLINE_S):
        lost, found = await asyncio.gather(
            batches.judge(CountingStream(), broken),
            batches.judge(CountingStream(), sound(0.5)),
            return_exceptions=True,
        )

    assert isinstance(lost, ValueError)
    assert found == [VoiceFrame(0.5)]


async def test_a_session_that_is_closed_meanwhile_leaves_the_others_their_frames(
    thread: ThreadPoolExecutor,
) -> None:
    batches = VoiceBatches(thread)
    gone = asyncio.create_task(batches.judge(CountingStream(), sound(0.1)))
    stays = asyncio.create_task(batches.judge(CountingStream(), sound(0.25)))
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(DEADLINE_S):
        assert await stays == [VoiceFrame(0.25)]


async def test_other_work_is_done_on_the_thread(thread: ThreadPoolExecutor) -> None:
    assert await VoiceBatches(thread).run(lambda: FRAME_SAMPLES) == FRAME_SAMPLES


def test_a_failed_sound_keeps_its_place() -> None:
    def broken() -> Float32:
        raise ValueError("no such sound")

    first, second, third = judge_all(
        [(CountingStream(), sound(0.25)), (CountingStream(), broken), (CountingStream(), sound(0.75))]
    )

    assert first == [VoiceFrame(0.25)]
    assert isinstance(second, ValueError)
    assert third == [VoiceFrame(0.75)]
