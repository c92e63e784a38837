"""Manifests: taken whole, or refused with the file, the line and what was expected."""

from __future__ import annotations

import pytest

from qa_service.asr_server.emotion.model import CLASSES
from qa_service.emotion_training import ManifestError, read_manifest

from .corpora import write_manifest

GOOD = {"file": "a.wav", "speaker": "c1", "emotion": "angry"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.wav").write_bytes(b"other sound")
    return tmp_path


def test_a_folder_stands_for_the_manifest_in_it(folder):
    path = write_manifest(folder, [GOOD])

    assert read_manifest(folder) == read_manifest(path)


def test_a_line_becomes_a_clip(folder):
    write_manifest(folder, [GOOD, {"file": "b.wav", "speaker": 7, "emotion": "other", "full_length": False}])

    first, second = read_manifest(folder).clips

    assert (first.path, first.line, first.speaker, first.full_length) == (folder / "a.wav", 1, "c1", True)
    assert CLASSES[first.emotion] == "angry"
    assert (second.speaker, CLASSES[second.emotion], second.full_length) == ("7", "boredom", False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            {**GOOD, "emotion": "furious"},
            r"manifest\.jsonl, line 2: emotion 'furious': expected one of angry,",
        ),
        ({**GOOD, "file": "none.wav"}, r"line 2: no such file: .*none\.wav"),
        ({"file": "b.wav", "emotion": "sad"}, r"line 2: .*missing required field `speaker`; expected \{"),
        ({**GOOD, "file": "b.wav", "speaker": ""}, r"line 2: speaker is empty"),
        (GOOD, r"line 2: a\.wav is in line 1 already"),
        (["a.wav", "angry"], r"line 2: Expected `object`, got `array`"),
    ],
    ids=["unknown emotion", "no such file", "no speaker", "empty speaker", "listed twice", "no object"],
)
def test_a_line_that_cannot_be_used_is_named_with_what_was_expected(folder, line, message):
    write_manifest(folder, [GOOD, line])

    with pytest.raises(ManifestError, match=message):
        read_manifest(folder)


def test_an_empty_manifest_says_what_a_line_looks_like(folder):
    write_manifest(folder, [])

    with pytest.raises(ManifestError, match=r'lists no recordings; expected a line for each like \{"file"'):
        read_manifest(folder)


def test_a_folder_without_a_manifest_is_refused_by_name(folder):
    with pytest.raises(ManifestError, match=r"manifest\.jsonl cannot be read"):
        read_manifest(folder)


def test_the_digest_follows_sound_speaker_and_emotion_but_not_names(folder):
    write_manifest(folder, [GOOD])
    digest = read_manifest(folder).digest()
    (folder / "a.wav").rename(folder / "c.wav")
    write_manifest(folder, [{**GOOD, "file": "c.wav"}])
    renamed = read_manifest(folder).digest()
    (folder / "c.wav").write_bytes(b"another sound")
    changed = read_manifest(folder).digest()

    assert renamed == digest
    assert changed != digest
