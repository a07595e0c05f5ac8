"""What the contract says: terms by precedence, which agreement governs, parties, law, courts and forum."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from onterms.business import customers
from onterms.business.agreements import events, store
from onterms.business.agreements.model import precedence, texts
from onterms.business.agreements.model.parties import Case, Forum, PartyTables, shipped_tables
from onterms.business.agreements.model.precedence import (
    BODY_RANK,
    BODY_RIDERS,
    ORDER_FORM_RANK,
    PREVAILING_RIDERS,
    Candidate,
    FormTerm,
    Resolved,
)
from onterms.business.agreements.service.binding import version_in_force
from onterms.core.calendar import day_of
from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid

# (tx, customer_sid, term, service, at) -> what order forms in force say, of the room that keeps them.
OrderForms = Callable[[Tx, str, str, str | None, datetime], Awaitable[Sequence[FormTerm]]]


async def no_order_forms(tx: Tx, customer_sid: str, term: str, service: str | None, at: datetime) -> Sequence[FormTerm]:
    """Know no order forms."""
    return ()


@dataclass(frozen=True, slots=True)
class Governing:
    """Which contract governs a service: `separate` or `online`, its SID and title."""

    kind: str
    sid: str | None
    title: str
    binding_md: str = ""


@dataclass(frozen=True, slots=True)
class Parties:
    """Who contracts with a customer and under what law, on a day."""

    entity_key: str
    entity_name: str
    entity_address: str
    law: str
    courts: str | None
    seat: str | None
    country: str


async def governing_agreement(tx: Tx, customer_sid: str, service: str | None, on: date) -> Governing:
    """Return the separate agreement whose coverage holds the service on a day, else the online terms."""
    for row in reversed(await store.agreements(tx, customer_sid)):
        if row["kind"] == "separate" and service in row["services"] and _is_in_force(row, on):
            return Governing("separate", row["sid"], row["title"], row["binding_md"])
    return Governing("online", None, "Online terms")


def _is_in_force(row: Row, on: date) -> bool:
    if row["from_on"] > on or (row["until_on"] is not None and row["until_on"] <= on):
        return False
    return row["ended_at"] is None or day_of(row["ended_at"]) > on


async def resolve(
    tx: Tx, term: str, customer_sid: str, service: str | None, at: datetime, order_forms: OrderForms = no_order_forms
) -> Resolved:
    """Answer what a term is for a customer and a service, with how the answer was found.

    Summaries and papers beside the contract are never read. Two prevailing riders that disagree leave it undecided and
    open a task for counsel; so does a separate agreement that covers the service and is silent.
    """
    on = day_of(at)
    customer = await customers.require(tx, customer_sid, on)
    governing = await governing_agreement(tx, customer_sid, service, on)
    if governing.kind == "separate":
        answers = [
            Candidate(ORDER_FORM_RANK, one.value, governing.title, one.clause)
            for one in texts.terms(governing.binding_md)
            if one.key == term
        ]
        found = precedence.decide(term, answers, [f"{governing.title} covers {service}; the online terms do not apply"])
        if found.value is None:
            why = f"{governing.title} covers {service} and says nothing about {term}"
            found = Resolved(term, None, found.trace, undecided=why)
        return await _ask_counsel(tx, customer_sid, found, "P.9", at)
    riders = customer.riders(on)
    answers, notes = [], []
    for document in await store.documents(tx):
        if document["rank"] is None:
            continue
        version = await version_in_force(tx, customer_sid, at, document["name"])
        if version is None:
            continue
        stated = [one for one in texts.terms(version.binding_md) if one.key == term]
        struck = await store.overrides(tx, version.sid, on) if stated else {}
        for one in stated:
            if one.clause in struck:
                notes.append(f"{document['name']} {one.clause} is struck (9.10)")
                continue
            placed = _place(document["name"], document["rank"], one.clause, riders)
            if placed is not None:
                source = f"{document['name']} {version.label}"
                answers.append(Candidate(placed[0], one.value, source, one.clause, (placed[1], 0), one.yields))
    for form in await order_forms(tx, customer_sid, term, service, at):
        order = (0, int(form.signed_at.timestamp()))
        answers.append(Candidate(ORDER_FORM_RANK, form.value, form.source, "", order))
    notes += precedence.by_source(await store.attachments(tx, customer_sid))
    return await _ask_counsel(tx, customer_sid, precedence.decide(term, answers, notes), "10.5.5", at)


def _place(document: str, rank: int, clause: str, riders: frozenset[str]) -> tuple[int, int] | None:
    """Return rank and order within it of a clause for a customer with these riders, or None where it does not apply."""
    rider = precedence.rider_of(clause) if document == "tos" else None
    if rider is None:
        return rank, 0
    if rider not in riders:
        return None
    if rider in PREVAILING_RIDERS:
        return 0, 0
    assert rider in BODY_RIDERS
    return BODY_RANK, 1


async def _ask_counsel(tx: Tx, customer_sid: str, found: Resolved, clause: str, at: datetime) -> Resolved:
    if found.undecided is not None:
        sid = new_sid("LT", at)
        subject = f"{found.term}: {found.undecided}"
        if await store.open_legal_task(tx, customer_sid, sid, "undecided", clause, subject, at):
            await customers.announce(tx, customer_sid, events.LEGAL_TASK_OPENED, {"task_sid": sid}, at)
    return found


async def tables_of(tx: Tx, customer_sid: str, at: datetime) -> PartyTables:
    """Return the tables of parties that go with the text which binds a customer."""
    version = await version_in_force(tx, customer_sid, at)
    data = None if version is None else await store.parties(tx, version.sid)
    return shipped_tables() if data is None else PartyTables(data)


async def entity_of(tx: Tx, key: str, on: date) -> tuple[str, str, str, str] | None:
    """Return name, address, country and VAT identifier of one of the operator's companies on a day.

    Shapes: None where it has no name.
    """
    row = await store.entity(tx, key, on)
    return None if row is None else (row["name"], row["address"], row["country"], row["vat_id"])


async def parties_of(tx: Tx, customer_sid: str, at: datetime) -> Parties:
    """Return who contracts with a customer, under which law, before which courts."""
    on = day_of(at)
    customer = await customers.require(tx, customer_sid, on)
    tables = await tables_of(tx, customer_sid, at)
    key = tables.contracting_entity(customer.country)
    row = await store.entity(tx, key, on) or await store.entity(tx, "default", on)
    government = customer.government
    return Parties(
        entity_key=key,
        entity_name="" if row is None else row["name"],
        entity_address="" if row is None else row["address"],
        law=tables.governing_law(customer.country, government, customer.subdivision),
        courts=tables.courts(customer.country, government),
        seat=tables.seat(customer.country, government),
        country=customer.country,
    )


async def forum_of(tx: Tx, customer_sid: str, case: Case, at: datetime) -> Forum:
    """Return where a dispute with a customer goes, and from which day on."""
    customer = await customers.require(tx, customer_sid, day_of(at))
    tables = await tables_of(tx, customer_sid, at)
    return tables.forum(case, customer.country, customer.government, customer.subdivision)


async def effective_clauses(tx: Tx, customer_sid: str, at: datetime) -> list[str]:
    """Return the clauses that have effect for a customer: all that apply, or after the end those that live on."""
    customer = await customers.require(tx, customer_sid, day_of(at))
    version = await version_in_force(tx, customer_sid, at)
    if version is None:
        return []
    ids = [clause.id for clause in texts.clauses(version.binding_md) if clause.id]
    held = [row for row in await store.agreements(tx, customer_sid) if row["kind"] == "online"]
    terminated = bool(held) and all(row["state"] == "ended" and row["ended_at"] <= at for row in held)
    return precedence.effective_clauses(ids, customer.riders(day_of(at)), terminated=terminated)
