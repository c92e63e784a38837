"""Voices made by arithmetic, and the model, for the tests of the emotion package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qa_service.asr_server.emotion import WEIGHTS_PATH, EmotionModel
from qa_service.models import ensure

RATE = 8_000


def buzz(pitch_hz: float, seconds: float = 1.5, *, syllables_per_s: float = 4.0) -> np.ndarray:
    """A voice-like sound: a pulse train's harmonics in the telephone band, in syllables."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = [k for k in range(1, 40) if 300 <= k * pitch_hz <= 3400]
    tone = sum(np.cos(2 * np.pi * k * pitch_hz * time) / k for k in harmonics)
    level = 0.02 + np.maximum(np.sin(2 * np.pi * syllables_per_s * time), 0) ** 2
    return (0.1 * tone * level).astype(np.float32)


@pytest.fixture(scope="session")
def emotion_model(cache_dir: Path) -> EmotionModel:
    """The shipped weights on the real encoder."""
    return EmotionModel.load(WEIGHTS_PATH, ensure("whisper-base-layer3", cache_dir))


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """A folder with the corpora `emodb` and `speech`."""
    folder = os.environ.get("QA_TEST_SPEECH_DATA")
    if not folder:
        pytest.skip("set QA_TEST_SPEECH_DATA to a folder with emodb/ and speech/ (docs/emotion.md)")
    return Path(folder)
