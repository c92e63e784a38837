from __future__ import annotations

import numpy as np

from qa_service.asr_server.engines import Capabilities, Hints, Segment, Transcript
from qa_service.asr_server.engines.scripted import markers
from qa_service.asr_server.recognition import Sound, UtteranceRecogniser
from qa_service.audio.resample import pcm_of_samples


class RecordingEngine:
    """Takes 4 s at most; says "piece" and how long the segment was, and keeps what it was asked."""

    def __init__(self, language: str = "de") -> None:
        self.asked: list[tuple[float, Hints]] = []
        self._language = language

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="recording", model="none", max_segment_s=4.0, detects_language=True, takes_corpus=False
        )

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        self.asked.append((segment.duration_s, hints))
        said = f"piece of {segment.duration_s:.1f}"
        return Transcript(
            text=hints.prefix + said, language=self._language, language_probabilities={self._language: 1.0}
        )


class Emotions:
    """Keeps the number of samples that it was made to listen to."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def hear(self, samples: np.ndarray) -> object:
        self.lengths.append(len(samples))
        return "heard"

    def open(self) -> Emotions:
        return self

    def judge(self, heard: object) -> object:
        raise NotImplementedError


def sound(seconds: float, rate_hz: int = 8000) -> Sound:
    noise = np.random.default_rng(1).normal(0, 0.1, round(30 * rate_hz)).astype(np.float32)
    return Sound(pcm=pcm_of_samples(noise[: round(seconds * rate_hz)]), rate_hz=rate_hz)


def test_a_short_utterance_is_one_segment_at_16_khz() -> None:
    engine = RecordingEngine()
    finding = UtteranceRecogniser(engine).look(sound(3.0), Hints())

    assert finding.transcript.text == "piece of 3.0"
    assert engine.asked == [(3.0, Hints())]


def test_a_long_utterance_is_recognised_in_pieces_of_one_language() -> None:
    engine = RecordingEngine()
    finding = UtteranceRecogniser(engine).look(sound(9.0), Hints())

    durations = [seconds for seconds, _ in engine.asked]
    assert max(durations) <= 4.0
    assert sum(durations) == 9.0
    assert [hints.language for _, hints in engine.asked] == [None, "de", "de"]
    assert finding.transcript.text.count("piece of") == 3


def test_pieces_that_will_not_grow_are_recognised_once() -> None:
    engine = RecordingEngine()
    recogniser = UtteranceRecogniser(engine)
    recogniser.look(sound(6.0), Hints())
    before = len(engine.asked)
    recogniser.look(sound(6.5), Hints())

    assert (before, len(engine.asked)) == (2, 3)


def test_what_was_shown_beyond_the_complete_pieces_begins_the_last_one() -> None:
    engine = RecordingEngine()
    recogniser = UtteranceRecogniser(engine)
    recogniser.look(sound(5.0), Hints())
    settled = f"piece of {engine.asked[0][0]:.1f}"
    recogniser.look(sound(5.0), Hints(prefix=f"{settled} and more"))

    assert engine.asked[-1][1].prefix == "and more"


def test_blanks_stand_only_between_pieces_of_scripts_that_have_them() -> None:
    assert " " in UtteranceRecogniser(RecordingEngine("en")).look(sound(6.0), Hints()).transcript.text
    chinese = RecordingEngine("zh")
    chinese.transcribe = lambda *_: Transcript(text="你好", language="zh")  # type: ignore[method-assign]

    assert UtteranceRecogniser(chinese).look(sound(6.0), Hints()).transcript.text == "你好你好"


def test_a_look_listens_for_no_emotion_and_a_conclusion_does_at_8_khz() -> None:
    emotions = Emotions()
    recogniser = UtteranceRecogniser(RecordingEngine())
    looked = recogniser.look(sound(1.0, 16_000), Hints())
    concluded = recogniser.conclude(sound(1.0, 16_000), Hints(), emotions)

    assert (looked.voice, concluded.voice) == (None, "heard")
    assert emotions.lengths == [8000]


def test_nobody_listens_for_an_emotion_where_none_may() -> None:
    finding = UtteranceRecogniser(RecordingEngine()).conclude(sound(1.0), Hints(), None)

    assert finding.voice is None


def test_the_duration_counts_samples_not_bytes() -> None:
    pcm = pcm_of_samples(markers(["w1"], rate_hz=16_000))

    assert Sound(pcm=pcm, rate_hz=16_000).duration_s == 0.2


def test_each_piece_is_heard_in_the_light_of_the_ones_before() -> None:
    engine = RecordingEngine()
    UtteranceRecogniser(engine).look(sound(9.0), Hints(before="said earlier"))
    texts = [f"piece of {seconds:.1f}" for seconds, _ in engine.asked]

    assert [hints.before for _, hints in engine.asked] == [
        "said earlier",
        texts[0],
        f"{texts[0]} {texts[1]}",
    ]


def test_confirmed_text_stands_though_complete_pieces_read_otherwise() -> None:
    confirmed = "a piece of cake, and then a piece"
    finding = UtteranceRecogniser(RecordingEngine()).look(sound(9.0), Hints(prefix=confirmed))

    assert finding.transcript.text.startswith(confirmed)


def test_only_a_conclusion_is_final() -> None:
    engine = RecordingEngine()
    recogniser = UtteranceRecogniser(engine)
    recogniser.look(sound(1.0), Hints())
    recogniser.conclude(sound(1.0), Hints(), None)

    assert [hints.final for _, hints in engine.asked] == [False, True]
