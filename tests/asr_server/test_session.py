from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from qa_service.asr_server import AsrServer, Models, ServerConfig, serve, session
from qa_service.asr_server.emotion_recogniser import EmotionEstimate
from qa_service.asr_server.engines import Hints, Segment, Transcript
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.voice_activity import LoudnessDetector
from tests.asr_server.support import (
    CLEAR,
    COMMIT,
    FINISH,
    MANUAL_8K,
    VAD_8K,
    connected,
    noise,
    silence,
    spoken,
    texts,
    update,
)

UTTERANCE = ["speech_started", "speech_stopped", "committed", "created", "completed"]


async def test_an_utterance_gives_its_five_events_in_order(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(silence(0.5) + spoken("w1", "w2", "w3") + silence(1.0), size=1600)
        await client.finish()

        assert client.order == [*UTTERANCE, "finished"]
        assert client.transcripts == ["w1 w2 w3"]


async def test_all_events_of_an_utterance_carry_its_id_and_the_next_names_it_as_previous(
    server: AsrServer,
) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append((spoken("w1", "w2") + silence(1.0)) * 2, size=1600)
        await client.finish()

        first, second = (event["item_id"] for event in client.of_type("speech_started"))
        assert first != second
        assert [e["previous_item_id"] for e in client.of_type("committed")] == [None, first]
        assert [e["item"]["id"] for e in client.of_type("item.created")] == [first, second]
        assert [e["item_id"] for e in client.of_type(".completed")] == [first, second]


@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_both_sampling_rates_are_heard_on_one_time_line(server: AsrServer, rate_hz: int) -> None:
    asked = update(sample_rate=rate_hz, turn_detection={"type": "server_vad", "silence_duration_ms": 400})
    async with connected(server.url, asked) as client:
        speech = spoken("w10", "w20", "w30", rate_hz=rate_hz)
        await client.append(silence(1.0, rate_hz) + speech + silence(1.0, rate_hz), size=rate_hz // 5)
        await client.finish()

        (started,) = client.of_type("speech_started")
        (stopped,) = client.of_type("speech_stopped")
        assert client.transcripts == ["w10 w20 w30"]
        assert started["audio_start_ms"] == pytest.approx(700, abs=40)
        assert stopped["audio_end_ms"] == pytest.approx(2000, abs=70)


async def test_a_whole_file_in_one_append_is_heard_like_a_stream(server: AsrServer) -> None:
    audio = b"".join(spoken(f"w{n}", f"w{n + 1}") + silence(0.8) for n in range(12))
    async with connected(server.url, VAD_8K) as client:
        await client.append(audio)
        await client.finish()

        assert client.transcripts == [f"w{n} w{n + 1}" for n in range(12)]


async def test_odd_numbers_of_bytes_change_nothing(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(spoken("w1", "w2") + silence(1.0), size=333)
        await client.finish()

        assert client.transcripts == ["w1 w2"]


async def test_finish_during_speech_ends_the_utterance(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(silence(0.4) + spoken("w1", "w2", "w3", "w4"), size=1600)
        await client.finish()

        assert client.order == [*UTTERANCE, "finished"]
        assert client.transcripts == ["w1 w2 w3 w4"]


async def test_finish_without_audio_is_answered_at_once(server: AsrServer) -> None:
    async with connected(server.url) as client:
        await client.finish()

        assert client.order == ["finished"]


async def test_audio_without_speech_gives_no_events(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(noise(3.0), size=1600)
        await client.finish()

        assert client.order == ["finished"]


async def test_partials_show_a_growing_beginning_that_the_final_keeps(server: AsrServer) -> None:
    words = [f"w{n}" for n in range(45)]
    async with connected(server.url, VAD_8K) as client:
        audio = spoken(*words) + silence(0.6)
        for start in range(0, 128_000, 32_000):
            await client.append(audio[start : start + 32_000], size=1600)
            await client.receive_until(".text")
        await client.append(audio[128_000:])
        await client.finish()

        partials = client.of_type(".text")
        stable = [event["text"] for event in partials]
        assert len(partials) >= 3
        assert all(later.startswith(earlier) for earlier, later in pairwise(stable))
        assert all(" ".join(words).startswith(text) for text in texts(partials))
        assert client.transcripts == [" ".join(words)]
        assert client.transcripts[0].startswith(stable[-1])
        assert stable[-1]


async def test_a_commit_ends_a_manual_turn(server: AsrServer) -> None:
    async with connected(server.url, MANUAL_8K) as client:
        await client.append(spoken("w1", "w2"), size=1600)
        await client.send(COMMIT)
        await client.append(silence(0.2) + spoken("w3"), size=1600)
        await client.send(COMMIT)
        await client.finish()

        assert client.transcripts == ["w1 w2", "w3"]
        assert sorted(client.order) == sorted(["committed", "created", "completed"] * 2 + ["finished"])
        committed = [event["item_id"] for event in client.of_type("committed")]
        assert [event["item_id"] for event in client.of_type(".completed")] == committed


async def test_uncommitted_manual_audio_is_recognised_at_finish(server: AsrServer) -> None:
    async with connected(server.url, MANUAL_8K) as client:
        await client.append(spoken("w7"))
        await client.finish()

        assert client.transcripts == ["w7"]


async def test_a_silent_manual_turn_is_completed_with_an_empty_text(server: AsrServer) -> None:
    async with connected(server.url, MANUAL_8K) as client:
        await client.append(silence(1.0))
        await client.send(COMMIT)
        await client.finish()

        assert client.transcripts == [""]


async def test_a_commit_of_nothing_is_an_error_in_manual_mode(server: AsrServer) -> None:
    async with connected(server.url, MANUAL_8K) as client:
        await client.send(COMMIT)
        error = await client.receive_until("error")
        await client.finish()

        assert error["error"]["code"] == "input_audio_buffer_commit_empty"


async def test_a_commit_in_vad_mode_is_ignored_silently(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(spoken("w1", "w2"))
        await client.send(COMMIT)
        await client.append(spoken("w3") + silence(1.0))
        await client.finish()

        assert client.order == [*UTTERANCE, "finished"]
        assert client.transcripts == ["w1 w2 w3"]


async def test_cleared_audio_is_forgotten_with_its_open_utterance(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(spoken("w1", "w2", "w3"))
        await client.send(CLEAR)
        await client.receive_until("cleared")
        await client.append(silence(0.5) + spoken("w4", "w5") + silence(1.0))
        await client.finish()

        assert client.transcripts == ["w4 w5"]


async def test_the_language_asked_for_is_the_language_told(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K, update(input_audio_transcription={"language": "de"})) as client:
        await client.append(spoken("w1") + silence(1.0))
        await client.finish()

        assert [event["language"] for event in client.of_type(".completed")] == ["de"]


async def test_two_sessions_do_not_hear_each_other(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as one, connected(server.url, VAD_8K) as other:
        for _ in range(3):
            await one.append(spoken("w1") + silence(0.7))
            await other.append(spoken("w2") + silence(0.7))
        await asyncio.gather(one.finish(), other.finish())

        assert one.transcripts == ["w1"] * 3
        assert other.transcripts == ["w2"] * 3


async def test_progress_is_told_only_to_who_asks_and_reaches_the_end(server: AsrServer) -> None:
    async with (
        connected(server.url, VAD_8K, update(qa={"progress": True})) as asking,
        connected(server.url, VAD_8K) as other,
    ):
        audio = silence(2.0) + spoken("w1", "w2") + silence(2.0)
        for client in (asking, other):
            await client.append(audio, size=1600)
            await client.finish()

        told = [event["processed_ms"] for event in asking.of_type("progress")]
        (started,) = asking.of_type("speech_started")
        before_final = asking.events.index(asking.of_type(".completed")[0])
        while_open = [
            event["processed_ms"]
            for event in asking.events[asking.events.index(started) : before_final]
            if event["type"].endswith("progress")
        ]
        assert other.of_type("progress") == []
        assert told == sorted(set(told))
        assert told[-1] == 4400
        assert all(time_ms <= started["audio_start_ms"] for time_ms in while_open)


class CountingEmotions:
    """Calls everybody angry, and counts how often it was made to listen."""

    def __init__(self) -> None:
        self.heard = 0

    def hear(self, _samples: object) -> object:
        self.heard += 1
        return "a voice"

    def open(self) -> CountingEmotions:
        return self

    def resume(self, _past: bytes) -> CountingEmotions:
        return self

    def judge(self, heard: object) -> EmotionEstimate:
        assert heard == "a voice"
        return EmotionEstimate(label="angry", confidence=0.9)

    def past(self) -> bytes:
        return b"nothing"


async def completed_with(emotions: CountingEmotions | None, *updates: dict) -> tuple[dict, int]:
    """The final result of one utterance under ``updates``, and how often the model ran since the warm-up."""
    models = Models(engine=ScriptedEngine(), detector=LoudnessDetector(), emotions=emotions)
    async with await serve(ServerConfig(port=0, no_auth=True), models=models) as server:
        await server.wait_ready()
        before = emotions.heard if emotions else 0
        async with connected(server.url, VAD_8K, *updates) as client:
            await client.append(spoken("w1", "w2") + silence(1.0), size=1600)
            await client.finish()
        (completed,) = client.of_type(".completed")
        return completed, (emotions.heard if emotions else 0) - before


async def test_the_emotion_model_never_runs_where_emotion_is_switched_off() -> None:
    completed, runs = await completed_with(CountingEmotions(), update(qa={"emotion": False}))

    assert runs == 0
    assert completed["emotion"] == "neutral"
    assert completed["qa"]["emotion_off"] is True


async def test_an_emotion_is_told_with_its_confidence_to_who_asks() -> None:
    completed, runs = await completed_with(CountingEmotions(), update(qa={"emotion_detail": True}))

    assert runs >= 1
    assert completed["emotion"] == "angry"
    assert completed["qa"]["emotion_confidence"] == 0.9
    assert completed["qa"]["engine"] == "scripted"


async def test_without_the_extension_only_the_label_is_told() -> None:
    completed, _ = await completed_with(CountingEmotions())

    assert completed["emotion"] == "angry"
    assert "qa" not in completed


async def test_without_an_emotion_model_a_result_is_neutral_and_says_that_nothing_was_decided() -> None:
    completed, _ = await completed_with(None, update(qa={"emotion_detail": True}))

    assert completed["emotion"] == "neutral"
    assert completed["qa"]["emotion_abstained"] is True


async def test_a_client_that_leaves_without_finishing_disturbs_nobody(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as staying:
        async with connected(server.url, VAD_8K) as leaving:
            await leaving.append(spoken(*(f"w{n}" for n in range(20))))
        await staying.append(spoken("w5") + silence(1.0))
        await staying.finish()

        assert staying.transcripts == ["w5"]


async def test_what_comes_after_finish_is_swallowed(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.send(FINISH, FINISH, {"type": "nonsense"})
        await client.append(spoken("w1"))
        await client.receive_until("session.finished")
        message = await client.socket.receive()

        assert client.order == ["finished"]
        assert client.socket.close_code == 1000, message


async def test_mode_and_rate_may_change_once_nothing_is_pending(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(spoken("w1", "w2") + silence(1.0))
        await client.receive_until(".completed")
        await client.send(CLEAR, update(turn_detection=None, sample_rate=16_000))
        await client.receive_until("session.updated")
        await client.append(spoken("w3", rate_hz=16_000))
        await client.send(COMMIT)
        await client.receive_until(".completed")
        await client.send(VAD_8K)
        await client.receive_until("session.updated")
        await client.append(spoken("w4", "w5") + silence(1.0))
        await client.finish()

        assert client.transcripts == ["w1 w2", "w3", "w4 w5"]
        first, last = (event["audio_start_ms"] for event in client.of_type("speech_started"))
        assert (first, last) == (0, 1600)


async def test_settings_given_during_an_utterance_count_from_the_next_one(server: AsrServer) -> None:
    patient = update(turn_detection={"type": "server_vad", "silence_duration_ms": 2000})
    async with connected(server.url, VAD_8K) as client:
        await client.append(spoken("w1", "w2"))
        await client.send(patient)
        await client.append(silence(0.7) + spoken("w3", "w4") + silence(0.7) + spoken("w5") + silence(2.5))
        await client.finish()

        assert client.transcripts == ["w1 w2", "w3 w4 w5"]


async def test_emotion_that_is_switched_off_during_an_utterance_is_off_for_all_of_it() -> None:
    emotions = CountingEmotions()
    models = Models(engine=ScriptedEngine(), detector=LoudnessDetector(), emotions=emotions)
    async with await serve(ServerConfig(port=0, no_auth=True), models=models) as server:
        await server.wait_ready()
        before = emotions.heard
        async with connected(server.url, VAD_8K) as client:
            await client.append(spoken("w1", "w2"))
            await client.send(update(qa={"emotion": False}))
            await client.append(spoken("w3") + silence(1.0))
            await client.send(update(qa={"emotion": True}))
            await client.finish()

        assert emotions.heard == before
        assert client.transcripts == ["w1 w2 w3"]


async def test_under_overload_no_final_is_lost_or_out_of_order() -> None:
    slow = Models(engine=ScriptedEngine(latency_s=0.05), detector=LoudnessDetector())
    config = ServerConfig(port=0, no_auth=True, threads=1)
    spoken_words = [[f"w{16 * leg + n}" for n in range(8)] for leg in range(6)]

    async def call(server: AsrServer, words: list[str]) -> list[str]:
        async with connected(server.url, VAD_8K) as client:
            for word in words:
                await client.append(spoken(word) + silence(0.5), size=3200)
            await client.finish()
            return client.transcripts

    async with await serve(config, models=slow) as server:
        await server.wait_ready()
        heard = await asyncio.gather(*(call(server, words) for words in spoken_words))

    assert heard == spoken_words


async def test_an_utterance_without_a_pause_is_cut_at_a_minute_and_goes_on(server: AsrServer) -> None:
    words = [f"w{n % 256}" for n in range(330)]
    async with connected(server.url, VAD_8K) as client:
        await client.append(spoken(*words) + silence(1.0), size=16_000)
        await client.finish()

        first, second = client.of_type("speech_started")
        (end, _) = client.of_type("speech_stopped")
        said = " ".join(client.transcripts).split()
        assert 57_000 <= end["audio_end_ms"] <= 60_100
        assert second["audio_start_ms"] == end["audio_end_ms"]
        assert len(words) - len(said) <= 1  # the word that is cut
        assert set(said) <= set(words)
        assert first["item_id"] != second["item_id"]


async def test_a_manual_turn_shows_partials_under_the_id_that_its_commit_will_carry(
    server: AsrServer,
) -> None:
    async with connected(server.url, MANUAL_8K) as client:
        for _ in range(3):
            await client.append(spoken(*(f"w{n}" for n in range(8))))
            partial = await client.receive_until(".text")
        await client.send(COMMIT)
        await client.finish()

        (committed,) = client.of_type("committed")
        assert partial["item_id"] == committed["item_id"]
        assert client.transcripts[0].startswith(partial["text"])


async def test_a_manual_turn_without_end_is_bounded(
    server: AsrServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_MANUAL_TURN_MS", 1000)
    async with connected(server.url, MANUAL_8K) as client:
        await client.append(spoken("w1") + silence(3.0) + spoken("w2"))
        error = (await client.receive_until("error"))["error"]
        await client.send(COMMIT)
        await client.append(spoken("w3"))
        await client.finish()

        assert (error["code"], error["param"]) == ("invalid_value", "audio")
        assert client.transcripts == ["w1", "w3"]


class NotingEngine(ScriptedEngine):
    """A scripted engine that notes the hints of the finals that it decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.finals: list[tuple[float, Hints]] = []

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        if hints.final:
            self.finals.append((segment.duration_s, hints))
        return super().transcribe(segment, hints)


@asynccontextmanager
async def noting_server() -> AsyncIterator[tuple[AsrServer, NotingEngine]]:
    engine = NotingEngine()
    models = Models(engine=engine, detector=LoudnessDetector())
    async with await serve(ServerConfig(port=0, no_auth=True, close_wait_s=0.5), models=models) as server:
        await server.wait_ready()
        engine.finals.clear()
        yield server, engine


async def test_a_final_is_decoded_early_in_the_silence_and_told_at_its_end() -> None:
    async with noting_server() as (server, engine), connected(server.url, VAD_8K) as client:
        speech = spoken("w1", "w2", "w3")
        await client.append(speech + silence(0.15), size=320)
        async with asyncio.timeout(10):
            while not engine.finals:  # noqa: ASYNC110 - the engine tells nobody when it is asked
                await asyncio.sleep(0.005)
        told_early = client.transcripts
        await client.append(silence(0.5), size=320)
        await client.receive_until(".completed")

        assert told_early == []
        assert client.transcripts == ["w1 w2 w3"]
        assert len(engine.finals) == 1


async def test_an_utterance_soon_after_another_is_decoded_in_its_light() -> None:
    async with noting_server() as (server, engine), connected(server.url, VAD_8K) as client:
        for words, pause_s in ((("w1", "w2"), 1.0), (("w3", "w4"), 4.0), (("w5", "w6"), 1.0)):
            await client.append(spoken(*words) + silence(pause_s), size=320)
            await client.receive_until(".completed")
        await client.finish()

        assert client.transcripts == ["w1 w2", "w3 w4", "w5 w6"]
        assert [hints.before for _, hints in engine.finals] == ["", "w1 w2", ""]
