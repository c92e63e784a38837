"""Evaluating, and the commands as users meet them."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace

import pytest
import soundfile
from click.testing import CliRunner

from qa_service.asr_server.emotion import EmotionModel
from qa_service.audio.line import through_line
from qa_service.cli import emotion as command
from qa_service.emotion_training import (
    PicturesUnavailableError,
    TooLittleDataError,
    evaluate,
    pictures,
    read_manifest,
    train,
)

from .corpora import Ear, make_corpus, quiet, write_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def weights(folder):
    return train(read_manifest(folder), Ear(), quiet).weights


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs `qa-service emotion` in an empty folder with an encoder that hears nothing."""
    monkeypatch.setattr(command, "_ear", Ear)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command.emotion, [str(word) for word in arguments])


def test_whole_recordings_are_judged_whole(folder, weights):
    told = evaluate(read_manifest(folder), weights, Ear(), quiet).as_json()

    assert told["conditions"]["cut_to_2_s"] is False
    assert (told["utterances"], told["speakers"]) == (40, 4)
    assert told["figures"]["anger_auc"]["value"] > 0.97
    assert told["labels"]["angry"]["angry"] >= 18


def test_one_cut_among_them_has_all_of_them_cut_alike(folder, weights, tmp_path):
    (tmp_path / "clips").symlink_to(folder)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    cut = [
        {**line, "file": f"clips/{line['file']}", "full_length": number > 0}
        for number, line in enumerate(lines)
    ]
    write_manifest(tmp_path, cut)

    evaluation = evaluate(read_manifest(tmp_path), weights, Ear(), quiet)

    assert evaluation.conditions["cut_to_2_s"] is True


def test_as_calls_each_utterance_is_judged_by_what_came_before_alone(folder, weights):
    first = evaluate(read_manifest(folder), weights, Ear(), quiet, as_calls=True).scored
    alone = evaluate(read_manifest(folder), weights, Ear(), quiet).scored

    assert first.anger[0] == alone.anger[0]
    assert (first.anger != alone.anger).any()


def test_on_a_bad_line_the_voices_sound_other(folder, weights):
    bad = evaluate(read_manifest(folder), weights, Ear(), quiet, bad_line=True)
    good = evaluate(read_manifest(folder), weights, Ear(), quiet)

    assert bad.conditions["bad_line"] is True
    assert (bad.scored.anger[:10] != good.scored.anger[:10]).all()


def test_a_corpus_of_silence_is_too_little(folder, weights, tmp_path):
    (tmp_path / "silence.wav").write_bytes((folder / "s0-angry-0.wav").read_bytes()[:44] + bytes(16_000))
    write_manifest(tmp_path, [{"file": "silence.wav", "speaker": "a", "emotion": "angry"}])

    with pytest.raises(TooLittleDataError, match="can be judged"):
        evaluate(read_manifest(tmp_path), weights, Ear(), quiet)


def test_estimates_are_those_of_the_model_at_work(folder, weights):
    corpus = read_manifest(folder)
    scored = evaluate(corpus, weights, Ear(), quiet).scored

    samples, rate = soundfile.read(corpus.clips[0].path, dtype="float32")
    estimate = EmotionModel(weights, Ear()).classify(through_line(samples, rate)).estimate

    assert estimate.anger_score == pytest.approx(scored.anger[0], rel=1e-4)


def test_the_command_trains_and_says_which_labels_can_never_come(folder, run, tmp_path):
    result = run("train", folder, "--out", "own.npz")

    assert result.exit_code == 0, result.output
    assert "Recordings: 20 angry, 20 neutral" in result.output
    assert "never come, since there were no recordings of them: happy, sad, fearful" in result.output
    assert (tmp_path / "own.npz").exists()
    assert (tmp_path / "own.json").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [("own.json", "expected a name that ends in .npz"), ("none/own.npz", "folder none is not there")],
)
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_heard(
    folder, run, monkeypatch, out, message
):
    monkeypatch.setattr(command, "train", None)

    result = run("train", folder, "--out", out)

    assert result.exit_code == 2
    assert message in result.output


def test_the_command_measures_weights_in_words_and_in_json(folder, run, weights, tmp_path):
    weights.save(tmp_path / "own.npz")

    words = run("evaluate", folder, "--weights", "own.npz")
    told = json.loads(run("evaluate", folder, "--weights", "own.npz", "--json").stdout)

    assert words.exit_code == 0, words.output
    assert "40 utterances of 4 speakers judged" in words.output
    assert "AUC, angry against the rest" in words.output
    assert set(told["figures"]) >= {"unweighted_recall", "anger_auc", "arousal_auc", "calibration_error"}


def test_weights_of_another_shape_are_refused_with_the_remedy(folder, run, weights, tmp_path):
    replace(weights, emotion_offsets=weights.emotion_offsets[:7]).save(tmp_path / "old.npz")

    result = run("evaluate", folder, "--weights", "old.npz")

    assert result.exit_code == 1
    assert "old.npz was trained for another version" in result.output
    assert "train again with `qa-service emotion train`" in result.output


def test_pictures_without_the_library_are_refused_before_anything_is_heard(folder, run, monkeypatch):
    real_import = builtins.__import__

    def without_matplotlib(name, *arguments, **options):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    monkeypatch.setattr(command, "evaluate", None)

    result = run("evaluate", folder, "--pictures", "drawn")

    assert isinstance(result.exception, PicturesUnavailableError)
    assert "pip install 'qa-service[emotion]'" in str(result.exception)


def test_pictures_are_drawn(folder, weights, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra qa-service[emotion] is not installed")

    drawn = pictures.draw(evaluate(read_manifest(folder), weights, Ear(), quiet), tmp_path)

    assert [path.name for path in drawn] == ["calibration.png", "confusion.png", "anger.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
