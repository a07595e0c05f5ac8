"""Order forms: drafting, signing, beginning and ending them, and what they say about paying."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from onterms.business.pricing import events
from onterms.business.pricing.errors import MoveNotAllowed, OrderFormNotFound, OrderFormOverlaps, UnknownCurrency
from onterms.business.pricing.model import (
    LIVE,
    RENEWAL_WARNING_DAYS,
    Commitment,
    OrderForm,
    PaymentTerms,
    RatedUsage,
    commitment_periods,
    contract_month,
    default_currency,
    move,
    overlaps,
    shortfall,
)
from onterms.business.pricing.model.order_forms import Event
from onterms.business.pricing.store import order_forms as store
from onterms.business.pricing.store import prices as price_store
from onterms.business.pricing.store import rated as rated_store
from onterms.core.calendar import end_of, plus_days, plus_months, start_of
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.core.money import is_currency
from onterms.engines import audit, jobs, log

TIMER_TASK = "pricing.order_form_timer"
COMMITMENT_TASK = "pricing.commitment_period"
# Usage of a period's last minutes is rated before its commitment is settled; the invoice of its last month, which
# closes an hour later, has the shortfall on it.
COMMITMENT_GRACE = timedelta(hours=5)
# Terms of Service 3.3.2(b): due thirty days after the date of the invoice.
NET_DAYS = 30
# Tells whether a customer's agreement is under notice to end with its order forms, which then renew no more.
IsEnding = Callable[[Tx, str], Awaitable[bool]]


async def draft(tx: Tx, form: OrderForm, at: datetime) -> OrderForm:
    """Store a new form as a draft.

    Raises: UnknownCurrency; OrderFormOverlaps with one that is signed and not superseded by this.
    """
    if not is_currency(form.currency):
        raise UnknownCurrency(form.currency)
    form = replace(form, sid=new_sid("OF", at), state="draft", version=1, created_at=at, signatures=())
    await _refuse_overlap(tx, form)
    await store.insert(tx, form.customer_sid, form)
    event = audit.AuditEvent(form.customer_sid, "operator", "order_form", form.sid, None, "draft", "draft")
    await audit.record(tx, [event], at)
    return form


async def find(tx: Tx, customer_sid: str, sid: str) -> OrderForm:
    """Return a customer's form.

    Raises: OrderFormNotFound.
    """
    form = await store.find(tx, customer_sid, sid)
    if form is None:
        raise OrderFormNotFound
    return form


async def send(tx: Tx, customer_sid: str, sid: str, at: datetime) -> OrderForm:
    """Put a draft before the customer."""
    form = await _changing(tx, customer_sid, sid, "send")
    await _refuse_overlap(tx, form)
    form = await _write(tx, form, {"state": "sent", "sent_at": at}, "send", at)
    await _tell(tx, events.ORDER_FORM_SENT, form, at)
    return form


async def recall(tx: Tx, customer_sid: str, sid: str, at: datetime) -> OrderForm:
    """Take a form back to be changed; a signature on it counts no more."""
    form = await _changing(tx, customer_sid, sid, "recall")
    return await _write(tx, form, {"state": "draft", "signatures": []}, "recall", at)


async def withdraw(tx: Tx, customer_sid: str, sid: str, cause: str, at: datetime) -> OrderForm:
    """End a form that was never signed."""
    form = await _changing(tx, customer_sid, sid, "withdraw")
    form = await _write(tx, form, {"state": "terminated", "ended_cause": cause}, "withdraw", at)
    await _tell(tx, events.ORDER_FORM_TERMINATED, form, at)
    return form


async def sign(tx: Tx, customer_sid: str, sid: str, party: str, name: str, at: datetime) -> OrderForm:
    """Take one party's signature; the second one signs the form.

    Raises: OrderFormOverlaps with one that was signed meanwhile.
    """
    await store.lock_customer(tx, customer_sid)
    form = await _changing(tx, customer_sid, sid, "sign")
    if party in form.signed_by():
        return form
    await _refuse_overlap(tx, form)
    signatures = [*form.signatures, {"party": party, "name": name, "at": at.astimezone(UTC).isoformat()}]
    if {str(signature["party"]) for signature in signatures} != {"customer", "operator"}:
        return await _write(tx, form, {"signatures": signatures}, "sign", at, actor=f"{party}: {name}")
    active_from, active_to = max(start_of(form.term_from), at), end_of(form.term_to)
    changes = {"state": "signed", "signed_at": at, "active_from": active_from, "active_to": active_to}
    form = await _write(tx, form, {"signatures": signatures, **changes}, "sign", at, actor=f"{party}: {name}")
    if form.supersedes is not None:
        older = await store.find(tx, customer_sid, form.supersedes, lock=True)
        if older is not None and older.active_to is not None and active_from < older.active_to:
            # Its rates end where the new ones begin, at once; its state follows when the new form begins.
            ends = max(active_from, older.active_from or active_from)
            await _write(tx, older, {"active_to": ends}, f"superseded by {form.sid}", at)
    await _arm(tx, form, "begin", active_from, at)
    await price_store.bump(tx)
    await _tell(tx, events.ORDER_FORM_SIGNED, form, at)
    return form


async def terminate(tx: Tx, customer_sid: str, sid: str, cause: str, at: datetime) -> OrderForm:
    """End a signed form before its term does; the cause names the clause (8.2.2, 8.2.3, 5.2 or the form's own)."""
    form = await _changing(tx, customer_sid, sid, "terminate")
    return await _end_early(tx, form, "terminated", cause, at)


async def end_all(tx: Tx, customer_sid: str, cause: str, at: datetime) -> int:
    """End all forms of a customer whose agreement ends, also those nobody signed yet; return how many."""
    await store.lock_customer(tx, customer_sid)
    ended = 0
    for state in ("draft", "sent", "signed", "active"):
        for sid in await store.in_state(tx, customer_sid, state):
            if state in ("draft", "sent"):
                await withdraw(tx, customer_sid, sid, cause, at)
                ended += 1
                continue
            form = await _changing(tx, customer_sid, sid, "terminate")
            # One whose term is over at this instant is left to its timer.
            if form.active_to is None or form.active_to > at:
                await _end_early(tx, form, "terminated", cause, at)
                ended += 1
    return ended


async def settle_commitments(tx: Tx, customer_sid: str, at: datetime) -> list[RatedUsage]:
    """Charge now what is missing to commitments of ended forms, as their timers would within hours; return the lines.

    What was charged already is returned too where its timer is still to come, and is charged once.
    """
    made: list[RatedUsage] = []
    for form in await store.binding(tx, customer_sid):
        if form.active_to is None or form.active_to > at:
            continue
        for index, commitment in enumerate(form.commitments):
            for start, end in commitment_periods(commitment, form.term_from, form.term_to):
                if start_of(start) < form.active_to <= at and start_of(end) + COMMITMENT_GRACE >= form.active_to:
                    payload = {
                        "customer_sid": customer_sid,
                        "sid": form.sid,
                        "index": index,
                        "start": start.isoformat(),
                        "end": end.isoformat(),
                    }
                    await settle_commitment(tx, payload, at)
                    key = (customer_sid, _commitment_id(form, index, start))
                    made += (await rated_store.lines_of(tx, [key])).get(key, [])
    return made


def _commitment_id(form: OrderForm, index: int, start: date) -> str:
    return f"{form.sid}:{index}:{start.isoformat()}"


async def fire(tx: Tx, payload: Mapping[str, Any], at: datetime, is_ending: IsEnding | None = None) -> None:
    """Do what a timer was set for, unless the form changed since or it is done already."""
    customer_sid, sid, kind = payload["customer_sid"], payload["sid"], payload["kind"]
    form = await store.find(tx, customer_sid, sid, lock=True)
    if form is None:
        return
    if kind == "begin":
        # A form is signed once, so the state alone guards this one.
        if form.state == "signed":
            await _begin(tx, form, at)
    elif form.state != "active" or form.term_to.isoformat() != payload["term_to"]:
        # A renewed or ended form has other timers, or none.
        return
    elif kind == "warn":
        await _tell(tx, events.ORDER_FORM_ENDING, form, at)
    elif form.renewal_months is not None and not (is_ending is not None and await is_ending(tx, customer_sid)):
        await _renew(tx, form, at)
    else:
        form = await _write(tx, form, {"state": "expired"}, "expire", at, actor="timer")
        await _tell(tx, events.ORDER_FORM_EXPIRED, form, at)


async def settle_commitment(tx: Tx, payload: Mapping[str, Any], at: datetime) -> None:
    """Charge what is missing to a commitment at the end of one of its periods, once."""
    form = await store.find(tx, payload["customer_sid"], payload["sid"])
    if form is None or form.active_to is None:
        return
    start, end = date.fromisoformat(payload["start"]), date.fromisoformat(payload["end"])
    if start_of(start) >= form.active_to:
        return
    commitment = form.commitments[payload["index"]]
    until = min(start_of(end), form.active_to)
    counted = await rated_store.fees_between(
        tx, form.customer_sid, form.currency, commitment.services, start_of(start), until
    )
    missing = shortfall(commitment.micros, counted)
    if not missing:
        return
    last = until - timedelta(microseconds=1)
    closed = await rated_store.closed_until(tx, [form.customer_sid])
    id_ = _commitment_id(form, payload["index"], start)
    line = RatedUsage(
        customer_sid=form.customer_sid,
        id=id_,
        line=0,
        account_sid=None,
        kind="commitment",
        name=f"Commitment of {form.number}, {start.isoformat()} to {last.date().isoformat()}",
        service=commitment.services[0] if len(commitment.services) == 1 else "all",
        category="commitment",
        direction="none",
        country="",
        unit="period",
        qty=1,
        currency=form.currency,
        price=missing,
        micros=missing,
        occurred_at=last,
        recorded_at=at,
        price_row=payload["index"],
        order_form=form.sid,
        tier_position=None,
        correction_of=None,
        earlier_period=last < closed.get(form.customer_sid, last),
        fingerprint=id_,
    )
    if await rated_store.insert(tx, [form.customer_sid], [line]):
        data = {"order_form": form.sid, "micros": missing, "currency": form.currency, "period": contract_month(last)}
        await log.append(tx, [events.of_customer(events.COMMITMENT_MISSED, form.customer_sid, form.sid, data)], at)


async def form_at(tx: Tx, customer_sid: str, at: datetime) -> OrderForm | None:
    """Return the form whose terms count at an instant; of several the one signed last."""
    for form in await store.binding(tx, customer_sid):
        if form.state in LIVE and form.active_from and form.active_to and form.active_from <= at < form.active_to:
            return form
    return None


async def payment_terms(
    tx: Tx, customer_sid: str, country: str, at: datetime, *, invoice_currency: str | None = None
) -> PaymentTerms:
    """Return in which currency and how many days after an invoice a customer pays.

    Shapes: the order form decides, then the invoice, then the domicile (yen in Japan, else US dollars).
    """
    forms = [
        form
        for form in await store.binding(tx, customer_sid)
        if form.active_from is not None and form.active_to is not None and form.active_from <= at < form.active_to
    ]
    form = forms[0] if forms else None
    # A form may leave the days open; then the next one that says them counts.
    days = next((each.net_days for each in forms if each.net_days is not None), NET_DAYS)
    currency = form.currency if form else invoice_currency or default_currency(country)
    return PaymentTerms(days, currency, form.sid if form else None)


def due_on(invoice_date: date, net_days: int) -> date:
    """Return the day at whose end an invoice is due."""
    return plus_days(invoice_date, net_days)


async def overrides(tx: Tx, customer_sid: str, at: datetime) -> list[tuple[str, datetime, Mapping[str, Any]]]:
    """Return the terms that order forms override at an instant: (form, signed at, values by term), the latest first."""
    return [
        (form.sid, form.signed_at, form.overrides)
        for form in await store.binding(tx, customer_sid)
        if form.signed_at and form.active_from and form.active_to and form.active_from <= at < form.active_to
    ]


async def latest_end(tx: Tx, customer_sid: str, at: datetime) -> datetime | None:
    """Return when the last of the customer's signed forms ends, for a termination that waits for them."""
    ends = [
        form.active_to
        for form in await store.binding(tx, customer_sid)
        if form.state in ("signed", "active") and form.active_to is not None and form.active_to > at
    ]
    return max(ends, default=None)


# ---- steps


async def _changing(tx: Tx, customer_sid: str, sid: str, event: Event) -> OrderForm:
    form = await store.find(tx, customer_sid, sid, lock=True)
    if form is None:
        raise OrderFormNotFound
    if move(form.state, event) is None:
        words = {"send": "sent", "sign": "signed", "withdraw": "withdrawn", "recall": "recalled"}
        raise MoveNotAllowed(words.get(event, "terminated"), form.state)
    return form


async def _write(
    tx: Tx, form: OrderForm, changes: Mapping[str, Any], cause: str, at: datetime, *, actor: str = "operator"
) -> OrderForm:
    written = await store.update(tx, form.customer_sid, form.sid, form.version, changes)
    assert written, "the row was held since it was read"
    found = await store.find(tx, form.customer_sid, form.sid)
    assert found is not None
    evidence = {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in changes.items()
        if name != "state"
    }
    event = audit.AuditEvent(form.customer_sid, actor, "order_form", form.sid, form.state, found.state, cause, evidence)
    await audit.record(tx, [event], at)
    return found


async def _refuse_overlap(tx: Tx, form: OrderForm) -> None:
    start, end = start_of(form.term_from), end_of(form.term_to)
    for other in await store.binding(tx, form.customer_sid):
        if other.sid in (form.sid, form.supersedes) or other.active_from is None or other.active_to is None:
            continue
        # A form that renews itself has no end until somebody ends it.
        goes_on = other.renewal_months is not None and other.state in ("signed", "active")
        meet = (goes_on or start < other.active_to) and other.active_from < end
        if meet and other.currency == form.currency and overlaps(form.rates, other.rates):
            raise OrderFormOverlaps(other.sid)


async def _begin(tx: Tx, form: OrderForm, at: datetime) -> None:
    if form.supersedes is not None:
        older = await store.find(tx, form.customer_sid, form.supersedes, lock=True)
        if older is not None and move(older.state, "supersede") is not None:
            await _end_early(tx, older, "superseded", form.sid, form.active_from or at)
    form = await _write(tx, form, {"state": "active"}, "begin", at, actor="timer")
    await _arm_term(tx, form, form.term_from, at)
    await _tell(tx, events.ORDER_FORM_ACTIVATED, form, at)


async def _renew(tx: Tx, form: OrderForm, at: datetime) -> None:
    assert form.renewal_months is not None
    begins = form.term_to + timedelta(days=1)
    ends = plus_months(begins, form.renewal_months) - timedelta(days=1)
    changes = {"term_to": ends, "active_to": end_of(ends)}
    form = await _write(tx, form, changes, "renew", at, actor="timer")
    await price_store.bump(tx)
    await _arm_term(tx, form, begins, at)
    await _tell(tx, events.ORDER_FORM_RENEWED, form, at)


async def _end_early(tx: Tx, form: OrderForm, state: str, cause: str, at: datetime) -> OrderForm:
    assert form.active_from is not None and form.active_to is not None
    was_active = form.state == "active"
    ends = max(min(form.active_to, at), form.active_from)
    changes = {"state": state, "ended_cause": cause, "active_to": ends}
    form = await _write(tx, form, changes, cause, at)
    await price_store.bump(tx)
    if was_active:
        # The period that the end falls into is settled now; later ones will find that it ended before them.
        await jobs.enqueue(
            tx,
            [
                _commitment_job(form, index, period, ends + COMMITMENT_GRACE)
                for index, commitment in enumerate(form.commitments)
                for period in commitment_periods(commitment, form.term_from, form.term_to)
                if start_of(period[0]) < ends < start_of(period[1])
            ],
            at,
        )
    type_ = events.ORDER_FORM_TERMINATED if state == "terminated" else events.ORDER_FORM_SUPERSEDED
    await _tell(tx, type_, form, at)
    return form


async def _arm(tx: Tx, form: OrderForm, kind: str, due_at: datetime, at: datetime) -> None:
    payload = {
        "customer_sid": form.customer_sid,
        "sid": form.sid,
        "kind": kind,
        # Every renewal changes it: the guard of what was set for an earlier end.
        "term_to": form.term_to.isoformat(),
    }
    await jobs.enqueue(tx, [jobs.NewJob(TIMER_TASK, payload, due_at=due_at)], at)


async def _arm_term(tx: Tx, form: OrderForm, since: date, at: datetime) -> None:
    await _arm(tx, form, "end", end_of(form.term_to), at)
    warn_at = start_of(plus_days(form.term_to, 1 - RENEWAL_WARNING_DAYS))
    await _arm(tx, form, "warn", max(warn_at, at), at)
    await jobs.enqueue(
        tx,
        [
            _commitment_job(form, index, period, start_of(period[1]) + COMMITMENT_GRACE)
            for index, commitment in enumerate(form.commitments)
            for period in _periods_since(form, commitment, since)
        ],
        at,
    )


def _periods_since(form: OrderForm, commitment: Commitment, since: date) -> Sequence[tuple[date, date]]:
    """Return the periods of a term, or of what a renewal added to it."""
    return commitment_periods(commitment, since, form.term_to)


def _commitment_job(form: OrderForm, index: int, period: tuple[date, date], due_at: datetime) -> jobs.NewJob:
    payload = {
        "customer_sid": form.customer_sid,
        "sid": form.sid,
        "index": index,
        "start": period[0].isoformat(),
        "end": period[1].isoformat(),
    }
    return jobs.NewJob(COMMITMENT_TASK, payload, due_at=due_at)


async def _tell(tx: Tx, type_: str, form: OrderForm, at: datetime) -> None:
    data = {
        "order_form": form.sid,
        "number": form.number,
        "state": form.state,
        "term_from": form.term_from.isoformat(),
        "term_to": form.term_to.isoformat(),
        "currency": form.currency,
        "prepaid_micros": form.prepaid_micros,
        "cause": form.ended_cause,
    }
    await log.append(tx, [events.of_customer(type_, form.customer_sid, form.sid, data)], at)
