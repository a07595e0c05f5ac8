"""The usage that a rehearsal assumes: each day at noon, what was used on the same weekday of the last four weeks.

Usage of a day is put together by account, service and destination. It is held and charged like what a customer sends;
where funds end in the middle of it, what they still cover is used, as it would be message by message.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from onterms.app.office import Office
from onterms.business import rehearsal, usage
from onterms.business.usage import Settled, Use
from onterms.core.calendar import day_of, start_of
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.engines import log

NOON = time(12)
# One day's usage of one kind is tried in so many parts at most.
_PARTS_MAX = 64

# tenant: usage of every customer of the copy, to be repeated. Numbers are charged by timers of their own, and what was
# taken back was not used.
_USED = """
SELECT used.account_sid, used.service, used.direction, used.country, used.unit, coalesce(list.prefix, '') AS prefix,
       (used.occurred_at AT TIME ZONE 'UTC')::date AS day, sum(used.qty)::bigint AS qty
FROM rated_usage AS used LEFT JOIN list_prices AS list ON list.id = used.price_row AND used.order_form = ''
WHERE used.kind = 'fee' AND used.account_sid IS NOT NULL AND used.direction <> 'none' AND used.correction_of IS NULL
  AND used.occurred_at >= $1 AND used.occurred_at < $2 AND used.qty > 0
  AND NOT EXISTS (SELECT FROM rated_usage AS void
                  WHERE void.customer_sid = used.customer_sid AND void.correction_of = used.id)
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7
"""


@dataclass(frozen=True, slots=True)
class _Group:
    account_sid: str
    service: str
    direction: str
    country: str
    unit: str
    number: str
    qty: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.account_sid, self.service, self.direction, self.country


class Projection:
    """Usage of the days ahead."""

    def __init__(self, office: Office, database: Database, assumptions: rehearsal.Assumptions) -> None:
        self._office = office
        self._database = database
        self._assumptions = assumptions
        self._begun_on = datetime.min.date()
        # By place of the day in four weeks.
        self._days: dict[int, list[_Group]] = {}
        self._refused: set[tuple[str, str, str, str]] = set()

    async def read(self, at: datetime) -> None:
        """Read what is repeated; at the beginning."""
        self._begun_on = day_of(at)
        assumed = self._assumptions
        if assumed.usage == "given":
            groups = [
                _Group(each.account_sid, each.service, each.direction, each.country, each.unit, each.number, each.qty)
                for each in assumed.figures
            ]
            self._days = dict.fromkeys(range(rehearsal.PROJECTED_FROM_DAYS), groups)
        elif assumed.usage == "repeat":
            first = self._begun_on - timedelta(days=rehearsal.PROJECTED_FROM_DAYS)
            async with self._database.snapshot() as tx:
                rows = await tx.fetch(_USED, start_of(first), start_of(self._begun_on))
            for row in rows:
                group = _Group(
                    row["account_sid"], row["service"], row["direction"], row["country"], row["unit"], row["prefix"],
                    row["qty"],
                )  # fmt: skip
                self._days.setdefault((row["day"] - first).days, []).append(group)

    def next_at(self, now: datetime) -> datetime | None:
        """Return when usage comes next, after an instant."""
        if not self._days:
            return None
        noon = datetime.combine(day_of(now), NOON, now.tzinfo)
        return noon if noon > now else noon + timedelta(days=1)

    async def use(self, at: datetime, drain: Callable[[], Awaitable[bool]]) -> None:
        """Use what a day brings.

        Shapes: `drain` runs what is due by now and tells whether there was anything: a balance that ran low may be full
        again.
        """
        place = (day_of(at) - self._begun_on).days % rehearsal.PROJECTED_FROM_DAYS
        for number, group in enumerate(self._days.get(place, ())):
            await self._use(group, f"{at:%Y%m%d}-{number}", at, drain)

    async def _use(self, group: _Group, name: str, at: datetime, drain: Callable[[], Awaitable[bool]]) -> None:
        left = size = group.qty
        refusal: Refusal | None = None
        for part in range(_PARTS_MAX):
            take = min(size, left)
            if take == 0:
                break
            use = Use(
                group.account_sid, f"rehearsed-{name}-{part}", group.service, group.direction, group.country,
                group.number, group.unit, take,
            )  # fmt: skip
            refusal = await self._try(use, at)
            moved = await drain()
            if refusal is None:
                left -= take
            elif not isinstance(refusal, usage.InsufficientFunds):
                break
            # What was just topped up covers more again; else half of what was too much may be covered.
            size = left if moved else take if refusal is None else take // 2
        await self._note(group, left, refusal, at)

    async def _try(self, use: Use, at: datetime) -> Refusal | None:
        refusal: Refusal | None = (await self._office.standing.refusals([use])).get(use.id)
        if refusal is not None:
            return refusal
        async with self._database.transaction() as tx:
            if use.direction == "outbound":
                refusal = (await self._office.meter.hold(tx, [use], at)).get(use.id)
            if refusal is None:
                await self._office.meter.settle(tx, [Settled(use, "charge", at)], at)
        return refusal

    async def _note(self, group: _Group, left: int, refusal: Refusal | None, at: datetime) -> None:
        """Say when usage is refused for the first time, and when it is accepted whole again."""
        if (left > 0) == (group.key in self._refused):
            return
        async with self._database.transaction() as tx:
            if left > 0:
                self._refused.add(group.key)
                clause = (refusal.details or {}).get("clause") if refusal is not None else None
                code = refusal.code if refusal is not None else None
                told = {"unserved": left, "code": code, "clause": clause}
                await self._say(tx, rehearsal.USAGE_REFUSED, group, told, at)
            else:
                self._refused.discard(group.key)
                await self._say(tx, rehearsal.USAGE_RESUMED, group, {}, at)

    async def _say(self, tx: Tx, type_: str, group: _Group, data: dict[str, object], at: datetime) -> None:
        told = {"service": group.service, "direction": group.direction, "country": group.country, **data}
        await log.append(tx, [log.Event(type_, group.account_sid, group.account_sid, told)], at)
