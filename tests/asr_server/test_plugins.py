"""Engines of packages that are really installed, as far as Python can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qa_service.asr_server import ServerConfig, serve
from qa_service.asr_server.engines import Hints, Segment
from qa_service.asr_server.engines.plugins import EngineOptions, open_engine
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.loading import load
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.asr_server.workplace import Models
from tests.asr_server.support import COMMIT, MANUAL_8K, VAD_8K, connected, silence, spoken

MODULE = """
from qa_service.asr_server.engines import Capabilities, Transcript

class Parrot:
    def __init__(self, options):
        self.options = options
        self.capabilities = Capabilities(
            engine="parrot", model=str(options.model_path), max_segment_s=30.0,
            detects_language=False, takes_corpus=False,
        )

    def transcribe(self, segment, hints):
        return Transcript(text=f"{segment.duration_s:.0f} s of sound", language="en")

class Echo(Parrot):
    def __init__(self, options):
        super().__init__(options)
        self.capabilities = Capabilities(
            engine="echo", model="none", max_segment_s=30.0, detects_language=False, takes_corpus=False,
            max_batch=2, encodes=True,
        )
        self.taken_up = []

    def encode(self, segment):
        return segment.samples.sum()

    def transcribe(self, segment, hints):
        self.taken_up.append(segment.encoding is not None)
        return super().transcribe(segment, hints)

    def transcribe_batch(self, segments, hints):
        return [self.transcribe(*one) for one in zip(segments, hints)]

class Boaster(Parrot):
    def __init__(self, options):
        self.capabilities = Capabilities(
            engine="boaster", model="none", max_segment_s=30.0, detects_language=False, takes_corpus=False,
            **options.model_path,
        )

def open_broken(options):
    raise OSError("no microphone")

def open_nothing(options):
    return "polly"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package with an entry point on the path; each under a name of its own."""

    def do(name: str, attribute: str, *, package: str = "parrot_engine") -> None:
        home = tmp_path / package
        info = home / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (home / f"{package}.py").write_text(MODULE, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[qa_service.engines]\n{name} = {package}:{attribute}\n")
        monkeypatch.syspath_prepend(home)

    return do


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(threads=1, cache_dir=tmp_path, model_path=Path("polly"))


async def test_a_server_serves_with_the_engine_of_a_package(install, options):
    install("parrot", "Parrot")
    engine = open_engine("parrot", options)
    models = Models(engine=engine, detector=LoudnessDetector())
    async with await serve(ServerConfig(port=0, no_auth=True, engine="parrot"), models=models) as server:
        await server.wait_ready()
        async with connected(server.url, VAD_8K) as client:
            await client.append(spoken("w1", "w2", "w3", "w4", "w5") + silence(0.8))
            await client.finish()

    assert client.transcripts == ["1 s of sound"]
    assert (engine.capabilities.engine, engine.capabilities.model) == ("parrot", "polly")


def test_the_name_of_an_engine_may_be_mistyped(install, options):
    install("parrot", "Parrot")

    with pytest.raises(EngineError, match=r"no engine 'parot', did you mean 'parrot'\?.*scripted, whisper"):
        open_engine("parot", options, {"whisper": lambda _: None, "scripted": lambda _: None})


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("open_broken", r"'x' of parrot_engine 1.0 .* cannot be opened: OSError: no microphone"),
        ("open_nothing", r"'x' of parrot_engine 1.0 .* gives no engine: capabilities and transcribe"),
        ("open_missing", r"cannot be opened: AttributeError"),
    ],
)
def test_a_package_that_does_not_keep_to_the_seam_is_named(install, options, attribute, message):
    install("x", attribute)

    with pytest.raises(EngineError, match=message):
        open_engine("x", options)


@pytest.mark.parametrize(
    ("claim", "missing"), [({"max_batch": 2}, "transcribe_batch"), ({"encodes": True}, "encode")]
)
def test_an_engine_has_to_have_what_its_capabilities_claim(install, tmp_path, claim, missing):
    install("boaster", "Boaster")

    with pytest.raises(EngineError, match=rf"gives no engine: .* {missing} is needed"):
        open_engine("boaster", EngineOptions(threads=1, cache_dir=tmp_path, model_path=claim))


async def test_a_commit_takes_up_what_the_last_look_has_encoded(install, options):
    install("echo", "Echo")
    engine = open_engine("echo", options)
    models = Models(engine=engine, detector=LoudnessDetector())
    async with await serve(ServerConfig(port=0, no_auth=True, engine="echo"), models=models) as server:
        await server.wait_ready()
        async with connected(server.url, MANUAL_8K) as client:
            await client.append(spoken("w1", "w2"))
            await client.receive_until(".text")
            await client.send(COMMIT)
            await client.finish()

    assert client.transcripts == ["0 s of sound"]
    assert engine.taken_up[-2:] == [True, True]


def test_two_packages_cannot_offer_the_same_name(install, options):
    install("parrot", "Parrot", package="one_engine")
    install("parrot", "Parrot", package="other_engine")

    with pytest.raises(EngineError, match=r"offered by one_engine 1.0 and other_engine 1.0"):
        open_engine("parrot", options)


def test_a_package_cannot_replace_an_engine_that_comes_with_the_server(install):
    install("scripted", "open_broken")

    assert isinstance(load(ServerConfig(engine="scripted")).engine, ScriptedEngine)


@pytest.mark.models
def test_the_engine_of_a_package_is_loaded_by_its_name(install, cache_dir):
    install("parrot", "Parrot")
    config = ServerConfig(engine="parrot", model_path=Path("polly"), emotion=False, cache_dir=cache_dir)

    engine = load(config).engine

    assert (
        engine.transcribe(Segment(samples=np.zeros(32_000, dtype=np.float32)), Hints()).text == "2 s of sound"
    )
    assert engine.options == EngineOptions(
        threads=2, cache_dir=cache_dir, model_path=Path("polly"), report=engine.options.report
    )
