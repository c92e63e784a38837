"""The programs that check the image's recipe and the chart."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.deploy_tools import obtain_checkers, obtain_helm


class Check(Protocol):
    """Runs a checker; returns what it said, or fails the test with it."""

    def __call__(self, program: str, *arguments: str | Path) -> str: ...


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def programs(cache_dir: Path) -> dict[str, Path]:
    folder = obtain_checkers(cache_dir)
    names = ("hadolint", "kubernetes-validate")
    return {name: folder / name for name in names} | {"helm": obtain_helm(cache_dir)}


@pytest.fixture(scope="session")
def check(programs: dict[str, Path]) -> Check:
    def run(program: str, *arguments: str | Path) -> str:
        done = subprocess.run([programs[program], *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"{program} objects:\n{done.stdout}{done.stderr}", pytrace=False)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def refuse(programs: dict[str, Path]) -> Check:
    """Runs a checker that has to object; returns its objection."""

    def run(program: str, *arguments: str | Path) -> str:
        done = subprocess.run([programs[program], *arguments], check=False, capture_output=True, text=True)
        assert done.returncode != 0, f"{program} has no objection"
        return done.stderr

    return run
