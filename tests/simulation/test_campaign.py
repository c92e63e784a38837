"""Many runs in many processes, and ``qa-service simulate``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from qa_service.cli import simulate as command
from qa_service.cli.simulate import simulate as simulate_command
from qa_service.simulation.campaign import Campaign, fault_names, run_all
from qa_service.simulation.states import STATE_NAMES
from qa_service.simulation.world import Meeting, Outcome, simulate
from tests.support.waiting import eventually

TIER = 2000
"""Schedules of every run of the suite; more by hand: ``qa-service simulate --schedules 100000``."""

DIGESTS = """
import logging, sys, structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
from qa_service.simulation.world import simulate
print([simulate(seed).digest for seed in range(int(sys.argv[1]))])
"""


def outcome(seed: int = 1, *faults: str, meetings: tuple[Meeting, ...] = ()) -> Outcome:
    return Outcome(
        seed=seed,
        faults=faults,
        meetings=meetings,
        digest="",
        virtual_s=1.0,
        interrupted=0,
        utterances=2,
        gaps=(("lost", 3),),
    )


def test_the_same_seed_gives_the_same_run_in_any_process() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", DIGESTS, "8"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert told[0] == told[1]
    assert told[0].strip() == str([simulate(seed).digest for seed in range(8)])


def test_another_seed_gives_another_run() -> None:
    assert simulate(1).digest != simulate(2).digest


def test_without_faults_nothing_is_wrong() -> None:
    for seed in range(20):
        undisturbed = simulate(seed, kinds=())
        assert undisturbed.faults == ()
        assert undisturbed.meetings == ()


def test_a_rebalance_interrupts_no_session_of_a_partition_that_stays() -> None:
    for seed in range(40):
        assert simulate(seed, kinds=("rebalance",)).interrupted == 0


def test_a_campaign_counts_which_fault_met_which_state() -> None:
    campaign = Campaign()
    campaign.add(outcome(1, meetings=(Meeting("kill", ("replay", "silence")), Meeting("kill", ()))))
    campaign.add(outcome(2, "a word is lost", meetings=(Meeting("kill", ("silence",)),)))

    assert campaign.meetings == {("kill", "replay"): 1, ("kill", "silence"): 2, ("kill", ""): 1}
    assert [failed.seed for failed in campaign.failed] == [2]
    assert campaign.gaps == {"lost": 6}
    assert ("kill", "rebalance") in campaign.holes(("kill",))
    assert ("kill", "silence") not in campaign.holes(("kill",))


@pytest.mark.timeout(1800)
def test_thousands_of_schedules_come_out_right_and_every_fault_meets_every_state() -> None:
    campaign = Campaign()
    outcomes = run_all(range(TIER), jobs=len(os.sched_getaffinity(0)))
    for done in outcomes:
        campaign.add(done)

    assert [(failed.seed, failed.faults[0]) for failed in campaign.failed] == []
    assert campaign.schedules == TIER
    assert campaign.holes(fault_names()) == []


def test_the_command_tells_what_it_found_as_json() -> None:
    result = CliRunner().invoke(
        simulate_command, ["--seed", "3", "--schedules", "4", "--jobs", "2", "--json"]
    )
    report = msgspec.json.decode(result.stdout)

    assert result.exit_code == 0, result.output
    assert (report["first_seed"], report["schedules"], report["wrong"]) == (3, 4, [])
    assert set(report["met"]) == set(fault_names())
    assert set(report["met"]["kill"]) == set(STATE_NAMES)


def test_a_run_that_came_out_wrong_is_shown_and_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_some(*_args: object, **_options: object):
        yield outcome(7, "call-1: a word is lost")
        yield outcome(8)

    monkeypatch.setattr(command, "run_all", run_some)
    result = CliRunner().invoke(simulate_command, ["--schedules", "2"])

    assert result.exit_code == 1
    assert "seed 7" in result.stderr
    assert "WRONG call-1: a word is lost" in result.stderr
    assert "1 came out wrong" in result.stdout


def test_a_trace_tells_of_each_fault_and_of_the_end() -> None:
    result = CliRunner().invoke(simulate_command, ["--seed", "3", "--trace"])

    assert result.exit_code == 0, result.output
    assert " meets " in result.stdout
    assert "the world heals" in result.stdout
    assert "seed 3: " in result.stdout


def children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
async def test_a_campaign_that_is_stopped_leaves_no_process_behind(sent: signal.Signals, status: int) -> None:
    program = "from qa_service.cli import main; main()"
    campaign = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-c", program, "simulate", "--schedules", "100000", "--jobs", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        workers = await eventually(
            lambda: found if len(found := children(campaign.pid)) >= 2 else None,
            waiting_for="the processes of the campaign",
        )
        campaign.send_signal(sent)
        _, told = campaign.communicate(timeout=60)
    finally:
        campaign.kill()

    assert campaign.returncode == status
    assert "Traceback" not in told
    await eventually(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers) or None,
        waiting_for="the processes to be gone",
    )
