"""The cache that the send path asks what an account may do."""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import asyncpg

from onterms.business import customers
from onterms.business.accounts import main_accounts
from onterms.business.standing import store
from onterms.business.standing.errors import StandingRefusal
from onterms.business.standing.model import CLEAR, Block, StandingState, refusal_to_send, state_of
from onterms.business.standing.service.blocks import states as states_of
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx

_log = logging.getLogger("onterms")
_RETRY_S = 1.0
# An account changes its customer by an assignment (9.2), which is rare; this long the old one may still be asked.
_OWNER_S = 60.0
# Some 200 bytes each.
_ACCOUNTS_MAX = 200_000


class Use(Protocol):
    """What somebody is about to do by an account's service towards a country; "" is none or not known."""

    @property
    def id(self) -> str: ...

    @property
    def account_sid(self) -> str: ...

    @property
    def service(self) -> str: ...

    @property
    def country(self) -> str: ...


class _Owner(NamedTuple):
    customer_sid: str | None
    main_sid: str
    learned_s: float


class Standing:
    """Every open block in memory, and which customer the accounts that were asked for belong to.

    `state` answers from memory or not at all: it knows nothing while the connection that hears of changes is down, and
    nothing of a customer whose change it has heard of and not read yet. So what it does answer is never older than a
    change's way here, and callers ask `known` or `states` where it has no answer.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._blocks: dict[str, tuple[Block, ...]] = {}
        self._versions: dict[str, int] = {}
        self._owners: dict[str, _Owner] = {}
        # Customers whose change was heard of, with how often; those are unknown until they are read.
        self._stale: dict[str, int] = {}
        self._hears = False
        self._changed = asyncio.Event()

    def state(self, account_sid: str) -> StandingState | None:
        """Return what an account may do, or None when memory does not know."""
        owner = self._owners.get(account_sid)
        if owner is None or not self._hears or self._clock.monotonic() - owner.learned_s > _OWNER_S:
            return None
        customer_sid = owner.customer_sid
        if customer_sid is None:
            return CLEAR
        if customer_sid in self._stale:
            return None
        return self._made(account_sid, owner)

    async def known(self, account_sids: Sequence[str]) -> dict[str, StandingState]:
        """Return what accounts may do, from memory where it knows, and learn the others."""
        found: dict[str, StandingState] = {}
        missing = []
        for account in account_sids:
            state = self.state(account)
            if state is None:
                missing.append(account)
            else:
                found[account] = state
        if missing:
            async with self._database.snapshot() as tx:
                await self._learn(tx, missing)
                found.update(await states_of(tx, missing))
        return found

    async def refusals(self, uses: Sequence[Use]) -> dict[str, StandingRefusal]:
        """Return why uses may not be, by id: what every edge asks, whatever is sent through it."""
        found: dict[str, StandingRefusal] = {}
        states = await self.known(list({use.account_sid for use in uses}))
        if not any(state.reasons for state in states.values()):
            return found
        for use in uses:
            state = states.get(use.account_sid)
            refusal = refusal_to_send(state, use.service, use.country) if state is not None else None
            if refusal is not None:
                found[use.id] = refusal
        return found

    async def states(self, tx: Tx, account_sids: Sequence[str]) -> dict[str, StandingState]:
        """Return what accounts may do as the caller's transaction sees it, whatever memory holds."""
        return await states_of(tx, account_sids)

    def forget(self, account_sids: Sequence[str]) -> None:
        """Forget which customer accounts belong to, because it changes."""
        for account in account_sids:
            self._owners.pop(account, None)

    async def refresh(self) -> None:
        """Read every customer that changed."""
        for customer_sid, heard in list(self._stale.items()):
            async with self._database.snapshot() as tx:
                blocks, version = await store.of_customer(tx, customer_sid)
            self._keep(customer_sid, blocks, version)
            # What was heard of while reading may be newer than what was read.
            if self._stale.get(customer_sid) == heard:
                del self._stale[customer_sid]

    async def follow(self) -> None:
        """Keep up with changes until cancelled, whatever happens to the connection."""
        while True:
            lost = asyncio.Event()
            try:
                connection = await self._database.connect_alone()
                try:
                    connection.add_termination_listener(lambda _, lost=lost: self._lose(lost))
                    await connection.add_listener(store.CHANNEL, lambda *heard: self._hear(heard[3]))
                    # Listening came first, so no change falls between.
                    await self._read_all()
                    self._hears = not lost.is_set()
                    while not lost.is_set():
                        self._changed.clear()
                        await self.refresh()
                        if not self._stale:
                            await self._changed.wait()
                finally:
                    self._hears = False
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("the standing cache lost its connection: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_S)

    def _hear(self, customer_sid: str) -> None:
        self._stale[customer_sid] = self._stale.get(customer_sid, 0) + 1
        self._changed.set()

    def _lose(self, lost: asyncio.Event) -> None:
        self._hears = False
        lost.set()
        self._changed.set()

    async def _read_all(self) -> None:
        async with self._database.snapshot() as tx:
            blocks, versions = await store.everything(tx)
        grouped: dict[str, list[Block]] = {}
        for block in blocks:
            grouped.setdefault(block.customer_sid, []).append(block)
        self._blocks = {customer_sid: tuple(found) for customer_sid, found in grouped.items()}
        self._versions = versions

    def _keep(self, customer_sid: str, blocks: Sequence[Block], version: int) -> None:
        # Two reads may overtake each other; the newer one stays.
        if version < self._versions.get(customer_sid, 0):
            return
        self._versions[customer_sid] = version
        if blocks:
            self._blocks[customer_sid] = tuple(blocks)
        else:
            self._blocks.pop(customer_sid, None)

    async def _learn(self, tx: Tx, account_sids: Sequence[str]) -> None:
        now_s = self._clock.monotonic()
        mains = await main_accounts(tx, account_sids)
        owners = await customers.customers_of(tx, account_sids)
        if len(self._owners) + len(mains) > _ACCOUNTS_MAX:
            self._owners.clear()
        for account, main in mains.items():
            owner = owners.get(account)
            self._owners[account] = _Owner(None if owner is None else owner.sid, main, now_s)

    def _made(self, account_sid: str, owner: _Owner) -> StandingState:
        assert owner.customer_sid is not None
        version = self._versions.get(owner.customer_sid, 0)
        blocks = self._blocks.get(owner.customer_sid, ())
        return state_of(blocks, (account_sid, owner.main_sid), version)
