"""The asr-server on weights of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qa_service.asr_server import EngineError, ServerConfig, loading
from qa_service.asr_server.emotion import WEIGHTS_PATH
from qa_service.asr_server.emotion.model import Weights
from qa_service.cli.configuration import server_config
from qa_service.settings import Settings


class Ear:
    """Stands for the encoder, which these tests do not ask."""

    def __init__(self, _folder: Path) -> None: ...


@pytest.fixture
def without_models(monkeypatch, tmp_path):
    """Loads nothing but the emotion weights."""
    monkeypatch.setattr(loading, "open_engine", lambda *_: object())
    monkeypatch.setattr(loading, "SileroDetector", lambda _: object())
    monkeypatch.setattr(loading, "ensure", lambda *_: tmp_path)
    monkeypatch.setattr("qa_service.asr_server.emotion.model.Ear", Ear)


def test_the_setting_reaches_the_server(monkeypatch):
    monkeypatch.setenv("QA_SERVER_EMOTION_WEIGHTS", "own.npz")

    config = server_config(Settings(), host=None, port=None, no_auth=True)

    assert config.emotion_weights == Path("own.npz")


def test_the_server_judges_by_the_weights_it_is_given(without_models, tmp_path):
    shipped = Weights.load(WEIGHTS_PATH)
    replace(shipped, temperature=shipped.temperature * 2).save(tmp_path / "own.npz")

    models = loading.load(ServerConfig(emotion_weights=tmp_path / "own.npz"))

    assert models.emotions.model.weights.temperature == shipped.temperature * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", r"own\.npz holds no weights"),
        (None, r"own\.npz was trained for another version.*train again"),
    ],
    ids=["no weights", "weights of an earlier version"],
)
def test_weights_that_cannot_be_used_stop_the_start_with_the_remedy(
    without_models, tmp_path, content, message
):
    path = tmp_path / "own.npz"
    if content is None:
        shipped = Weights.load(WEIGHTS_PATH)
        replace(shipped, emotion_offsets=shipped.emotion_offsets[:7]).save(path)
    else:
        path.write_bytes(content)

    with pytest.raises(EngineError, match=message):
        loading.load(ServerConfig(emotion_weights=path))


def test_weights_that_are_not_there_stop_the_start_by_name(without_models, tmp_path):
    with pytest.raises(EngineError, match=r"none\.npz holds no weights"):
        loading.load(ServerConfig(emotion_weights=tmp_path / "none.npz"))
