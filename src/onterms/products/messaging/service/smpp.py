"""What comes in and goes out by SMPP: the same drafts, rules and prices as the API's, in other words.

Theory of operation. A submit_sm becomes a draft and passes `send.admit` like a request of the API; it is answered once
that is committed, with the message's SID. The parts of a long message are stored as they come, are all answered with
the SID that their message will have, and become that one message with the last of them; what is not whole in time goes
out as the parts that came, for no part that was answered is lost. Whose end was to be reported is remembered with the
message, and its end leaves a row that waits for a session (`store/smpp.py`), as an inbound message to a number of an
SMPP user does.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from onterms.core import e164
from onterms.core.db import Row, Statement, Tx
from onterms.core.errors import Refusal
from onterms.engines import jobs, log
from onterms.products.messaging import errors, events
from onterms.products.messaging import store as messages
from onterms.products.messaging.model import Change, NewMessage
from onterms.products.messaging.service import deliver, money, send
from onterms.products.messaging.store import smpp as store
from onterms.protocols import gsm
from onterms.protocols.smpp import (
    Command,
    DataCoding,
    MessageState,
    Status,
    UnreadableContent,
    content_of,
    parts,
    pdu,
    read_time,
    receipt,
    text,
    write_time,
)

PARTS = "messaging.smpp_submit_parts"
# Ours: the parts of a message come within a second where they come at all, and a client that retries has a minute.
PARTS_WAIT = timedelta(minutes=5)
# Ours: parts of one user that wait for their others. They cost nothing until they are whole or given up.
PARTS_MAX = 5000
# Twilio docs, "Message Scheduling": at most 35 days ahead.
SCHEDULE_MAX = timedelta(days=35)

# SMPP 3.4 5.1.3. What is not here is RX_P_APPN: the code and its words stand in additional_status_info_text, and
# sending the same again has the same answer. Want of funds is among those, as the API answers it with a refusal too;
# RTHROTTLED would let clients ask again for ever.
_STATUSES: Final[Mapping[int, int]] = {
    21211: Status.RINVDSTADR,
    21604: Status.RINVDSTADR,
    21614: Status.RINVDSTADR,
    21266: Status.RINVDSTADR,
    21212: Status.RINVSRCADR,
    21603: Status.RINVSRCADR,
    21606: Status.RINVSRCADR,
    21602: Status.RINVMSGLEN,
    21617: Status.RINVMSGLEN,
    21611: Status.RMSGQFUL,
    20429: Status.RTHROTTLED,
    20503: Status.RX_T_APPN,
}
# SMPP 3.4 5.2.28. Failed by its validity is EXPIRED; the others that failed were not taken by the carrier.
_STATES: Final[Mapping[str, MessageState]] = {
    "accepted": MessageState.ENROUTE,
    "scheduled": MessageState.ENROUTE,
    "queued": MessageState.ENROUTE,
    "sending": MessageState.ENROUTE,
    "sent": MessageState.ENROUTE,
    "delivered": MessageState.DELIVERED,
    "read": MessageState.DELIVERED,
    "received": MessageState.DELIVERED,
    "undelivered": MessageState.UNDELIVERABLE,
    "failed": MessageState.REJECTED,
    "canceled": MessageState.DELETED,
}

Statuses = Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Access:
    """Who is bound, and how it may go about it.

    Shapes: `user_key` is an SMPP user's SID, or that of the account or key it bound with; `rate_per_s` 0 is no limit.
    """

    account_sid: str
    user_key: str
    system_id: str
    credential_sid: str = ""
    bind_types: frozenset[str] = frozenset({"transmitter", "receiver", "transceiver"})
    allowed_ips: tuple[str, ...] = ()
    window_max: int = 1000
    rate_per_s: int = 0
    binds_max: int = 10
    alphabet: text.Alphabet = "gsm"
    long_inbound: text.Long = "udh"
    # Of an SMPP user: which of its settings these are.
    version: int = 0


class Given(NamedTuple):
    """A PDU that asks for something, of a session."""

    access: Access
    session_sid: str
    pdu: Any


class Answer(NamedTuple):
    """What a PDU is answered with."""

    status: int
    message_id: str = ""
    words: str = ""
    unsuccessful: tuple[pdu.Unsuccessful, ...] = ()


class _Refused(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.answer = Answer(int(status), words=words)


class _Asked(NamedTuple):
    """What a submit asks for, whatever its kind."""

    given: Given
    source: pdu.Address
    destinations: Sequence[pdu.Address | str]
    content: text.Content
    receipts: int
    valid_until: datetime | None
    due_at: datetime | None


class _Candidate(NamedTuple):
    message: NewMessage
    asked: _Asked
    # Which PDU, and which of its recipients.
    place: int
    destination: pdu.Address
    # The parts that it was made of, where it was.
    parts: Sequence[Row] = ()


def answer_of(refusal: Refusal) -> Answer:
    """Say a refusal in SMPP's words."""
    return Answer(int(_STATUSES.get(refusal.code, Status.RX_P_APPN)), words=f"{refusal.code} {refusal.message}")


def address_of(address: pdu.Address, *, is_source: bool) -> str:
    """Return the number or name that an address means, as the API writes it.

    Source: SMPP 3.4 5.2.5. Clients often leave type and plan unknown, so digits that are a whole number with its
    country are read as such; those of a national number are then read as one of the sender's country.
    """
    number = address.number.strip()
    if address.ton == 5 or not number:
        return number
    digits = number.removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return number
    if number.startswith("+") or address.ton == 1:
        return "+" + digits
    if digits.startswith("00") and address.ton == 0:
        return "+" + digits[2:]
    if address.ton in (3, 6) or len(digits) <= 6:
        return digits
    international = "+" + digits
    if is_source or ((found := e164.parse(international)) is not None and found.valid):
        return international
    return digits


def sent_form(address: pdu.Address) -> str:
    """Keep an address as it came."""
    return f"{address.ton}/{address.npi}/{address.number}"


def address_from(form: str) -> pdu.Address:
    """Return the address that was kept."""
    ton, npi, number = form.split("/", 2)
    return pdu.Address(int(ton), int(npi), number)


class Desk:
    """Takes what bound sessions ask for."""

    def __init__(self, senders: send.Senders, till: money.Till, statuses: Statuses) -> None:
        self._senders = senders
        self._till = till
        self._statuses = statuses

    async def submit(self, tx: Tx, given: Sequence[Given], at: datetime) -> list[Answer]:
        """Accept messages of many submits in one transaction; answers come in order."""
        answers: list[Answer] = [Answer(int(Status.RSYSERR))] * len(given)
        statuses = await self._statuses(tx, list({each.access.account_sid for each in given}))
        candidates: list[_Candidate] = []
        long: list[tuple[int, _Asked]] = []
        refused_of: dict[int, list[tuple[pdu.Address, Answer]]] = {}
        for place, each in enumerate(given):
            try:
                if statuses.get(each.access.account_sid) != "active":
                    raise _Refused(Status.RX_P_APPN, "20005 The account is not active")
                asked = _read(each, at)
            except _Refused as refused:
                answers[place] = refused.answer
                continue
            if asked.content.place is not None:
                long.append((place, asked))
                continue
            for destination in asked.destinations:
                if isinstance(destination, str):
                    no = Answer(int(Status.RINVDLNAME), words="there are no distribution lists here")
                    refused_of.setdefault(place, []).append((pdu.Address(number=destination[:20]), no))
                    continue
                try:
                    message = _compose(asked, destination, at)
                except Refusal as refusal:
                    refused_of.setdefault(place, []).append((destination, answer_of(refusal)))
                    continue
                candidates.append(_Candidate(message, asked, place, destination))
        # In one order everywhere, so that two who add to the same messages do not wait for each other.
        long.sort(key=lambda each: _key_of(each[1]))
        for place, asked in long:
            try:
                answers[place], whole = await self._add_part(tx, place, asked, at)
            except Refusal as refusal:
                answers[place] = answer_of(refusal)
                continue
            if whole is not None:
                candidates.append(whole)
        turned_down = await self._admit(tx, candidates, at)
        taken: dict[int, str] = {}
        for candidate in candidates:
            reason = turned_down.get(candidate.message.sid)
            if reason is None:
                taken.setdefault(candidate.place, candidate.message.sid)
            else:
                refused_of.setdefault(candidate.place, []).append((candidate.destination, answer_of(reason)))
        for place in taken.keys() | refused_of.keys():
            answers[place] = _summed(taken.get(place), refused_of.get(place, []))
        await self._remember(tx, [each for each in candidates if each.message.sid not in turned_down], taken, at)
        return answers

    async def _admit(self, tx: Tx, candidates: Sequence[_Candidate], at: datetime) -> dict[str, Refusal]:
        due = {each.message.sid: each.asked.due_at for each in candidates if each.asked.due_at is not None}
        refused = await send.admit(tx, self._senders, self._till, [each.message for each in candidates], due=due)
        for each in candidates:
            refusal = refused.get(each.message.sid)
            # The last part is told; those before it were answered with yes, so what asked for a receipt gets one.
            if refusal is not None and each.parts and each.asked.receipts in (1, 2):
                await store.insert_refusal(tx, each.parts[0], refusal.code, at)
        return refused

    async def _remember(self, tx: Tx, accepted: Sequence[_Candidate], taken: Mapping[int, str], at: datetime) -> None:
        if not accepted:
            return
        told = [
            events.event(
                events.SUBMITTED,
                each.message.account_sid,
                each.message.sid,
                {"session": each.asked.given.session_sid, "system_id": each.asked.given.access.system_id},
            )
            for each in accepted
        ]
        statements: list[Statement[Any]] = [log.appending(tx, told, at)]
        watched = [
            (
                each.message.account_sid,
                each.message.sid,
                each.asked.given.access.user_key,
                each.asked.receipts,
                taken[each.place],
                sent_form(each.asked.source),
                sent_form(each.destination),
            )
            for each in accepted
            if each.asked.receipts
        ]
        if watched:
            statements.append(store.watching(watched))
        await tx.together(*statements)

    async def _add_part(self, tx: Tx, place: int, asked: _Asked, at: datetime) -> tuple[Answer, _Candidate | None]:
        """Store a part of a long message; return its answer, and the message when it is whole.

        Raises: Refusal where the message cannot go anyway.
        """
        part = asked.content.place
        [destination, *others] = asked.destinations
        if part is None or others or isinstance(destination, str):
            raise errors.ContentRequired("Parts of a long message go to one recipient")
        probe = _compose(asked, destination, at)
        # A sender or recipient that cannot be says so at the first part, not when all were answered.
        for refusal in (await send.objections(tx, self._senders, [probe])).values():
            raise refusal
        access = asked.given.access
        row = {
            "account_sid": access.account_sid,
            "user_key": access.user_key,
            "source": sent_form(asked.source),
            "destination": sent_form(destination),
            "reference": part.reference,
            "total": part.total,
            "number": part.number,
            "sid": probe.sid,
            "body": (asked.content.text or "").encode("utf-16-be", "surrogatepass"),
            "receipts": asked.receipts,
            "valid_until": asked.valid_until,
            "due_at": asked.due_at,
            "credential_sid": access.credential_sid,
            "session_sid": asked.given.session_sid,
            "system_id": access.system_id,
            "made_at": at,
        }
        rows = await store.add_part(tx, row)
        sid = rows[0]["sid"]
        # What has come is answered and goes out, as it is; nothing that comes yet can make it short enough.
        if len(_joined(rows)) > send.BODY_CHARS_MAX:
            await store.drop_part(tx, row)
            raise errors.BodyTooLong(f"The message body is longer than {send.BODY_CHARS_MAX} characters")
        if len(rows) == 1:
            if await store.has_parts(tx, access.account_sid, access.user_key, PARTS_MAX):
                await store.drop_part(tx, row)
                raise errors.QueueFull(f"{PARTS_MAX} parts wait for their others already")
            job = jobs.NewJob(PARTS, {"sid": sid}, account_sid=access.account_sid, due_at=at + PARTS_WAIT)
            await jobs.enqueue(tx, [job], at)
        if len(rows) < part.total:
            return Answer(int(Status.ROK), sid), None
        await store.take_parts(tx, access.account_sid, sid)
        whole = asked._replace(
            content=asked.content._replace(text=_joined(rows)),
            receipts=max(each["receipts"] for each in rows),
            valid_until=next((each["valid_until"] for each in rows if each["valid_until"]), None),
            due_at=next((each["due_at"] for each in rows if each["due_at"]), None),
        )
        message = msgspec.structs.replace(_compose(whole, destination, at), sid=sid)
        return Answer(int(Status.ROK), sid), _Candidate(message, whole, place, destination, rows)

    async def give_up(self, tx: Tx, account_sid: str, sid: str, at: datetime) -> None:
        """Let go, as messages of their own, the parts of a message whose others never came."""
        await store.lock_parts(tx, account_sid, sid)
        rows = await store.take_parts(tx, account_sid, sid)
        candidates: list[_Candidate] = []
        for place, row in enumerate(rows):
            source, destination = address_from(row["source"]), address_from(row["destination"])
            access = Access(account_sid, row["user_key"], row["system_id"], row["credential_sid"])
            asked = _Asked(
                Given(access, row["session_sid"], None),
                source,
                [destination],
                text.Content(_joined([row]), b"", None, None),
                # One answer was given to all, so there is one receipt.
                row["receipts"] if place == 0 else 0,
                row["valid_until"],
                row["due_at"],
            )
            try:
                message = _compose(asked, destination, at)
            except Refusal as refusal:
                if asked.receipts in (1, 2):
                    await store.insert_refusal(tx, row, refusal.code, at)
                continue
            if place == 0:
                message = msgspec.structs.replace(message, sid=sid)
            candidates.append(_Candidate(message, asked, place, destination, [row]))
        refused = await self._admit(tx, candidates, at)
        accepted = [each for each in candidates if each.message.sid not in refused]
        await self._remember(tx, accepted, dict.fromkeys((each.place for each in accepted), sid), at)

    async def query(self, tx: Tx, given: Given, at: datetime) -> tuple[int, Mapping[str, Any]]:
        """Say what became of a message: a status, and the answer's fields."""
        asked = given.pdu
        message = await messages.fetch(tx, given.access.account_sid, asked.message_id)
        if message is None:
            return int(Status.RINVMSGID), {}
        state = state_of(message["status"], message["error_code"])
        return int(Status.ROK), {
            "message_id": asked.message_id,
            "final_date": write_time(message["date_updated"]) if state in receipt.FINAL else "",
            "message_state": int(state),
            # One octet is all there is: our codes are 30000 and some.
            "error_code": _short_code(message["error_code"]) % 256,
        }

    async def cancel(self, tx: Tx, given: Given, at: datetime) -> int:
        """Take back a message that still waits, or all from one sender to one recipient (SMPP 3.4 4.9)."""
        account_sid, asked = given.access.account_sid, given.pdu
        if asked.message_id:
            sids = [asked.message_id]
        else:
            sender = address_of(asked.source, is_source=True)
            recipient = address_of(asked.destination, is_source=False)
            sids = await store.waiting_between(tx, account_sid, sender, recipient)
        moved = await deliver.record_changes(tx, [Change(account_sid, sid, "canceled") for sid in sids], at)
        return int(Status.ROK if moved else Status.RCANCELFAIL)

    async def replace(self, tx: Tx, given: Given, at: datetime) -> int:
        """Put another text in the place of one that still waits (SMPP 3.4 4.10).

        It has no more segments than the one before, for those are paid for, and passes the rules as a new one does.
        """
        access, asked = given.access, given.pdu
        message = await messages.fetch_locked(tx, access.account_sid, asked.message_id)
        if message is None:
            return int(Status.RINVMSGID)
        if message["status"] != "queued" or asked.schedule_delivery_time:
            return int(Status.RREPLACEFAIL)
        # replace_sm has no data_coding: the text is in the SMSC's own alphabet.
        try:
            content = content_of(
                pdu.SubmitSm(data_coding=int(DataCoding.DEFAULT), short_message=asked.short_message, tlvs=asked.tlvs),
                alphabet=access.alphabet,
            )
            valid_until = read_time(asked.validity_period, at)
        except (ValueError, OverflowError):
            return int(Status.RREPLACEFAIL)
        if valid_until is not None:
            valid_until = min(valid_until, at + timedelta(seconds=send.VALIDITY_S_MAX))
        body = _clean(content.text or "")
        if not body or len(body) > send.BODY_CHARS_MAX or (valid_until is not None and valid_until <= at):
            return int(Status.RREPLACEFAIL)
        made = gsm.segment(body)
        if made.segments > message["num_segments"]:
            return int(Status.RREPLACEFAIL)
        await self._till.may_say(tx, message, body, at)
        fields = {
            "body": made.text,
            "encoding": made.encoding,
            "num_segments": made.segments,
            "valid_until": valid_until,
        }
        await store.replace(tx, access.account_sid, asked.message_id, fields, at)
        replaced = events.event(events.REPLACED, access.account_sid, asked.message_id, {"session": given.session_sid})
        await log.append(tx, [replaced], at)
        return int(Status.ROK)


# ---- reading


def _read(given: Given, at: datetime) -> _Asked:
    """Read what a submit_sm, submit_multi or data_sm asks for."""
    asked = given.pdu
    is_multi, is_data = asked.command == Command.SUBMIT_MULTI, asked.command == Command.DATA_SM
    if not is_data and asked.replace_if_present_flag:
        raise _Refused(Status.RINVREPFLAG, "replace_sm replaces messages here, replace_if_present_flag does not")
    if not is_data and asked.sm_default_msg_id:
        raise _Refused(Status.RINVDFTMSGID, "there are no predefined messages here")
    receipts = asked.registered_delivery & 0x03
    try:
        content = content_of(asked, alphabet=given.access.alphabet)
    except UnreadableContent as problem:
        raise _Refused(Status.RSUBMITFAIL, str(problem)) from None
    if content.text is None or content.ports is not None:
        raise _Refused(Status.RSUBMITFAIL, "only texts are carried, no binary content and no ports")
    due_at = None if is_data else _time(asked.schedule_delivery_time, at, Status.RINVSCHED)
    if due_at is not None and (due_at <= at or due_at > at + SCHEDULE_MAX):
        # SMPP 3.4 5.2.15: what is due already goes at once.
        if due_at > at:
            raise _Refused(Status.RINVSCHED, f"messages are scheduled at most {SCHEDULE_MAX.days} days ahead")
        due_at = None
    valid_until = None if is_data else _time(asked.validity_period, at, Status.RINVEXPIRY)
    begin = due_at or at
    if valid_until is not None:
        if valid_until <= begin:
            raise _Refused(Status.RINVEXPIRY, "the message is not valid any more when it is due")
        # Twilio docs: a message waits ten hours at most. A client's default is often days, so it is cut, not refused.
        valid_until = min(valid_until, begin + timedelta(seconds=send.VALIDITY_S_MAX))
    destinations: Sequence[pdu.Address | str] = asked.destinations if is_multi else [asked.destination]
    return _Asked(given, asked.source, destinations, content, receipts, valid_until, due_at)


def _time(field: str, at: datetime, status: Status) -> datetime | None:
    try:
        return read_time(field, at)
    except (ValueError, OverflowError):
        raise _Refused(status, f"'{field}' is no time of SMPP 3.4 7.1.1") from None


def _compose(asked: _Asked, destination: pdu.Address, at: datetime) -> NewMessage:
    access = asked.given.access
    draft = send.Draft(
        account_sid=access.account_sid,
        recipient=address_of(destination, is_source=False),
        sender=address_of(asked.source, is_source=True),
        # A part may end within a character.
        body=_clean(asked.content.text or ""),
        at=at,
        credential_sid=access.credential_sid,
    )
    return msgspec.structs.replace(send.compose(draft), valid_until=asked.valid_until)


def _clean(body: str) -> str:
    """Make a text that can be stored: no halves of characters, no NUL."""
    return body.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _joined(rows: Sequence[Row]) -> str:
    return _clean(b"".join(row["body"] for row in rows).decode("utf-16-be", "surrogatepass"))


def _key_of(asked: _Asked) -> tuple[Any, ...]:
    place = asked.content.place
    assert place is not None, "only parts are sorted"
    destination = asked.destinations[0]
    named = destination if isinstance(destination, str) else sent_form(destination)
    access = asked.given.access
    return (access.account_sid, access.user_key, sent_form(asked.source), named, place.reference, place.total)


def _summed(taken: str | None, refused: Sequence[tuple[pdu.Address, Answer]]) -> Answer:
    if taken is None:
        return refused[0][1]
    return Answer(
        int(Status.ROK), taken, unsuccessful=tuple(pdu.Unsuccessful(to, answer.status) for to, answer in refused)
    )


# ---- writing


def state_of(status: str, error_code: int | None) -> MessageState:
    """Return SMPP's word for a message's status."""
    if status == "failed" and error_code == deliver.VALIDITY_EXPIRED:
        return MessageState.EXPIRED
    return _STATES.get(status, MessageState.UNKNOWN)


def _short_code(code: int | None) -> int:
    # Codes of messages are 30001 to 30999 and some of 63xxx; receipts have room for three digits.
    return 0 if code is None else code % 1000


def deliveries_of(row: Row, access: Access) -> list[pdu.DeliverSm]:
    """Write the PDUs of a claimed delivery; none for a message that is gone."""
    if row["kind"] == "receipt":
        return [_receipt(row)]
    if row["text"] is None:
        return []
    source, destination = _our_form(row["sender"]), _our_form(row["recipient"])
    return [
        pdu.DeliverSm(
            source=source,
            destination=destination,
            esm_class=part.esm_class,
            data_coding=part.data_coding,
            short_message=part.short_message,
            tlvs=part.tlvs,
        )
        for part in parts(row["text"], int(row["id"]), alphabet=access.alphabet, long=access.long_inbound)
    ]


def _receipt(row: Row) -> pdu.DeliverSm:
    error = f"{_short_code(row['error_code']):03d}"
    state = state_of(row["status"], row["error_code"])
    # What alphabet a client takes data_coding 0 for is its affair; all have these characters.
    text_ = (row["body"] or "").encode("ascii", "replace").decode()
    words, tlvs = receipt.write(row["answered_as"], state, error, row["submitted_at"], row["made_at"], text_)
    # SMPP 3.4 5.2.12: message type 0001, a delivery receipt. It goes from whom the message went to.
    return pdu.DeliverSm(
        source=address_from(row["destination"]),
        destination=address_from(row["source"]),
        esm_class=0x04,
        short_message=words,
        tlvs=tlvs,
    )


def _our_form(number: str) -> pdu.Address:
    if number.startswith("+"):
        return pdu.Address(1, 1, number[1:])
    # What SMSCs commonly do: a short code is network specific, a name alphanumeric.
    return pdu.Address(3, 0, number) if number.isdigit() else pdu.Address(5, 0, number[:20])


async def settle_deliveries(tx: Tx, done: Sequence[tuple[Row, str, int]], at: datetime) -> None:
    """Forget deliveries that a session answered for good, and write down which one did.

    Shapes: the claimed row, the session's SID, the answer's status.
    """
    await store.remove_deliveries(tx, [row["id"] for row, _, _ in done])
    given = [
        events.event(
            events.GIVEN,
            row["account_sid"],
            row["message_sid"],
            {"session": session, "what": row["kind"], "answer": status},
        )
        for row, session, status in done
    ]
    await log.append(tx, given, at)
