"""What registrations cost: once when they are handed in, and campaigns by the month from their approval on.

Theory of operation. A fee of once is held and charged in the transaction that hands a registration in, so nothing is
handed in that was not paid for. A campaign's months begin with its approval and on that day of each month, as numbers'
do; one job is due at each beginning, `renews_at` on the campaign's row says which one is right, and the use's id names
the month. Deleting the campaign ends it. What is only a rehearsal (a mock brand and its campaigns) costs nothing, nor
does what was registered, and is paid for, elsewhere.

Source of what is charged for: Twilio help 1260803965530 (brand, secondary vetting, campaign vetting, months by use
case); the list prices are in the price book that ships.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from onterms.business.standing import Standing, refusal_to_send
from onterms.business.usage import Meter, Settled, Use
from onterms.core.calendar import plus_months
from onterms.core.db import Row, Tx
from onterms.engines import jobs
from onterms.products.registration import store
from onterms.products.registration.service.moving import RENEW

BRAND: Final = "a2p-brand"
VETTING: Final = "a2p-vetting"
CAMPAIGN_VETTING: Final = "a2p-campaign-vetting"
# By use case; all others have the price of the last.
_MONTHS: Final[Mapping[str, str]] = {
    "LOW_VOLUME": "a2p-campaign-low-volume",
    "SOLE_PROPRIETOR": "a2p-campaign-sole-proprietor",
    "CHARITY": "a2p-campaign-charity",
    "EMERGENCY": "a2p-campaign-emergency",
}
_MONTH: Final = "a2p-campaign-standard"

Statuses = Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, str]]]


class Fees:
    """Charges registrations."""

    def __init__(self, meter: Meter, standing: Standing, statuses: Statuses) -> None:
        self._meter = meter
        self._standing = standing
        self._statuses = statuses

    async def charge(self, tx: Tx, account_sid: str, sid: str, service: str, at: datetime) -> None:
        """Charge a fee of once. Raises: StandingRefusal; NoAgreement, NotOnSale, InsufficientFunds."""
        use = _use(account_sid, f"{sid}-{service}", service, "registration")
        for state in (await self._standing.states(tx, [account_sid])).values():
            refusal = refusal_to_send(state, use.service, use.country)
            if refusal is not None:
                raise refusal
        for refused in (await self._meter.hold(tx, [use], at)).values():
            raise refused
        await self._meter.settle(tx, [Settled(use, "charge", at)], at)

    async def begin_months(self, tx: Tx, campaign: Row, at: datetime) -> None:
        """Charge a campaign's first month and plan the next."""
        if campaign["mock"] or campaign["is_external"] or campaign["renews_at"] is not None:
            return
        await self._month(tx, campaign, at, at)

    async def renew(self, tx: Tx, account_sid: str, sid: str, renews_at: datetime, at: datetime) -> None:
        """Charge the month that begins, unless the campaign is gone or the job is stale."""
        campaign = await store.lock(tx, store.CAMPAIGNS, account_sid, sid)
        if campaign is None or campaign["renews_at"] != renews_at:
            return
        if (await self._statuses(tx, [account_sid])).get(account_sid) == "closed":
            return
        await self._month(tx, campaign, renews_at, at)

    async def _month(self, tx: Tx, campaign: Row, begins_at: datetime, at: datetime) -> None:
        service = _MONTHS.get(campaign["usecase"], _MONTH)
        id_ = f"{campaign['sid']}-{begins_at.astimezone(UTC):%Y%m%d}"
        await self._meter.settle(
            tx, [Settled(_use(campaign["account_sid"], id_, service, "month"), "charge", begins_at)], at
        )
        charged_from = campaign["charged_from"] or begins_at
        renews_at = next_month(charged_from, begins_at)
        changes = {"charged_from": charged_from, "renews_at": renews_at}
        await store.update(tx, store.CAMPAIGNS, campaign["account_sid"], campaign["sid"], changes, at)
        payload = {"sid": campaign["sid"], "renews_at": renews_at.isoformat()}
        job = jobs.NewJob(RENEW, payload, account_sid=campaign["account_sid"], due_at=renews_at)
        await jobs.enqueue(tx, [job], at)


def next_month(begin: datetime, after: datetime) -> datetime:
    """Return when the first month after an instant begins, counted from a beginning."""
    begin, after = begin.astimezone(UTC), after.astimezone(UTC)
    months = (after.year - begin.year) * 12 + after.month - begin.month
    while (found := datetime.combine(plus_months(begin.date(), months), begin.timetz())) <= after:
        months += 1
    return found


def _use(account_sid: str, id_: str, service: str, unit: str) -> Use:
    return Use(account_sid, id_, service, "none", "US", "", unit, 1)
