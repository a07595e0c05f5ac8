"""From the queue to the carrier, and what becomes of it: outcomes, receipts, status callbacks."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Statement, Tx
from onterms.core.ids import new_random_sid
from onterms.engines import jobs, log
from onterms.ports.message_carrier import (
    Content,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
)
from onterms.products.messaging import events, store
from onterms.products.messaging.model import CALLED_BACK, IMPLY_SENT, TERMINAL, Change, implied_sent
from onterms.products.messaging.model.channels import channel_of
from onterms.products.messaging.service import fallbacks, money, registration
from onterms.products.messaging.store import smpp

STATUS_CALLBACK = "messaging.status_callback"

# Codes a message itself carries; meanings in the catalogue of error codes.
ACCOUNT_SUSPENDED = 30002
VALIDITY_EXPIRED = 30036
PROVIDER_TIMEOUT = 30410


def outbound(message: Row, media_urls: tuple[str, ...], content: Content | None = None) -> OutboundMessage:
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
        is_repeat=message["was"] == "sending",
        channel=channel_of(message["recipient"]) if ":" in message["recipient"] else "sms",
        content=content,
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
    if not repeats_are_safe and message["was"] == "sending":
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


async def record_changes(tx: Tx, changes: Sequence[Change], at: datetime, *others: Statement[Any]) -> list[Row]:
    """Move messages on where they may move; keep each move and queue its status callback. Return what moved.

    Shapes: `others` run with what follows from the moves.
    """
    moved: list[Row] = []
    rest: Sequence[Change] = changes
    while rest:
        # Each message moves once in a statement.
        first: dict[str, Change] = {}
        again: list[Change] = []
        for change in rest:
            if first.setdefault(change.sid, change) is not change:
                again.append(change)
        rows = await store.advance(tx, list(first.values()), at)
        moved += rows
        statements = _following(tx, rows, first, at)
        if not again:
            statements += others
            others = ()
        if statements:
            await tx.together(*statements)
        rest = again
    if others:
        await tx.together(*others)
    return moved


def _following(tx: Tx, moved: Sequence[Row], changes: Mapping[str, Change], at: datetime) -> list[Statement[Any]]:
    """Make the statements for what follows from moves."""
    if not moved:
        return []
    told: list[log.Event] = []
    callbacks: dict[str, list[dict[str, Any]]] = {}
    ends: dict[str, list[list[str]]] = {}
    for message in moved:
        account_sid, sid, status = message["account_sid"], message["sid"], message["status"]
        is_implied = status in IMPLY_SENT and implied_sent(message["history"])
        for each in ("sent", status) if is_implied else (status,):
            facts = {name: message[name] for name in ("error_code", "carrier", "carrier_id")}
            told.append(events.event(events.STATUS_CHANGED, account_sid, sid, {"status": each, **facts}))
            if message["status_callback"] and each in CALLED_BACK:
                done_at = changes[sid].done_at
                callbacks.setdefault(account_sid, []).append(callback_of(message, each, done_at))
        if status in money.OUTCOMES and message["price_micros"] is None:
            ends.setdefault(account_sid, []).append([sid, money.OUTCOMES[registration.ended_as(message)]])
    statements: list[Statement[Any]] = [log.appending(tx, log.batched(told), at)]
    ended = [each for each in moved if each["status"] in smpp.ENDS and each["direction"] == "outbound-api"]
    if ended:
        statements.append(smpp.reporting(ended, at))
    following = [callback_job(account_sid, calls) for account_sid, calls in callbacks.items()]
    following += [money.settle_job(account_sid, sids) for account_sid, sids in ends.items()]
    if following:
        statements.append(jobs.enqueuing(tx, following, at))
    return statements


def callback_job(account_sid: str, calls: list[dict[str, Any]]) -> jobs.NewJob:
    """Make the job that calls statuses of an account's messages back."""
    return jobs.NewJob(STATUS_CALLBACK, {"calls": calls}, account_sid=account_sid)


def callback_of(message: Row, status: str, done_at: datetime | None = None) -> dict[str, Any]:
    """Make one call of a callback job: what it says is fixed now, and its token repeats over retries."""
    call = {
        "sid": message["sid"],
        "url": message["status_callback"],
        "sender": message["sender"],
        "recipient": message["recipient"],
        "status": status,
        "token": idempotency_token(),
    }
    if message["error_code"] and status in TERMINAL:
        call["error_code"] = message["error_code"]
    if done_at and status in TERMINAL:
        call["done_at"] = done_at.strftime("%y%m%d%H%M")
    if message["messaging_service_sid"]:
        call["service"] = message["messaging_service_sid"]
    return call


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
    changes = await fallbacks.put_off(tx, changes, at)
    # Meta docs, status webhooks: read says that it was delivered, which is then left out.
    reached = [
        Change(change.account_sid, change.sid, "delivered", carrier=change.carrier, carrier_id=change.carrier_id)
        for change in changes
        if change.status == "read"
    ]
    return await record_changes(tx, [*reached, *changes], at)


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
