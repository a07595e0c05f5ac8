"""Who is bound to which node, when nodes die."""

from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.products.messaging import Access, SmppBook

ACCESS = Access("AC" + "0" * 32, "SU" + "0" * 32, "esme", binds_max=2)


async def enter(book: SmppBook, tx: Tx, clock: VirtualClock) -> str | None:
    return await book.enter(tx, ACCESS, "transceiver", 0x34, "127.0.0.1", False, clock.now())


async def die(tx: Tx, node: str) -> None:
    await tx.execute("UPDATE smpp_nodes SET lease_until = clock_timestamp() - interval '1 s' WHERE node = $1", node)


async def test_sessions_of_a_node_that_never_returns_do_not_count(database: Database, clock: VirtualClock) -> None:
    first, second = SmppBook("first"), SmppBook("second")
    async with database.transaction() as tx:
        await first.open(tx)
        await second.open(tx)
        assert await enter(first, tx, clock) and await enter(first, tx, clock)
        assert await enter(second, tx, clock) is None
        await die(tx, "first")
        assert await enter(second, tx, clock)
        await second.keep(tx)
        assert await tx.fetchval("SELECT array_agg(node) FROM smpp_sessions") == ["second"]


async def test_node_that_speaks_keeps_its_sessions(database: Database, clock: VirtualClock) -> None:
    first, second = SmppBook("first"), SmppBook("second")
    async with database.transaction() as tx:
        await first.open(tx)
        await second.open(tx)
        sid = await enter(first, tx, clock)
        await die(tx, "first")
        await first.keep(tx)
        await second.keep(tx)
        assert await tx.fetchval("SELECT sid FROM smpp_sessions") == sid
