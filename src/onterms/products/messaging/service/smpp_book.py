"""Who is bound by SMPP, and what waits for whom: what a listener asks of this room beside messages."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from onterms.core.db import Row, Tx
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.products.messaging.service import smpp, smpp_users
from onterms.products.messaging.service.smpp import Access, Answer
from onterms.products.messaging.store import smpp as store
from onterms.protocols.smpp.pdu import DeliverSm

# Ours: what an install has room for.
ACCOUNT_BINDS_MAX = 50
# What a client that is busy asks for; then it is tried again.
RETRY_PAUSE = timedelta(seconds=30)
# Two at once: each takes 16 MiB and a processor.
_HASHING_MAX = 2


class SmppBook:
    """Users, sessions and deliveries, as a listener of one node sees them."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._hashing = asyncio.Semaphore(_HASHING_MAX)

    async def open(self, tx: Tx) -> None:
        """Forget what this node left behind when it ended."""
        await store.forget_node(tx, self._node)
        await store.keep_node(tx, self._node)

    async def keep(self, tx: Tx) -> None:
        """Say that this node is alive, and forget what was bound to those that are not."""
        await store.keep_node(tx, self._node)
        await store.forget_dead(tx)

    async def find_user(self, tx: Tx, system_id: str) -> Row | None:
        """Return the user of a short name."""
        return await store.user_named(tx, system_id)

    async def check(self, user: Row | None, password: str) -> Access | None:
        """Return what a user may whose password this is, else None. It takes some time, elsewhere."""
        async with self._hashing:
            right = await asyncio.to_thread(smpp_users.is_right, user, password)
        return smpp_users.access_of(user) if right and user is not None else None

    def may_come_from(self, access: Access, peer: str) -> bool:
        """Tell whether a bind may come from an address."""
        return smpp_users.may_come_from(access, peer)

    async def enter(
        self, tx: Tx, access: Access, kind: str, version: int, peer: str, is_tls: bool, at: datetime
    ) -> str | None:
        """Write down a session and return its SID; None where as many are bound as may be."""
        of_account, own = await store.count_sessions(tx, access.account_sid, access.user_key)
        if of_account >= ACCOUNT_BINDS_MAX or own >= access.binds_max:
            return None
        sid = new_sid("SB", at)
        session = {
            "sid": sid,
            "node": self._node,
            "user_key": access.user_key,
            "system_id": access.system_id,
            "kind": kind,
            "version": version,
            "peer": peer,
            "is_tls": is_tls,
            "bound_at": at,
        }
        await store.insert_session(tx, access.account_sid, session)
        return sid

    async def leave(self, tx: Tx, access: Access, sid: str) -> None:
        """Forget a session."""
        await store.delete_session(tx, access.account_sid, sid)

    async def exists(self, tx: Tx, access: Access) -> bool:
        """Tell whether an SMPP user is still there, and may what it was let in with."""
        user = await store.user_named(tx, access.system_id)
        return user is not None and smpp_users.access_of(user) == access

    async def claim(self, tx: Tx, user_key: str, limit: int, at: datetime) -> Sequence[Row]:
        """Take the next deliveries of a user."""
        return await store.claim(tx, user_key, self._node, limit, at)

    def write(self, row: Row, access: Access) -> list[DeliverSm]:
        """Write the PDUs of a delivery; none for a message that is gone."""
        return smpp.deliveries_of(row, access)

    async def settle(self, tx: Tx, done: Sequence[tuple[Row, str, int]], at: datetime) -> None:
        """Forget deliveries that were answered: the row, the session's SID, the status."""
        await smpp.settle_deliveries(tx, done, at)

    async def release(self, tx: Tx, ids: Sequence[int], not_before: datetime | None) -> None:
        """Put deliveries back, to be tried again."""
        await store.release(tx, ids, not_before)

    async def sweep(self, tx: Tx, at: datetime) -> None:
        """Give up what waited for three days."""
        await store.sweep(tx, at)

    def answer_of(self, refusal: Refusal) -> Answer:
        """Say a refusal in SMPP's words."""
        return smpp.answer_of(refusal)
