"""Giving a message that RCS did not deliver a number to come from."""

from datetime import datetime
from typing import Any

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.engines import log
from onterms.products.messaging import errors, events, store
from onterms.products.messaging.model import Change
from onterms.products.messaging.model import pool as model
from onterms.products.messaging.model.queues import Waiting
from onterms.products.messaging.service import pool, send
from onterms.products.messaging.service.deliver import VALIDITY_EXPIRED, record_changes
from onterms.products.messaging.service.queues import SenderQueues, join
from onterms.products.messaging.store import fallbacks, pools


async def fall_back(
    tx: Tx,
    senders: send.Senders,
    queues: SenderQueues | None,
    account_sid: str,
    payload: dict[str, Any],
    at: datetime,
) -> None:
    """Send a message by SMS or MMS after all, or end it as RCS said where nobody can."""
    key = (account_sid, payload["sid"])
    statuses = await store.lock_many(tx, [key])
    message = await store.fetch(tx, *key)
    noted = await fallbacks.fetch(tx, *key)
    # It may have been read, or deleted, in the meantime.
    if message is None or noted is None or statuses.get(key) not in ("queued", "sending", "sent"):
        return
    recipient = e164.split_address(message["recipient"]).identity
    code = payload["code"]
    sender: model.PoolSender | None = None
    if message["valid_until"] is not None and message["valid_until"] <= at:
        code = VALIDITY_EXPIRED
    else:
        sender = await _sender(tx, senders, message, noted["sender"], recipient)
    if sender is not None:
        names = (message["messaging_service_sid"], sender.sender)
        if await store.opted_out(tx, [(account_sid, name, recipient) for name in names]):
            sender, code = None, errors.OptedOut.code
    if sender is None:
        await record_changes(tx, [Change(*key, payload["status"], error_code=code, carrier="rcs")], at)
        return
    queued = await fallbacks.reroute(tx, *key, sender.sender, recipient, at)
    assert queued is not None, "its status allows it and it is locked"
    if sender.sid:
        await pools.note_use(tx, {(account_sid, message["messaging_service_sid"], sender.sid): message["num_segments"]})
    # Its files are here already.
    segments = 1 if queued["num_media"] else queued["num_segments"]
    await join(tx, queues, Waiting(*key, sender.sender, segments), at)
    said = {"status": "queued", "sender": sender.sender, "error_code": payload["code"]}
    await log.append(tx, [events.event(events.STATUS_CHANGED, account_sid, key[1], said)], at)


async def _sender(tx: Tx, senders: send.Senders, message: Row, wanted: str, recipient: str) -> model.PoolSender | None:
    account_sid, service_sid = message["account_sid"], message["messaging_service_sid"]
    service = (await pool.pools_of(tx, senders, [(account_sid, service_sid)])).get((account_sid, service_sid))
    has_media = message["num_media"] > 0
    country = e164.country_of(recipient) or ""
    known = [] if service is None else service.of(recipient)
    if wanted:
        known = [sender for sender in known if sender.sender == wanted] or await _owned(
            tx, senders, account_sid, wanted
        )
    falls_back = bool(wanted) or service is None or bool(service.settings["fallback_to_long_code"])
    fit = model.fitting(known, country, has_media=has_media, falls_back_to_long_code=falls_back)
    if not fit:
        return None
    sticky, matches = None, False
    if service is not None:
        peer = (account_sid, service_sid, recipient)
        sticky = (await pools.sticky_senders(tx, [peer])).get(peer) if service.settings["sticky_sender"] else None
        matches = service.settings["area_code_geomatch"]
    return model.choose(fit, recipient, country, sticky=sticky, matches_area_code=matches)


async def _owned(tx: Tx, senders: send.Senders, account_sid: str, wanted: str) -> list[model.PoolSender]:
    """Return a number of the account that stands in no pool, as a sender."""
    number = (await senders(tx, [(account_sid, wanted)])).get((account_sid, wanted))
    if number is None:
        return []
    return [
        model.PoolSender(
            "",
            wanted,
            "phone_number",
            country=number.country,
            used=0,
            is_tollfree=number.kind == "tollfree",
            can_sms=number.capabilities.sms,
            can_mms=number.capabilities.mms,
        )
    ]
