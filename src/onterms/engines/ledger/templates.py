"""Posting templates: one pure function for each thing that happens to money.

Debits are positive. Each entry's account says what kind it is: prepaid_balance, receivable and the like are the
customer's; revenue:{service}, surcharge_payable, tax_payable:{jurisdiction} are what it pays for; cash:{psp} is where
its money came in.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from onterms.engines.ledger.model import (
    DISPUTED,
    PREPAID,
    PREPAID_HOLD,
    RECEIVABLE,
    UNBILLED,
    Entry,
    FundsKind,
    Posting,
    Split,
)


def topup(micros: int, psp: str) -> Posting:
    """Add money to the prepaid balance."""
    return _posting("topup", Entry(f"cash:{psp}", _above_zero(micros)), Entry(PREPAID, -micros))


def hold(micros: int) -> Posting:
    """Set funds aside; pending, so nothing goes into the journal."""
    return _posting("hold", *_pending(_above_zero(micros)))


def release(micros: int) -> Posting:
    """Free what a hold set aside; pending."""
    return _posting("release", *_pending(-_above_zero(micros)))


def capture(kind: FundsKind, held: int, splits: Iterable[Split]) -> Posting:
    """Free what holds set aside and take what was used: from the prepaid balance, or onto the unbilled usage."""
    splits = list(splits)
    total = sum(split.total for split in splits)
    if not 0 < total <= held:
        raise ValueError("a capture is for more than nothing and at most what is held")
    source = PREPAID if kind == "prepaid" else UNBILLED
    return _posting("capture", *_pending(-held), Entry(source, total), *_earned(splits))


def rate_usage(splits: Iterable[Split], *, prepaid: int = 0, receivable: int = 0) -> Posting:
    """Record rated usage without a hold: so much from the prepaid balance, so much owed at once, the rest unbilled.

    Shapes: a correction has the original's amounts with the other sign.
    """
    splits = list(splits)
    unbilled = sum(split.total for split in splits) - prepaid - receivable
    return _posting(
        "rate_usage",
        Entry(PREPAID, prepaid),
        Entry(RECEIVABLE, receivable),
        Entry(UNBILLED, unbilled),
        *_earned(splits),
    )


def invoice_close(document: str, unbilled: int, taxes: Mapping[str, int], rounding: int = 0) -> Posting:
    """Turn unbilled usage into a receivable with its taxes; `rounding` is the rounded less the exact amount."""
    total = unbilled + sum(taxes.values()) + rounding
    return _posting(
        "invoice_close",
        Entry(RECEIVABLE, total, document),
        Entry(UNBILLED, -unbilled),
        *_taxes(taxes),
        Entry("rounding", -rounding),
    )


def payment(micros: int, psp: str) -> Posting:
    """Take in money that is not yet matched to invoices; until then it is the customer's."""
    return _posting("payment", Entry(f"cash:{psp}", _above_zero(micros)), Entry(PREPAID, -micros))


def allocation(parts: Mapping[str | None, int]) -> Posting:
    """Settle documents from money that came in.

    Shapes: amounts by document; None is what is owed without one.
    """
    total = sum(_above_zero(micros) for micros in parts.values())
    settled = (Entry(RECEIVABLE, -micros, document) for document, micros in parts.items())
    return _posting("allocation", Entry(PREPAID, total), *settled)


def dispute_open(document: str, micros: int) -> Posting:
    """Move the unpaid disputed part of a document out of what is due."""
    return _posting(
        "dispute_open", Entry(DISPUTED, _above_zero(micros), document), Entry(RECEIVABLE, -micros, document)
    )


def dispute_uphold(document: str, splits: Iterable[Split], late_fee: int = 0) -> Posting:
    """Give up a disputed part, and a late fee that was taken on it."""
    splits = list(splits)
    total = sum(split.total for split in splits)
    return _posting(
        "dispute_uphold",
        *_earned(splits, sign=1),
        Entry("late_fee_income", late_fee),
        Entry(DISPUTED, -total, document),
        Entry(UNBILLED, -late_fee),
    )


def dispute_reject(document: str, micros: int) -> Posting:
    """Make a disputed part due again."""
    return _posting(
        "dispute_reject", Entry(RECEIVABLE, _above_zero(micros), document), Entry(DISPUTED, -micros, document)
    )


def credit_note(splits: Iterable[Split], document: str | None) -> Posting:
    """Take back what was billed: off an unpaid document, or back to the prepaid balance where it was paid."""
    splits = list(splits)
    total = sum(split.total for split in splits)
    target = Entry(PREPAID, -total) if document is None else Entry(RECEIVABLE, -total, document)
    return _posting("credit_note", *_earned(splits, sign=1), target)


def late_fee(micros: int) -> Posting:
    """Charge a late fee, which goes on the next invoice; a negative one takes back what was charged too much."""
    return _posting("late_fee", Entry(UNBILLED, micros), Entry("late_fee_income", -micros))


def reversal(original: Posting) -> Posting:
    """Undo a posting exactly."""
    return _posting(
        "reversal",
        *(Entry(entry.account, -entry.micros, entry.document, entry.is_pending) for entry in original.entries),
    )


def refund(micros: int, psp: str, of: Literal["prepaid_balance", "refunds"]) -> Posting:
    """Pay money back: unused funds, or fees that were paid and are refunded for a reason the contract names."""
    return _posting("refund", Entry(of, _above_zero(micros)), Entry(f"cash:{psp}", -micros))


def write_off(document: str | None, micros: int) -> Posting:
    """Give up hope of being paid."""
    return _posting("write_off", Entry("bad_debt", _above_zero(micros)), Entry(RECEIVABLE, -micros, document))


def tax_backbill(document: str, taxes: Mapping[str, int]) -> Posting:
    """Bill taxes, with an authority's interest and penalties, that an exemption had wrongly left off."""
    return _posting("tax_backbill", Entry(RECEIVABLE, _above_zero(sum(taxes.values())), document), *_taxes(taxes))


def withholding_proof(document: str, micros: int) -> Posting:
    """Take a proof of tax withheld in place of money."""
    return _posting(
        "withholding_proof",
        Entry("withholding_receivable", _above_zero(micros)),
        Entry(RECEIVABLE, -micros, document),
    )


def chargeback(micros: int, psp: str, stage: Literal["opened", "won", "lost"], prepaid: int = 0) -> Posting:
    """Follow a card payment that is taken back: parked when opened, then ours again or the customer's to pay.

    Shapes: `prepaid` is what a lost one takes from the prepaid balance; the rest becomes a receivable.
    """
    _above_zero(micros)
    if stage == "opened":
        return _posting("chargeback", Entry("chargeback", micros), Entry(f"cash:{psp}", -micros))
    if stage == "won":
        return _posting("chargeback", Entry(f"cash:{psp}", micros), Entry("chargeback", -micros))
    if not 0 <= prepaid <= micros:
        raise ValueError("a chargeback takes from the prepaid balance at most its amount")
    return _posting(
        "chargeback", Entry(PREPAID, prepaid), Entry(RECEIVABLE, micros - prepaid), Entry("chargeback", -micros)
    )


def commitment(micros: int) -> Posting:
    """Charge what a commitment fell short of, on the next invoice."""
    return _posting("commitment", Entry(UNBILLED, _above_zero(micros)), Entry("commitment_income", -micros))


def _posting(kind: str, *entries: Entry) -> Posting:
    return Posting(kind, tuple(entry for entry in entries if entry.micros))


def _pending(micros: int) -> tuple[Entry, Entry]:
    return Entry(PREPAID, micros, is_pending=True), Entry(PREPAID_HOLD, -micros, is_pending=True)


def _earned(splits: Iterable[Split], sign: int = -1) -> list[Entry]:
    """Make one entry per account for what splits are for: credits, or debits where they are taken back."""
    totals: dict[str, int] = {}
    for split in splits:
        parts = {f"revenue:{split.service}": split.fee, "surcharge_payable": split.surcharge}
        for account, micros in (*parts.items(), *((f"tax_payable:{name}", tax) for name, tax in split.taxes.items())):
            totals[account] = totals.get(account, 0) + micros
    return [Entry(account, sign * micros) for account, micros in sorted(totals.items())]


def _taxes(taxes: Mapping[str, int]) -> list[Entry]:
    return [Entry(f"tax_payable:{jurisdiction}", -micros) for jurisdiction, micros in sorted(taxes.items())]


def _above_zero(micros: int) -> int:
    if micros <= 0:
        raise ValueError("the amount must be above zero")
    return micros
