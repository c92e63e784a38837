"""``qa-service migrate`` and ``qa-service report``."""

from __future__ import annotations

import decimal

import click
from rich.console import Console
from rich.table import Table

from qa_service.cli.reaching import ask, to_json
from qa_service.cli.running import configure_logging, run
from qa_service.settings import Settings
from qa_service.storage.migrate import upgrade
from qa_service.storage.reports import VIEWS, read_view


@click.command()
@click.option("--revision", default="head", show_default=True, help="Where to go up to.")
def migrate(*, revision: str) -> None:
    """Bring the database schema up to date; safe to run twice, and twice at once."""
    settings = Settings()
    configure_logging(settings)
    run(upgrade(settings.database_url.get_secret_value(), revision))
    click.echo(f"schema is at {revision}")


@click.command(
    epilog="""\b
Examples:
  qa-service report call_quality
  qa-service report alert_log --json --limit 1000"""
)
@click.argument("view", type=click.Choice(VIEWS))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def report(view: str, *, limit: int, as_json: bool) -> None:
    """Print a view of the report schema; any SQL client sees the same."""
    rows = ask(lambda database: read_view(database, view, limit))
    if as_json:
        click.echo(to_json(rows))
        return
    if not rows:
        click.echo(f"report.{view} is empty")
        return
    # One block a row reads better than a table of twenty columns.
    for row in rows:
        table = Table(box=None, show_header=False)
        for name, value in row.items():
            table.add_row(f"[dim]{name}[/]", _shown(value))
        Console().print(table, "")


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case float() | decimal.Decimal():
            return f"{value:.3f}"
        case _:
            return str(value)
