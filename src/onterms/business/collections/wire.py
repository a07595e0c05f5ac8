"""What our own API takes and shows of collections."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from onterms.business.collections import model
from onterms.business.invoicing import Part
from onterms.core.money import minor_text
from onterms.engines.api.shapes import Amount, Json, Micros, Shape, Sid

AppliesTo = Literal["commercial", "government"]


class ProposalsQuery(Shape):
    """Proposals on one customer, or all."""

    customer_sid: str | None = None


class ProposalDecision(Shape):
    """What a named person decides on a proposal."""

    decision: Literal["approve", "decline"]
    decided_by: Annotated[str, Meta(max_length=200)]


class PolicyChange(Shape):
    """The operator's switches; those left out stay."""

    notice: model.Mode | None = None
    late_fee: model.Mode | None = None
    suspension: model.Mode | None = None
    fee_start: model.FeeStart | None = None


class LegalRate(Shape):
    """A rate on file: what law allows at most, a share a year, on the days from `from_on` until before `until_on`."""

    rate: Micros
    from_on: date
    jurisdiction: Annotated[str, Meta(max_length=10)]
    source: Annotated[str, Meta(max_length=500)]
    applies_to: AppliesTo = "commercial"
    until_on: date | None = None


class OpenPart(Shape):
    """What is open of a part of an invoice."""

    invoice_sid: Sid
    part: str
    currency: str
    due_on: date
    disputed: bool
    fees: Amount
    late_fees: Amount


class LateFeeRule(Shape):
    """The choices a late fee is counted by."""

    starts_after: model.FeeStart
    counting: str = "simple; months by anniversary, part months by days; legal side by days of 365; rounded down"


class DunningStanding(Shape):
    """Where a customer stands and what is open."""

    customer_sid: Sid
    state: model.State
    notice_sid: Sid | None
    review_on: date | None = field(name="next_review_on")
    open: list[OpenPart]
    late_fee: LateFeeRule


class LateNotice(Shape):
    """A notice of late payment with its cure."""

    notice_sid: Sid = field(name="sid")
    invoice_sid: Sid
    part: str
    given_on: date | None
    cure_until: date | None
    is_void: bool


class Fee(Shape):
    """An assessed late fee."""

    sid: Sid
    invoice_sid: Sid
    part: str
    currency: str
    amount: Amount
    from_on: date = field(name="from")
    until_on: date = field(name="until")
    contract_figure: Amount
    legal_figure: Amount | None
    flags: list[str]
    assessed_by: str


class Proposal(Shape):
    """What the operator has to decide."""

    sid: Sid
    customer_sid: Sid
    kind: str
    invoice_sid: str | None
    part: str
    state: str
    currency: str | None
    amount: Amount | None
    evidence: Json
    decided_by: str | None


class Policy(Shape):
    """The operator's switches."""

    notice: model.Mode
    late_fee: model.Mode
    suspension: model.Mode
    fee_start: model.FeeStart


def standing(found: model.Dunning, parts: Sequence[Part], policy: model.Policy) -> DunningStanding:
    """Show where a customer stands and what is open, and the choices a late fee is counted by."""
    shown = [
        OpenPart.of(part, fees=minor_text(part.fees, part.currency), late_fees=minor_text(part.late, part.currency))
        for part in parts
        if part.open
    ]
    return DunningStanding.of(found, open=shown, late_fee=LateFeeRule(policy.fee_start))


def notice(found: model.LateNotice) -> LateNotice:
    """Show a notice of late payment."""
    return LateNotice.of(found, is_void=found.voided_at is not None)


def fee(found: model.Assessed) -> Fee:
    """Show an assessed late fee."""
    code = found.currency
    return Fee.of(
        found,
        amount=minor_text(found.micros, code),
        contract_figure=minor_text(found.contract, code),
        legal_figure=None if found.legal is None else minor_text(found.legal, code),
    )


def proposal(found: model.Proposal) -> Proposal:
    """Show what the operator has to decide."""
    amount: Any = None
    if found.micros is not None and found.currency is not None:
        amount = minor_text(found.micros, found.currency)
    return Proposal.of(found, amount=amount)
