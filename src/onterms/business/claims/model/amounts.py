"""What claims amount to. Units: micro-units of one currency."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, time

from onterms.core.calendar import plus_months
from onterms.core.money import decimal_text, divide, round_minor, share

PPM = 1_000_000
CAP_MONTHS = 12
# Clause 7.1: what is no direct damage.
EXCLUDED_HEADS = frozenset(
    ("indirect", "special", "incidental", "consequential", "punitive", "lost_profit", "lost_revenue", "lost_goodwill")
)
# Clauses 7.3 and 10.1.4: whose liability for what has no cap.
UNCAPPED = {
    "2.2": frozenset(("customer",)),
    "3": frozenset(("customer",)),
    "6": frozenset(("customer", "operator")),
    "10.1.4": frozenset(("customer",)),
}


def is_covered(stage: str, provider: str) -> bool:
    """Tell whether warranty, service levels and the cap's base know a service (1.2, 1.9, 1.11, 5.5)."""
    return stage == "ga" and provider in ("operator", "affiliate")


def availability_ppm(minutes: int, unavailable: int) -> int:
    """Return the available share of a month's minutes, in millionths."""
    return divide((minutes - unavailable) * PPM, minutes, "half_up")


def sla_credit(
    minutes: int, unavailable: int, threshold_ppm: int, credit_percent: int, fees: int, currency: str
) -> int:
    """Return the credit for a month: nothing where the threshold was kept, compared exactly and not as rounded."""
    if (minutes - unavailable) * PPM >= threshold_ppm * minutes:
        return 0
    return round_minor(share(fees, credit_percent, 100), currency)


@dataclass(frozen=True, slots=True)
class Recurring:
    """A recurring fee and how many days of its period were bad."""

    amount: int
    bad_days: int
    period_days: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What was charged for a bad interval, tax rates in millionths."""

    usage: int
    recurring: Sequence[Recurring] = ()
    surcharges: int = 0
    tax_ppm: int = 0


def nonconformity_refund(charge: Charge, currency: str) -> int:
    """Return the refund of 5.4: usage, recurring shares, surcharges, and the tax on it all; rounded once."""
    exact_over, common = charge.usage + charge.surcharges, 1
    for each in charge.recurring:
        exact_over = exact_over * each.period_days + each.amount * each.bad_days * common
        common *= each.period_days
    return round_minor(divide(exact_over * (PPM + charge.tax_ppm), common * PPM, "half_up"), currency)


def unused_prepaid(prepaid: int, days_used: int, days: int, currency: str) -> int:
    """Return what 6.1.2(c) refunds of a prepaid term."""
    return round_minor(share(prepaid, days - days_used, days), currency)


def recoverable(heads: Mapping[str, int]) -> tuple[int, frozenset[str]]:
    """Return the sum of direct damages and the heads that 7.1 excludes."""
    excluded = frozenset(heads) & EXCLUDED_HEADS
    return sum(amount for head, amount in heads.items() if head not in excluded), excluded


@dataclass(frozen=True, slots=True)
class FeeRow:
    """A fee, or a credit for usage (negative), as it accrued.

    Shapes: `kind` is fee, credit, surcharge, tax or late_fee; `occurred_at` is when the usage was, also for credits.
    """

    customer_sid: str
    service: str
    occurred_at: datetime
    kind: str
    amount: int
    stage: str = "ga"
    provider: str = "operator"


@dataclass(frozen=True, slots=True)
class Cap:
    """The limit of liability, None where there is none, and how it was found.

    Shapes: the window is half-open; `rows_sha256` covers every row that counted.
    """

    amount: int | None
    with_surcharges: int | None
    window: tuple[datetime, datetime] | None
    rows_sha256: str
    basis: str


def liability_cap(
    rows: Sequence[FeeRow],
    group: Collection[str],
    services: Collection[str],
    first_incident: datetime,
    *,
    party: str,
    basis: str = "",
    earlier_awards: int = 0,
) -> Cap:
    """Return the cap of 7.2: fees of the group for the services in the 12 months before the first incident."""
    if party in UNCAPPED.get(basis, frozenset()):
        return Cap(None, None, None, "", basis)
    begin = datetime.combine(plus_months(first_incident.date(), -CAP_MONTHS), time.min, first_incident.tzinfo) + (
        first_incident - datetime.combine(first_incident.date(), time.min, first_incident.tzinfo)
    )
    counted = [
        row
        for row in rows
        if row.customer_sid in group
        and row.service in services
        and begin <= row.occurred_at < first_incident
        and row.kind in ("fee", "credit", "surcharge")
        and is_covered(row.stage, row.provider)
    ]
    fees = sum(row.amount for row in counted if row.kind != "surcharge")
    surcharges = sum(row.amount for row in counted if row.kind == "surcharge")
    lines = sorted("|".join(str(value) for value in astuple(row)) for row in counted if row.kind != "surcharge")
    return Cap(
        max(0, fees - earlier_awards),
        max(0, fees + surcharges - earlier_awards),
        (begin, first_incident),
        hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        basis,
    )


def split_costs(total: int, currency: str) -> tuple[int, int]:
    """Split the arbitrator's fees (9.7): (claimant, respondent), an odd minor unit to the claimant."""
    respondent = round_minor(divide(total, 2, "down"), currency, "down")
    return total - respondent, respondent


def as_text(cap: Cap) -> dict[str, str | None]:
    """Render a cap."""
    return {
        "cap": None if cap.amount is None else decimal_text(cap.amount),
        "cap_with_surcharges": None if cap.with_surcharges is None else decimal_text(cap.with_surcharges),
        "from_at": None if cap.window is None else cap.window[0].isoformat(),
        "until_at": None if cap.window is None else cap.window[1].isoformat(),
        "rows_sha256": cap.rows_sha256,
        "basis": cap.basis,
    }
