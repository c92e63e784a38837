"""Models out of a small hub on this machine: whole or not at all, by the digests that it states."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import constants

from qa_service.cli.models import model as model_command
from qa_service.fetching import DigestMismatchError, FetchError, UnavailableError
from qa_service.models import State, ensure_named, model_names, speech_model, verify_named
from qa_service.models.hub import SIZES, HubModel
from tests.models.hub_server import COMMIT, Hub, running_hub

NAME = "Systran/faster-whisper-small"
WEIGHTS = bytes(range(256)) * 400


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {
        "README.md": b"# Whisper small",
        "model.bin": WEIGHTS,
        "config.json": b'{"alignment_heads": []}',
        "tokenizer.json": b'{"model": {}}',
        "vocabulary.txt": b"a\nb\n",
    }
    with running_hub(Hub(NAME, files)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"{hub.endpoint}/")
        yield hub


@pytest.mark.parametrize("name", ["small", NAME, f"{NAME}@main", f"{NAME}@{COMMIT}"])
def test_a_model_is_fetched_by_any_of_its_names(hub: Hub, tmp_path: Path, name: str) -> None:
    folder = ensure_named(name, tmp_path)

    found = {path.name for path in folder.iterdir()}
    assert found == {"model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "SHA256SUMS"}
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert verify_named(name, tmp_path).state is State.OK


def test_a_model_that_is_there_needs_no_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ensure_named("small", tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    assert ensure_named("small", tmp_path) == folder
    assert set(hub.gets.values()) == {1}


def test_a_file_that_changed_is_found_and_replaced(hub: Hub, tmp_path: Path) -> None:
    folder = ensure_named("small", tmp_path)
    (folder / "model.bin").write_bytes(WEIGHTS[:-1] + b"x")

    damaged = verify_named("small", tmp_path)
    assert damaged.state is State.DAMAGED
    assert f"model.bin is not what SHA256SUMS says; `qa-service model fetch {NAME}`" in damaged.detail
    assert ensure_named("small", tmp_path).joinpath("model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_what_is_not_as_the_hub_states_is_never_used(hub: Hub, tmp_path: Path, name: str) -> None:
    right = hub.files[name]
    hub.delivered[name] = right[:-1] + b"x"

    with pytest.raises(DigestMismatchError, match=rf"{name} of {NAME} has the digest .* thrown away"):
        ensure_named("small", tmp_path)
    assert verify_named("small", tmp_path).state is State.ABSENT

    del hub.delivered[name]
    assert ensure_named("small", tmp_path).joinpath(name).read_bytes() == right


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client goes on after the last whole piece; by default that is one of 10 MB.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.broken_after["model.bin"] = 60_000
    folder = ensure_named("small", tmp_path)

    (first, second) = [start for name, start in hub.starts if name == "model.bin"]
    assert first == 0
    assert 0 < second <= 60_000
    assert (folder / "model.bin").read_bytes() == WEIGHTS


def test_files_that_an_interrupted_fetch_completed_are_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.refused["tokenizer.json"] = 403
    with pytest.raises(UnavailableError):
        ensure_named("small", tmp_path)
    assert verify_named("small", tmp_path).state is State.ABSENT

    hub.refused.clear()
    ensure_named("small", tmp_path)
    assert set(hub.gets.values()) == {1}


def test_a_model_that_the_hub_does_not_have_is_named_with_a_remedy(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no model somebody/nothing .* check the name"):
        ensure_named("somebody/nothing", tmp_path)


def test_a_repository_that_holds_no_such_model_says_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    del hub.files["tokenizer.json"]

    with pytest.raises(UnavailableError, match=r"tokenizer.json missing"):
        ensure_named("small", tmp_path)


def test_without_a_network_the_remedies_are_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    with pytest.raises(UnavailableError) as caught:
        ensure_named("small", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"cannot fetch {NAME} from the hub" in message
    for remedy in ("QA_SERVER_MODEL_PATH", "HTTPS_PROXY", "HF_ENDPOINT"):
        assert remedy in message


def test_the_hubs_own_switch_for_working_offline_holds(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(UnavailableError, match=r"cannot fetch .*QA_SERVER_MODEL_PATH"):
        ensure_named("small", tmp_path)


@pytest.mark.parametrize("name", ["smal", "a/b/c", "../model", "", "owner/..", "a--b/c", "o/n@a/b"])
def test_what_is_no_name_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    with pytest.raises(FetchError, match=r"no speech model .* use a size \(tiny, .*owner/name"):
        ensure_named(name, tmp_path)


def test_two_models_never_share_a_folder(tmp_path: Path) -> None:
    names = [*SIZES.values(), "a/b-c", "a-b/c", "a/c@main", "a/c"]
    folders = {HubModel.parse(name).folder_in(tmp_path) for name in names}

    assert len(folders) == len(set(names))


def test_the_catalogues_model_has_all_its_names() -> None:
    assert {speech_model(name) for name in ("base", "Systran/faster-whisper-base", "whisper-base")} == {
        "whisper-base"
    }
    with pytest.raises(FetchError, match="silero-vad recognises no speech"):
        speech_model("silero-vad")


def test_models_of_the_hub_are_listed_with_the_others(hub: Hub, tmp_path: Path) -> None:
    ensure_named(f"{NAME}@{COMMIT}", tmp_path)
    (tmp_path / "models" / "hub" / "some--other.partial").mkdir()

    assert model_names(tmp_path)[-1] == f"{NAME}@{COMMIT}"
    assert "some/other.partial" not in model_names(tmp_path)


def test_the_command_fetches_and_verifies_by_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QA_CACHE_DIR", str(tmp_path))
    run = CliRunner().invoke
    absent = run(model_command, ["verify", "small"])
    fetched = run(model_command, ["fetch", "small", "--json"])
    (tmp_path / "models" / "hub" / NAME.replace("/", "--") / "config.json").unlink()
    damaged = run(model_command, ["verify", "small", "--json"])

    assert (absent.exit_code, fetched.exit_code, damaged.exit_code) == (1, 0, 1)
    assert f"run `qa-service model fetch {NAME}`" in absent.output
    assert [(row["name"], row["state"]) for row in json.loads(fetched.stdout)] == [(NAME, "ok")]
    assert f"fetching model.bin of {NAME} (0.1 MB)" in fetched.stderr
    assert json.loads(damaged.stdout)[0]["state"] == "damaged"
