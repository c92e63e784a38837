"""What the emotion model has learnt of its service outlives the server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from qa_service import metrics
from qa_service.asr_server import Models, ServerConfig, serve
from qa_service.asr_server.emotion import WEIGHTS_PATH, Abstention, EmotionModel, Voice
from qa_service.asr_server.emotion.model import Weights
from qa_service.asr_server.emotion_memory import FILE_NAME, EmotionMemory, read
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.voice_activity import LoudnessDetector

NOW_S = 1_767_225_600.0
WIDTH = Weights.load(WEIGHTS_PATH).centre.size


def emotions(weights: Weights | None = None) -> VoiceEmotions:
    """The shipped weights, without an ear: these tests make up what was heard."""
    model = EmotionModel(weights or Weights.load(WEIGHTS_PATH), ear=None)  # type: ignore[arg-type]
    return VoiceEmotions(model, clock=lambda: NOW_S)


def voice(seed: int) -> Voice:
    return Voice(np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32))


def teach(learner: VoiceEmotions, utterances: int = 30) -> None:
    for call in range(0, utterances, 3):
        mood = learner.open()
        for number in range(call, min(call + 3, utterances)):
            mood.judge(voice(number))


def failures(reason: str) -> float:
    return metrics.SERVER_EMOTION_MEMORY_FAILURES[reason]._value.get()


async def test_a_new_server_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    first, second = emotions(), emotions()
    teach(first)
    await EmotionMemory(first, tmp_path / "state").save()
    EmotionMemory(second, tmp_path / "state").load()

    assert second.past.judged == 30
    assert second.open().judge(voice(99)) == first.open().judge(voice(99))
    assert second.past.scores.by_age == first.past.scores.by_age


async def test_the_file_is_written_when_there_is_something_new(tmp_path: Path) -> None:
    learner = emotions()
    memory = EmotionMemory(learner, tmp_path)
    await memory.save()
    assert not memory.path.exists()
    teach(learner)
    await memory.save()
    memory.path.unlink()
    await memory.save()

    assert not memory.path.exists()


async def test_what_other_weights_have_learnt_is_begun_anew(tmp_path: Path) -> None:
    first = emotions()
    teach(first)
    await EmotionMemory(first, tmp_path).save()
    weights = Weights.load(WEIGHTS_PATH)
    weights.centre[0] += 1
    second = emotions(weights)
    memory = EmotionMemory(second, tmp_path)
    memory.load()
    assert second.past.judged == 0
    teach(second, 3)
    await memory.save()

    stored = read(memory.path)
    assert stored is not None
    assert (stored.judged, stored.weights) == (3, second.weights_digest.hex())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:100],
        lambda text: text[:0],
        lambda text: text.replace('"version":1', '"version":2'),
        lambda text: json.dumps(json.loads(text) | {"norm_mean": [0.0]}),
        lambda text: json.dumps(json.loads(text) | {"norm_mean": [0.0], "norm_variance": [1.0]}),
        lambda text: json.dumps(json.loads(text) | {"norm_variance": [-1.0] * WIDTH}),
        lambda text: json.dumps(json.loads(text) | {"judged": -1}),
    ],
)
async def test_a_damaged_file_is_set_aside_and_the_server_begins_anew(tmp_path: Path, change) -> None:
    first, second = emotions(), emotions()
    teach(first)
    memory = EmotionMemory(first, tmp_path)
    await memory.save()
    memory.path.write_text(change(memory.path.read_text()))
    before = failures("damaged")
    with capture_logs() as logs:
        EmotionMemory(second, tmp_path).load()

    assert [line["event"] for line in logs] == ["emotion_memory_damaged"]
    assert failures("damaged") == before + 1
    assert second.past.judged == 0
    assert not memory.path.exists()
    assert (tmp_path / f"{FILE_NAME}.damaged").exists()


async def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    learner = emotions()
    memory = EmotionMemory(learner, tmp_path / "file")
    before = failures("not_accessible")
    with capture_logs() as logs:
        memory.load()
        for utterances in (3, 6):
            teach(learner, utterances)
            await memory.save()

    assert [line["event"] for line in logs] == ["emotion_memory_failed"]
    assert failures("not_accessible") == before + 3


def test_a_caller_does_not_fill_the_recent_past() -> None:
    learner = emotions()
    mood = learner.open()
    for number in range(200):
        mood.judge(voice(number))

    assert learner.past.judged == 200
    assert len(learner.past.scores) == 45


def test_what_is_told_of_a_voice_is_a_distribution_a_rank_and_a_number_a_day() -> None:
    now_s = NOW_S
    model = EmotionModel(Weights.load(WEIGHTS_PATH), ear=None)  # type: ignore[arg-type]
    learner = VoiceEmotions(model, clock=lambda: now_s)
    first = learner.open().judge(voice(1))
    teach(learner, 50)
    now_s += 24 * 3600
    last = learner.open().judge(voice(1))

    assert first.distribution is not None
    assert sum(first.distribution.values()) == pytest.approx(1, abs=0.001)
    assert set(first.distribution) == {*model.weights.labels, "other"}
    assert first.anger_rank is not None
    assert first.anger_daily is None
    assert last.anger_rank is not None
    assert last.anger_daily == pytest.approx(last.anger_rank * 51, abs=0.01)


@pytest.mark.parametrize("why", list(Abstention))
def test_what_was_not_judged_has_no_rank_and_teaches_nothing(why: Abstention) -> None:
    learner = emotions()
    estimate = learner.open().judge(why)

    assert (estimate.label, estimate.distribution, estimate.anger_rank, estimate.anger_daily) == (None,) * 4
    assert (learner.past.judged, len(learner.past.scores), learner.past.norm.count) == (0, 0, 0)


def test_a_speaker_goes_on_in_another_session() -> None:
    learner, steady = emotions(), emotions()
    broken, whole = learner.open(), steady.open()
    for number in range(12):
        if number in {4, 9}:
            again = learner.resume(broken.past())
            assert again is not None
            broken = again
        after_break, without = broken.judge(voice(number)), whole.judge(voice(number))

        assert after_break.label == without.label
        assert after_break.anger_rank == pytest.approx(without.anger_rank, abs=0.0002)
        assert after_break.anger_score == pytest.approx(without.anger_score, abs=0.01)


def test_a_speaker_of_other_weights_is_not_taken_up() -> None:
    weights = Weights.load(WEIGHTS_PATH)
    weights.centre[0] += 1

    assert emotions(weights).resume(emotions().open().past()) is None
    assert emotions().resume(emotions().open().past() + b"x") is None


async def test_a_server_saves_when_it_stops_and_loads_when_it_starts(tmp_path: Path) -> None:
    def models(learner: VoiceEmotions) -> Models:
        learner.hear = lambda _samples: Abstention.SILENCE  # type: ignore[method-assign] # for the warm-up
        return Models(engine=ScriptedEngine(), detector=LoudnessDetector(), emotions=learner)

    first, second = emotions(), emotions()
    config = ServerConfig(port=0, no_auth=True, state_dir=tmp_path)
    async with await serve(config, models=models(first)) as server:
        await server.wait_ready()
        teach(first)
    async with await serve(config, models=models(second)) as server:
        await server.wait_ready()

        assert second.past.judged == 30
