"""Uses, categories of usage, periods and triggers: pure."""

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from onterms.business.pricing import UsageTotal
from onterms.core.calendar import plus_months, start_of
from onterms.core.money import MICROS, decimal_text

Outcome = Literal["charge", "free"]
Recurring = Literal["daily", "monthly", "yearly", "alltime"]
TriggerBy = Literal["count", "usage", "price"]
Step = Literal["total", "day", "month", "year"]

PURPOSE = "use|"
# Where a trigger for all time begins.
BEGINNING = date(2000, 1, 1)


class Use(NamedTuple):
    """Something that will cost money, before it is done.

    Shapes: id is the producer's (a message's SID); number is the other party's in E.164, or empty; credential_sid is
    the key it was asked for with, empty for the account itself; detail names the part of its category that counts it
    (`shortcode`), where that is known when it ends.
    """

    account_sid: str
    id: str
    service: str
    direction: str
    country: str
    number: str
    unit: str
    qty: int
    carrier: str = ""
    credential_sid: str = ""
    detail: str = ""


class Settled(NamedTuple):
    """How a use ended.

    Shapes: occurred_at counts for a use without a hold, such as an inbound message; a held one occurred when it was
    held, whose price it therefore has.
    """

    use: Use
    outcome: Outcome
    occurred_at: datetime | None = None


def purpose(use: Use, prefix: str) -> str:
    """Write a use as its hold's purpose, from which it can be charged without anybody else.

    The number is left out but for the prefix that its price goes by: the ledger is kept longer than messages are.
    """
    parts = (use.service, use.direction, use.country, prefix, use.unit, str(use.qty), use.credential_sid, use.carrier)
    return PURPOSE + "|".join(parts)


def use_of(account_sid: str, id_: str, text: str) -> Use:
    """Read a use from its hold's purpose; its number is the prefix that the price goes by."""
    service, direction, country, prefix, unit, qty, credential, carrier = text.removeprefix(PURPOSE).split("|", 7)
    return Use(account_sid, id_, service, direction, country, prefix, unit, int(qty), carrier, credential)


# ---- categories


class Category(NamedTuple):
    """A category of usage records with the words it is listed with."""

    name: str
    parent: str
    description: str
    count_unit: str
    usage_unit: str


# Twilio docs, "Usage categories": names and units of what an install can have. Children stand below what they add to.
_CATEGORIES = """
a2p-registration-fees||Registrations of senders|registrations|registrations
calls||Calls|calls|minutes
calls-inbound|calls|Inbound calls|calls|minutes
calls-outbound|calls|Outbound calls|calls|minutes
trunking||Trunking|calls|minutes
trunking-origination|trunking|Trunking origination|calls|minutes
trunking-termination|trunking|Trunking termination|calls|minutes
sms||SMS|messages|segments
sms-inbound|sms|Inbound SMS|messages|segments
sms-inbound-longcode|sms-inbound|Inbound SMS to long codes|messages|segments
sms-inbound-shortcode|sms-inbound|Inbound SMS to short codes|messages|segments
sms-outbound|sms|Outbound SMS|messages|segments
sms-outbound-longcode|sms-outbound|Outbound SMS from long codes|messages|segments
sms-outbound-shortcode|sms-outbound|Outbound SMS from short codes|messages|segments
sms-messages-carrierfees||Carriers' fees on SMS|messages|segments
mms||MMS|messages|messages
mms-inbound|mms|Inbound MMS|messages|messages
mms-inbound-longcode|mms-inbound|Inbound MMS to long codes|messages|messages
mms-inbound-shortcode|mms-inbound|Inbound MMS to short codes|messages|messages
mms-outbound|mms|Outbound MMS|messages|messages
mms-outbound-longcode|mms-outbound|Outbound MMS from long codes|messages|messages
mms-outbound-shortcode|mms-outbound|Outbound MMS from short codes|messages|messages
mms-messages-carrierfees||Carriers' fees on MMS|messages|messages
channels||Messages on channels|messages|messages
channels-whatsapp|channels|WhatsApp|messages|messages
channels-whatsapp-inbound|channels-whatsapp|Inbound WhatsApp|messages|messages
channels-whatsapp-outbound|channels-whatsapp|Outbound WhatsApp|messages|messages
channels-rcs|channels|RCS|messages|messages
channels-rcs-inbound|channels-rcs|Inbound RCS|messages|messages
channels-rcs-outbound|channels-rcs|Outbound RCS|messages|messages
mediastorage||Media storage||gb-days
phonenumbers||Phone numbers|numbers|numbers
phonenumbers-local|phonenumbers|Local phone numbers|numbers|numbers
phonenumbers-mobile|phonenumbers|Mobile phone numbers|numbers|numbers
phonenumbers-tollfree|phonenumbers|Toll-free phone numbers|numbers|numbers
phonenumbers-setups||Phone number setups|numbers|numbers
shortcodes||Short codes|codes|codes
recordings||Recordings|recordings|minutes
recordingstorage||Recording storage||minutes
transcriptions||Transcriptions|transcriptions|minutes
conversations||Conversations|users|users
lookups||Lookups|lookups|lookups
verify-push||Verify push|verifications|verifications
verify-totp||Verify TOTP|verifications|verifications
premiumsupport||Premium support|months|months
totalprice||Total price||
"""
CATEGORIES: Mapping[str, Category] = {
    fields[0]: Category(*fields) for fields in (line.split("|") for line in _CATEGORIES.strip().splitlines())
}
TOTAL = "totalprice"

_OF_SERVICE = {
    ("sms", "inbound"): "sms-inbound",
    ("sms", "outbound"): "sms-outbound",
    ("mms", "inbound"): "mms-inbound",
    ("mms", "outbound"): "mms-outbound",
    ("whatsapp", "inbound"): "channels-whatsapp-inbound",
    ("whatsapp", "outbound"): "channels-whatsapp-outbound",
    ("rcs", "inbound"): "channels-rcs-inbound",
    ("rcs", "outbound"): "channels-rcs-outbound",
    ("voice", "inbound"): "calls-inbound",
    ("voice", "outbound"): "calls-outbound",
    ("trunking", "inbound"): "trunking-origination",
    ("trunking", "outbound"): "trunking-termination",
    ("phone-number-local", "none"): "phonenumbers-local",
    ("phone-number-mobile", "none"): "phonenumbers-mobile",
    ("phone-number-tollfree", "none"): "phonenumbers-tollfree",
    ("short-code", "none"): "shortcodes",
    **{
        (f"a2p-{fee}", "none"): "a2p-registration-fees"
        for fee in (
            *("brand", "vetting", "campaign-vetting", "campaign-standard", "campaign-low-volume"),
            *("campaign-sole-proprietor", "campaign-charity", "campaign-emergency"),
        )
    },
}
# Surcharges are totalled by their kind; the unit tells what they are on.
_CARRIER_FEES = {"segment": "sms-messages-carrierfees", "message": "mms-messages-carrierfees"}
_CARRIER_FEE_KINDS = ("carrier-fee", "carrier_fee", "carrier")


def category_of(service: str, direction: str, detail: str = "") -> str:
    """Return the category that a use is recorded in: the part of it that the detail names, where there is one."""
    category = _OF_SERVICE.get((service, direction), service)
    part = f"{category}-{detail}"
    return part if part in CATEGORIES else category


@dataclass(frozen=True, slots=True)
class Sum:
    """How often, how much and for how much.

    Units: micros in micro-units of the currency.
    """

    count: int = 0
    qty: int = 0
    micros: int = 0

    def plus(self, count: int, qty: int, micros: int) -> "Sum":
        """Return it with more in it."""
        return Sum(self.count + count, self.qty + qty, self.micros + micros)


SumKey = tuple[str, str, date | None]


def sum_up(totals: Iterable[UsageTotal]) -> dict[SumKey, Sum]:
    """Add totals up by (category, currency, start), each also into what its category is part of."""
    sums: dict[SumKey, Sum] = {}
    for total in totals:
        name = total.category
        if name in _CARRIER_FEE_KINDS:
            name = _CARRIER_FEES.get(total.unit, name)
        while name in CATEGORIES:
            key = (name, total.currency, total.start)
            sums[key] = sums.get(key, Sum()).plus(total.count, total.qty, total.micros)
            name = CATEGORIES[name].parent
        key = (TOTAL, total.currency, total.start)
        sums[key] = sums.get(key, Sum()).plus(0, 0, total.micros)
    return sums


# ---- periods


def period_start(recurring: str, day: date) -> date:
    """Return the first day of the period of a recurring trigger that a day lies in."""
    if recurring == "daily":
        return day
    if recurring == "monthly":
        return day.replace(day=1)
    if recurring == "yearly":
        return day.replace(month=1, day=1)
    return BEGINNING


@dataclass(frozen=True, slots=True)
class Periods:
    """Consecutive days, months or years of which the first and the last may be cut, or one range; newest first."""

    step: Step
    start: date
    end: date

    def __len__(self) -> int:
        if self.step == "total":
            return 1
        if self.end < self.start:
            return 0
        if self.step == "day":
            return (self.end - self.start).days + 1
        years = self.end.year - self.start.year
        return years + 1 if self.step == "year" else years * 12 + self.end.month - self.start.month + 1

    def at(self, place: int) -> tuple[date | None, date, date]:
        """Return a period's key among sums, its first and its last day."""
        if self.step == "total":
            return None, self.start, self.end
        if self.step == "day":
            day = self.end - timedelta(days=place)
            return day, day, day
        if self.step == "month":
            first = plus_months(self.end.replace(day=1), -place)
            last = first.replace(day=monthrange(first.year, first.month)[1])
        else:
            first = date(self.end.year - place, 1, 1)
            last = date(first.year, 12, 31)
        return first, max(first, self.start), min(last, self.end)


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums of an account's usage, with what to list of them: categories times periods."""

    sums: Mapping[SumKey, Sum]
    currency: str
    categories: list[Category]
    periods: Periods

    def __len__(self) -> int:
        return len(self.categories) * len(self.periods)

    def at(self, place: int) -> tuple[Category, date, date, Sum]:
        """Return a record: its category, first and last day, and what was used."""
        which, period = divmod(place, len(self.periods))
        category = self.categories[which]
        key, start, end = self.periods.at(period)
        return category, start, end, self.sums.get((category.name, self.currency, key), Sum())


# ---- triggers


@dataclass(frozen=True, slots=True)
class Trigger:
    """A webhook for when usage reaches a value within a period.

    Units: trigger_micros and current_micros are millionths of a count, a quantity or the currency.
    """

    account_sid: str
    sid: str
    friendly_name: str
    category: str
    recurring: Recurring
    trigger_by: TriggerBy
    trigger_micros: int
    current_micros: int
    current_period: date
    callback_url: str
    callback_method: Literal["GET", "POST"]
    fired_period: date | None
    fired_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def value_on(self, day: date) -> int:
        """Return the value last seen in the period of a day."""
        return self.current_micros if self.current_period == period_start(self.recurring, day) else 0

    def fires(self, day: date, value: int) -> bool:
        """Tell whether a value makes it fire: once a period."""
        return value >= self.trigger_micros and self.fired_period != period_start(self.recurring, day)


def trigger_value(trigger_by: str, found: Sum) -> int:
    """Return what a trigger watches, in millionths."""
    if trigger_by == "price":
        return found.micros
    return (found.count if trigger_by == "count" else found.qty) * MICROS


def instants(start: date, end: date) -> tuple[datetime, datetime]:
    """Return the half-open instants of the days from start to end, both in."""
    return start_of(start), start_of(end + timedelta(days=1)) if end < date.max else datetime.max.replace(tzinfo=UTC)


def value_text(value: int) -> str:
    """Write millionths as shortly as they go: 30, 0.5."""
    return decimal_text(value, places=6).rstrip("0").rstrip(".")


def record_uri(trigger: Trigger) -> str:
    """Return where the usage that a trigger watches is read."""
    sublist = {"daily": "/Today", "monthly": "/ThisMonth"}.get(trigger.recurring, "")
    base = f"/2010-04-01/Accounts/{trigger.account_sid}/Usage/Records{sublist}.json?Category={trigger.category}"
    if trigger.recurring == "yearly":
        base += f"&StartDate={trigger.current_period.isoformat()}"
    return base
