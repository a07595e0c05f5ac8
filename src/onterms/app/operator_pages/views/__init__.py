"""Every page, file and form of the operator, by path."""

from dataclasses import dataclass
from typing import Final

from onterms.app.operator_pages.shown import Act, File, View
from onterms.app.operator_pages.views import (
    agreements,
    cases,
    customers,
    disputes,
    invoices,
    overview,
    prices,
    timers,
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page at a path."""

    path: str
    view: View
    summary: str


@dataclass(frozen=True, slots=True)
class Download:
    """A file at a path."""

    path: str
    view: File
    summary: str


@dataclass(frozen=True, slots=True)
class Form:
    """What a form does, and the page that it stands on."""

    path: str
    act: Act
    view: View
    summary: str


_ONE: Final = "/operator/customers/{customer}"

PAGES: Final = (
    Page("/operator", overview.show, "How the installation stands"),
    Page("/operator/customers", customers.listed, "All customers"),
    Page(_ONE, customers.show, "One customer"),
    Page(f"{_ONE}/notices/{{sid}}", customers.notice, "One notice with its evidence"),
    Page(f"{_ONE}/suspend", cases.propose_form, "Propose a suspension"),
    Page("/operator/invoices", invoices.listed, "All invoices"),
    Page(f"{_ONE}/invoices/{{sid}}", invoices.show, "One invoice"),
    Page("/operator/disputes", disputes.listed, "All disputes"),
    Page(f"{_ONE}/disputes/{{sid}}", disputes.show, "One dispute"),
    Page("/operator/cases", cases.listed, "All cases"),
    Page(f"{_ONE}/cases/{{sid}}", cases.show, "One case"),
    Page("/operator/agreements", agreements.listed, "The documents"),
    Page("/operator/agreements/{document}", agreements.versions, "A document's versions"),
    Page("/operator/agreements/{document}/{sid}", agreements.show, "One version"),
    Page("/operator/timers", timers.listed, "What the clocks will do"),
    Page("/operator/timers/rehearsals/{sid}", timers.rehearsed, "What a rehearsal found"),
    Page("/operator/prices", prices.listed, "List prices"),
    Page("/operator/prices/order-forms", prices.order_forms, "Order forms"),
)
FILES: Final = (
    Download(f"{_ONE}/invoices/{{sid}}/pdf", invoices.pdf, "An invoice as PDF"),
    Download(f"{_ONE}/invoices/{{sid}}/xml", invoices.xml, "An invoice as EN 16931"),
)
FORMS: Final = (
    Form(f"{_ONE}/proposals/{{sid}}", customers.decide, customers.show, "Decide a proposal of collections"),
    Form(f"{_ONE}/suspend", cases.propose, cases.propose_form, "Propose a suspension"),
    Form(f"{_ONE}/disputes/{{sid}}/resolution", disputes.resolve, disputes.show, "Decide a dispute"),
    Form(f"{_ONE}/disputes/{{sid}}/tasks", disputes.ask, disputes.show, "Ask for something"),
    Form(f"{_ONE}/disputes/{{sid}}/determination", disputes.determine, disputes.show, "Determine a dispute's conduct"),
    Form(f"{_ONE}/cases/{{sid}}/{{event}}", cases.move, cases.show, "Move a case"),
    Form("/operator/timers/clock", timers.move_clock, timers.listed, "Move the sandbox's clock"),
    Form("/operator/timers/rehearsal", timers.rehearse, timers.listed, "Rehearse what comes"),
)
