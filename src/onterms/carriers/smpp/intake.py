"""Taking what carriers say: answers, receipts and messages, a batch in one transaction."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from onterms.carriers.smpp import model, store
from onterms.carriers.smpp.link import Link, Outgoing
from onterms.carriers.smpp.model import Quality
from onterms.carriers.smpp.store import KeptReceipt
from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.ports.message_carrier import (
    InboundMessage,
    MessageSink,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols.smpp import (
    Assembler,
    Command,
    Content,
    MessageState,
    Session,
    Status,
    UnreadableContent,
    content_of,
    is_receipt,
    name_of_status,
)
from onterms.protocols.smpp.receipt import FINAL, read
from onterms.protocols.smpp.text import Place

_log = logging.getLogger("onterms.smpp")

NAME: Final = "smpp"
# A receipt for a message without a name is that message's only if no answer to it is on its way.
ANSWER_EXPECTED: Final = timedelta(minutes=5)
# Ours: the parts of a message come within seconds; a handset that lost coverage in between has an hour.
INBOUND_WAIT: Final = timedelta(hours=1)
OVERDUE_MAX: Final = 100

_Key = tuple[str, str, str, int, int]


@dataclass(slots=True, eq=False)
class Taken:
    """What an SMSC brought, until it is answered; or, with `asked`, what it answered to a query_sm."""

    link: Link
    session: Session | None
    pdu: Any
    asked: Any = None
    status: int = 0


class Intake:
    """Turn what carriers say into rows and into words for the sink."""

    def __init__(self, sink: MessageSink) -> None:
        self._sink = sink
        # Ends by route since they were last written down.
        self.counted: dict[str, Quality] = {}

    # ---- one batch

    async def take(
        self, tx: Tx, finished: Sequence[Outgoing], arrived: Sequence[Taken], at: datetime
    ) -> list[tuple[str, bool]]:
        """Write down a batch; return which routes' messages ended, and whether delivered."""
        reports: list[Receipt] = []
        named, pairs = await self._take_answers(tx, finished, reports, at)
        receipts, inbound = self._sort(arrived, at)
        if named or pairs:
            receipts = await store.take_receipts(tx, named, pairs) + receipts
        ended: list[tuple[str, bool]] = []
        if receipts:
            ended = await self._take_receipts(tx, receipts, reports, at)
        if reports:
            await self._sink.receipts_arrived(tx, reports)
        if inbound:
            messages = await self._whole(tx, inbound, at)
            if messages:
                await self._sink.messages_arrived(tx, messages)
        return ended

    async def drop_ended(self, tx: Tx, repeats: Sequence[OutboundMessage]) -> list[str]:
        """Forget the new parts of messages that ended between their being taken up again and now; return their SIDs.

        The receipt of an earlier life's submit ends a message and drops its parts, and without them it looks new.
        """
        if not repeats:
            return []
        going = await self._sink.still_going(tx, [(message.account_sid, message.sid) for message in repeats])
        ended = [message.sid for message in repeats if message.sid not in going]
        if ended:
            await store.drop(tx, ended)
        return ended

    async def give_up_answers(self, tx: Tx, sids: Sequence[str], at: datetime) -> list[tuple[str, bool]]:
        """Expect no answer for messages any more, and give them the receipts that waited for one; return as `take`."""
        rows = await store.mark_ambiguous(tx, sids)
        receipts = await store.take_receipts(tx, [], [(row["carrier_sid"], row["recipient"]) for row in rows])
        if not receipts:
            return []
        reports: list[Receipt] = []
        ended = await self._take_receipts(tx, receipts, reports, at)
        if reports:
            await self._sink.receipts_arrived(tx, reports)
        return ended

    def outcome_of(self, item: Outgoing) -> SubmitOutcome:
        """Return what became of a message that its links are done with."""
        if item.refusal is not None:
            return Refused(model.refusal_code(item.refusal), name_of_status(item.refusal), NAME)
        if item.is_given_back:
            return Unreachable("no link took it")
        if all(given is not None for given in item.ids):
            return Submitted(item.ids[0] or "", NAME)
        return Unknown("no answer came", is_followed=True)

    async def _take_answers(
        self, tx: Tx, finished: Sequence[Outgoing], reports: list[Receipt], at: datetime
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        named: list[tuple[str, int, str, str]] = []
        ids: list[tuple[str, str]] = []
        dropped: list[str] = []
        lost: list[str] = []
        for item in finished:
            sid = item.message.sid
            outcome = self.outcome_of(item)
            if isinstance(outcome, Refused | Unreachable):
                dropped.append(sid)
                if item.batch is None:
                    code = outcome.code if isinstance(outcome, Refused) else model.UNKNOWN_ERROR
                    reports.append(_report(item.message.account_sid, sid, "", "failed", code, at))
                continue
            id_format = item.carrier.settings.id_format
            for number, given in enumerate(item.ids):
                if given is not None:
                    carrier_id = model.same_id(model.receipt_id(given, id_format), id_format)
                    named.append((sid, number, given, carrier_id))
                    ids.append((item.carrier.sid, carrier_id))
            if isinstance(outcome, Unknown):
                lost.append(sid)
            elif item.batch is None:
                reports.append(_report(item.message.account_sid, sid, item.ids[0] or "", "sent", None, at))
        if named:
            await store.name_parts(tx, named)
        if dropped:
            await store.drop(tx, dropped)
        pairs: list[tuple[str, str]] = []
        if lost:
            rows = await store.mark_ambiguous(tx, lost)
            pairs = [(row["carrier_sid"], row["recipient"]) for row in rows]
        return ids, pairs

    # ---- sorting

    def _sort(self, arrived: Sequence[Taken], at: datetime) -> tuple[list[KeptReceipt], list[tuple[Taken, Content]]]:
        receipts: list[KeptReceipt] = []
        inbound: list[tuple[Taken, Content]] = []
        for taken in arrived:
            settings, pdu = taken.link.row.settings, taken.pdu
            if taken.asked is not None:
                found = self._queried(taken, at)
                if found is not None:
                    receipts.append(found)
            elif pdu.command not in (Command.DELIVER_SM, Command.DATA_SM):
                # alert_notification: nobody waits for a handset here.
                continue
            elif is_receipt(pdu):
                receipt = read(pdu)
                if receipt is None:
                    _log.warning("carrier %s: a receipt names no message or state", taken.link.row.name)
                elif receipt.is_final:
                    receipts.append(
                        KeptReceipt(
                            taken.link.row.sid,
                            model.same_id(receipt.message_id, settings.id_format),
                            # It comes back the way the message went.
                            pdu.destination.number,
                            pdu.source.number.removeprefix("+"),
                            "delivered" if receipt.state == MessageState.DELIVERED else "undelivered",
                            model.end_code(settings, receipt.state, receipt.error),
                            receipt.done_at or at,
                        )
                    )
            else:
                try:
                    content = content_of(pdu, alphabet=settings.alphabet)
                except UnreadableContent as error:
                    _log.warning("carrier %s: a message cannot be read: %s", taken.link.row.name, error)
                    taken.status = int(Status.RX_P_APPN)
                    continue
                inbound.append((taken, content))
        return receipts, inbound

    def _queried(self, taken: Taken, at: datetime) -> KeptReceipt | None:
        pdu, asked = taken.pdu, taken.asked
        try:
            state = MessageState(pdu.message_state)
        except ValueError:
            return None
        # "Unknown" is what an SMSC says of messages it keeps no more; a receipt may yet tell.
        if state not in FINAL or state == MessageState.UNKNOWN:
            return None
        return KeptReceipt(
            taken.link.row.sid,
            asked.carrier_id,
            asked.sender,
            asked.recipient,
            "delivered" if state == MessageState.DELIVERED else "undelivered",
            model.end_code(taken.link.row.settings, state, f"{pdu.error_code:03d}" if pdu.error_code else ""),
            at,
        )

    # ---- receipts

    async def _take_receipts(
        self, tx: Tx, receipts: Sequence[KeptReceipt], reports: list[Receipt], at: datetime
    ) -> list[tuple[str, bool]]:
        # The first word on an id counts.
        open_ = {(each.carrier_sid, each.carrier_id): each for each in reversed(receipts)}
        rows = await store.parts_named(tx, [sid for sid, _ in open_], [carrier_id for _, carrier_id in open_])
        matched: list[tuple[Row, KeptReceipt]] = []
        # Ids come round, and then the newest message has it.
        for row in reversed(rows):
            receipt = open_.pop((row["carrier_sid"], row["carrier_id"]), None)
            if receipt is not None and row["state"] is None:
                matched.append((row, receipt))
        if open_:
            matched += await self._match_lost(tx, open_, at)
        if open_:
            await store.keep_receipts(tx, list(open_.values()), at)
        return await self._end(tx, matched, reports)

    async def _match_lost(
        self, tx: Tx, open_: dict[tuple[str, str], KeptReceipt], at: datetime
    ) -> list[tuple[Row, KeptReceipt]]:
        """Give receipts to messages that were never answered: the only one without a name between the two ends."""
        rows = await store.unanswered_to(
            tx,
            [each.carrier_sid for each in open_.values()],
            [each.recipient for each in open_.values()],
            at - ANSWER_EXPECTED,
        )
        between: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            key = (row["carrier_sid"], row["sender"].removeprefix("+"), row["recipient"])
            between.setdefault(key, []).append(row)
        matched: list[tuple[Row, KeptReceipt]] = []
        for name, receipt in list(open_.items()):
            found = between.get((receipt.carrier_sid, receipt.sender.removeprefix("+"), receipt.recipient), [])
            if len(found) == 1 and found[0]["is_lost"]:
                matched.append((found.pop(), receipt))
                del open_[name]
        if matched:
            await store.name_parts(
                tx, [(row["sid"], row["part"], receipt.carrier_id, receipt.carrier_id) for row, receipt in matched]
            )
        return matched

    async def _end(
        self, tx: Tx, matched: Sequence[tuple[Row, KeptReceipt]], reports: list[Receipt]
    ) -> list[tuple[str, bool]]:
        ended: list[tuple[str, bool]] = []
        over: list[str] = []
        in_parts: list[tuple[str, int, str, int | None]] = []
        latest: dict[str, KeptReceipt] = {}
        for row, receipt in matched:
            sid = row["sid"]
            if row["parts"] == 1 or receipt.state != "delivered":
                # One part that did not arrive spoils the message.
                if sid not in over:
                    over.append(sid)
                    reports.append(_end_of(row, receipt))
                    ended.append((row["route_sid"], receipt.state == "delivered"))
            else:
                in_parts.append((sid, row["part"], receipt.state, receipt.code))
                latest[sid] = receipt
        if in_parts:
            await store.end_parts(tx, in_parts)
            for sid, rows in (await store.parts_of(tx, [sid for sid in latest if sid not in over])).items():
                if all(row["state"] == "delivered" for row in rows):
                    over.append(sid)
                    reports.append(_end_of(rows[0], latest[sid]))
                    ended.append((rows[0]["route_sid"], True))
        if over:
            await store.drop(tx, over)
        return ended

    async def give_up(self, tx: Tx, rows: Sequence[Row], at: datetime) -> None:
        """Fail messages of which nobody will ever know whether the carrier had them."""
        if not rows:
            return
        await store.drop(tx, [row["sid"] for row in rows])
        reports = [_report(row["account_sid"], row["sid"], "", "failed", model.TIMED_OUT, at) for row in rows]
        await self._sink.receipts_arrived(tx, reports)

    # ---- messages

    async def _whole(self, tx: Tx, inbound: Sequence[tuple[Taken, Content]], at: datetime) -> list[InboundMessage]:
        messages: list[InboundMessage] = []
        for taken, content in inbound:
            sender = model.number_of(taken.pdu.source)
            recipient = model.number_of(taken.pdu.destination)
            segments = 1
            place = content.place
            if place is not None:
                key = (taken.link.row.sid, sender, recipient, place.reference, place.total)
                rows = await store.put_inbound_part(tx, key, place.number, _bytes_of(content), at)
                rows = [row for row in rows if row["came_at"] > at - INBOUND_WAIT]
                if len(rows) < place.total:
                    continue
                await store.take_inbound_parts(tx, key)
                segments = place.total
                content = _joined(key, rows, at)
            if content.text is None:
                _log.warning("carrier %s: a message without text is dropped", taken.link.row.name)
                continue
            messages.append(_inbound(sender, recipient, content.text, segments, at))
        return messages

    async def overdue(self, tx: Tx, at: datetime) -> None:
        """Bring what there is of messages whose other parts did not come."""
        late = await store.overdue_inbound_parts(tx, at - INBOUND_WAIT, OVERDUE_MAX)
        messages: list[InboundMessage] = []
        for key, rows in late.items():
            content = _joined(key, rows, at)
            if content.text is not None:
                messages.append(_inbound(key[1], key[2], content.text, len(rows), at))
        if messages:
            await self._sink.messages_arrived(tx, messages)

    # ---- answers to the SMSC

    def answer(self, taken: Taken) -> None:
        """Answer what is written down now."""
        if taken.session is None:
            return
        counters = taken.link.counters
        if taken.pdu.command not in (Command.DELIVER_SM, Command.DATA_SM):
            taken.link.heard()
            return
        if is_receipt(taken.pdu):
            counters.receipts += 1
        else:
            counters.inbound += 1
        taken.link.answer(taken.session, taken.pdu, taken.status)

    def refuse(self, taken: Taken) -> None:
        """Tell the SMSC to bring it later: it could not be written down."""
        if taken.session is not None and taken.pdu.command in (Command.DELIVER_SM, Command.DATA_SM):
            taken.link.answer(taken.session, taken.pdu, int(Status.RX_T_APPN))


def _report(account_sid: str, sid: str, carrier_id: str, state: Any, code: int | None, at: datetime) -> Receipt:
    return Receipt(
        carrier=NAME,
        carrier_id=carrier_id,
        account_sid=account_sid,
        message_sid=sid,
        state=state,
        code=code,
        done_at=at,
    )


def _end_of(row: Row, receipt: KeptReceipt) -> Receipt:
    given = row["given_id"] or receipt.carrier_id
    return _report(row["account_sid"], row["sid"], given, receipt.state, receipt.code, receipt.done_at)


def _inbound(sender: str, recipient: str, text: str, segments: int, at: datetime) -> InboundMessage:
    # SMPP names no message that it brings, so each has a name of ours. One that the SMSC brings again, because our
    # answer was lost, cannot be told from a second one of the same words.
    return InboundMessage(NAME, new_sid("IN", at), sender, recipient, text.replace("\0", ""), (), segments, at)


def _bytes_of(content: Content) -> bytes | None:
    return None if content.text is None else content.text.encode("utf-16-le", "surrogatepass")


def _joined(key: _Key, rows: Sequence[Mapping[str, Any]], at: datetime) -> Content:
    """Put parts together in order, also where some are missing."""
    # As many as there are, so that the assembler takes them for all.
    assembler = Assembler()
    whole: Content | None = None
    for number, row in enumerate(rows, 1):
        text = None if row["content"] is None else row["content"].decode("utf-16-le", "surrogatepass")
        place = Place(key[3], len(rows), number)
        whole = assembler.add(key[1], key[2], Content(text, b"", place, None), at)
    assert whole is not None, "the last of as many parts as there are makes the message whole"
    return whole
