from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qa_service.bench.recordings import (
    CorpusError,
    Recording,
    corpus_recordings,
    first_speech,
    idle_line,
    on_the_line,
    sample_recordings,
    speech_span,
    unspoken_sounds,
)

RATE_HZ = 8000


def tone(seconds: float, level: float) -> np.ndarray:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * 32767 * np.sin(2 * np.pi * 500 * times)).astype(np.int16)


def recording(samples: np.ndarray) -> Recording:
    return Recording("a tone", "tones", "en", "beep", samples)


def test_speech_ends_with_the_last_frame_that_is_loud_enough() -> None:
    faint, loud = tone(0.5, 0.001), tone(1.0, 0.5)

    assert speech_span(np.concatenate((faint, loud, faint))) == (4000, 12_000)


def test_the_marks_of_a_track_count_from_its_first_sample() -> None:
    track = on_the_line(recording(tone(1.0, 0.5)), tail_s=2.0)

    assert (track.speech_start_ms, track.speech_end_ms) == (500.0, 1500.0)
    assert len(track.pcm) == 2 * RATE_HZ * 3.5


def test_the_beginning_of_speech_leaves_out_the_pause_before_it() -> None:
    cut = first_speech(recording(np.concatenate((tone(1.0, 0.0), tone(6.0, 0.5)))), 4.0)

    assert cut.seconds == 4.0
    assert speech_span(cut.samples)[0] == 0


def test_every_line_of_the_sample_calls_is_a_recording_with_speech_in_it() -> None:
    recordings = sample_recordings()

    assert {r.group for r in recordings} == {"samples en", "samples de"}
    assert len({r.name for r in recordings}) == len(recordings)
    for one in recordings:
        assert one.text
        assert speech_span(one.samples)[1] / RATE_HZ > 0.8 * one.seconds


def test_a_corpus_is_read_through_the_telephone_and_grouped(tmp_path: Path) -> None:
    names = {"ast_en_hello.flac": "en", "lv_1.flac": "en", "fsdd_1.flac": "en", "sr_fr.flac": "fr"}
    for name in names:
        soundfile.write(tmp_path / name, tone(0.5, 0.5), RATE_HZ)
    lines = [json.dumps({"file": n, "language": code, "text": "hello"}) for n, code in names.items()]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))

    found = {r.name: r.group for r in corpus_recordings(tmp_path)}
    assert list(found.values()) == ["en prompts", "en read", "en digits", "fr"]


@pytest.mark.parametrize(
    "manifest", [None, "no json", '{"file": "missing.flac", "language": "en", "text": ""}']
)
def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.jsonl").write_text(manifest)

    with pytest.raises(CorpusError, match=r"manifest\.jsonl"):
        corpus_recordings(tmp_path)


def test_unspoken_sounds_are_as_long_as_asked_for_and_but_for_silence_can_be_heard() -> None:
    sounds = unspoken_sounds(20.0)
    levels = {name: float(np.sqrt(np.mean(samples.astype(float) ** 2))) for name, samples in sounds.items()}

    assert {len(samples) for samples in sounds.values()} == {20 * RATE_HZ}
    assert levels["silence"] == 0
    assert 0 < levels["idle line"] < 30
    assert all(levels[name] > 200 for name in ("loud line noise", "tones", "hold music"))


def test_an_idle_line_is_the_same_each_time() -> None:
    assert np.array_equal(idle_line(0.5), idle_line(0.5))
