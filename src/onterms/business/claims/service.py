"""Deciding claims by what was measured and charged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from onterms.business import agreements, customers
from onterms.business.cases import Book, Case
from onterms.business.claims import store
from onterms.business.claims.errors import ClaimedAlready, TermsNotAccepted
from onterms.business.claims.model import (
    DISPUTE,
    INDEMNITY,
    NONCONFORMITY,
    SLA_CLAIM,
    Cap,
    Charge,
    FeeRow,
    availability_ppm,
    is_covered,
    liability_cap,
    nonconformity_refund,
    sla_credit,
    split_costs,
    unused_prepaid,
)
from onterms.core.calendar import day_of, plus_months, start_of
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text, is_currency, micros

# Clause 2.1(b): the level where the operator set none.
SLA_DEFAULT_PPM = 999_500
SLA_DEFAULT_CREDIT_PERCENT = 10
# The keys of the operator's companies.
_ENTITIES = ("default", "europe", "japan")
# Clause 6.1.3.
_EXCLUSIONS = ("breach", "combination", "free", "beta")
# Ours: each cost that is booked is written again with the next one.
COSTS_MAX = 200


class Billing(Protocol):
    """What claims need of usage, invoices and the ledger."""

    async def fees(self, tx: Tx, customer_sid: str, service: str, from_on: date, until_on: date) -> tuple[int, str]:
        """Return the fees of a service for days [from, until) and their currency."""
        ...

    async def charge(
        self, tx: Tx, customer_sid: str, service: str, from_on: date, until_on: date
    ) -> tuple[Charge, str]:
        """Return what was charged for the days from the first to the last, and the currency."""
        ...

    async def credit(
        self, tx: Tx, customer_sid: str, amount: int, currency: str, clause: str, ref: str, at: datetime
    ) -> str:
        """Give a credit note or refund and return its SID."""
        ...

    async def fee_rows(
        self, tx: Tx, customer_sids: Sequence[str], from_at: datetime, until_at: datetime
    ) -> list[FeeRow]:
        """List fees and credits by when their usage was."""
        ...


class Forums(Protocol):
    """What disputes need of the agreements."""

    async def forum(
        self, tx: Tx, customer_sid: str, kind: str, amount: int | None, currency: str | None, at: datetime
    ) -> str:
        """Name where a dispute goes."""
        ...

    async def docs_snapshot(self, tx: Tx, customer_sid: str, on: date) -> str | None:
        """Return the version of the documentation on a day."""
        ...


async def catalogue_entry(tx: Tx, service: str) -> Row:
    """Return a service's stage, provider and terms.

    Raises: NotFound.
    """
    found = await store.services(tx, service)
    if not found:
        raise NotFound(f"The service {service} was not found")
    return found[0]


async def enable(tx: Tx, customer_sid: str, service: str, at: datetime) -> None:
    """Enable a service of the catalogue for a customer.

    Raises: NotFound; TermsNotAccepted for a third party's service whose terms wait (1.11).
    """
    entry = await catalogue_entry(tx, service)
    version = entry["terms_version"]
    if entry["provider"] == "third_party" and not await store.has_accepted(tx, customer_sid, service, version):
        raise TermsNotAccepted(service, version)
    await store.enable(tx, customer_sid, service, at)


async def accept_terms(tx: Tx, customer_sid: str, service: str, version: str, actor: str, at: datetime) -> None:
    """Accept a third party's terms, in the version that is asked for.

    Raises: NotFound, InvalidParameter.
    """
    entry = await catalogue_entry(tx, service)
    if entry["terms_version"] != version:
        raise InvalidParameter(f"'terms_version' must be {entry['terms_version']}")
    await store.accept_terms(tx, customer_sid, service, version, actor, at)


async def record_minute(tx: Tx, service: str, minute: datetime, tried: int, failed: int) -> None:
    """Add probes and real requests of a minute to a service's measurements."""
    await store.add_minute(tx, service, minute.replace(second=0, microsecond=0), tried, failed)


@dataclass(frozen=True, slots=True)
class Given:
    """What a claim gave: credit notes on invoices, and the rest to the balance.

    Shapes: `used_on` is the first day of what it is for. Units: micro-units.
    """

    customer_sid: str
    case_sid: str
    clause: str
    service: str
    currency: str
    micros: int
    used_on: date
    notes: tuple[str, ...]
    to_balance: int


async def record_credit(tx: Tx, given: Given, at: datetime) -> str:
    """Keep what a claim gave and return its SID."""
    sid = new_sid("CC", at)
    await store.insert_credit(
        tx,
        given.customer_sid,
        sid,
        given.case_sid,
        given.clause,
        given.service,
        given.currency,
        given.micros,
        given.used_on,
        given.notes,
        given.to_balance,
        at,
    )
    return sid


async def credits_to_balance(tx: Tx, customer_sids: Sequence[str], from_on: date, until_on: date) -> list[Row]:
    """Return what claims gave to balances, beside credit notes, for days [from, until)."""
    return [row for row in await store.credits(tx, customer_sids, from_on, until_on) if row["to_balance"]]


class Measurements:
    """Requests of each service by the minute, counted in memory and written now and then (2.1(b))."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, datetime], tuple[int, int]] = {}

    def count(self, service: str, at: datetime, *, tried: int, failed: int) -> None:
        """Count requests; failed ones are those that we could not answer."""
        key = (service, at.replace(second=0, microsecond=0))
        before = self._counts.get(key, (0, 0))
        self._counts[key] = (before[0] + tried, before[1] + failed)

    async def flush(self, tx: Tx) -> None:
        """Write what was counted since the last time."""
        written = dict(self._counts)
        for (service, minute), (tried, failed) in sorted(written.items()):
            await store.add_minute(tx, service, minute, tried, failed)
        tx.after_commit(lambda: self._forget(written))

    def _forget(self, written: Mapping[tuple[str, datetime], tuple[int, int]]) -> None:
        for key, (tried, failed) in written.items():
            now = self._counts[key]
            left = (now[0] - tried, now[1] - failed)
            if left[0]:
                self._counts[key] = left
            else:
                del self._counts[key]


class Claims:
    """The books of claims and disputes."""

    def __init__(self, billing: Billing, forums: Forums) -> None:
        self._billing = billing
        self._forums = forums
        self.sla = Book(SLA_CLAIM, {"assess": self._assess, "give_credit": self._give_credit})
        self.nonconformity = Book(NONCONFORMITY, {"answer": self._answer, "refund": self._refund})
        self.indemnity = Book(
            INDEMNITY,
            {
                "examine": self._examine,
                "law_checked": self._law_checked,
                "book_cost": self._book_cost,
                "option_procure": self._procure,
                "option_modify": self._modify,
                "option_end": self._end_service,
            },
        )
        self.disputes = Book(
            DISPUTE, {"classify": self._classify, "choose_forum": self._choose_forum, "split_costs": self._split_costs}
        )

    async def availability(self, tx: Tx, service: str, month: date) -> tuple[int, int]:
        """Return (minutes of a month, minutes in which a service was unavailable)."""
        begin, end = start_of(month), start_of(plus_months(month, 1))
        return int((end - begin).total_seconds()) // 60, await store.unavailable_minutes(tx, service, begin, end)

    async def cap(
        self,
        tx: Tx,
        customer_sid: str,
        services: Sequence[str],
        first_incident: datetime,
        *,
        party: str,
        basis: str,
        earlier_awards: int,
    ) -> Cap:
        """Return the cap of 7.2 over customer and affiliates as they were at the incident."""
        group = {customer_sid, *await customers.affiliates(tx, customer_sid, day_of(first_incident))}
        since = start_of(plus_months(day_of(first_incident), -13))
        rows = await self._billing.fee_rows(tx, sorted(group), since, first_incident)
        return liability_cap(
            rows, group, services, first_incident, party=party, basis=basis, earlier_awards=earlier_awards
        )

    async def _excluded(self, tx: Tx, service: str) -> bool:
        found = await store.services(tx, service)
        return bool(found) and not is_covered(found[0]["stage"], found[0]["provider"])

    async def _responsible(self, tx: Tx, customer_sid: str, services: Sequence[str], at: datetime) -> Mapping[str, Any]:
        """Name whom a claim is addressed to, the contracting company whoever provides (9.1.2), and who provides."""
        entity = (await agreements.parties_of(tx, customer_sid, at)).entity_key
        providers = {row["service"]: row["provider_entity"] for row in await store.services(tx)}
        provided = sorted({providers.get(service) or entity for service in services})
        return {"addressed_to": entity, "provided_by": provided}

    async def _require_unclaimed(self, tx: Tx, case: Case, states: Sequence[str]) -> None:
        """Refuse a second claim for a month: its fees are still there to be a share of."""
        await store.lock(tx, case.customer_sid)
        for other in await self.sla.list(tx, case.customer_sid, states):
            same = all(other.facts[name] == case.facts[name] for name in ("service", "month"))
            if same and other.sid != case.sid:
                raise ClaimedAlready(SLA_CLAIM.clause, other.sid, is_given=other.state == "credited")

    async def _assess(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        await self._require_unclaimed(tx, case, ["filed", "credited"])
        service, month = case.facts["service"], case.day("month")
        minutes, down = await self.availability(tx, service, month)
        terms = await store.sla(tx, service, month)
        threshold = SLA_DEFAULT_PPM if terms is None else terms["threshold_ppm"]
        percent = SLA_DEFAULT_CREDIT_PERCENT if terms is None else terms["credit_percent"]
        fees, currency = await self._billing.fees(tx, case.customer_sid, service, month, plus_months(month, 1))
        excluded = await self._excluded(tx, service)
        credit = 0 if excluded else sla_credit(minutes, down, threshold, percent, fees, currency)
        return {
            **await self._responsible(tx, case.customer_sid, [service], at),
            "excluded": excluded,
            "minutes": minutes,
            "unavailable_minutes": down,
            "availability_ppm": availability_ppm(minutes, down),
            "threshold_ppm": threshold,
            "fees": decimal_text(fees),
            "credit": decimal_text(credit),
            "currency": currency,
        }

    async def _give_credit(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        await self._require_unclaimed(tx, case, ["credited"])
        sid = await self._billing.credit(
            tx, case.customer_sid, case.micros("credit"), case.facts["currency"], "2.1(b)", case.sid, at
        )
        return {"credit_sid": sid}

    async def _answer(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        snapshot = await self._forums.docs_snapshot(tx, case.customer_sid, case.day("from_on"))
        service = case.facts["service"]
        whose = await self._responsible(tx, case.customer_sid, [service], at)
        return {**whose, "excluded": await self._excluded(tx, service), "docs_snapshot": snapshot}

    async def _refund(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        service, first, last = case.facts["service"], case.day("from_on"), case.day("until_on")
        await store.lock(tx, case.customer_sid)
        for other in await self.nonconformity.list(tx, case.customer_sid, ["refunded"]):
            meets = other.day("from_on") <= last and first <= other.day("until_on")
            if meets and other.facts["service"] == service and other.sid != case.sid:
                raise ClaimedAlready(NONCONFORMITY.clause, other.sid, is_given=True)
        charge, currency = await self._billing.charge(tx, case.customer_sid, service, first, last)
        amount = nonconformity_refund(charge, currency)
        sid = await self._billing.credit(tx, case.customer_sid, amount, currency, "5.4", case.sid, at)
        return {"refund": decimal_text(amount), "currency": currency, "credit_sid": sid}

    async def _examine(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        facts = case.facts
        grounds = [each for each in facts.get("exclusions", ()) if each in _EXCLUSIONS]
        if "service_price" in facts and micros(facts["service_price"]) == 0:
            grounds.append("free")
        for service in facts["services"]:
            if await self._excluded(tx, service):
                grounds.append("beta")
        customer = await customers.require(tx, case.customer_sid)
        needs_check = facts["direction"] == "customer" and customer.government is not None
        return {
            **await self._responsible(tx, case.customer_sid, facts["services"], at),
            "excluded": facts["direction"] == "operator" and bool(grounds),
            "exclusion_grounds": sorted(set(grounds)),
            # Clause 6.3(a): delay matters only where it hurt.
            "delay_days": (case.day("notified_on") - case.day("received_on")).days,
            "duty_reduced": bool(facts.get("prejudice", "").strip()),
            "indemnifying_party": facts["direction"],
            "legal_check": "required" if needs_check else "not_needed",
            "costs": [],
        }

    async def _law_checked(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"legal_check": "done"}

    async def _book_cost(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        facts = case.facts
        purpose = facts["purpose"]
        if purpose not in ("defence", "assistance", "participation"):
            raise InvalidParameter("'purpose' must be defence, assistance or participation")
        if len(facts["costs"]) >= COSTS_MAX:
            raise InvalidParameter(f"A claim has at most {COSTS_MAX} costs; add them up")
        other = "customer" if facts["direction"] == "operator" else "operator"
        # Clause 6.3(c): help is at the indemnifier's cost, joining at one's own.
        borne_by = other if purpose == "participation" else facts["direction"]
        return {"costs": [*facts["costs"], {"amount": facts["amount"], "purpose": purpose, "borne_by": borne_by}]}

    async def _procure(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"option": "procure", "service_continues": True}

    async def _modify(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"option": "modify", "service_continues": True}

    async def _end_service(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        customer = await customers.require(tx, case.customer_sid)
        used = (case.day("ended_on") - case.day("term_from")).days
        days = case.facts["term_days"]
        if not 0 <= used <= days:
            raise InvalidParameter("'ended_on' must lie in the term")
        amount = unused_prepaid(case.micros("prepaid"), used, days, customer.currency)
        sid = await self._billing.credit(tx, case.customer_sid, amount, customer.currency, "6.1.2(c)", case.sid, at)
        return {"option": "end", "service_continues": False, "refund": decimal_text(amount), "credit_sid": sid}

    async def _classify(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        kind = case.facts["dispute_kind"]
        if kind not in ("contract", "ip"):
            raise InvalidParameter("'dispute_kind' must be contract or ip")
        customer = await customers.require(tx, case.customer_sid)
        # Clause 9.7 sends disputes on intellectual property to the courts; 10.3.1 makes no such exception for Brazil.
        return {"negotiates": kind != "ip" or customer.country == "BR"}

    async def _choose_forum(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        facts = case.facts
        amount = case.micros("amount") if "amount" in facts else None
        kind = facts["dispute_kind"]
        return {"forum": await self._forums.forum(tx, case.customer_sid, kind, amount, facts.get("currency"), at)}

    async def _split_costs(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        currency = case.facts["currency"]
        if not is_currency(currency):
            raise InvalidParameter("'currency' must be a currency")
        claimant, respondent = split_costs(case.micros("arbitrator_fees"), currency)
        return {"claimant_share": decimal_text(claimant), "respondent_share": decimal_text(respondent)}


async def catalogue(tx: Tx) -> list[Row]:
    """List the services there are."""
    return await store.services(tx)


async def set_service(
    tx: Tx,
    service: str,
    stage: str,
    provider: str,
    terms_version: str,
    at: datetime,
    *,
    provider_entity: str = "",
) -> None:
    """Write a service's entry in the catalogue.

    Shapes: `provider_entity` is the key of the operator's company that provides it as an affiliate (9.1.2).

    Raises: InvalidParameter.
    """
    if stage not in ("alpha", "beta", "limited", "preview", "ga"):
        raise InvalidParameter("'stage' must be alpha, beta, limited, preview or ga")
    if provider not in ("operator", "affiliate", "third_party"):
        raise InvalidParameter("'provider' must be operator, affiliate or third_party")
    if provider == "third_party" and not terms_version:
        raise InvalidParameter("A third party's service needs 'terms_version'")
    if provider_entity and (provider != "affiliate" or provider_entity not in _ENTITIES):
        raise InvalidParameter("'provider_entity' must be default, europe or japan, and goes with an affiliate")
    await store.set_service(tx, service, stage, provider, terms_version, provider_entity, at)


async def set_sla(
    tx: Tx, service: str, from_month: date, threshold_ppm: int, credit_percent: int, at: datetime
) -> None:
    """Set a service's level from a month on; months that ended keep theirs.

    Raises: InvalidParameter.
    """
    if from_month.day != 1 or from_month < day_of(at).replace(day=1):
        raise InvalidParameter("'from_month' must be the first day of this month or a later one")
    if not 0 <= threshold_ppm <= 1_000_000 or not 0 <= credit_percent <= 100:
        raise InvalidParameter("'threshold_ppm' goes to 1000000 and 'credit_percent' to 100")
    await store.set_sla(tx, service, from_month, threshold_ppm, credit_percent)
