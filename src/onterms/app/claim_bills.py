"""What claims ask of usage, invoices and the ledger, and how a credit is given.

A credit comes off the lines that it is for, as a credit note with their tax, wherever they stand on an invoice; what
stands on none goes to the balance, from which later invoices are settled.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from onterms.business import claims, customers, invoicing, pricing
from onterms.business.claims import CAP_MONTHS, Charge, FeeRow, Given, Recurring
from onterms.core.calendar import day_of, plus_months, start_of
from onterms.core.db import Tx
from onterms.core.errors import Refusal
from onterms.core.money import decimal_text, divide, minor_digits, round_minor
from onterms.engines import ledger

# The catalogue names products, rated usage what is counted of them.
_RATED = {"messaging": ("sms", "mms", "whatsapp", "rcs")}
_PRODUCTS = {rated: product for product, names in _RATED.items() for rated in names}
_BY_THE_MONTH = "month"


def rated_services(service: str) -> tuple[str, ...]:
    """Return the services of rated usage that a service of the catalogue is made of."""
    return _RATED.get(service, (service,))


@dataclass(frozen=True, slots=True)
class _For:
    """What a credit is for: services and days [from, until); `gross` where the amount holds its tax already."""

    services: tuple[str, ...]
    from_on: date
    until_on: date
    gross: bool


class ClaimBills:
    """The claims room's `Billing`."""

    def __init__(self, surroundings: invoicing.Surroundings, room: Callable[[], claims.Claims]) -> None:
        self._surroundings = surroundings
        self._room = room

    async def fees(self, tx: Tx, customer_sid: str, service: str, from_on: date, until_on: date) -> tuple[int, str]:
        """Return the fees of a service for days [from, until) and their currency."""
        currency = await _currency(tx, customer_sid, from_on)
        found = await self._slices(tx, customer_sid, rated_services(service), from_on, until_on)
        return sum(each.micros for each in found if each.kind == "fee" and each.currency == currency), currency

    async def charge(
        self, tx: Tx, customer_sid: str, service: str, from_on: date, until_on: date
    ) -> tuple[Charge, str]:
        """Return what was charged for the days from the first to the last, and the currency."""
        currency = await _currency(tx, customer_sid, from_on)
        services, after = rated_services(service), until_on + timedelta(days=1)
        own = [
            each for each in await self._slices(tx, customer_sid, services, from_on, after) if each.currency == currency
        ]
        usage = sum(each.micros for each in own if each.kind == "fee" and each.unit != _BY_THE_MONTH)
        surcharges = sum(each.micros for each in own if each.kind == "surcharge")
        recurring = await self._recurring(tx, customer_sid, services, currency, from_on, until_on)
        ppm = await self._tax_ppm(tx, customer_sid, services, [each.invoice_sid for each in own])
        return Charge(usage, recurring, surcharges, ppm), currency

    async def _recurring(
        self, tx: Tx, customer_sid: str, services: Sequence[str], currency: str, from_on: date, until_on: date
    ) -> list[Recurring]:
        """Return fees by the month whose months meet the days, each with how many of its days do."""
        found: list[Recurring] = []
        # A month that began up to one month earlier still runs.
        since = plus_months(from_on, -1)
        for each in await self._slices(tx, customer_sid, services, since, until_on + timedelta(days=1)):
            begin = day_of(each.first_at)
            end = plus_months(begin, 1)
            bad = (min(end, until_on + timedelta(days=1)) - max(begin, from_on)).days
            if each.unit == _BY_THE_MONTH and each.kind == "fee" and each.currency == currency and bad > 0:
                found.append(Recurring(each.micros, bad, (end - begin).days))
        return found

    async def _tax_ppm(
        self, tx: Tx, customer_sid: str, services: Sequence[str], invoice_sids: Iterable[str | None]
    ) -> int:
        """Return the rate of tax on lines of services over the invoices that have them, in millionths."""
        net = weighed = 0
        for sid in sorted({sid for sid in invoice_sids if sid is not None}):
            invoice = await invoicing.require(tx, customer_sid, sid)
            lines = {line.ref: line for line in invoice.lines if _is_of(line, customer_sid, services)}
            net += sum(line.micros for line in lines.values())
            for line in invoice.lines:
                if line.kind == "tax" and line.rate is not None:
                    weighed += sum(lines[ref].micros * line.rate for ref in line.taxed if ref in lines)
        return divide(weighed, net, "half_up") if net > 0 else 0

    async def fee_rows(
        self, tx: Tx, customer_sids: Sequence[str], from_at: datetime, until_at: datetime
    ) -> list[FeeRow]:
        """List fees and credits by when their usage was, added up by the day."""
        stages = {row["service"]: (row["stage"], row["provider"]) for row in await claims.catalogue(tx)}

        def row(customer_sid: str, service: str, at: datetime, kind: str, micros: int) -> FeeRow:
            product = _PRODUCTS.get(service, service)
            stage, provider = stages.get(product, ("ga", "operator"))
            return FeeRow(customer_sid, product, at, kind, micros, stage, provider)

        # The cap's window begins within a day; no sum of rows may span it.
        begin = start_of(plus_months(day_of(until_at), -CAP_MONTHS)) + (until_at - start_of(day_of(until_at)))
        found = [
            row(each.customer_sid, each.service, each.first_at, each.kind, each.micros)
            for each in await pricing.slices(tx, customer_sids, from_at, until_at, begin)
        ]
        for customer_sid in customer_sids:
            found += [
                row(customer_sid, line.service, line.supplied_at, "credit", -net)
                for line, net in await invoicing.credited_lines(tx, customer_sid, from_at, until_at)
                if line.kind == "fee"
            ]
        given = await claims.credits_to_balance(tx, customer_sids, day_of(from_at), day_of(until_at))
        return found + [
            row(each["customer_sid"], each["service"], start_of(each["used_on"]), "credit", -each["to_balance"])
            for each in given
        ]

    async def credit(
        self, tx: Tx, customer_sid: str, amount: int, currency: str, clause: str, ref: str, at: datetime
    ) -> str:
        """Give a credit and return its SID."""
        wanted, service = await self._wanted(tx, customer_sid, clause, ref)
        found = await self._slices(tx, customer_sid, wanted.services, wanted.from_on, wanted.until_on)
        left, notes = amount, []
        for invoice_sid in sorted({each.invoice_sid for each in found if each.invoice_sid is not None}):
            if left <= 0:
                break
            note = await self._credit_note(tx, customer_sid, invoice_sid, wanted, left, currency, clause, ref, at)
            if note is not None:
                notes.append(note.sid)
                left -= note.total if wanted.gross else sum(line["net"] for line in note.lines)
        unit = 10 ** (6 - minor_digits(currency))
        # What stands on invoices and was credited before is not credited twice; a unit that rounding left is given.
        stands_elsewhere = not found or any(each.invoice_sid is None for each in found)
        to_balance = left if left > 0 and (stands_elsewhere or left <= unit) else 0
        if to_balance:
            await self._to_balance(tx, customer_sid, service, to_balance, currency, clause, ref, at)
        amount -= left - to_balance
        if amount <= 0:
            details = {"clause": clause, "reason": "credited_already"}
            raise Refusal("What this is for was credited already", code=20409, status=409, details=details)
        given = Given(customer_sid, ref, clause, service, currency, amount, wanted.from_on, tuple(notes), max(0, left))
        return await claims.record_credit(tx, given, at)

    async def _wanted(self, tx: Tx, customer_sid: str, clause: str, ref: str) -> tuple[_For, str]:
        room = self._room()
        if clause == "2.1(b)":
            case = await room.sla.fetch(tx, customer_sid, ref)
            month, service = case.day("month"), str(case.facts["service"])
            return _For(rated_services(service), month, plus_months(month, 1), gross=False), service
        if clause == "5.4":
            case = await room.nonconformity.fetch(tx, customer_sid, ref)
            service = str(case.facts["service"])
            until = case.day("until_on") + timedelta(days=1)
            return _For(rated_services(service), case.day("from_on"), until, gross=True), service
        case = await room.indemnity.fetch(tx, customer_sid, ref)
        service = str(next(iter(case.facts["services"]), "all"))
        # What a term was paid in advance for is no usage of a day: it goes back to the balance.
        return _For((), case.day("ended_on"), case.day("ended_on"), gross=True), service

    async def _credit_note(
        self,
        tx: Tx,
        customer_sid: str,
        invoice_sid: str,
        wanted: _For,
        amount: int,
        currency: str,
        clause: str,
        ref: str,
        at: datetime,
    ) -> invoicing.Credit | None:
        invoice = await invoicing.require(tx, customer_sid, invoice_sid)
        if invoice.currency != currency:
            return None
        left = await invoicing.left_of(tx, invoice)
        # Clause 2.1(b) is a share of fees; 5.4 pays back surcharges too.
        kinds = ("fee", "communications_surcharge") if wanted.gross else ("fee",)
        lines = [
            (line.ref, left[line.ref])
            for line in invoice.lines
            if line.kind in kinds and _is_of(line, customer_sid, wanted.services) and left[line.ref] > 0
        ]
        nets = _spread(lines, amount)
        tax_max: int | None = None
        if wanted.gross and nets:
            nets, tax_max = await self._within(tx, invoice, lines, amount)
        if not nets:
            return None
        reason = f"Claim {ref} under clause {clause}"
        return await invoicing.credit(
            tx, self._surroundings, customer_sid, invoice_sid, nets, reason, "operator", at, tax_max=tax_max
        )

    async def _within(
        self, tx: Tx, invoice: invoicing.Invoice, lines: Sequence[tuple[str, int]], gross: int
    ) -> tuple[dict[str, int], int]:
        """Return the nets of lines that make an amount together with their tax, and the tax left for them."""
        nets = _spread(lines, gross)
        for _ in range(3):
            net = sum(nets.values())
            taxes = await invoicing.shares_of(tx, invoice, nets)
            tax = sum(share for each in taxes.values() for share in each.values())
            if net + tax <= gross:
                return nets, tax
            unit = 10 ** (6 - minor_digits(invoice.currency))
            nets = _spread(lines, divide(gross * net, (net + tax) * unit, "half_up") * unit)
            if not nets:
                return {}, 0
        net = sum(nets.values())
        return nets, max(0, gross - net)

    async def _to_balance(
        self, tx: Tx, customer_sid: str, service: str, micros: int, currency: str, clause: str, ref: str, at: datetime
    ) -> None:
        amount = round_minor(micros, currency)
        if await ledger.balance(tx, customer_sid, currency) is None:
            await ledger.open_balance(tx, customer_sid, currency, at)
        posting = ledger.templates.credit_note([ledger.Split(service, fee=amount)], None)
        memo = {"claim": ref, "clause": clause, "amount": decimal_text(amount)}
        key = f"claim:{ref}:{clause}:{at.isoformat()}"
        await ledger.post(tx, [ledger.Transaction(customer_sid, currency, key, posting, memo)], at)

    async def _slices(
        self, tx: Tx, customer_sid: str, services: Sequence[str], from_on: date, until_on: date
    ) -> list[pricing.UsageSlice]:
        zone = self._surroundings.zone
        found = await pricing.slices(tx, [customer_sid], start_of(from_on, zone), start_of(until_on, zone))
        return [each for each in found if each.service in services]


def _is_of(line: invoicing.Line, customer_sid: str, services: Sequence[str]) -> bool:
    return line.section == customer_sid and line.service in services and line.kind != "tax"


def _spread(lines: Sequence[tuple[str, int]], amount: int) -> dict[str, int]:
    """Spread an amount over lines, each up to what is left of it."""
    found: dict[str, int] = {}
    for ref, left in lines:
        part = min(amount - sum(found.values()), left)
        if part > 0:
            found[ref] = part
    return found


async def _currency(tx: Tx, customer_sid: str, on: date) -> str:
    customer = await customers.require(tx, customer_sid, on)
    return (await pricing.payment_terms(tx, customer_sid, customer.country, start_of(on))).currency
