"""The call log in PostgreSQL: claims, batches, live calls.

What binds a writer: it claims a partition (the epoch grows by one), reads the state, then writes batches
one after the other, numbered on from the claim's ``write_seq``. One batch is one transaction. Its first
statement takes the claim's row and moves ``write_seq`` on, under the condition that epoch and number are
the expected ones. That one condition fences off a former owner, and it settles the unknown outcome of
a COMMIT: the repeated batch finds its own number, or waits for the transaction still in flight, and
returns without writing twice. Epochs and numbers count up from what is stored, so a database that was set
back gives them out again; the token of a claim does not come again.

A call belongs to the partition that stored it first. A batch with calls of another one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Protocol
from uuid import UUID, uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.dialects.postgresql.dml import Insert
from sqlalchemy.ext.asyncio import AsyncConnection

from qa_service.domain.incidents import IncidentChange
from qa_service.domain.scores import CallScore
from qa_service.domain.writes import CallRow, Claim, LegRow, StoredCall, WriteBatch
from qa_service.storage import rows, tables
from qa_service.storage.database import Database, compile_once, fetch_row
from qa_service.storage.errors import CallsElsewhere, Fenced, StorageError, StoreRefused, WriteOutOfOrder
from qa_service.storage.figures import FORGET_FIGURES, STORE_FIGURES, FigureKeeper
from qa_service.storage.outbox import CHANNEL

_log = structlog.get_logger(__name__)

LOAD_PATIENCE = 60.0
"""Seconds allowed for reading the live calls of a partition: thousands of logs may have to be read."""


class Store(Protocol):
    """What the worker needs of the database.

    All methods raise :class:`~qa_service.storage.errors.StoreUnavailable` when the database does not answer
    within the time allowed, and :class:`~qa_service.storage.errors.StoreRefused` when it says no.
    """

    async def claim(self, topic: str, partition: int, owner: str) -> Claim:
        """Take over a partition: every earlier claim is fenced off from here on."""
        ...

    async def load_calls(self, topic: str, partition: int) -> tuple[StoredCall, ...]:
        """Read the calls of a partition that have not ended, with legs and whole log, by call id."""
        ...

    async def load_call(self, call_id: str) -> StoredCall | None:
        """Read one call, ended or not; None if nothing was ever stored of it."""
        ...

    async def write(self, batch: WriteBatch) -> None:
        """Store a batch, whole or not at all; one at a time per partition.

        The same batch may be given again after any failure or cancellation: it is stored once.

        Raises:
            Fenced: the claim is no longer the newest (or there is none).
            WriteOutOfOrder: ``write_seq`` is not the next number.
            CallsElsewhere: another partition has stored calls of the batch first.
        """
        ...

    async def save_rule_set(self, rule_set_hash: str, source: str) -> None:
        """Keep the source of a rule set for good; a known hash is left as it is."""
        ...

    async def rule_set(self, rule_set_hash: str) -> str | None:
        """Read the source of a rule set; None if the hash is unknown."""
        ...

    async def ping(self) -> None:
        """Ask for a sign of life."""
        ...


class PostgresStore:
    """The store in PostgreSQL; see :class:`Store`.

    ``figures`` stores those of calls that end, in its own time; without it, they are stored at once.
    """

    def __init__(self, database: Database, *, figures: FigureKeeper | None = None) -> None:
        self._database = database
        self._figures = figures

    async def claim(self, topic: str, partition: int, owner: str) -> Claim:
        """See :meth:`Store.claim`."""
        parameters = {"topic": topic, "partition": partition, "owner": owner, "token": uuid4()}

        async def take_over(connection: AsyncConnection) -> Claim:
            row = (await connection.execute(_CLAIM, parameters)).mappings().one()
            return Claim(topic=topic, partition=partition, **row)

        return await self._database.run(take_over, doing=f"Claiming {topic}[{partition}]")

    async def load_calls(self, topic: str, partition: int) -> tuple[StoredCall, ...]:
        """See :meth:`Store.load_calls`."""
        live = sa.and_(
            tables.call.c.topic == topic, tables.call.c.partition == partition, sa.not_(tables.call.c.ended)
        )
        return await self._load(live, doing=f"Reading the live calls of {topic}[{partition}]")

    async def load_call(self, call_id: str) -> StoredCall | None:
        """See :meth:`Store.load_call`."""
        found = await self._load(tables.call.c.call_id == call_id, doing=f"Reading call {call_id}")
        return found[0] if found else None

    async def write(self, batch: WriteBatch) -> None:
        """See :meth:`Store.write`."""
        doing = f"Storing batch {batch.write_seq} of {batch.topic}[{batch.partition}]"
        try:
            await self._database.run(partial(_write, batch), doing=doing)
        except StoreRefused:
            # Two partitions that begin one call at once meet in its log, where the second is refused.
            await self._database.run(partial(_refuse_foreign, batch), doing=doing)
            raise
        if ended := [call.call_id for call in newest_calls(batch) if call.ended]:
            await self._end_calls(ended)

    async def _end_calls(self, call_ids: list[str]) -> None:
        """See to the figures of calls that are over; reports compute them themselves where that fails."""
        # Forgotten are those of calls that had ended before, and went on.
        statement = STORE_FIGURES if self._figures is None else FORGET_FIGURES

        async def execute(connection: AsyncConnection) -> None:
            await connection.execute(statement, {"of_calls": call_ids})

        try:
            await self._database.run(execute, doing="Seeing to the figures of calls that ended")
        except StorageError as error:
            _log.warning("figures_not_stored", call_ids=call_ids, error=str(error))
        else:
            if self._figures is not None:
                self._figures.add(call_ids)

    async def save_rule_set(self, rule_set_hash: str, source: str) -> None:
        """See :meth:`Store.save_rule_set`."""
        statement = insert(tables.rule_set).values(hash=rule_set_hash, source=source).on_conflict_do_nothing()

        async def save(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._database.run(save, doing=f"Storing rule set {rule_set_hash}")

    async def rule_set(self, rule_set_hash: str) -> str | None:
        """See :meth:`Store.rule_set`."""
        statement = sa.select(tables.rule_set.c.source).where(tables.rule_set.c.hash == rule_set_hash)

        async def read(connection: AsyncConnection) -> str | None:
            return await connection.scalar(statement)

        return await self._database.run(read, doing=f"Reading rule set {rule_set_hash}")

    async def ping(self) -> None:
        """See :meth:`Store.ping`."""
        await self._database.ping()

    async def _load(self, which: sa.ColumnElement[bool], *, doing: str) -> tuple[StoredCall, ...]:
        async def read(connection: AsyncConnection) -> tuple[StoredCall, ...]:
            # One snapshot for all three queries, or a call could come without its newest entries.
            await connection.execute(ONE_SNAPSHOT)
            calls = (await connection.execute(_calls(which))).mappings().all()
            legs = (await connection.execute(_of_calls(tables.leg, which, "leg_id"))).mappings()
            entries = (await connection.execute(_of_calls(tables.log_entry, which, "call_seq"))).mappings()
            return assemble(calls, legs, entries)

        return await self._database.run(read, doing=doing, patience=LOAD_PATIENCE)


def assemble(
    calls: Iterable[Mapping[Any, Any]],
    legs: Iterable[Mapping[Any, Any]],
    entries: Iterable[Mapping[Any, Any]],
) -> tuple[StoredCall, ...]:
    """Put rows together to calls; legs and entries come in the order in which they are to stand."""
    legs_of = {key: tuple(map(rows.leg_from_row, group)) for key, group in _by_call(legs)}
    entries_of = {key: tuple(map(rows.entry_from_row, group)) for key, group in _by_call(entries)}
    return tuple(
        StoredCall(
            topic=call["topic"],
            partition=call["partition"],
            call=rows.call_from_row(call),
            legs=legs_of.get(call["call_id"], ()),
            entries=entries_of.get(call["call_id"], ()),
        )
        for call in calls
    )


def is_stored(batch: WriteBatch, *, epoch: int | None, token: UUID | None, write_seq: int) -> bool:
    """Judge a batch by what its partition's claim says: stored already, or the next one to store.

    Raises:
        Fenced: the claim is another's, or there is none (``epoch`` None).
        WriteOutOfOrder: the batch is neither the stored nor the next one.
    """
    if (epoch, token) != (batch.epoch, batch.token):
        raise Fenced(batch.topic, batch.partition, batch.epoch)
    if batch.write_seq not in {write_seq, write_seq + 1}:
        raise WriteOutOfOrder(batch.topic, batch.partition, stored=write_seq, given=batch.write_seq)
    return batch.write_seq == write_seq


def refuse_foreign(batch: WriteBatch, own: Collection[str]) -> None:
    """Raise CallsElsewhere if calls of the batch are not among the partition's ``own``."""
    foreign = {call.call_id for call in batch.calls}.difference(own)
    if foreign:
        raise CallsElsewhere(batch.topic, batch.partition, foreign)


def newest_calls(batch: WriteBatch) -> Collection[CallRow]:
    """Keep the last row of each call of the batch."""
    return {call.call_id: call for call in batch.calls}.values()


def newest_legs(batch: WriteBatch) -> Collection[LegRow]:
    """Keep the last row of each leg of the batch."""
    return {(leg.call_id, leg.leg_id): leg for leg in batch.legs}.values()


def newest_incidents(batch: WriteBatch) -> Collection[IncidentChange]:
    """Keep the change with the highest ``n`` of each incident of the batch."""
    ordered = sorted(batch.incidents, key=lambda change: change.n)
    return {change.incident_id: change for change in ordered}.values()


def newest_scores(batch: WriteBatch) -> Collection[CallScore]:
    """Keep the last score of each call on each scorecard of the batch."""
    return {(score.call_id, score.scorecard_hash): score for score in batch.scores}.values()


async def _write(batch: WriteBatch, connection: AsyncConnection) -> None:
    values = _write_values(batch)
    # Again only if the batch before this one became visible between the two statements.
    while await fetch_row(connection, _WRITE_SQL, values) is None:
        stored = (await connection.execute(_STORED, _claim_values(batch))).first()
        epoch, token, write_seq = stored or (None, None, 0)
        if is_stored(batch, epoch=epoch, token=token, write_seq=write_seq):
            break
        await _refuse_foreign(batch, connection)


async def _refuse_foreign(batch: WriteBatch, connection: AsyncConnection) -> None:
    call_ids = [call.call_id for call in batch.calls]
    where = {"claimed_topic": batch.topic, "claimed_partition": batch.partition, "call_call_id": call_ids}
    foreign = (await connection.execute(_FOREIGN, where)).scalars().all()
    refuse_foreign(batch, set(call_ids).difference(foreign))


def _write_values(batch: WriteBatch) -> list[Any]:
    """The parameters of :data:`_WRITE` in its order: the claim's, and one array per column of each table."""
    calls = [rows.call_to_row(call, batch.topic, batch.partition) for call in newest_calls(batch)]
    arrays = {
        **_arrays("call", rows.CALL_COLUMNS, calls),
        **_arrays("leg", rows.LEG_COLUMNS, [rows.leg_to_row(leg) for leg in newest_legs(batch)]),
        **_arrays("log_entry", rows.ENTRY_COLUMNS, [rows.entry_to_row(entry) for entry in batch.entries]),
        **_arrays(
            "incident",
            rows.INCIDENT_COLUMNS,
            [rows.incident_to_row(change) for change in newest_incidents(batch)],
        ),
        **_arrays(
            "scorecard_result",
            rows.SCORE_COLUMNS,
            [rows.score_to_row(score) for score in newest_scores(batch)],
        ),
        **_arrays("outbox", rows.OUTBOX_COLUMNS, [rows.event_to_row(event) for event in batch.outbox]),
    }
    given = _claim_values(batch) | arrays
    return [given[name] for name in _WRITE_PARAMETERS]


def _claim_values(batch: WriteBatch) -> dict[str, Any]:
    return {
        "claimed_topic": batch.topic,
        "claimed_partition": batch.partition,
        "claimed_epoch": batch.epoch,
        "claimed_token": batch.token,
        "from_write_seq": batch.write_seq - 1,
        "to_write_seq": batch.write_seq,
        "to_next_offset": batch.next_offset,
    }


def _arrays(table: str, columns: Sequence[str], values: Sequence[rows.Row]) -> dict[str, Sequence[Any]]:
    arrays = zip(*values, strict=True) if values else ((),) * len(columns)
    return {f"{table}_{name}": array for name, array in zip(columns, arrays, strict=True)}


def _insert_all(table: sa.Table, columns: Sequence[str]) -> Insert:
    """Build ``INSERT … SELECT … FROM unnest($1, $2, …)``, which keeps the order of the rows.

    Nothing is inserted unless the claim has been moved on by the same statement.
    """
    types = {name: table.c[name].type for name in columns}
    sent = {name: sa.Text() if isinstance(kind, JSONB) else kind for name, kind in types.items()}
    given = (
        sa.func.unnest(
            *(sa.bindparam(f"{table.name}_{name}", type_=sa.ARRAY(kind)) for name, kind in sent.items())
        )
        .table_valued(*(sa.column(name, kind) for name, kind in sent.items()), with_ordinality="ordinality_")
        .render_derived(name="given")
    )
    values = [
        sa.cast(given.c[name], kind) if isinstance(kind, JSONB) else given.c[name]
        for name, kind in types.items()
    ]
    chosen = sa.select(*values).where(sa.exists().select_from(_ADVANCED)).order_by(given.c.ordinality_)
    return insert(table).from_select(list(columns), chosen)


def _upsert_all(
    table: sa.Table,
    columns: Sequence[str],
    *,
    keep: Collection[str] = (),
    only_if: Callable[[Any], sa.ColumnElement[bool]] | None = None,
) -> Insert:
    """Build an insert that replaces rows of the same primary key, but for the columns in ``keep``.

    ``only_if`` says, given the new row's columns, when it replaces the stored one; by default it always does.
    """
    statement = _insert_all(table, columns)
    key = [column.name for column in table.primary_key]
    replaced = {name: statement.excluded[name] for name in columns if name not in {*key, *keep}}
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={**replaced, "updated_at": sa.func.now()},
        where=None if only_if is None else only_if(statement.excluded),
    )


def _by_call(found: Iterable[Mapping[Any, Any]]) -> Iterator[tuple[str, Iterator[Mapping[Any, Any]]]]:
    return groupby(found, key=lambda row: str(row["call_id"]))


def _calls(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(tables.call).where(which).order_by(tables.call.c.call_id)


def _of_calls(table: sa.Table, which: sa.ColumnElement[bool], order: str) -> sa.Select[Any]:
    joined = table.join(tables.call, tables.call.c.call_id == table.c.call_id)
    return sa.select(table).select_from(joined).where(which).order_by(table.c.call_id, table.c[order])


ONE_SNAPSHOT = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_claim = tables.partition_claim
_first_claim = insert(_claim).values(
    topic=sa.bindparam("topic"),
    partition=sa.bindparam("partition"),
    owner=sa.bindparam("owner"),
    token=sa.bindparam("token"),
    epoch=1,
    write_seq=0,
)
_CLAIM = _first_claim.on_conflict_do_update(
    index_elements=["topic", "partition"],
    set_={
        "epoch": _claim.c.epoch + 1,
        "owner": _first_claim.excluded.owner,
        "token": _first_claim.excluded.token,
        "former_token": _claim.c.token,
        "claimed_at": sa.func.now(),
    },
).returning(_claim.c.epoch, _claim.c.token, _claim.c.former_token, _claim.c.write_seq, _claim.c.next_offset)

_claimed = sa.and_(
    _claim.c.topic == sa.bindparam("claimed_topic"), _claim.c.partition == sa.bindparam("claimed_partition")
)
# Calls of the batch that another partition has stored first: with any of them, nothing of it is stored.
_FOREIGN = sa.select(tables.call.c.call_id).where(
    tables.call.c.call_id == sa.any_(sa.bindparam("call_call_id", type_=sa.ARRAY(sa.Text))),
    sa.or_(
        tables.call.c.topic != sa.bindparam("claimed_topic"),
        tables.call.c.partition != sa.bindparam("claimed_partition"),
    ),
)
_ADVANCED = (
    sa.update(_claim)
    .where(
        _claimed,
        _claim.c.epoch == sa.bindparam("claimed_epoch"),
        _claim.c.token == sa.bindparam("claimed_token"),
        _claim.c.write_seq == sa.bindparam("from_write_seq", type_=sa.BigInteger),
        ~_FOREIGN.exists(),
    )
    .values(write_seq=sa.bindparam("to_write_seq"), next_offset=sa.bindparam("to_next_offset"))
    .returning(_claim.c.write_seq)
    .cte("advanced")
)
_STORED = sa.select(_claim.c.epoch, _claim.c.token, _claim.c.write_seq).where(_claimed)

# A whole transaction in one statement, and so in one round trip, which commits with it.
_EVENTS = (
    _insert_all(tables.outbox, rows.OUTBOX_COLUMNS)
    .on_conflict_do_nothing(index_elements=["event_id"])
    .returning(tables.outbox.c.event_id)
    .cte("events")
)
_TELL = sa.func.pg_notify(sa.literal_column(f"'{CHANNEL}'"), sa.literal_column("''")).cast(sa.Text)
_WRITE = (
    sa.select(sa.case((sa.exists().select_from(_EVENTS), _TELL), else_=sa.null()).label("told"))
    .select_from(_ADVANCED)
    .add_cte(
        _upsert_all(
            tables.call,
            rows.CALL_COLUMNS,
            only_if=lambda new: sa.and_(
                new.topic == tables.call.c.topic, new.partition == tables.call.c.partition
            ),
        ).cte("calls"),
        _upsert_all(tables.leg, rows.LEG_COLUMNS).cte("legs"),
        _insert_all(tables.log_entry, rows.ENTRY_COLUMNS).cte("entries"),
        _upsert_all(
            tables.incident,
            rows.INCIDENT_COLUMNS,
            keep=("call_id", "anchor", "opened_ms"),
            only_if=lambda new: new.n > tables.incident.c.n,
        ).cte("incidents"),
        _upsert_all(tables.scorecard_result, rows.SCORE_COLUMNS).cte("scores"),
    )
)
_WRITE_SQL, _WRITE_PARAMETERS = compile_once(_WRITE)
