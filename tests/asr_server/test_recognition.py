from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qa_service.asr_server.agreement import Agreement, continued
from qa_service.asr_server.engines import Capabilities, Hints, Segment, Transcript
from qa_service.asr_server.engines.scripted import markers
from qa_service.asr_server.engines.word_times import words_of
from qa_service.asr_server.recognition import Look, Sound, UtteranceRecogniser, look_together
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


class ReadingEngine:
    """Reads a word each half second off the sound, whose samples say at which time they were said.

    What it hears first in a segment that does not begin at a word is wrong, as it is with real ones.
    """

    def __init__(self, *, max_batch: int = 1, encodes: bool = False) -> None:
        self.capabilities = Capabilities(
            engine="reading",
            model="none",
            max_segment_s=29.0,
            detects_language=False,
            takes_corpus=False,
            times_words=True,
            max_batch=max_batch,
            encodes=encodes,
        )
        self.heard_s: list[tuple[float, float]] = []
        self.batches: list[int] = []
        self.encoded = 0

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        first, last = (float(value) * SPAN_S for value in (segment.samples[0], segment.samples[-1]))
        self.heard_s.append((round(first, 1), round(last, 1)))
        numbers = range(round(first / 0.5), int((last - 0.01) / 0.5) + 1)
        words = [f"word{number}" for number in numbers]
        if first and not hints.prefix:
            words[0] = "wrong"
        heard = " ".join(words)
        text = continued(hints.prefix, heard)
        times = ()
        if hints.word_times:
            ends = [len(" ".join(words[: count + 1])) for count in range(len(words))]
            times = words_of(text, heard, ends, {n: round(25 * n) for n in range(len(words))})
        return Transcript(text=text, language="en", words=times)

    def transcribe_batch(self, segments: Sequence[Segment], hints: Sequence[Hints]) -> list[Transcript]:
        self.batches.append(len(segments))
        return [self.transcribe(*asked) for asked in zip(segments, hints, strict=True)]

    def encode(self, segment: Segment) -> object:
        self.encoded += 1
        return f"encoded {len(segment.samples)}"


SPAN_S = 64.0


def told(seconds: float, *, voiced_s: float | None = 1.0) -> Sound:
    """Sound of which each sample says when it was said."""
    times = np.arange(round(seconds * 16_000), dtype=np.float32) / 16_000 / SPAN_S
    return Sound(pcm=pcm_of_samples(times), rate_hz=16_000, voiced_s=voiced_s)


def look_each_second(recogniser: UtteranceRecogniser, seconds: int) -> Agreement:
    """The agreement of looks at an utterance as it grows; what was confirmed always stands."""
    agreement = Agreement()
    for second in range(1, seconds + 1):
        before = agreement.text
        found = recogniser.look(told(second), Hints(prefix=before)).transcript.text
        agreement.observe(found)
        assert found.startswith(before)
        assert agreement.text.startswith(before)
    return agreement


def test_looks_at_a_long_utterance_hear_only_its_end_and_say_all_of_it() -> None:
    engine = ReadingEngine()
    agreement = look_each_second(UtteranceRecogniser(engine), 25)

    assert max(last - first for first, last in engine.heard_s) <= 7.0
    assert agreement.text == " ".join(f"word{number}" for number in range(len(agreement.text.split())))
    assert len(agreement.text.split()) >= 45


def test_confirmed_words_are_heard_again_before_what_is_open() -> None:
    engine = ReadingEngine()
    recogniser = UtteranceRecogniser(engine)
    confirmed = look_each_second(recogniser, 12).text
    recogniser.look(told(13), Hints(prefix=confirmed))
    begin_s, _ = engine.heard_s[-1]

    assert 0 < begin_s <= len(confirmed.split()) * 0.5 - 2.0


def test_the_final_hears_all_of_a_long_utterance() -> None:
    engine = ReadingEngine()
    recogniser = UtteranceRecogniser(engine)
    confirmed = look_each_second(recogniser, 15).text
    finding = recogniser.conclude(told(16), Hints(prefix=confirmed), None)

    assert engine.heard_s[-1] == (0.0, 16.0)
    assert finding.transcript.text == " ".join(f"word{number}" for number in range(32))


def test_without_confirmed_text_a_look_hears_everything() -> None:
    engine = ReadingEngine()
    recogniser = UtteranceRecogniser(engine)
    for second in (8, 10, 12):
        recogniser.look(told(second), Hints())

    assert [first for first, _ in engine.heard_s] == [0.0, 0.0, 0.0]


def test_looks_at_several_utterances_are_one_call_with_the_findings_of_each() -> None:
    engine = ReadingEngine(max_batch=4)
    sounds = [told(second) for second in (2, 5, 3)]
    looks = [Look(UtteranceRecogniser(engine), sound, Hints(before="hello")) for sound in sounds]
    together = [finding.transcript for finding in look_together(looks)]
    alone = [UtteranceRecogniser(engine).look(sound, Hints()).transcript for sound in sounds]

    assert engine.batches == [3]
    assert together == alone


def test_an_engine_without_batches_is_asked_one_after_another() -> None:
    engine = ReadingEngine()
    looks = [Look(UtteranceRecogniser(engine), told(second), Hints()) for second in (2, 5)]

    assert [finding.transcript.text.split()[-1] for finding in look_together(looks)] == ["word3", "word9"]
    assert engine.batches == []


def test_a_commit_without_further_sound_takes_up_what_the_look_has_encoded() -> None:
    engine = ReadingEngine(encodes=True)
    asked: list[object | None] = []
    transcribe = engine.transcribe
    engine.transcribe = lambda segment, hints: (  # type: ignore[method-assign]
        asked.append(segment.encoding) or transcribe(segment, hints)
    )
    recogniser = UtteranceRecogniser(engine)
    recogniser.look(told(2, voiced_s=None), Hints())
    recogniser.conclude(told(2, voiced_s=None), Hints(), None)
    recogniser.conclude(told(3, voiced_s=None), Hints(), None)

    assert asked == ["encoded 32000", "encoded 32000", None]
    assert engine.encoded == 1


def test_with_voice_activity_nothing_is_kept_since_a_final_hears_more_than_a_look() -> None:
    engine = ReadingEngine(encodes=True)
    UtteranceRecogniser(engine).look(told(2), Hints())

    assert engine.encoded == 0


def test_pieces_in_cyrillic_have_blanks_between_them() -> None:
    russian = RecordingEngine("ru")
    russian.transcribe = lambda *_: Transcript(text="И так", language="ru")  # type: ignore[method-assign]

    assert UtteranceRecogniser(russian).conclude(sound(6.0), Hints(), None).transcript.text == "И так И так"


def test_pieces_of_a_very_long_utterance_are_ready_when_its_final_is_wanted() -> None:
    engine = ReadingEngine()
    recogniser = UtteranceRecogniser(engine)
    confirmed = look_each_second(recogniser, 40).text
    looked = len(engine.heard_s)
    recogniser.conclude(told(41), Hints(prefix=confirmed), None)

    assert len(engine.heard_s) == looked + 1
    assert sum(last - first > 8.0 for first, last in engine.heard_s[:looked]) == 1
