"""``qa-service alerts``: follow them, look them up, and say whether they were right."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from qa_service.cli.reaching import AS_JSON, ask, by_option, to_json
from qa_service.cli.topics import FROM_START, UNTIL_END, print_topic
from qa_service.storage.database import Database
from qa_service.storage.judgements import AlertFilter, Verdict, judge, list_alerts

_ALERT = click.argument("alert_ids", metavar="ALERT...", nargs=-1, required=True)
_SHOWN_OF_AN_ID = 8


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  qa-service alerts                            the same as `alerts follow`
  qa-service alerts list --open --since 24h
  qa-service alerts ack 5b0f6c2e
  qa-service alerts dismiss 5b0f6c2e --reason "the customer was joking\"""",
)
@FROM_START
@UNTIL_END
def alerts(*, from_start: bool, until_end: bool) -> None:
    """Follow alerts as they are raised; look them up and judge them.

    What is judged is kept with who, when and why; back-tests measure rules against it.
    """
    if click.get_current_context().invoked_subcommand is None:
        print_topic("alerts", from_start=from_start, until_end=until_end)


@alerts.command("follow")
@FROM_START
@UNTIL_END
def follow_command(*, from_start: bool, until_end: bool) -> None:
    """Print alerts from their topic as CloudEvents, one JSON object a line, until Ctrl-C."""
    print_topic("alerts", from_start=from_start, until_end=until_end)


class _Moment(click.ParamType[dt.datetime]):
    """A date, a time stamp, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        units = {"m": "minutes", "h": "hours", "d": "days"}
        try:
            if value[-1:] in units:
                return dt.datetime.now(dt.UTC) - dt.timedelta(**{units[value[-1]]: float(value[:-1])})
            moment = dt.datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r}: expected 2026-01-31, 2026-01-31T08:00, or 30m, 24h, 7d ago", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


MOMENT = _Moment()
"""Options that take a point in time; without a zone it is UTC, as all times of the database are."""


@alerts.command("list")
@click.option("--open", "open_only", is_flag=True, help="Only those that nobody has judged yet.")
@click.option("--rule", "rule_id", metavar="ID", help="Of this rule.")
@click.option("--agent", "agent_id", metavar="ID", help="Of calls that name this agent.")
@click.option("--since", type=MOMENT, help="Raised since then: 2026-01-31, or 24h ago as `24h`.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@AS_JSON
def list_command(
    *,
    open_only: bool,
    rule_id: str | None,
    agent_id: str | None,
    since: dt.datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List alerts, newest first, with what was said of them last."""
    wanted = AlertFilter(open_only=open_only, rule_id=rule_id, agent_id=agent_id, since=since, limit=limit)
    found = ask(lambda database: list_alerts(database, wanted))
    if as_json:
        click.echo(to_json(found))
        return
    if not found:
        click.echo("no alerts")
        return
    table = Table("alert", "raised (UTC)", "severity", "rule", "call", "words", "judged", box=None)
    for alert in found:
        table.add_row(*_cells(alert))
    Console().print(table)


def _cells(alert: dict[str, Any]) -> tuple[str, ...]:
    words = next((piece["text"] for piece in alert["evidence"] if piece.get("text")), "")
    judged = f"{alert['verdict']} by {alert['judged_by']}" if alert["verdict"] else "-"
    return (
        str(alert["incident_id"])[:_SHOWN_OF_AN_ID],
        f"{alert['raised_at']:%Y-%m-%d %H:%M:%S}",
        alert["severity"],
        alert["rule_id"],
        alert["call_id"],
        words,
        judged if not alert["reason"] else f"{judged}: {alert['reason']}",
    )


@alerts.command(
    epilog="""\b
Examples:
  qa-service alerts ack 5b0f6c2e
  qa-service alerts ack 5b0f6c2e 9d1c77a0 --by kim"""
)
@_ALERT
@click.option("--reason", help="What there is to say about it.")
@by_option("says so")
@AS_JSON
def ack(alert_ids: tuple[str, ...], *, reason: str | None, by: str, as_json: bool) -> None:
    """Acknowledge alerts: they were right. ALERT is an id or the beginning of one."""
    _judge(alert_ids, "acknowledged", by, reason, as_json=as_json)


@alerts.command(
    epilog="""\b
Example:
  qa-service alerts dismiss 5b0f6c2e --reason "the customer was joking\""""
)
@_ALERT
@click.option("--reason", required=True, help="Why it was a false alarm.")
@by_option("says so")
@AS_JSON
def dismiss(alert_ids: tuple[str, ...], *, reason: str, by: str, as_json: bool) -> None:
    """Dismiss alerts: they were false alarms. ALERT is an id or the beginning of one."""
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why it was a false alarm")
    _judge(alert_ids, "dismissed", by, reason, as_json=as_json)


def _judge(
    alert_ids: tuple[str, ...], verdict: Verdict, by: str, reason: str | None, *, as_json: bool
) -> None:
    async def judge_all(database: Database) -> list[UUID]:
        return [await judge(database, name, verdict, by=by, reason=reason) for name in alert_ids]

    judged = ask(judge_all)
    if as_json:
        click.echo(to_json([{"incident_id": name, "verdict": verdict, "by": by} for name in judged]))
        return
    for name in judged:
        click.echo(f"{name} {verdict} by {by}")
