"""What went out in a window, customer by customer, and what it looks like: for whoever watches over unusual use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

from onterms.business import accounts, customers
from onterms.business.suspension import Signals, Spell
from onterms.business.usage import Meter
from onterms.core import e164
from onterms.core.db import Tx
from onterms.products.messaging import store

# Ours: enough to tell what kind of traffic it is.
_SAMPLE_MAX = 5000
_PARSED_MAX = 500
# Ours: numbers one after another, as no list of people's numbers has them.
_SEQUENTIAL_MIN = 20
_SEQUENTIAL_PERMILLE = 500
_PREMIUM_PERMILLE = 200
_NEW_KEY_PERMILLE = 500
_NEW_KEY_AGE = timedelta(hours=24)
# Ours: what an install on one machine can send in 15 minutes, at 1,000 a second. Share of it is pressure.
CAPACITY_UNITS = 900_000


@dataclass(slots=True)
class _Sum:
    """One customer's service towards one country."""

    account_sids: set[str] = field(default_factory=set)
    messages: int = 0
    units: int = 0
    delivered: int = 0
    failed: int = 0
    # Seconds, weighed by messages.
    delayed_s: int = 0


async def spells(tx: Tx, meter: Meter, start: datetime, end: datetime) -> list[Spell]:
    """Return what customers sent in [start, end), by service and country."""
    rows = await store.traffic(tx, start, end)
    owners = await customers.customers_of(tx, sorted({row["account_sid"] for row in rows}))
    sums: dict[tuple[str, str, str], _Sum] = {}
    for row in rows:
        owner = owners.get(row["account_sid"])
        if owner is None:
            continue
        service = "mms" if row["prefix"] == "MM" else "sms"
        total = sums.setdefault((owner.sid, service, e164.country_of(row["recipient"]) or ""), _Sum())
        total.account_sids.add(row["account_sid"])
        total.messages += row["messages"]
        total.units += row["segments"]
        total.delivered += row["delivered"]
        total.failed += row["failed"]
        total.delayed_s += int(row["delay"].total_seconds()) * row["messages"]
    return [
        Spell(*key, total.units, partial(look_closer, meter=meter, key=key, total=total, start=start, end=end))
        for key, total in sums.items()
    ]


async def look_closer(
    tx: Tx, *, meter: Meter, key: tuple[str, str, str], total: _Sum, start: datetime, end: datetime
) -> Signals:
    """Find out what else is known of a customer's sending to a country."""
    customer_sid, service, country = key
    sample = [
        row
        for row in await store.sent_between(tx, sorted(total.account_sids), start, end, _SAMPLE_MAX)
        if row["sid"].startswith("MM") == (service == "mms") and (e164.country_of(row["recipient"]) or "") == country
    ]
    used = await meter.credentials(tx, customer_sid, [row["sid"] for row in sample])
    new = await accounts.keys_made_since(tx, sorted(set(used.values())), end - _NEW_KEY_AGE)
    by_new = sum(credential_sid in new for credential_sid in used.values())
    recipients = [row["recipient"] for row in sample]
    return Signals(
        delivered_permille=total.delivered * 1000 // total.messages,
        failed_permille=total.failed * 1000 // total.messages,
        sequential_numbers=is_sequential(recipients),
        premium_prefix=_is_premium(recipients),
        new_credential=by_new > 0 and by_new * 1000 >= _NEW_KEY_PERMILLE * len(sample),
        queue_delay_s=total.delayed_s // total.messages,
        throughput_share_permille=total.units * 1000 // CAPACITY_UNITS,
    )


def is_sequential(recipients: Sequence[str]) -> bool:
    """Tell whether numbers follow one another, as in a range that somebody rents."""
    numbers = sorted({int(number[1:]) for number in recipients if e164.is_e164(number)})
    if len(numbers) < _SEQUENTIAL_MIN:
        return False
    following = sum(later - earlier == 1 for earlier, later in pairwise(numbers))
    return following * 1000 >= _SEQUENTIAL_PERMILLE * len(numbers)


def _is_premium(recipients: Sequence[str]) -> bool:
    looked_at = list(dict.fromkeys(recipients))[:_PARSED_MAX]
    parsed = [e164.parse(number) for number in looked_at]
    premium = sum(found is not None and found.kind == "premium" for found in parsed)
    return premium > 0 and premium * 1000 >= _PREMIUM_PERMILLE * len(looked_at)
