"""What numbers cost: a month when one is bought, and each further month when it begins.

Theory of operation. A number's months begin on the day of the month on which it was bought, or the month's last day
where it has no such day. The first is held and charged in the transaction that gives the number, so nobody holds one
that was not paid for. For each further month there is one job, due when it begins; `renews_at` on the number's row says
which one is right, and the use's id names the month, so none is charged twice. After a standstill the months that
passed are charged one after the other, each at the price of its own beginning. What funds do not cover is owed, and the
standing of 3.3.1 follows; a suspension stops no fees. Giving the number back ends it, without a refund of the month.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from onterms.business.standing import Standing, refusal_to_send
from onterms.business.usage import Meter, Settled, Use
from onterms.core.calendar import plus_months
from onterms.core.db import Tx
from onterms.engines import jobs
from onterms.products.numbers import store

RENEW_TASK: Final = "numbers.renew"
# What a month of one is called in the price book.
SERVICES: Final[Mapping[str, str]] = {
    "local": "phone-number-local",
    "mobile": "phone-number-mobile",
    "tollfree": "phone-number-tollfree",
    "shortcode": "short-code",
}

Statuses = Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, str]]]


class Fees:
    """Charges numbers by the month."""

    def __init__(self, meter: Meter, standing: Standing, statuses: Statuses) -> None:
        self._meter = meter
        self._standing = standing
        self._statuses = statuses

    async def begin(self, tx: Tx, number: Mapping[str, Any], at: datetime) -> None:
        """Charge the first month of a number that was just given, and plan the next.

        Raises: StandingRefusal; NoAgreement, NotOnSale, InsufficientFunds.
        """
        use = _use(number, at)
        for state in (await self._standing.states(tx, [use.account_sid])).values():
            refusal = refusal_to_send(state, use.service, use.country)
            if refusal is not None:
                raise refusal
        refused = await self._meter.hold(tx, [use], at)
        for each in refused.values():
            raise each
        await self._meter.settle(tx, [Settled(use, "charge", at)], at)
        await _plan(tx, number, next_month(number["created_at"], at), at)

    async def renew(self, tx: Tx, phone_number: str, sid: str, renews_at: datetime, at: datetime) -> None:
        """Charge the month that begins, and plan the next, unless the number was given back or the job is stale."""
        number = await store.renewing(tx, phone_number, sid, renews_at)
        if number is None:
            return
        account_sid = number["account_sid"]
        # A closed account's numbers are taken back by whoever closes it.
        if (await self._statuses(tx, [account_sid])).get(account_sid) == "closed":
            return
        await self._meter.settle(tx, [Settled(_use(number, renews_at), "charge", renews_at)], at)
        await _plan(tx, number, next_month(number["created_at"], renews_at), at)

    async def ensure_planned(self, tx: Tx, at: datetime) -> int:
        """Plan the next month of numbers that were given without a fee, and return how many: those of a first start."""
        waiting = await store.unplanned(tx)
        for number in waiting:
            await _plan(tx, number, next_month(number["created_at"], at), at)
        return len(waiting)


def next_month(bought_at: datetime, after: datetime) -> datetime:
    """Return when the first month after an instant begins, counted from when a number was bought."""
    begin, after = bought_at.astimezone(UTC), after.astimezone(UTC)
    months = (after.year - begin.year) * 12 + after.month - begin.month
    while (found := _month(begin, months)) <= after:
        months += 1
    return found


def _month(begin: datetime, months: int) -> datetime:
    return datetime.combine(plus_months(begin.date(), months), begin.timetz())


def _use(number: Mapping[str, Any], begins_at: datetime) -> Use:
    return Use(
        number["account_sid"],
        f"{number['sid']}-{begins_at.astimezone(UTC):%Y%m%d}",
        SERVICES[number["kind"]],
        "none",
        number["country"],
        "",
        "month",
        1,
    )


async def _plan(tx: Tx, number: Mapping[str, Any], renews_at: datetime, at: datetime) -> None:
    await store.set_renewal(tx, number["account_sid"], number["sid"], renews_at)
    payload = {"phone_number": number["phone_number"], "sid": number["sid"], "renews_at": renews_at.isoformat()}
    await jobs.enqueue(tx, [jobs.NewJob(RENEW_TASK, payload, due_at=renews_at)], at)
