"""Whisper models in folders of the operator's: tiny ones with random weights, made here."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from qa_service.asr_server import ServerConfig
from qa_service.asr_server.engines import Hints, Segment
from qa_service.asr_server.engines.model_folder import check_model_folder
from qa_service.asr_server.engines.whisper import WhisperEngine
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.loading import load
from qa_service.models import ensure
from tests.asr_server.tiny_whisper import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "whisper-mini")


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(model, tmp_path / model.name))


def write_sums(folder: Path) -> None:
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


SOUND = Segment(samples=np.random.default_rng(5).normal(0, 0.1, 16_000).astype(np.float32))


def test_a_model_of_128_bands_recognises(tmp_path: Path) -> None:
    engine = WhisperEngine(make_model(tmp_path / "v3", bands=128), model="v3", threads=1)

    assert engine.capabilities.detects_language
    assert engine.transcribe(SOUND, Hints(language="de")).language == "de"


def test_a_model_for_english_takes_everything_for_english(tmp_path: Path) -> None:
    engine = WhisperEngine(make_model(tmp_path / "en", is_multilingual=False), model="en", threads=1)

    assert not engine.capabilities.detects_language
    assert [engine.transcribe(SOUND, Hints(language=hint)).language for hint in (None, "de")] == ["en", "en"]


def test_a_folder_is_known_by_its_name(model: Path) -> None:
    assert check_model_folder(model) == "whisper-mini"


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(EngineError, match=rf"{name} missing; set QA_SERVER_MODEL_PATH"):
        check_model_folder(folder)


def test_what_the_sums_of_a_folder_say_must_hold(folder: Path) -> None:
    write_sums(folder)
    assert check_model_folder(folder) == "whisper-mini"
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")

    with pytest.raises(EngineError, match=r"tokenizer.json is not what SHA256SUMS says"):
        check_model_folder(folder)


def test_sums_that_cannot_be_read_are_an_error_and_no_permission(folder: Path) -> None:
    write_sums(folder)
    with (folder / "SHA256SUMS").open("a", encoding="utf-8") as sums:
        sums.write("model.bin is fine\n")

    with pytest.raises(EngineError, match=r"SHA256SUMS:\d+: expected a SHA-256"):
        check_model_folder(folder)


@pytest.mark.models
def test_a_model_that_we_know_is_known_by_its_digests(cache_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some-model"
    folder.mkdir()
    for path in ensure("whisper-base", cache_dir).iterdir():
        (folder / path.name).symlink_to(path)

    assert check_model_folder(folder) == "whisper-base"

    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EngineError, match=r"the weights of whisper-base and not its tokenizer.json"):
        check_model_folder(folder)


@pytest.mark.models
def test_the_server_loads_the_folder_that_the_settings_name(model: Path, cache_dir: Path) -> None:
    config = ServerConfig(model_path=model, cache_dir=cache_dir, emotion=False)

    assert load(config).engine.capabilities.model == "whisper-mini"
