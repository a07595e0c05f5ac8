"""How senders stand: whether they may send where registration is asked for, how fast, and how much in a day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from onterms.core.db import Row, Tx
from onterms.products import monitor
from onterms.products.registration import store
from onterms.products.registration.model import rates
from onterms.products.registration.model.rates import BrandFacts, Rate

# The catalogue of errors.
TOLLFREE_UNVERIFIED: Final = 30032
SUSPENDED: Final = 30033
UNREGISTERED: Final = 30034
BEING_CONFIGURED: Final = 30035
CAP_REACHED: Final = 30023


@dataclass(frozen=True, slots=True)
class SenderStanding:
    """How a sender stands. Shapes: `code` is what its messages end with, 0 where they go out."""

    code: int
    rate: Rate


async def standings(
    tx: Tx, long_codes: Sequence[tuple[str, str]], tollfree: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], SenderStanding]:
    """Return how US long codes and toll-free numbers stand, by (account_sid, number)."""
    found: dict[tuple[str, str], SenderStanding] = {}
    for row in await store.campaign_standings(tx, long_codes) if long_codes else ():
        found[row["account_sid"], row["number"]] = _of_campaign(row)
    for row in await store.tollfree_standings(tx, tollfree) if tollfree else ():
        code = 0 if row["status"] == "TWILIO_APPROVED" else TOLLFREE_UNVERIFIED
        found[row["account_sid"], row["number"]] = SenderStanding(code, Rate(rates.TOLLFREE, row["number"]))
    for pairs, code, per_s in (
        (long_codes, UNREGISTERED, rates.LONG_CODE),
        (tollfree, TOLLFREE_UNVERIFIED, rates.TOLLFREE),
    ):
        for pair in pairs:
            found.setdefault(pair, SenderStanding(code, Rate(per_s, pair[1])))
    return found


def _of_campaign(row: Row) -> SenderStanding:
    if "SUSPENDED" in (row["campaign_status"], row["brand_status"]):
        code = SUSPENDED
    elif row["campaign_status"] != "VERIFIED" or row["number_status"] == "FAILED":
        code = UNREGISTERED
    else:
        code = 0 if row["number_status"] == "REGISTERED" else BEING_CONFIGURED
    rate = Rate(rates.LONG_CODE, row["number"]) if code else rate_of(row, row["campaign_sid"])
    return SenderStanding(code, rate)


def rate_of(row: Mapping[str, object], campaign_sid: str) -> Rate:
    """Return the rate of a campaign's row that was joined with its brand's."""
    brand = None
    if row["brand_type"]:
        score = row["brand_score"]
        assert score is None or isinstance(score, int)
        brand = BrandFacts(str(row["brand_type"]), score, bool(row["russell_3000"]))
    return rates.campaign_rate(brand, str(row["usecase"]), campaign_sid, str(row["brand_sid"] or ""))


async def spend(tx: Tx, account_sid: str, rate: Rate, segments: Sequence[int], at: datetime) -> list[bool]:
    """Count segments to the network that caps a brand by the day; tell which still go.

    A brand that comes to half and to 70 % of its cap, or reaches it, reads so in its debugger.
    """
    assert rate.daily_cap is not None
    before, fits = await store.spend(tx, account_sid, rate.cap_group, rates.cap_day(at), segments, rate.daily_cap)
    after = before + sum(each for each, goes in zip(segments, fits, strict=True) if goes)
    reached = rate.daily_cap if not all(fits) and before < rate.daily_cap else after
    alerts = [
        monitor.NewAlert(account_sid=account_sid, error_code=code, resource_sid=rate.cap_group)
        for code in rates.crossed(before, max(after, reached), rate.daily_cap)
    ]
    await monitor.record(tx, alerts, at)
    return fits
