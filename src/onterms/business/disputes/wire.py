"""What our own API takes and shows of disputes."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from onterms.business.disputes import model
from onterms.business.invoicing import LineAmount
from onterms.core.money import minor_text
from onterms.engines.api.shapes import Amount, Shape, Sid

_Words = Annotated[str, Meta(max_length=4000)]
_Person = Annotated[str, Meta(max_length=200)]


class NewDispute(Shape):
    """Lines of an invoice that are disputed, and the legal contact who does."""

    contact_sid: str
    invoice_sid: str
    lines: list[LineAmount]
    reason: _Words


class NewTask(Shape):
    """What the customer is asked for, and until when."""

    subject: _Words
    due_on: date


class Answer(Shape):
    """What the customer answers."""

    answer: _Words


class Determination(Shape):
    """That the customer does not cooperate, or is not in good faith."""

    finding: Literal["uncooperative", "bad_faith"]
    decided_by: _Person
    reasons: _Words


class Resolution(Shape):
    """How a dispute is decided; one that is partly upheld says with which amounts."""

    outcome: Literal["upheld", "partly", "rejected"]
    decided_by: _Person
    reasons: _Words
    lines: tuple[LineAmount, ...] = ()


class DisputedLine(Shape):
    """What is disputed of a line."""

    ref: str
    net: Amount
    tax: Amount


class DisputeTask(Shape):
    """What a customer is asked for."""

    sid: Sid
    subject: str
    due_on: date
    state: str
    answer: str


class Dispute(Shape):
    """A dispute with its lines and tasks."""

    sid: Sid
    customer_sid: Sid
    invoice_sid: Sid
    state: model.State
    currency: str
    reason: str
    filed_at: datetime
    deadline: date
    amount: Amount
    withheld: Amount
    credited: Amount
    shielded: bool
    # What is filed after the window is decided like any other, but nothing is withheld for it.
    clause: str
    missed: int = field(name="missed_tasks")
    decided_by: str | None
    decision: str
    lines: list[DisputedLine]
    tasks: list[DisputeTask]


def dispute(found: model.Dispute, tasks: Sequence[model.Task] = ()) -> Dispute:
    """Show a dispute with its lines and tasks."""
    code = found.currency
    return Dispute.of(
        found,
        amount=minor_text(found.micros, code),
        withheld=minor_text(found.withheld, code),
        credited=minor_text(found.credited, code),
        clause="3.3.3",
        lines=[DisputedLine(line.ref, minor_text(line.net, code), minor_text(line.tax, code)) for line in found.lines],
        tasks=[DisputeTask.of(each) for each in tasks],
    )
