"""Which taxes apply and what they come to.

Theory of operation
-------------------

Prices are without tax; each tax is a line of its own. Invoice lines come rounded to the currency's minor unit. For each
(jurisdiction, kind, rate, rounding) the bases of all lines are added and the tax is rounded once on the sum, as the
Japanese qualified invoice requires (there downwards) and as other places allow. A line has the taxes of the instant of
its supply, so a rate that changes within a month gives two lines. What an exemption leaves untaxed is returned as well,
with the rate that it would have had: it is what an authority may claim later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from onterms.business.tax.model.exemptions import Exempted, Exemption
from onterms.business.tax.model.vat import check_vat_id
from onterms.core.calendar import day_of
from onterms.core.money import Rounding, divide, minor_digits
from onterms.ports.tax_determination import ApplicableTax, TaxBase, TaxFacts

# Terms of Service 3.2.1: what the customer bears, and what it does not.
CHARGEABLE_KINDS = frozenset({"sales", "use", "vat", "gst", "consumption", "communications", "excise", "levy"})
EXCLUDED_KINDS = frozenset({"income", "property", "employee"})
# A commitment is a fee for what was not used. Fines and late fees are no supply.
_IN_BASE: Mapping[TaxBase, frozenset[str]] = {
    "fees": frozenset({"fee", "commitment"}),
    "fees_and_surcharges": frozenset({"fee", "commitment", "surcharge", "communications_surcharge"}),
}
# Council Directive 2006/112/EC as in force; Northern Ireland counts for goods only.
EU_COUNTRIES = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
    ]
)
RATE_UNIT = 1_000_000

LineKind = Literal["fee", "commitment", "surcharge", "communications_surcharge", "penalty", "late_fee"]


@dataclass(frozen=True, slots=True)
class TaxRule:
    """A tax of a jurisdiction, in [effective_from, effective_to).

    Units: rate in millionths.
    """

    id: int
    jurisdiction: str
    kind: str
    base: TaxBase
    rate: int
    rounding: Rounding
    effective_from: datetime
    effective_to: datetime | None
    source: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class TaxableLine:
    """A line of an invoice before tax.

    Shapes: ref names the line within its invoice; at is an instant of its supply. Units: micros rounded to minor units.
    """

    ref: str
    kind: LineKind
    micros: int
    at: datetime


@dataclass(frozen=True, slots=True)
class TaxLine:
    """One tax on an invoice.

    Shapes: refs are the lines in its base, for the tax share of each. Units: micros rounded; rate in millionths.
    """

    jurisdiction: str
    kind: str
    base: int
    rate: int
    micros: int
    currency: str
    reverse_charge: bool
    refs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaxResult:
    """The tax lines, and what exemptions left untaxed."""

    lines: tuple[TaxLine, ...]
    exempted: tuple[Exempted, ...]

    @property
    def total(self) -> int:
        """Return all taxes together."""
        return sum(line.micros for line in self.lines)


def jurisdictions(facts: TaxFacts) -> list[str]:
    """Return the jurisdictions a customer is in, the widest first."""
    found = [facts.country]
    if facts.subdivision:
        found.append(f"{found[-1]}-{facts.subdivision}")
        if facts.locality:
            found.append(f"{found[-1]}-{facts.locality}")
    return found


def applicable(rules: Sequence[TaxRule], facts: TaxFacts, at: datetime) -> list[ApplicableTax]:
    """Return which rules apply at an instant: of one jurisdiction and kind, that which began last."""
    places = jurisdictions(facts)
    best: dict[tuple[str, str], TaxRule] = {}
    for rule in sorted(rules, key=lambda rule: (rule.effective_from, rule.recorded_at, rule.id)):
        began = rule.effective_from <= at and (rule.effective_to is None or at < rule.effective_to)
        if began and rule.jurisdiction in places:
            best[rule.jurisdiction, rule.kind] = rule
    found: list[ApplicableTax] = []
    for rule in sorted(best.values(), key=lambda rule: (places.index(rule.jurisdiction), rule.kind)):
        reverse = rule.kind == "vat" and reverse_charged(facts)
        found.append(
            ApplicableTax(
                jurisdiction=rule.jurisdiction,
                kind=rule.kind,
                base=rule.base,
                rate=0 if reverse else rule.rate,
                rounding=rule.rounding,
                reverse_charge=reverse,
                source=rule.source,
            )
        )
    return found


def reverse_charged(facts: TaxFacts) -> bool:
    """Tell whether the customer accounts for VAT itself.

    Source: Directive 2006/112/EC, articles 44 and 196: a service to a taxable person established in another country. A
    seller whose country is not known gives no reverse charge, for nothing is guessed in the customer's favour.
    """
    if facts.country not in EU_COUNTRIES or facts.seller_country in (None, facts.country) or not facts.vat_id:
        return False
    checked = check_vat_id(facts.vat_id)
    if not checked.valid or checked.country != facts.country:
        return False
    return checked.by_checksum or facts.vat_id_confirmed


def compute(
    lines: Sequence[TaxableLine],
    currency: str,
    taxes: Sequence[Sequence[ApplicableTax]],
    exemptions: Sequence[Exemption] = (),
) -> TaxResult:
    """Return the tax lines of an invoice.

    Shapes: `taxes` says for each line which taxes apply to it, as `determine` or `applicable` answers for its instant.
    """
    bases: dict[ApplicableTax, list[TaxableLine]] = {}
    exempted: list[Exempted] = []
    for line, applying in zip(lines, taxes, strict=True):
        for tax in applying:
            if line.kind not in _IN_BASE[tax.base] or not line.micros:
                continue
            exemption = next((each for each in exemptions if each.covers(tax.kind, tax.jurisdiction, line.at)), None)
            if exemption is None:
                bases.setdefault(tax, []).append(line)
            else:
                exempted.append(
                    Exempted(
                        exemption_sid=exemption.sid,
                        line_ref=line.ref,
                        jurisdiction=tax.jurisdiction,
                        kind=tax.kind,
                        currency=currency,
                        base=line.micros,
                        rate=tax.rate,
                        rounding=tax.rounding,
                        occurred_at=line.at,
                        tax_due_on=day_of(line.at),
                    )
                )
    # The source of a rate is no reason to round twice.
    groups: dict[tuple[str, str, int, Rounding, bool], list[TaxableLine]] = {}
    for tax, taxed in bases.items():
        key = (tax.jurisdiction, tax.kind, tax.rate, tax.rounding, tax.reverse_charge)
        groups.setdefault(key, []).extend(taxed)
    found = [
        TaxLine(
            jurisdiction=jurisdiction,
            kind=kind,
            base=(base := sum(line.micros for line in taxed)),
            rate=rate,
            micros=tax_on(base, rate, currency, rounding),
            currency=currency,
            reverse_charge=reverse,
            refs=tuple(line.ref for line in taxed),
        )
        for (jurisdiction, kind, rate, rounding, reverse), taxed in groups.items()
    ]
    return TaxResult(tuple(found), tuple(exempted))


def tax_on(base: int, rate: int, currency: str, rounding: Rounding) -> int:
    """Return the tax on a base, rounded once from the exact product to the minor unit."""
    unit: int = 10 ** (6 - minor_digits(currency))
    return divide(base * rate, RATE_UNIT * unit, rounding) * unit
