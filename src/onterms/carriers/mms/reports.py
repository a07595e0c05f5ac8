"""Which message a report is about, and what the sink hears of it."""

from datetime import datetime, timedelta
from typing import Final, cast

from onterms.carriers.mms import store
from onterms.carriers.mms.model import NAME
from onterms.carriers.mms.store import KeptReport
from onterms.core.db import Row, Tx
from onterms.ports.message_carrier import Receipt, ReceiptState

# The longest that an answer may take.
ANSWER_EXPECTED: Final = timedelta(minutes=5)


def receipt_of(report: KeptReport, account_sid: str, message_sid: str) -> Receipt:
    """Say a report in the words of the port."""
    state = cast(ReceiptState, report.state)
    return Receipt(NAME, report.carrier_id, account_sid, message_sid, state, report.code, report.done_at)


async def take_kept(tx: Tx, row: Row) -> Receipt | None:
    """End a message whose answer is lost by a report that came for its sender and recipient, if one did."""
    # One that came before the message went out is another's.
    kept = await store.take_report_to(tx, row["carrier_sid"], row["sender"], row["recipient"], row["written_at"])
    if kept is None:
        return None
    await store.drop(tx, row["sid"])
    return receipt_of(kept, row["account_sid"], row["sid"])


async def match(tx: Tx, report: KeptReport, at: datetime, *, is_first: bool = True) -> Receipt | None:
    """Find the message of a report and end it; without one the report is kept, for its name may be on its way.

    Shapes: one that is not the first of its message is about what mostly ended before, and is not kept.
    """
    rows = await store.reported(tx, report.carrier_sid, report.carrier_id, report.recipient)
    named = next((row for row in rows if row["carrier_id"] == report.carrier_id), None)
    # The answer of a lost message had the name that this report says, most likely: nobody else has it. One whose answer
    # is long overdue is lost as well, whoever was to write that down.
    overdue = at - ANSWER_EXPECTED
    nameless = [row for row in rows if row["carrier_id"] is None and (row["is_lost"] or row["written_at"] < overdue)]
    lost = [row for row in nameless if report.sender in ("", row["sender"])]
    row = named if named is not None else lost[0] if lost else None
    if row is None or (named is None and not is_first):
        if is_first:
            await store.keep_report(tx, report, at)
        return None
    await store.drop(tx, row["sid"])
    return receipt_of(report, row["account_sid"], row["sid"])
