"""Looking numbers up for other rooms, and the cache that spares the send path a query."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg

from onterms.core.db import Database, Row, Tx
from onterms.products.numbers import store
from onterms.products.numbers.model import Capabilities, OwnedNumber, Webhook

# Ours: a broken connection to the database is found within this time; until then a change may go unseen.
_CHECK_S: Final = 20.0
_RETRY_S: Final = 1.0


async def owned(tx: Tx, account_sid: str, numbers: Sequence[str]) -> dict[str, OwnedNumber]:
    """Return those of the E.164 numbers that an account holds."""
    return {row["phone_number"]: _owned(row) for row in await store.held_numbers(tx, [account_sid], numbers)}


async def held(tx: Tx, account_sid: str, sid: str) -> OwnedNumber | None:
    """Return the number that an account holds under a SID."""
    row = await store.fetch_number(tx, account_sid, sid)
    if row is None:
        return None
    return (await owned(tx, account_sid, [row["phone_number"]])).get(row["phone_number"])


async def numbers_of(tx: Tx, account_sid: str) -> list[str]:
    """Return every number that an account holds but for short codes, the longest held first."""
    return await store.numbers_of(tx, account_sid)


async def owner_of(tx: Tx, numbers: Sequence[str]) -> dict[str, OwnedNumber]:
    """Return those of the E.164 numbers that anybody holds, for what comes in from outside."""
    return {row["phone_number"]: _owned(row) for row in await store.held_numbers(tx, None, numbers)}


async def senders(tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], OwnedNumber]:
    """Return those of the pairs of account and E.164 number where the account holds the number, in one query."""
    wanted = set(pairs)
    rows = await store.held_numbers(tx, list({pair[0] for pair in wanted}), list({pair[1] for pair in wanted}))
    # Two accounts of one batch may each name the other's number.
    return {key: _owned(row) for row in rows if (key := (row["account_sid"], row["phone_number"])) in wanted}


def _owned(row: Row) -> OwnedNumber:
    return OwnedNumber(
        account_sid=row["account_sid"],
        sid=row["sid"],
        phone_number=row["phone_number"],
        country=row["country"],
        kind=row["kind"],
        capabilities=Capabilities(row["voice"], row["sms"], row["mms"], row["fax"]),
        friendly_name=row["friendly_name"],
        sms=_webhook(row, "s_", "sms_"),
        voice=_webhook(row, "v_", "voice_"),
        sms_application_sid=row["sms_application_sid"],
        voice_application_sid=row["voice_application_sid"],
        sms_status_callback=row["s_status_callback"] or "",
        voice_status_callback=row["v_status_callback" if row["v_sid"] else "status_callback"],
        voice_status_callback_method=row["v_status_callback_method" if row["v_sid"] else "status_callback_method"],
        voice_caller_id_lookup=row["v_caller_id_lookup" if row["v_sid"] else "voice_caller_id_lookup"],
        voice_receive_mode=row["voice_receive_mode"],
        trunk_sid=row["trunk_sid"],
        address_sid=row["address_sid"],
        api_version=row["api_version"],
        region=row["place_region"] or "",
        locality=row["place_locality"] or "",
        postal_code=row["place_postal_code"] or "",
    )


def _webhook(row: Row, application: str, own: str) -> Webhook:
    # Twilio docs, IncomingPhoneNumber resource: with an application, the number's own URLs are ignored.
    prefix = application if row[f"{application}sid"] else own
    return Webhook(
        url=row[f"{prefix}url"],
        method=row[f"{prefix}method"],
        fallback_url=row[f"{prefix}fallback_url"],
        fallback_method=row[f"{prefix}fallback_method"],
    )


class OwnedCache:
    """Remember which numbers accounts hold, as long as the database tells of every change.

    It answers from memory only while `follow` listens; without it each question is a query. What an account does not
    hold is not remembered, so a number just bought is known at once.
    """

    def __init__(self, *, entries_max: int = 200_000) -> None:
        self._entries_max = entries_max
        self._entries = 0
        self._accounts: dict[str, dict[str, OwnedNumber]] = {}
        # Grows with each change heard of; what was read before a change is not kept after it.
        self._version = 0
        self._listening = False
        self._lost = asyncio.Event()

    @property
    def listening(self) -> bool:
        """Tell whether changes are heard of, so that memory may answer."""
        return self._listening

    def known(self, account_sid: str, number: str) -> OwnedNumber | None:
        """Return a number that an account is known to hold, or None when only the database can tell."""
        held = self._accounts.get(account_sid)
        return held.get(number) if held is not None else None

    async def owned(self, tx: Tx, account_sid: str, numbers: Sequence[str]) -> dict[str, OwnedNumber]:
        """Return those of the numbers that an account holds, as `senders` does."""
        found = await self.senders(tx, [(account_sid, number) for number in numbers])
        return {number: held for (_, number), held in found.items()}

    async def senders(self, tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], OwnedNumber]:
        """Return those of the pairs where the account holds the number, asking the database only for what is not known.

        The transaction must not have changed numbers itself, since it may yet be rolled back.
        """
        found: dict[tuple[str, str], OwnedNumber] = {}
        missing: list[tuple[str, str]] = []
        for pair in pairs:
            known = self.known(*pair)
            if known is None:
                missing.append(pair)
            else:
                found[pair] = known
        if missing:
            version = self._version
            read = await senders(tx, missing)
            found.update(read)
            if self._listening and version == self._version:
                self._keep(read)
        return found

    def _keep(self, read: dict[tuple[str, str], OwnedNumber]) -> None:
        if self._entries + len(read) > self._entries_max:
            self._accounts.clear()
            self._entries = 0
        for (account_sid, number), held in read.items():
            of_account = self._accounts.setdefault(account_sid, {})
            self._entries += number not in of_account
            of_account[number] = held

    def forget(self, account_sid: str | None = None) -> None:
        """Drop what is known of an account, or everything."""
        self._version += 1
        if account_sid is None:
            self._accounts.clear()
            self._entries = 0
        else:
            self._entries -= len(self._accounts.pop(account_sid, {}))

    async def follow(self, database: Database) -> None:
        """Listen for changes until cancelled, and connect again whenever the connection breaks."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await self._listen(database)
            await asyncio.sleep(_RETRY_S)

    async def _listen(self, database: Database) -> None:
        connection = await database.connect_alone()
        self._lost.clear()
        try:
            connection.add_termination_listener(self._on_lost)
            await connection.add_listener(store.CHANNEL, self._on_change)
            self._listening = True
            while not self._lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._lost.wait(), _CHECK_S)
                # A connection that died without a word is noticed by asking.
                await connection.fetchval("SELECT 1", timeout=_CHECK_S)
        finally:
            self._listening = False
            self.forget()
            connection.terminate()

    def _on_lost(self, _connection: Any) -> None:
        # Changes from now on go unheard, so memory stops answering at once.
        self._listening = False
        self.forget()
        self._lost.set()

    def _on_change(self, _connection: Any, _process: int, _channel: str, account_sid: str) -> None:
        self.forget(account_sid)
