"""``qa-service simulate``: break the worker in simulated worlds, and see that nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time

import click
import msgspec
import structlog
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from qa_service.simulation.campaign import Campaign, fault_names, run_all
from qa_service.simulation.states import STATE_NAMES
from qa_service.simulation.world import Outcome, simulate as simulate_one

_SHOWN_FAILURES = 10
_INTERRUPTED = 130  # what shells expect of a command that SIGINT ended


@click.command(
    epilog="""\b
Examples:
  qa-service simulate --schedules 2000              two thousand schedules, on all cores
  qa-service simulate --seed 4711 --trace           one of them, told as it happens
  qa-service simulate --fault kill --fault 429      these faults only"""
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first schedule.")
@click.option("--schedules", type=click.IntRange(1), default=100, show_default=True, help="How many to run.")
@click.option(
    "--fault",
    "kinds",
    multiple=True,
    type=click.Choice(fault_names()),
    help="Keep to this kind of fault; repeatable.",
)
@click.option("--jobs", type=click.IntRange(1), default=None, help="Processes. [default: one a core]")
@click.option("--trace", is_flag=True, help="Tell of each fault as it strikes; one schedule only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(
    *, seed: int, schedules: int, kinds: tuple[str, ...], jobs: int | None, trace: bool, as_json: bool
) -> None:
    """Run the worker in simulated worlds that break, and check that nothing is lost or doubled.

    Each schedule is a world of its own, made from its seed: calls that are published to a broker in memory,
    at least two workers, a database and a recogniser, and faults that strike all of them. The same seed gives
    the same run. Exits with 1 if any run came out wrong.
    """
    if trace:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        outcome = simulate_one(seed, kinds=kinds or None, tell=click.echo)
        click.echo(_told(outcome))
        sys.exit(1 if outcome.faults else 0)
    began = time.monotonic()
    try:
        campaign = _run(range(seed, seed + schedules), kinds or None, jobs)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    elapsed = time.monotonic() - began
    if as_json:
        click.echo(_json(campaign, seed, kinds or fault_names(), elapsed))
    else:
        _show(campaign, kinds or fault_names(), elapsed)
    sys.exit(1 if campaign.failed else 0)


def _run(seeds: range, kinds: tuple[str, ...] | None, jobs: int | None) -> Campaign:
    """Run schedules, show how far it is, and what came out wrong."""
    campaign = Campaign()
    console = Console(stderr=True)
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        contextlib.closing(
            run_all(seeds, kinds=kinds, jobs=jobs or len(os.sched_getaffinity(0)))
        ) as outcomes,
    ):
        bar = progress.add_task("schedules", total=len(seeds))
        for outcome in outcomes:
            campaign.add(outcome)
            progress.advance(bar)
            if outcome.faults and len(campaign.failed) <= _SHOWN_FAILURES:
                console.print(_told(outcome), markup=False, highlight=False)
    return campaign


def _told(outcome: Outcome) -> str:
    head = f"seed {outcome.seed}: {outcome.virtual_s:.0f} virtual seconds, {outcome.utterances} utterances"
    return "\n".join([head, *(f"  WRONG {fault}" for fault in outcome.faults)])


def _show(campaign: Campaign, kinds: tuple[str, ...], elapsed_s: float) -> None:
    console = Console(soft_wrap=True)
    table = Table(title="How often each fault met each state", title_justify="left", box=None, pad_edge=False)
    table.add_column("fault", no_wrap=True)
    for state in STATE_NAMES:
        table.add_column(state, justify="right")
    for kind in kinds:
        table.add_row(kind, *(str(campaign.meetings[kind, state]) for state in STATE_NAMES))
    console.print(table)
    console.print(
        f"{campaign.schedules} schedules, {campaign.virtual_s / 3600:.1f} virtual hours, "
        f"{campaign.utterances} utterances in {elapsed_s:.0f} s; "
        f"{len(campaign.failed)} came out wrong, {len(campaign.holes(kinds))} pairs never met"
    )
    if len(campaign.failed) > _SHOWN_FAILURES:
        seeds = ", ".join(str(outcome.seed) for outcome in campaign.failed)
        console.print(f"wrong: {seeds}")


def _json(campaign: Campaign, seed: int, kinds: tuple[str, ...], elapsed_s: float) -> str:
    report = {
        "first_seed": seed,
        "schedules": campaign.schedules,
        "wrong": [{"seed": o.seed, "faults": o.faults} for o in campaign.failed],
        "met": {kind: {state: campaign.meetings[kind, state] for state in STATE_NAMES} for kind in kinds},
        "never_met": campaign.holes(kinds),
        "utterances": campaign.utterances,
        "gaps": dict(campaign.gaps),
        "virtual_s": round(campaign.virtual_s, 1),
        "elapsed_s": round(elapsed_s, 1),
    }
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
