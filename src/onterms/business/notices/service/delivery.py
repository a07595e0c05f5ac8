"""Bringing notices to their addresses and weighing what mail servers say."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from onterms.business.notices import events, store
from onterms.business.notices.model import (
    FALLBACK,
    FINAL,
    GIVE_UP_AFTER,
    MOVES,
    Address,
    NewNoticeIn,
    Notice,
    given_at,
    message_id,
    retry_delay_s,
    verdict,
)
from onterms.business.notices.service.notices import received
from onterms.business.notices.service.operator_tasks import open_task
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines import audit, log
from onterms.ports.mail import Attachment, Bounce, InMail, MailOutcome, OutMail

# Lists a customer's contacts of a kind as (SID, address), oldest first.
Contacts = Callable[[Tx, str, str], Awaitable[Sequence[tuple[str, str]]]]
# Finds the customer one of whose contacts has this address, or None.
CustomerOfSender = Callable[[Tx, str], Awaitable[str | None]]
# Told in the same transaction when a notice was given, voided or bounced: (tx, event type, notice, at).
Follower = Callable[[Tx, str, Notice, datetime], Awaitable[None]]
# Lets one transaction at a time change what followers change of a customer.
Lock = Callable[[Tx, str], Awaitable[None]]

_TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes notices and where the operator takes them.

    Shapes: `legal_address` is the one that the terms name for notices to the operator.
    """

    sender: str
    sender_name: str
    legal_address: str

    @property
    def domain(self) -> str:
        """Return the domain that our mails' ids end with."""
        return self.sender.rpartition("@")[2]


async def _nobody(tx: Tx, address: str) -> str | None:
    return None


async def _no_lock(tx: Tx, customer_sid: str) -> None:
    pass


class Delivery:
    """The delivery of notices; also the `MailSink` of whatever carries mail.

    Shapes: `lock` is what followers take of a customer.
    """

    def __init__(
        self,
        contacts: Contacts,
        letterhead: Letterhead,
        *,
        customer_of_sender: CustomerOfSender = _nobody,
        followers: Sequence[Follower] = (),
        lock: Lock = _no_lock,
        zone: tzinfo = UTC,
    ) -> None:
        self._contacts = contacts
        self._letterhead = letterhead
        self._customer_of_sender = customer_of_sender
        self._followers = followers
        self._lock = lock
        self._zone = zone

    @property
    def zone(self) -> tzinfo:
        """Return the operator's billing zone, whose days count."""
        return self._zone

    # Sending

    async def prepare(self, tx: Tx, sid: str, at: datetime) -> list[tuple[int, OutMail]]:
        """Return the mails of a notice that are still to be sent, by place; the first time also fix whom they go to."""
        notice = (await store.fetch_notices(tx, [sid], lock=True))[sid]
        if notice.state in FINAL:
            return []
        if notice.sent_to_kind is None:
            notice = await self._address(tx, notice, at)
            if not notice.addresses:
                await self._weigh(tx, notice, at)
                return []
        files = [
            Attachment(file.name, file.content_type, file.content)
            for file in await store.files(tx, notice.customer_sid, sid)
        ]
        return [
            (
                address.place,
                OutMail(
                    address.message_id,
                    self._letterhead.sender,
                    self._letterhead.sender_name,
                    (address.address,),
                    notice.subject,
                    notice.body,
                    notice.created_at,
                    tuple(files),
                ),
            )
            for address in notice.addresses
            if address.is_pending
        ]

    async def record(self, tx: Tx, sid: str, outcomes: Mapping[int, MailOutcome], at: datetime) -> datetime | None:
        """Write down what servers said, by place, and return when to try those again that have not decided."""
        notice = (await store.fetch_notices(tx, [sid], lock=True))[sid]
        changed = []
        for address in notice.addresses:
            outcome = outcomes.get(address.place)
            changed.append(address if outcome is None else _with(address, outcome, notice.created_at))
        for before, after in zip(notice.addresses, changed, strict=True):
            if after != before:
                await store.update_address(tx, notice, after)
        await self._weigh(tx, replace(notice, addresses=tuple(changed)), at)
        waits = [
            outcomes[address.place].retry_at or at + timedelta(seconds=retry_delay_s(address.attempts))
            for address in changed
            if address.is_pending and address.place in outcomes
        ]
        # The last attempt is made when it is given up, however late its server wants it.
        return min(*waits, notice.created_at + GIVE_UP_AFTER) if waits else None

    async def _address(self, tx: Tx, notice: Notice, at: datetime) -> Notice:
        kinds = list(dict.fromkeys((notice.contact_kind, *FALLBACK)))
        found: Sequence[tuple[str, str]] = []
        kind = notice.contact_kind
        for kind in kinds:
            found = await self._contacts(tx, notice.customer_sid, kind)
            if found:
                break
        # Two contacts of one address are one mail.
        once = {address.lower(): (contact_sid, address) for contact_sid, address in reversed(found)}
        addresses = [
            Address(place, contact_sid, address, message_id(notice.sid, place, self._letterhead.domain))
            for place, (contact_sid, address) in enumerate(reversed(once.values()), 1)
        ]
        await store.insert_addresses(tx, notice, kind if found else "", addresses)
        if found and kind != notice.contact_kind:
            await open_task(
                tx,
                "contact_missing",
                f"The customer has no {notice.contact_kind} contact; notices go to its {kind} contacts",
                day_of(at, self._zone),
                at,
                customer_sid=notice.customer_sid,
                ref=notice.contact_kind,
            )
        return replace(notice, sent_to_kind=kind if found else "", addresses=tuple(addresses))

    # What comes back

    async def bounced(self, tx: Tx, bounces: Sequence[Bounce]) -> None:
        """Take hard bounces; one that is known already, or of no mail of ours, changes nothing."""
        owners = await store.notices_of_mails(tx, [bounce.message_id for bounce in bounces])
        notices = await store.fetch_notices(tx, sorted(set(owners.values())), lock=True)
        for bounce in bounces:
            notice = notices.get(owners.get(bounce.message_id, ""))
            if notice is None:
                continue
            addresses = tuple(
                replace(address, bounced_at=bounce.at, diagnostic=bounce.diagnostic[:_TEXT_MAX])
                if address.message_id == bounce.message_id and address.bounced_at is None
                else address
                for address in notice.addresses
            )
            if addresses == notice.addresses:
                continue
            for before, after in zip(notice.addresses, addresses, strict=True):
                if after != before:
                    await store.update_address(tx, notice, after)
            notices[notice.sid] = await self._weigh(tx, replace(notice, addresses=addresses), bounce.at)

    async def received(self, tx: Tx, mails: Sequence[InMail]) -> list[str]:
        """Put mails to the legal address on record and return the SIDs of the notices.

        Raises: InvalidParameter for a mail to any other address, which gives no notice (9.5).
        """
        sids = []
        for mail in mails:
            if mail.recipient.lower() != self._letterhead.legal_address.lower():
                raise InvalidParameter(f"Notices go to {self._letterhead.legal_address}")
            customer_sid = await self._customer_of_sender(tx, mail.sender) or ""
            new = NewNoticeIn(
                customer_sid,
                "mail",
                "email",
                mail.sender,
                mail.subject,
                mail.body,
                mail.received_at,
                mail.message_id,
                mail.raw,
            )
            sids.append((await received(tx, new, mail.received_at, zone=self._zone)).sid)
        return sids

    # Weighing

    async def _weigh(self, tx: Tx, notice: Notice, at: datetime) -> Notice:
        event = verdict(notice.addresses)
        if notice.state in FINAL:
            # Evidence may still come in; what it was about is over.
            return notice
        move = MOVES[notice.state, event]
        after = replace(notice, state=move.next)
        if "date" in move.effects:
            first = given_at(notice.addresses)
            after = replace(after, given_at=first, given_on=day_of(first, self._zone))
        if "undate" in move.effects:
            after = replace(after, given_at=None, given_on=None, voided_at=at)
        if after == notice:
            return notice
        # What followers lock goes before the trail's own lock, as everywhere, or two could wait for each other.
        await self._lock(tx, notice.customer_sid)
        await store.update_state(tx, after, at)
        evidence = {
            "verdict": event,
            "body_sha256": notice.body_sha256,
            "addresses": [_shown(address) for address in notice.addresses],
        }
        entry = audit.AuditEvent(
            notice.customer_sid, "mail", "notice", notice.sid, notice.state, after.state, "9.5", evidence
        )
        await audit.record(tx, [entry], at)
        if "task" in move.effects:
            subject = (
                f"The notice {notice.sid} ({notice.kind}) reached nobody: it is not given and its clocks stand still"
            )
            day = day_of(at, self._zone)
            await open_task(tx, "notice_not_given", subject, day, at, customer_sid=notice.customer_sid, ref=notice.sid)
        if "say_given" in move.effects:
            await self._say(tx, events.NOTICE_GIVEN, after, at)
        if "say_voided" in move.effects:
            await self._say(tx, events.NOTICE_VOIDED, replace(after, given_on=notice.given_on), at)
        if "say_bounced" in move.effects:
            await self._say(tx, events.NOTICE_BOUNCED, after, at)
        return after

    async def _say(self, tx: Tx, type: str, notice: Notice, at: datetime) -> None:
        data: dict[str, Any] = {
            "kind": notice.kind,
            "ref": notice.ref,
            "state": notice.state,
            "given_on": None if notice.given_on is None else notice.given_on.isoformat(),
        }
        await log.append(tx, [log.Event(type, notice.customer_sid, notice.sid, data)], at)
        for follower in self._followers:
            await follower(tx, type, notice, at)


def _with(address: Address, outcome: MailOutcome, created_at: datetime) -> Address:
    if not address.is_pending:
        # A repeat after a crash, or a bounce that overtook the answer, which is evidence but decides nothing.
        if address.accepted_at is None and outcome.result == "accepted":
            return replace(address, accepted_at=outcome.at, server=outcome.server, reply=outcome.reply[:_TEXT_MAX])
        return address
    given_up = outcome.result == "deferred" and outcome.at - created_at >= GIVE_UP_AFTER
    return replace(
        address,
        attempts=address.attempts + 1,
        first_at=address.first_at or outcome.at,
        last_at=outcome.at,
        server=outcome.server[:_TEXT_MAX],
        reply=outcome.reply.replace("\0", "")[:_TEXT_MAX],
        mail_sha256=outcome.sha256,
        dkim=outcome.dkim,
        accepted_at=outcome.at if outcome.result == "accepted" else None,
        refused_at=outcome.at if outcome.result == "refused" or given_up else None,
    )


def _shown(address: Address) -> dict[str, Any]:
    return {
        "address": address.address,
        "message_id": address.message_id,
        "mail_sha256": address.mail_sha256,
        "server": address.server,
        "reply": address.reply,
        "accepted_at": None if address.accepted_at is None else address.accepted_at.isoformat(),
        "refused_at": None if address.refused_at is None else address.refused_at.isoformat(),
        "bounced_at": None if address.bounced_at is None else address.bounced_at.isoformat(),
    }
