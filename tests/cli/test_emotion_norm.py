"""`qa-service emotion norm` shows what an asr-server has learnt of its service."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qa_service.asr_server.emotion_memory import FILE_NAME, EmotionMemory
from qa_service.cli.emotion import emotion
from tests.asr_server.voices import MadeUpVoices


@pytest.fixture
def learnt(tmp_path: Path) -> Path:
    """The folder of a server that has judged 100 utterances."""
    emotions = MadeUpVoices()
    for number in range(100):
        emotions.open().judge(emotions.hear(bytes(1600 * (1 + number % 5))))
    asyncio.run(EmotionMemory(emotions, tmp_path).save())
    return tmp_path


def show(*arguments: str, folder: Path | None = None) -> Result:
    environment = {} if folder is None else {"QA_SERVER_STATE_DIR": str(folder)}
    return CliRunner().invoke(emotion, ["norm", *arguments], env=environment)


def test_the_facts_come_as_json(learnt: Path) -> None:
    facts = json.loads(show("--json", "--state-dir", str(learnt)).output)

    assert facts["utterances"] == facts["norm"]["utterances"] == facts["anger_scores"]["utterances"] == 100
    assert facts["utterances_a_day"] is None
    assert facts["weights_are_in_use"] is True
    assert 0 < facts["norm"]["trust"] < 1
    starts = list(facts["anger_scores"]["begins_at"].values())
    assert starts == sorted(starts, reverse=True)


def test_the_facts_come_in_words(learnt: Path) -> None:
    output = show(folder=learnt).output

    assert "utterances judged         100" in output
    assert "angriest 2%" in output
    assert "known after an hour" in output


def test_the_state_of_other_weights_says_so(learnt: Path) -> None:
    path = learnt / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": "0" * 64}))

    assert "it will begin anew" in show(folder=learnt).output


def test_where_nothing_was_learnt_one_line_says_so(tmp_path: Path) -> None:
    result = show(folder=tmp_path)

    assert result.exit_code == 1
    assert "nothing has been learnt yet" in result.output


@pytest.mark.parametrize("change", [{"norm_mean": [0.0], "norm_variance": [1.0]}, {"version": 9}])
def test_a_damaged_file_is_named(learnt: Path, change: dict[str, object]) -> None:
    path = learnt / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    result = show(folder=learnt)

    assert result.exit_code == 1
    assert str(path) in result.output


def test_a_server_that_keeps_no_state_has_none_to_show() -> None:
    result = show(folder=Path("off"))

    assert result.exit_code == 2
    assert "QA_SERVER_STATE_DIR" in result.output
