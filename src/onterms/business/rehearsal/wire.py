"""The shapes of simulations and timers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from onterms.business.rehearsal import model
from onterms.business.rehearsal.model import (
    DAYS_MAX,
    EVENTS_MAX,
    FIGURES_MAX,
    WALL_S,
    WALL_S_MAX,
    Assumptions,
    Figure,
    Limits,
    MailOutcome,
    Outcome,
    UsageMode,
)
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Instant, Json, Moment, Shape, Sid, read
from onterms.engines.jobs import Job

_QTY_MAX = 10**9
_WORD_MAX = 64
# Shorter than what HTTP clients wait for an answer (30 s is a common default).
WAIT_S_MAX = 25

# What each timer of the terms will do. Tasks of traffic and of the simulators are no timers of the contract.
TIMERS: Final[Mapping[str, str]] = {
    "agreements.notify": "Give notice of a new version of a text",
    "agreements.publish": "Publish a version of a text",
    "agreements.reach": "Let a version of a text bind those it reaches",
    "cases.deadline": "Let a case's deadline pass",
    "collections.review": "Look at what is due: notice, cure, late fee, suspension",
    "customers.ask_for_attestation": "Ask for the yearly attestation again",
    "customers.changed": "Look at a customer that changed",
    "disputes.task_due": "Miss the day on which a dispute had to be answered",
    "invoicing.close": "Close the month and make its invoice",
    "invoicing.due": "Note that an invoice is past due",
    "invoicing.send": "Send an invoice",
    "invoicing.settle": "Settle an invoice from credit",
    "ledger.funds_low": "Recharge a balance that ran low",
    "notices.deliver": "Deliver a notice to each address",
    "numbers.end_quarantine": "Put a number on sale again",
    "numbers.renew": "Charge a number for its next month",
    "payments.charge": "Charge a card for a top-up",
    "payments.recharge": "Recharge a balance by card",
    "payments.refund": "Pay a refund back",
    "pricing.commitment_period": "Settle the commitment of an order form's period",
    "pricing.order_form_timer": "Begin, renew or end an order form",
    "suspension.rescreen": "Screen customers against a changed list",
    "suspension.watch": "Look at a spike of usage",
    "suspension.weigh": "Weigh what a customer's messages hit",
    "tax.exemption_expiry": "Let a tax exemption end",
    "termination.funds": "Pay back funds of a customer that left",
    "usage.call_trigger": "Call the URL of a usage trigger",
    "usage.check_triggers": "Look at usage triggers",
    "usage.sweep_holds": "Charge or free holds that ran out",
}


_Qty = Annotated[int, Meta(ge=1, le=_QTY_MAX)]
_Word = Annotated[str, Meta(max_length=_WORD_MAX)]


class NewFigure(Shape):
    """Usage of each day, as given: `qty` units of a service by an account."""

    account_sid: Sid
    service: _Word
    country: _Word
    unit: _Word
    qty: _Qty
    direction: _Word = "outbound"
    number: _Word = ""


class NewAssumptions(Shape):
    """What is assumed of those days; what is not said has its default. `figures` are what usage "given" means."""

    mail: MailOutcome = "accepted"
    payments: Outcome = "succeeded"
    usage: UsageMode | None = None
    figures: Annotated[tuple[NewFigure, ...], Meta(max_length=FIGURES_MAX)] = ()
    paid_after_days: Annotated[int, Meta(ge=0, le=DAYS_MAX)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1

    def read(self) -> Assumptions:
        """Turn it into the room's own.

        Raises: InvalidParameter.
        """
        usage = self.usage or ("given" if self.figures else "repeat")
        if (usage == "given") != bool(self.figures):
            raise InvalidParameter("'figures' are what usage \"given\" means, and nothing else takes them")
        figures = tuple(Figure(**msgspec.structs.asdict(each)) for each in self.figures)
        return Assumptions(self.mail, self.payments, usage, figures, self.paid_after_days, self.seed)


class NewLimits(Shape):
    """Where a rehearsal ends though its days are not over."""

    events: Annotated[int, Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX
    wall_s: Annotated[int, Meta(ge=1, le=WALL_S_MAX)] = WALL_S


class NewSimulation(Shape):
    """The days to rehearse, for all customers or one, from now or an instant ahead."""

    scope: Annotated[str, Meta(pattern="^(all|[A-Z]{2}[0-9a-fA-F]{32})$")] = "all"
    from_at: Instant | None = field(default=None, name="from")
    days: Annotated[int, Meta(ge=1, le=DAYS_MAX)] = 90
    assumptions: NewAssumptions | None = None
    limits: NewLimits | None = None

    def read(self, at: datetime) -> tuple[str, datetime | None, int, Assumptions, Limits]:
        """Turn it into the room's own: scope, from, days, assumptions, limits.

        Raises: InvalidParameter.
        """
        if self.from_at is not None and (self.from_at - at).days > DAYS_MAX:
            raise InvalidParameter(f"'from' must lie within {DAYS_MAX} days")
        limits = self.limits or NewLimits()
        from_at = None if self.from_at is None else self.from_at.astimezone(UTC)
        assumptions = (self.assumptions or NewAssumptions()).read()
        return self.scope, from_at, self.days, assumptions, Limits(events=limits.events, wall_s=limits.wall_s)


class SimulationsPage(Shape):
    """Where a page begins: the `next` of the page before."""

    next: Sid | None = None


class SimulationQuery(Shape):
    """How long to wait for the end, or for another status than the known one."""

    wait_s: Annotated[int, Meta(ge=0, le=WAIT_S_MAX)] = 0
    known: str | None = None


class TimersQuery(Shape):
    """Timers of a customer, of a kind, or all; a page begins with the `next` of the page before."""

    customer_sid: str | None = None
    kind: str | None = None
    next: str | None = None


class Simulation(Shape):
    """A rehearsal, with its result once it has one."""

    sid: Sid
    status: str
    scope: str
    from_at: Moment | None = field(name="from")
    days: int
    assumptions: Json
    limits: Json
    reason: str | None
    created_at: Moment | None
    started_at: Moment | None
    ended_at: Moment | None
    result: Json | UnsetType = UNSET


class Timer(Shape):
    """A job as the timer that it is."""

    id: int
    kind: str
    due_at: Moment | None
    customer_sid: str | None
    account_sid: str | None
    subject: str | None
    event: str | None
    what: str
    attempt: int


def assumptions_of(given: Mapping[str, Any]) -> Assumptions:
    """Read what is assumed; what is not said has its default.

    Raises: InvalidParameter.
    """
    return read(NewAssumptions, given).read()


def assumptions_shown(assumptions: Assumptions) -> dict[str, Any]:
    """Render what is assumed."""
    shown: dict[str, Any] = msgspec.to_builtins(assumptions)
    return shown


def simulation(found: model.Simulation) -> Simulation:
    """Show a rehearsal, with its result once it has one."""
    return Simulation.of(
        found,
        from_at=_shown(found.from_at),
        assumptions=assumptions_shown(found.assumptions),
        limits=msgspec.to_builtins(found.limits),
        created_at=_shown(found.created_at),
        started_at=_shown(found.started_at),
        ended_at=_shown(found.ended_at),
        result=UNSET if found.result is None else dict(found.result),
    )


def timer(job: Job) -> Timer:
    """Show a job as the timer that it is."""
    payload = job.payload
    return Timer(
        id=job.id,
        kind=job.task,
        due_at=_shown(job.due_at),
        customer_sid=payload.get("customer_sid"),
        account_sid=job.account_sid,
        subject=next((payload[name] for name in ("sid", "notice_sid", "version_sid") if name in payload), None),
        event=payload.get("event") or payload.get("kind"),
        what=TIMERS.get(job.task, f"Run {job.task}"),
        attempt=job.attempt,
    )


def timer_token(job: Job) -> str:
    """Write where the next page begins."""
    return f"{int(job.due_at.timestamp() * 1_000_000)}-{job.id}"


def timer_place(token: str) -> tuple[datetime, int]:
    """Read where a page begins.

    Raises: InvalidParameter.
    """
    micros, _, id_ = token.partition("-")
    if not (micros.isdecimal() and id_.isdecimal()) or len(micros) > 17 or len(id_) > 18:
        raise InvalidParameter("'next' is not a token of this list")
    seconds, rest = divmod(int(micros), 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), int(id_)
    except (OverflowError, ValueError):
        raise InvalidParameter("'next' is not a token of this list") from None


def _shown(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
