"""What the open demo says to do is pasted into a shell as it stands."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from qa_service.demo.hints import hints, write_environment

ENVIRONMENT = {
    "QA_DATABASE_URL": "postgresql://qa:it's $ecret@127.0.0.1:5432/qa",
    "QA_KAFKA_FETCH_WAIT_MS": "100",
}


@pytest.fixture
def environment_file(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder's name"
    folder.mkdir()
    return write_environment(folder, ENVIRONMENT)


def run_in_shell(script: str) -> str:
    return subprocess.run(["sh", "-euc", script], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_the_first_line_brings_the_settings_into_the_shell(environment_file: Path, name: str):
    source = next(hints(environment_file, alerts_topic="qa.alerts"))

    assert run_in_shell(f'{source}\nprintf %s "${name}"') == ENVIRONMENT[name]


def test_the_lines_can_be_pasted_all_at_once(environment_file: Path):
    pasted = "\n".join(hints(environment_file, alerts_topic="qa.alerts"))

    called = run_in_shell(pasted.replace("qa-service ", "echo "))

    assert called.splitlines() == [
        "report call_quality",
        "alerts --from-start --until-end",
        "publish my-call.wav",
    ]


def test_the_program_is_found_by_its_name(environment_file: Path):
    source = next(hints(environment_file, alerts_topic="qa.alerts"))

    assert run_in_shell(f"{source}\ncommand -v qa-service").strip().endswith("/qa-service")


def test_a_shell_that_knows_no_comments_is_not_left_waiting_for_a_quote(environment_file: Path):
    comments = [line for line in hints(environment_file, alerts_topic="qa.alerts") if line.startswith("#")]

    assert comments
    assert not any(set(line) & set("'\"`()<>|&;*?[]{}") for line in comments)


def test_the_password_is_for_the_user_alone(environment_file: Path):
    assert stat.S_IMODE(environment_file.stat().st_mode) == 0o600
