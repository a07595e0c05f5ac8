"""Reading and mending what is stored: fetch, list, redact, cancel, delete, media."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Protocol

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines import log
from onterms.engines.api import PageRequest
from onterms.products.messaging import errors, events, store
from onterms.products.messaging.model import TERMINAL, Change, may_follow
from onterms.products.messaging.service.deliver import record_changes
from onterms.products.messaging.store import channels, pools


class MediaLinks(Protocol):
    """Make the addresses of stored files and of short links; the app knows the door and the key."""

    def link(self, account_sid: str, message_sid: str, sid: str) -> str:
        """Return a signed, expiring URL."""
        ...

    def report(self, day: date) -> str:
        """Return a signed, expiring URL of the numbers that were taken out of service on a day."""
        ...

    def short(self, code: str) -> str:
        """Return the address under which a short link is followed."""
        ...


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a message. Raises: NotFound."""
    message = await store.fetch(tx, account_sid, sid)
    if message is None:
        raise _not_found(account_sid, sid)
    return message


async def page(tx: Tx, account_sid: str, request: PageRequest, filters: Mapping[str, Any]) -> list[Row]:
    """Return one page of messages."""
    return await store.page(tx, account_sid, request, filters)


async def redact(tx: Tx, account_sid: str, sid: str, body: str, at: datetime) -> Row:
    """Blank the body of a finished message; only the empty text is accepted.

    Raises: NotFound, InvalidParameter, NotComplete.
    """
    message = await _locked(tx, account_sid, sid)
    if body:
        raise InvalidParameter("Body can only be redacted: send it empty")
    _require_complete(message)
    redacted = await store.redact(tx, account_sid, sid, at)
    assert redacted is not None
    if ":" in message["recipient"]:
        await channels.forget(tx, account_sid, sid)
    await log.append(tx, [events.event(events.REDACTED, account_sid, sid, {})], at)
    return redacted


async def cancel(tx: Tx, account_sid: str, sid: str, at: datetime) -> Row:
    """Stop a message that still waits for its time.

    Raises: NotFound, NotCancelable.
    """
    message = await _locked(tx, account_sid, sid)
    # The table of moves also lets a queued message be cancelled; the API's word covers scheduled ones only.
    if message["status"] != "scheduled" or not may_follow(message["status"], "canceled"):
        raise errors.NotCancelable(f"This message cannot be canceled: it is {message['status']}")
    await record_changes(tx, [Change(account_sid, sid, "canceled")], at)
    await pools.end_waiting(tx, [(account_sid, sid)])
    return await fetch(tx, account_sid, sid)


async def feed_back(tx: Tx, account_sid: str, sid: str, outcome: str, at: datetime) -> Row:
    """Record whether a message reached its purpose. Raises: NotFound."""
    await fetch(tx, account_sid, sid)
    return await pools.set_feedback(tx, account_sid, sid, outcome, at)


async def delete(tx: Tx, account_sid: str, sid: str, at: datetime) -> None:
    """Remove a finished message with its media.

    Raises: NotFound, NotComplete.
    """
    message = await _locked(tx, account_sid, sid)
    _require_complete(message)
    await store.delete(tx, account_sid, sid)
    await log.append(tx, [events.event(events.DELETED, account_sid, sid, {})], at)


async def media_page(
    tx: Tx, account_sid: str, message_sid: str, request: PageRequest, filters: Mapping[str, Any]
) -> list[Row]:
    """Return one page of a message's media. Raises: NotFound."""
    await fetch(tx, account_sid, message_sid)
    return await store.media_page(tx, account_sid, message_sid, request, filters)


async def fetch_media(tx: Tx, account_sid: str, message_sid: str, sid: str) -> Row:
    """Return one file. Raises: NotFound."""
    media = await store.fetch_media(tx, account_sid, message_sid, sid)
    if media is None:
        raise NotFound(f"Media {sid} of message {message_sid} was not found")
    return media


async def delete_media(tx: Tx, account_sid: str, message_sid: str, sid: str) -> None:
    """Remove one file. Raises: NotFound."""
    if not await store.delete_media(tx, account_sid, message_sid, sid):
        raise NotFound(f"Media {sid} of message {message_sid} was not found")


async def _locked(tx: Tx, account_sid: str, sid: str) -> Row:
    message = await store.fetch_locked(tx, account_sid, sid)
    if message is None:
        raise _not_found(account_sid, sid)
    return message


def _require_complete(message: Row) -> None:
    # A message that only waits for a receipt that may never come counts as complete, as "sent" is its last word then.
    if message["status"] not in TERMINAL and message["status"] != "sent":
        raise errors.NotComplete(f"Message {message['sid']} is still {message['status']}")


def _not_found(account_sid: str, sid: str) -> NotFound:
    return NotFound(f"The requested resource /2010-04-01/Accounts/{account_sid}/Messages/{sid}.json was not found")
