"""How fast registered senders may send, and how much in a day.

Units: rates are segments a second over all networks, caps are segments a day (an MMS counts as one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

# A third of each rate goes to each of the three large networks. Twilio help 1260803225669 as resellers repeat it
# (help.justcall.io 8601354, support.aircall.io 10375354774557): from a score, segments a second.
_BY_SCORE: Final[Sequence[tuple[int, float]]] = ((75, 225.0), (50, 120.0), (1, 12.0), (0, 12.0))
# The same: a low-volume campaign, whatever the score.
_LOW_VOLUME: Final = 3.75
# help.salesmessage.com 6209896: a sole proprietor's campaign has one segment a second to each large network; the
# registration as a whole one.
_SOLE_PROPRIETOR: Final = 1.0
# T-Mobile's caps by score, as support.aloware.com 6958138 repeats Twilio help 1260804800549.
_CAPS_BY_SCORE: Final[Sequence[tuple[int, int]]] = ((75, 200_000), (50, 40_000), (25, 10_000), (0, 2_000))
_CAP_SOLE_PROPRIETOR: Final = 1_000
# The same article: firms of the Russell 3000 index.
_CAP_RUSSELL_3000: Final = 200_000

# Twilio help, "MPS": what has no campaign. Long codes to the US and Canada, toll-free, other countries, short codes.
LONG_CODE: Final = 1.0
TOLLFREE: Final = 3.0
INTERNATIONAL: Final = 10.0
SHORT_CODE: Final = 100.0

# The network that caps by the day, by the name that `Networks` has for it.
CAPPED_NETWORK: Final = "tmobile"
# a2pcheck.com on error 30023: the cap begins anew at midnight Pacific time.
_PACIFIC: Final = ZoneInfo("America/Los_Angeles")
# The catalogue of errors: warnings at half and at 70 % of the cap, and the word that it is reached.
WARNINGS: Final[Sequence[tuple[float, int]]] = ((0.5, 30025), (0.7, 30026), (1.0, 30027))


@dataclass(frozen=True, slots=True)
class BrandFacts:
    """What of a brand decides about rates. Shapes: `score` is None without vetting."""

    brand_type: str
    score: int | None
    is_russell_3000: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a sender may send.

    Shapes: senders with the same `group` share the rate; `daily_cap` is None where there is none, and is shared by the
    brand `cap_group`.
    """

    segments_per_s: float
    group: str
    daily_cap: int | None = None
    cap_group: str = ""
    # AT&T's class of the campaign and T-Mobile's tier of the brand, as the campaign shows them.
    att_class: str = ""
    tmobile_tier: str = ""


def campaign_rate(brand: BrandFacts | None, usecase: str, campaign_sid: str, brand_sid: str) -> Rate:
    """Return the rate of a campaign; of one that was registered elsewhere the least is known."""
    if brand is None:
        return Rate(_LOW_VOLUME, campaign_sid)
    if brand.brand_type == "SOLE_PROPRIETOR":
        return Rate(_SOLE_PROPRIETOR, campaign_sid, _CAP_SOLE_PROPRIETOR, brand_sid, "W", "LOW")
    score = brand.score or 0
    per_s = _LOW_VOLUME if usecase == "LOW_VOLUME" else _step(_BY_SCORE, score)
    cap = int(_step(_CAPS_BY_SCORE, score))
    tier = {200_000: "TOP", 40_000: "HIGH_MID", 10_000: "LOW_MID"}.get(cap, "LOW")
    if brand.is_russell_3000:
        cap, tier = _CAP_RUSSELL_3000, "TOP"
    return Rate(per_s, campaign_sid, cap, brand_sid, _att_class(usecase, score), tier)


def _step(steps: Sequence[tuple[int, float]], score: int) -> float:
    return next(value for least, value in steps if score >= least)


def _att_class(usecase: str, score: int) -> str:
    # AT&T's message classes: declared uses A, C, E and mixed or marketing B, D, F by score; low volume T.
    if usecase == "LOW_VOLUME":
        return "T"
    is_mixed = usecase in ("MIXED", "MARKETING")
    place = 0 if score >= 75 else 1 if score >= 50 else 2
    return ("BDF" if is_mixed else "ACE")[place]


def cap_day(at: datetime) -> date:
    """Return the day on which a segment counts."""
    return at.astimezone(_PACIFIC).date()


def crossed(before: int, after: int, cap: int) -> list[int]:
    """Return the codes of the warnings whose marks a brand's day crosses with what it sends now."""
    return [code for share, code in WARNINGS if before < cap * share <= after]
