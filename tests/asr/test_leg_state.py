"""A leg whose sessions break goes on with what the recogniser had learnt of its speaker.

The server is the real one with faults in it, its emotion model the shipped one on voices that are made up;
the leg is ours, and replays what was not released.
"""

from __future__ import annotations

import pytest

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr_server import Models, ServerConfig, serve
from qa_service.asr_server.engines.scripted import ScriptedEngine, markers
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.audio.resample import pcm_of_samples
from qa_service.protocol import Completed
from qa_service.testing.fault_file import load_faults
from qa_service.testing.faults import FINAL
from qa_service.testing.faulty_network import FaultyNetwork
from tests.asr.live_leg import RATE, LiveLeg
from tests.asr_server.voices import MadeUpVoices

CONFIG = ServerConfig(port=0, no_auth=True, threads=1, close_wait_s=30.0)
LENGTHS = (1, 3, 2, 4, 1, 2, 3, 4, 2, 1, 3)  # words of each utterance: as many, such a voice it is


def call() -> bytes:
    quiet = bytes(2 * RATE)
    said = ([f"w{number}"] * length for number, length in enumerate(LENGTHS))
    return quiet + b"".join(pcm_of_samples(markers(words, rate_hz=RATE)) + quiet for words in said)


async def results(http, fault: str = "", *, remembers: bool = True) -> list[Completed]:
    network = FaultyNetwork(load_faults(f"version: 1\nfaults: [{fault}]\n", "faults")) if fault else None
    models = Models(engine=ScriptedEngine(), detector=LoudnessDetector(), emotions=MadeUpVoices())
    async with await serve(CONFIG, models=models, network=network) as server:
        await server.wait_ready()
        leg = LiveLeg(http, RecogniserEndpoint(server.url), remembers=remembers)
        await leg.play(call())
    assert bool(leg.lost) == bool(fault)
    return leg.results


def scores(released: list[Completed]) -> list[float | None]:
    return [result.detail.anger_score for result in released if result.detail]


@pytest.mark.parametrize("fault", ["drop: {after_audio: 8s}", f"drop: {{before: {FINAL}, number: 6}}"])
async def test_a_session_that_breaks_does_not_change_how_the_rest_is_judged(http, fault: str) -> None:
    whole = await results(http)
    broken = await results(http, fault)
    forgetful = await results(http, fault, remembers=False)

    assert [result.transcript for result in broken] == [result.transcript for result in whole]
    assert [result.emotion for result in broken] == [result.emotion for result in whole]
    for before, after in zip(whole, broken, strict=True):
        assert before.detail is not None
        assert after.detail is not None
        assert after.detail.anger_rank == pytest.approx(before.detail.anger_rank, abs=0.05)
        assert after.detail.anger_score == pytest.approx(before.detail.anger_score, abs=1.0)
    # What was learnt makes a difference, or all of this would say nothing.
    assert scores(forgetful) != pytest.approx(scores(whole), abs=1.0)
