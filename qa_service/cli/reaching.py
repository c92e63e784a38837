"""What commands that talk to the database share: one question, who asks, and how rows become JSON."""

from __future__ import annotations

import datetime as dt
import decimal
import getpass
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from qa_service.cli.running import run
from qa_service.settings import Settings
from qa_service.storage.database import Database

T = TypeVar("T")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def by_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option that says who does something; default: whoever is logged in here."""
    return click.option("--by", metavar="NAME", default=_whoami, help=f"Who {what}. [default: you]")


def ask(question: Callable[[Database], Awaitable[T]]) -> T:
    """Put one question to the database that the settings name; raises StorageError."""

    async def put() -> T:
        database = Database(Settings().database_url.get_secret_value(), pool_size=2)
        try:
            return await question(database)
        finally:
            await database.close()

    return run(put())


def to_json(value: object) -> str:
    """Rows as JSON for people and machines: time stamps in ISO 8601, ids as text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    match value:
        case dt.datetime() | dt.date():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case _:
            return str(value)


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:  # no such user, as in some containers
        raise click.UsageError("this system does not say who you are: give --by NAME") from error
