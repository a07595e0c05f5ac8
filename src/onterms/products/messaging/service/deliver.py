"""From the queue to the carrier, and what becomes of it: outcomes, receipts, status callbacks."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Statement, Tx
from onterms.core.ids import new_random_sid
from onterms.engines import jobs, log
from onterms.ports.message_carrier import (
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
)
from onterms.products.messaging import events, store
from onterms.products.messaging.model import CALLED_BACK, IMPLY_SENT, TERMINAL, Change, may_follow
from onterms.products.messaging.service import money
from onterms.products.messaging.store import smpp

STATUS_CALLBACK = "messaging.status_callback"

# Codes a message itself carries; meanings in the catalogue of error codes.
ACCOUNT_SUSPENDED = 30002
VALIDITY_EXPIRED = 30036
PROVIDER_TIMEOUT = 30410


def outbound(message: Row, media_urls: tuple[str, ...]) -> OutboundMessage:
    """Make what a carrier gets of a stored message."""
    return OutboundMessage(
        sid=message["sid"],
        account_sid=message["account_sid"],
        sender=message["sender"],
        recipient=message["recipient"],
        body=message["body"],
        media_urls=media_urls,
        segments=message["num_segments"],
        encoding=message["encoding"],
        valid_until=message["valid_until"],
    )


def unfit(
    message: Row, statuses: Mapping[str, str], turned_away: AbstractSet[str], repeats_are_safe: bool, at: datetime
) -> int | None:
    """Return the code with which a message about to be submitted fails instead, if it must."""
    if statuses.get(message["account_sid"]) != "active" or message["sid"] in turned_away:
        return ACCOUNT_SUSPENDED
    if message["valid_until"] is not None and message["valid_until"] < at:
        return VALIDITY_EXPIRED
    # A crash left it in sending: the carrier may have it. Only a carrier that recognises repeats is asked again.
    if message["was"] == "sending" and not repeats_are_safe:
        return PROVIDER_TIMEOUT
    return None


def change_of(message: OutboundMessage, outcome: SubmitOutcome, carrier: str) -> Change | None:
    """Turn a carrier's answer into a status; None where the message stays in the queue for another try."""
    if isinstance(outcome, Submitted):
        name = outcome.carrier or carrier
        return Change(message.account_sid, message.sid, "sent", carrier=name, carrier_id=outcome.carrier_id)
    if isinstance(outcome, Refused):
        name = outcome.carrier or carrier
        return Change(message.account_sid, message.sid, "failed", error_code=outcome.code, carrier=name)
    if isinstance(outcome, Unknown):
        # Not sent again, for that could reach the handset twice.
        return Change(message.account_sid, message.sid, "failed", error_code=PROVIDER_TIMEOUT, carrier=carrier)
    return None


async def record_changes(tx: Tx, changes: Sequence[Change], at: datetime) -> list[Row]:
    """Move messages on where they may move; log each move and queue its status callback. Return what moved."""
    if not changes:
        return []
    await store.lock_many(tx, [(change.account_sid, change.sid) for change in changes])
    return await _record_locked(tx, changes, at)


async def _record_locked(tx: Tx, changes: Sequence[Change], at: datetime) -> list[Row]:
    moved = await store.advance(tx, changes, at)
    if not moved:
        return moved
    done_at = {(change.account_sid, change.sid): change.done_at for change in changes if change.done_at}
    changed = [
        events.event(
            events.STATUS_CHANGED,
            message["account_sid"],
            message["sid"],
            {
                "status": message["status"],
                "error_code": message["error_code"],
                "carrier": message["carrier"],
                "carrier_id": message["carrier_id"],
            },
        )
        for message in moved
    ]
    following = [
        callback_job(message, done_at.get((message["account_sid"], message["sid"])))
        for message in moved
        if message["status_callback"] and message["status"] in CALLED_BACK
    ]
    following += [
        money.settle_job(message["account_sid"], message["sid"], message["status"])
        for message in moved
        if message["status"] in money.OUTCOMES and message["price_micros"] is None
    ]
    statements: list[Statement[Any]] = [log.appending(tx, changed, at)]
    ended = [each for each in moved if each["status"] in smpp.ENDS and each["direction"] == "outbound-api"]
    if ended:
        statements.append(smpp.reporting(ended, at))
    if following:
        statements.append(jobs.enqueuing(tx, following, at))
    await tx.together(*statements)
    return moved


def callback_job(message: Row, done_at: datetime | None) -> jobs.NewJob:
    """Make the job that calls one status back: what it says is fixed now, and its token repeats over retries."""
    return jobs.NewJob(
        STATUS_CALLBACK,
        {
            "sid": message["sid"],
            "url": message["status_callback"],
            "sender": message["sender"],
            "recipient": message["recipient"],
            "status": message["status"],
            "error_code": message["error_code"],
            "done_at": done_at.strftime("%y%m%d%H%M") if done_at and message["status"] in TERMINAL else None,
            "token": idempotency_token(),
            "service": message["messaging_service_sid"],
        },
        account_sid=message["account_sid"],
        # One at a time for each message, so that its statuses arrive in order.
        order_key=message["sid"],
    )


def idempotency_token() -> str:
    """Make a token shaped as a UUID version 4."""
    raw = new_random_sid("")
    return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-a{raw[17:20]}-{raw[20:]}"


async def record_receipts(tx: Tx, receipts: Sequence[Receipt], at: datetime) -> list[Row]:
    """Record what carriers say became of messages; repeats, late words and unknown ids change nothing."""
    changes = [
        Change(
            receipt.account_sid,
            receipt.message_sid,
            receipt.state,
            error_code=receipt.code if receipt.state in ("undelivered", "failed") else None,
            carrier=receipt.carrier,
            carrier_id=receipt.carrier_id,
            done_at=receipt.done_at,
        )
        for receipt in receipts
        if receipt.account_sid is not None and receipt.message_sid is not None
    ]
    statuses = await store.lock_many(tx, [(change.account_sid, change.sid) for change in changes])
    # A receipt may overtake the submit response: what a handset got or refused was sent, and that is called back too.
    overtaken = [
        Change(change.account_sid, change.sid, "sent", carrier=change.carrier, carrier_id=change.carrier_id)
        for change in changes
        if change.status in IMPLY_SENT
        # What is not there counts as received, which nothing follows.
        and may_follow(statuses.get((change.account_sid, change.sid), "received"), "sent")
    ]
    sent = await _record_locked(tx, overtaken, at)
    return sent + await _record_locked(tx, changes, at)


def callback_params(account_sid: str, payload: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the fields of a status callback."""
    params = [
        ("ApiVersion", "2010-04-01"),
        ("AccountSid", account_sid),
        ("From", str(payload["sender"])),
        ("To", str(payload["recipient"])),
        ("MessageSid", str(payload["sid"])),
        ("MessageStatus", str(payload["status"])),
        ("SmsSid", str(payload["sid"])),
        ("SmsStatus", str(payload["status"])),
    ]
    if payload.get("error_code"):
        params.append(("ErrorCode", str(payload["error_code"])))
    if payload.get("service"):
        params.append(("MessagingServiceSid", str(payload["service"])))
    if payload.get("done_at"):
        params.append(("RawDlrDoneDate", str(payload["done_at"])))
    return params
