"""The thread that listens for voice in all sessions, many at a time.

Decided here: what sessions bring within 5 ms is judged together, since one call of the model for eight frames
takes half the time of eight calls, and a change of threads takes as long as a frame. Whoever comes after a
rest is judged at once, so a single leg waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from qa_service.asr_server.audibility import VoiceFrame
from qa_service.asr_server.voice_activity import Float32, VoiceStream, push_all

T = TypeVar("T")

_GATHER_S: Final = 0.005  # between two batches: a quarter of the 20 ms that most clients send at a time


@dataclass(frozen=True, slots=True)
class _Piece:
    """The next sound of one stream, and who waits for its frames."""

    stream: VoiceStream
    samples: Callable[[], Float32]
    frames: asyncio.Future[list[VoiceFrame]]


class VoiceBatches:
    """Judges the sound of all sessions on ``thread``; of one event loop."""

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        self._waiting: list[_Piece] = []
        # The earliest time of the loop for the next batch, and whether it is arranged.
        self._next_at = 0.0
        self._arranged = False
        self._batches: set[asyncio.Task[None]] = set()

    async def judge(self, stream: VoiceStream, samples: Callable[[], Float32]) -> list[VoiceFrame]:
        """The frames completed by what ``samples`` gives (8 kHz), which is called on the thread.

        A stream must not be judged again before the answer is there.
        """
        loop = asyncio.get_running_loop()
        piece = _Piece(stream, samples, loop.create_future())
        self._waiting.append(piece)
        if not self._arranged:
            self._arranged = True
            loop.call_at(max(loop.time(), self._next_at), self._begin)
        return await piece.frames

    async def run(self, work: Callable[[], T]) -> T:
        """Do other work on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _begin(self) -> None:
        self._next_at = asyncio.get_running_loop().time() + _GATHER_S
        self._arranged = False
        pieces, self._waiting = self._waiting, []
        batch = asyncio.create_task(self._finish(pieces))
        self._batches.add(batch)
        batch.add_done_callback(self._batches.discard)

    async def _finish(self, pieces: list[_Piece]) -> None:
        work = [(piece.stream, piece.samples) for piece in pieces]
        try:
            found: list[list[VoiceFrame] | Exception] = await self.run(partial(judge_all, work))
        except Exception as error:  # noqa: BLE001 - each session is to learn of it
            found = [error] * len(pieces)
        for piece, frames in zip(pieces, found, strict=True):
            if piece.frames.done():
                continue  # its session was closed meanwhile
            if isinstance(frames, Exception):
                piece.frames.set_exception(frames)
            else:
                piece.frames.set_result(frames)


def judge_all(
    work: Sequence[tuple[VoiceStream, Callable[[], Float32]]],
) -> list[list[VoiceFrame] | Exception]:
    """The frames of each stream, or why its sound could not be had, which concerns no other."""
    sounds: list[tuple[VoiceStream, Float32]] = []
    found: list[list[VoiceFrame] | Exception] = []
    for stream, samples in work:
        try:
            sounds.append((stream, samples()))
        except Exception as error:  # noqa: BLE001 - given to its session
            found.append(error)
        else:
            found.append([])
    heard = iter(push_all(sounds))
    return [frames if isinstance(frames, Exception) else next(heard) for frames in found]
