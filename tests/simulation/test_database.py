from __future__ import annotations

import asyncio

import pytest

from qa_service.domain.writes import Claim, WriteBatch
from qa_service.simulation.database import DistantStore, Server
from qa_service.simulation.loop import Process, VirtualLoop
from qa_service.simulation.network import Network
from qa_service.storage.errors import Fenced, StoreUnavailable, WriteOutOfOrder


@pytest.fixture
def server(loop: VirtualLoop, network: Network) -> Server:
    return Server(loop, network)


def batch(claim: Claim, write_seq: int, *, next_offset: int = 5) -> WriteBatch:
    return WriteBatch(
        topic=claim.topic,
        partition=claim.partition,
        epoch=claim.epoch,
        token=claim.token,
        write_seq=write_seq,
        next_offset=next_offset,
    )


async def take_over(store: DistantStore) -> Claim:
    return await store.claim("telephony.audio", 0, "one")


def next_offset(server: Server) -> int | None:
    return server.tables.claims["telephony.audio", 0].next_offset


def test_a_transaction_goes_on_when_its_sender_is_killed(loop: VirtualLoop, server: Server) -> None:
    process = Process("worker")
    store = DistantStore(server)

    async def main() -> None:
        claim = await take_over(store)
        loop.spawn(process, store.write(batch(claim, 1)))
        while not server.writes_in_flight:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0)
        loop.kill(process)
        assert next_offset(server) is None
        await asyncio.sleep(1.0)

    loop.run_until_complete(main())

    assert next_offset(server) == 5


def test_a_lost_answer_leaves_the_outcome_unknown(loop: VirtualLoop, server: Server) -> None:
    store = DistantStore(server)

    async def main() -> None:
        claim = await take_over(store)
        server.lose_answers = 1
        with pytest.raises(StoreUnavailable):
            await store.write(batch(claim, 1))
        assert next_offset(server) == 5
        await store.write(batch(claim, 1))  # the same again is no other

    loop.run_until_complete(main())


def test_a_lost_request_changes_nothing(loop: VirtualLoop, server: Server) -> None:
    store = DistantStore(server)

    async def main() -> None:
        claim = await take_over(store)
        server.lose_requests = 1
        with pytest.raises(StoreUnavailable):
            await store.write(batch(claim, 1))

    loop.run_until_complete(main())

    assert next_offset(server) is None


def test_while_it_is_away_nothing_is_answered(loop: VirtualLoop, server: Server) -> None:
    store = DistantStore(server)
    server.is_up = False

    async def main() -> None:
        with pytest.raises(StoreUnavailable):
            await take_over(store)

    loop.run_until_complete(main())

    assert server.tables.claims == {}


def test_an_older_epoch_is_fenced_off(loop: VirtualLoop, server: Server) -> None:
    store = DistantStore(server)

    async def main() -> None:
        claim = await take_over(store)
        assert (await take_over(store)).epoch == 2
        with pytest.raises(Fenced):
            await store.write(batch(claim, 1))

    loop.run_until_complete(main())


def test_a_restored_database_has_forgotten_what_came_since(loop: VirtualLoop, server: Server) -> None:
    store = DistantStore(server)

    async def main() -> None:
        claim = await take_over(store)
        await store.write(batch(claim, 1, next_offset=5))
        backup = server.back_up()
        await store.write(batch(claim, 2, next_offset=9))
        await store.write(batch(claim, 3, next_offset=9))
        server.restore(backup)
        assert next_offset(server) == 5
        with pytest.raises(WriteOutOfOrder):
            await store.write(batch(claim, 4))

    loop.run_until_complete(main())


def test_a_database_set_back_twice_gives_an_epoch_out_again_and_no_token(
    loop: VirtualLoop, server: Server
) -> None:
    store = DistantStore(server)

    async def main() -> None:
        backup = server.back_up()
        first = await take_over(store)
        await store.write(batch(first, 1))
        server.restore(backup)
        second = await take_over(store)
        assert (second.epoch, second.write_seq) == (first.epoch, first.write_seq)
        with pytest.raises(Fenced):
            await store.write(batch(first, 1))

    loop.run_until_complete(main())


def test_whoever_listens_hears_of_each_batch_once(loop: VirtualLoop, server: Server) -> None:
    store = DistantStore(server)
    heard: list[int] = []
    server.on_write.append(lambda stored: heard.append(stored.write_seq))

    async def main() -> None:
        claim = await take_over(store)
        for write_seq in (1, 1, 2):
            await store.write(batch(claim, write_seq))

    loop.run_until_complete(main())

    assert heard == [1, 2]
