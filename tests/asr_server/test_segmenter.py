from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.audibility import FRAME_MS, PARTS, VoiceFrame
from qa_service.asr_server.segmenter import Boundary, Endpoint, Endpointing, Onset, Segmenter

BALANCED = Endpointing(speech_probability=0.6, silence_ms=800, padding_ms=300)


def frames(ms: int, probability: float, level_db: float = -20.0) -> list[VoiceFrame]:
    return [VoiceFrame(probability, (level_db, level_db))] * (ms // FRAME_MS)


def boundaries(heard: list[VoiceFrame], endpointing: Endpointing = BALANCED) -> list[Boundary]:
    segmenter = Segmenter(endpointing)
    return segmenter.push(heard) + segmenter.flush(len(heard) * FRAME_MS)


def test_speech_begins_a_padding_before_its_onset_and_ends_with_the_silence_waited_for() -> None:
    found = boundaries(frames(960, 0.0) + frames(1600, 0.9) + frames(1600, 0.0))

    assert found == [Onset(660), Endpoint(3360, 2560, 1600)]


def test_padding_does_not_reach_before_the_first_sample() -> None:
    assert boundaries(frames(1600, 0.9))[0] == Onset(0)


def test_padding_does_not_reach_into_the_previous_utterance() -> None:
    speech, silence = frames(960, 0.9), frames(800, 0.0)
    first, second = [b for b in boundaries(speech + silence + speech) if isinstance(b, Onset)]

    assert (first, second) == (Onset(0), Onset(1760))


def test_a_click_begins_no_utterance() -> None:
    assert boundaries((frames(64, 0.99) + frames(480, 0.0)) * 5) == []


def test_silence_shorter_than_configured_does_not_end_an_utterance() -> None:
    found = boundaries(frames(960, 0.9) + frames(768, 0.0) + frames(960, 0.9))

    assert found == [Onset(0), Endpoint(2688, 2688, 1920)]


def test_in_speech_a_lower_threshold_holds() -> None:
    end_ms = 80 * FRAME_MS
    found = boundaries(frames(10 * FRAME_MS, 0.9) + frames(70 * FRAME_MS, 0.5))

    assert found == [Onset(0), Endpoint(end_ms, end_ms, end_ms)]


def test_the_silence_begins_when_speech_is_no_longer_audible_though_the_detector_still_hears_it() -> None:
    tail = frames(256, 0.9, level_db=-70.0)
    found = boundaries(frames(960, 0.9) + tail + frames(1600, 0.0))

    assert found == [Onset(0), Endpoint(1760, 960, 1216)]


def test_the_end_of_speech_is_told_to_half_a_frame() -> None:
    half = [VoiceFrame(0.9, (-20.0, -70.0))]

    assert boundaries(frames(960, 0.9) + half + frames(1600, 0.0))[1] == Endpoint(1776, 976, 992)


def test_what_is_voiced_for_longer_than_a_tail_is_speech_however_faint() -> None:
    found = boundaries(frames(960, 0.9) + frames(3200, 0.9, level_db=-70.0) + frames(1600, 0.0))

    assert found == [Onset(0), Endpoint(4640, 3840, 4160)]


@pytest.mark.parametrize("silence_ms", [200, 400, 6000])
def test_no_voiced_frame_ends_an_utterance(silence_ms: int) -> None:
    endpointing = Endpointing(speech_probability=0.5, silence_ms=silence_ms, padding_ms=0)
    segmenter = Segmenter(endpointing)

    assert segmenter.push(frames(960, 0.9) + frames(9600, 0.9, level_db=-80.0)) == [Onset(0)]


def test_line_noise_under_quiet_speech_does_not_hide_its_end() -> None:
    noise = frames(960, 0.1, level_db=-40.0)
    tail = frames(256, 0.9, level_db=-40.0)
    found = boundaries(noise + frames(960, 0.9) + tail + frames(1600, 0.1, level_db=-40.0))

    assert found == [Onset(660), Endpoint(2720, 1920, 1216)]


def test_speech_without_a_pause_is_cut_at_the_cap_where_it_is_least_voiced() -> None:
    heard = frames(58_880, 0.9) + frames(FRAME_MS, 0.5) + frames(9_600, 0.9)
    found = boundaries(heard)

    cut_ms = 58_880 + FRAME_MS
    end_ms = len(heard) * FRAME_MS
    spans = [(b.end_ms, b.speech_end_ms) if isinstance(b, Endpoint) else b.start_ms for b in found]
    assert spans == [0, (cut_ms, cut_ms), cut_ms, (end_ms, end_ms)]


def test_a_cut_in_a_pause_begins_nothing_new() -> None:
    found = boundaries(
        frames(59_840, 0.9) + frames(320, 0.1),
        Endpointing(speech_probability=0.6, silence_ms=6000, padding_ms=0),
    )

    assert [type(b) for b in found] == [Onset, Endpoint]


def test_a_dropped_utterance_is_never_ended() -> None:
    segmenter = Segmenter(BALANCED)
    segmenter.push(frames(960, 0.9))
    segmenter.drop()

    assert segmenter.push(frames(1600, 0.0)) == []
    assert segmenter.open is None


def test_nothing_is_processed_past_the_start_of_an_open_utterance() -> None:
    segmenter = Segmenter(BALANCED)
    segmenter.push(frames(960, 0.0))
    before = segmenter.processed_ms
    segmenter.push(frames(3200, 0.9))

    assert (before, segmenter.processed_ms) == (660, 660)


def test_silence_is_processed_up_to_the_padding() -> None:
    segmenter = Segmenter(BALANCED)
    segmenter.push(frames(3200, 0.0))

    assert segmenter.processed_ms == 2900


def test_other_settings_do_not_take_back_what_was_processed() -> None:
    segmenter = Segmenter(BALANCED)
    segmenter.push(frames(3200, 0.0))
    segmenter.reconfigure(Endpointing(speech_probability=0.5, silence_ms=400, padding_ms=2000))

    assert segmenter.push(frames(320, 0.9)) == [Onset(2900)]


def test_times_count_from_where_the_stream_begins() -> None:
    segmenter = Segmenter(BALANCED, base_ms=5000)

    assert segmenter.push(frames(320, 0.9)) == [Onset(5000)]


runs = st.lists(
    st.tuples(
        st.integers(1, 120),
        st.sampled_from([0.0, 0.3, 0.46, 0.5, 0.61, 1.0]),
        st.tuples(*[st.sampled_from([-90.0, -70.0, -50.0, -30.0, -3.0])] * PARTS),
    ),
    max_size=40,
)
settings_of_endpointing = st.builds(
    Endpointing,
    speech_probability=st.floats(0, 1),
    silence_ms=st.integers(200, 6000),
    padding_ms=st.integers(0, 5000),
    min_speech_ms=st.sampled_from([32, 96, 256]),
    cap_ms=st.sampled_from([1000, 5000, 60_000]),
)


@given(runs=runs, endpointing=settings_of_endpointing, tail_ms=st.integers(0, 31))
def test_utterances_are_within_what_was_received_and_go_upward_without_overlap(
    runs: list[tuple[int, float, tuple[float, ...]]], endpointing: Endpointing, tail_ms: int
) -> None:
    heard = [VoiceFrame(probability, levels) for count, probability, levels in runs for _ in range(count)]
    segmenter = Segmenter(endpointing)
    found: list[Boundary] = []
    processed = 0
    for index, frame in enumerate(heard, start=1):
        new = segmenter.push([frame])
        for boundary in new:
            if isinstance(boundary, Onset):
                assert boundary.start_ms >= processed
            else:
                assert boundary.end_ms <= index * FRAME_MS
        found += new
        assert segmenter.processed_ms >= processed
        processed = segmenter.processed_ms
    received_ms = len(heard) * FRAME_MS + tail_ms
    found += segmenter.flush(received_ms)

    assert len(found) % 2 == 0
    reached_ms = 0
    for onset, endpoint in zip(found[::2], found[1::2], strict=True):
        assert isinstance(onset, Onset)
        assert isinstance(endpoint, Endpoint)
        assert reached_ms <= onset.start_ms < endpoint.end_ms <= received_ms
        assert endpoint.speech_end_ms <= endpoint.end_ms
        reached_ms = endpoint.end_ms


@given(runs=runs, endpointing=settings_of_endpointing, size=st.integers(1, 50))
def test_the_pieces_in_which_audio_comes_change_nothing(
    runs: list[tuple[int, float, tuple[float, ...]]], endpointing: Endpointing, size: int
) -> None:
    heard = [VoiceFrame(probability, levels) for count, probability, levels in runs for _ in range(count)]
    whole, pieces = Segmenter(endpointing), Segmenter(endpointing)
    found = [b for i in range(0, len(heard), size) for b in pieces.push(heard[i : i + size])]

    assert found == whole.push(heard)


@pytest.mark.parametrize(("silence_ms", "end_ms"), [(200, 1160), (400, 1360), (6000, 6960)])
def test_an_utterance_ends_with_exactly_the_configured_silence(silence_ms: int, end_ms: int) -> None:
    endpointing = Endpointing(speech_probability=0.5, silence_ms=silence_ms, padding_ms=300)

    assert boundaries(frames(960, 0.9) + frames(8000, 0.0), endpointing)[1] == Endpoint(end_ms, 960, 960)
