"""Living through the days on the copy, step by step, and telling what happened and what is different."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from onterms.app.office import Office, Outside
from onterms.app.registering import registration_fees
from onterms.app.rehearsal.projecting import Projection
from onterms.app.rehearsal.recorders import RecordedCallbacks, RecordedMail, RecordedPayments, no_token
from onterms.business import accounts, collections, customers, invoicing, rehearsal
from onterms.core.calendar import day_of, start_of
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.money import decimal_text
from onterms.core.vault import Vault
from onterms.engines import jobs, ledger
from onterms.products import messaging, numbers, registration

# A loop of timers that feeds itself ends here.
STEPS_MAX: Final = 200_000
_PAGE: Final = 1000
_SID: Final = re.compile(r"\b([A-Z]{2})([0-9a-f]{12})[0-9a-f]{20}\b")
# What is owed or will be billed.
_EXPOSED: Final = ("unbilled", "receivable", "receivable_disputed")

# tenant: sums of the whole copy, by day.
_POSTED = """
SELECT (posted.at AT TIME ZONE 'UTC')::date AS day, entry.currency,
       -coalesce(sum(entry.micros) FILTER (WHERE entry.account LIKE 'revenue:%'
           OR entry.account IN ('late_fee_income', 'commitment_income')), 0)::bigint AS revenue,
       coalesce(sum(entry.micros) FILTER (WHERE entry.account = ANY($2::text[])), 0)::bigint AS exposure
FROM ledger_entries AS entry JOIN ledger_transactions AS posted
  ON posted.customer_sid = entry.customer_sid AND posted.id = entry.transaction_id
WHERE posted.id > $1 GROUP BY 1, 2 ORDER BY 1, 2
"""
# tenant: sums of the whole copy.
_EXPOSURE = """
SELECT currency, sum(micros)::bigint AS micros FROM ledger_balances WHERE account = ANY($1::text[])
GROUP BY currency ORDER BY currency
"""
# tenant: the log of the copy, which holds nothing but what was rehearsed.
_EVENTS = """
SELECT at, type, account_sid AS owner, subject_sid, data FROM events WHERE at >= $1 AND at <= $2 ORDER BY id LIMIT $3
"""
# tenant: of the whole copy.
_OWNERS = "SELECT account_sid, customer_sid FROM customer_accounts WHERE until_at IS NULL"


@dataclass(slots=True)
class _Progress:
    steps: int = 0
    failed: dict[str, int] | None = None
    truncated_by: str | None = None


class Rehearsal:
    """One run on a filled copy."""

    def __init__(
        self,
        database: Database,
        assumptions: rehearsal.Assumptions,
        limits: rehearsal.Limits,
    ) -> None:
        self._database = database
        self._assumptions = assumptions
        self._limits = limits
        self.clock = VirtualClock(held_at=datetime(2000, 1, 1, tzinfo=UTC))
        # Real time runs from here: making the copy counts.
        self._ends_s = self.clock.monotonic() + limits.wall_s
        self._mail = RecordedMail(self.clock, accepts=assumptions.mail == "accepted")
        self._payments = RecordedPayments(succeeds=assumptions.payments == "succeeded")
        self._callbacks = RecordedCallbacks()
        # A key of its own: what the live install sealed stays shut here.
        vault = Vault(bytes(32))
        self._office = Office(
            database,
            self.clock,
            vault,
            node="rehearsal",
            outside=Outside(is_sandbox=False, mail=self._mail, gateway=self._payments),
        )
        settings = jobs.WorkerSettings(random=random.Random(assumptions.seed).random)
        self._stepper = jobs.Stepper(database, self.clock, name="rehearsal", settings=settings)
        self._office.register(self._stepper, messaging.still_due, self._callbacks, no_token, messaging.note_costs)
        fees = numbers.Fees(self._office.meter, self._office.standing, accounts.statuses)
        numbers.register(self._stepper, fees)
        registration.register_months(self._stepper, registration_fees(self._office))
        self._projection = Projection(self._office, database, assumptions)
        self._progress = _Progress(failed={})

    @property
    def tasks(self) -> list[str]:
        """List the tasks whose jobs are lived through."""
        return self._stepper.tasks

    async def run(self, begun_at: datetime, from_at: datetime, until: datetime) -> dict[str, Any]:
        """Live from the moment of the copy to the end, and return what to tell of it."""
        self.clock.hold(begun_at)
        # No chunks of funds are kept in memory: when they come and go is not the same twice.
        await self._office.leases.start()
        await self._office.leases.stop()
        await self._office.prices.refresh()
        await self._stepper.begin()
        await self._projection.read(begun_at)
        async with self._database.snapshot() as tx:
            everybody = await _everybody(tx)
            before = {each.sid: await self._state(tx, each) for each in everybody}
            posted = await tx.fetchval("SELECT coalesce(max(id), 0) FROM ledger_transactions")  # tenant: a place in it.
            exposed = {row["currency"]: row["micros"] for row in await tx.fetch(_EXPOSURE, list(_EXPOSED))}
        await self._live(everybody, begun_at, until)
        reached = min(self.clock.now(), until)
        async with self._database.snapshot() as tx:
            after = {each.sid: await self._state(tx, each) for each in everybody}
            events = await self._events(tx, begun_at, max(from_at, begun_at), reached)
            days = await self._days(tx, posted, exposed, begun_at, from_at, reached)
        counts: dict[str, int] = {}
        for event in events:
            counts[event["kind"]] = counts.get(event["kind"], 0) + 1
        progress = self._progress
        return {
            "began_at": _shown(begun_at),
            "from": _shown(from_at),
            "until": _shown(until),
            "reached": _shown(reached),
            "truncated": progress.truncated_by is not None,
            "truncated_by": progress.truncated_by,
            "jobs_run": progress.steps,
            "jobs_failed": dict(sorted((progress.failed or {}).items())),
            "recorded": {
                "mails": self._mail.count,
                "payments": self._payments.count,
                "callbacks": self._callbacks.count,
            },
            "counts": dict(sorted(counts.items())),
            "events": events,
            "days": days,
            "diff": [
                {"customer_sid": sid, "before": before[sid], "after": after[sid]}
                for sid in sorted(before)
                if before[sid] != after[sid]
            ],
        }

    async def _live(self, everybody: list[customers.Customer], begun_at: datetime, until: datetime) -> None:
        while await self._drain_within_limits():
            now = self.clock.now()
            due = await self._stepper.next_due()
            used_at = self._projection.next_at(now)
            paid_at = self._next_payday(now)
            leases_at = start_of(day_of(now) + timedelta(days=1))
            coming = [each for each in (due, used_at, paid_at, leases_at) if each is not None]
            target = max(now, min(coming))
            # What is due at the very end belongs to the next day.
            if target >= until:
                self.clock.hold(max(now, until))
                return
            self.clock.hold(target)
            if target == leases_at:
                await self._office.leases.maintain()
            if target == used_at:
                await self._projection.use(target, self._drain_some)
            if target == paid_at:
                await self._pay(everybody, target)

    async def _drain_within_limits(self) -> bool:
        """Run all that is due; False where a limit ended it."""
        while True:
            self._progress.truncated_by = await self._limit()
            if self._progress.truncated_by is not None:
                return False
            if not await self._step():
                return True

    async def _drain_some(self) -> bool:
        ran = False
        while await self._step():
            ran = True
            if await self._limit() is not None:
                break
        return ran

    async def _step(self) -> bool:
        job = await self._stepper.step()
        if job is None:
            return False
        self._progress.steps += 1
        async with self._database.snapshot() as tx:
            # Settled jobs are gone; one that is still there failed, and runs again or is dead.
            is_left = await tx.fetchval("SELECT error IS NOT NULL FROM jobs WHERE id = $1", job.id)
        if is_left and self._progress.failed is not None:
            self._progress.failed[job.task] = self._progress.failed.get(job.task, 0) + 1
        return True

    async def _limit(self) -> str | None:
        if self._progress.steps >= STEPS_MAX:
            return "steps"
        if self.clock.monotonic() >= self._ends_s:
            return "time"
        async with self._database.snapshot() as tx:
            row = await tx.fetchrow("SELECT last_value, is_called FROM events_id_seq")
        assert row is not None
        return "events" if row["is_called"] and row["last_value"] >= self._limits.events else None

    # ---- paying by bank

    def _next_payday(self, now: datetime) -> datetime | None:
        if self._assumptions.paid_after_days is None:
            return None
        today = start_of(day_of(now)) + timedelta(hours=13)
        return today if today > now else today + timedelta(days=1)

    async def _pay(self, everybody: list[customers.Customer], at: datetime) -> None:
        assert self._assumptions.paid_after_days is not None
        latest = day_of(at) - timedelta(days=self._assumptions.paid_after_days)
        for customer in everybody:
            async with self._database.transaction() as tx:
                for due in await invoicing.open_documents(tx, customer.sid):
                    if due.document is None:
                        continue
                    invoice = await invoicing.require(tx, customer.sid, due.document)
                    total = due.taxes + due.surcharges + due.fees
                    if invoice.issued_on > latest or total <= 0:
                        continue
                    await self._office.payments.record_payment(
                        tx,
                        customer.sid,
                        total,
                        due.currency,
                        day_of(at),
                        f"rehearsed {invoice.number} {day_of(at)}",
                        "rehearsal",
                        at,
                        instruction=[(due.document, None)],
                    )

    # ---- telling

    async def _state(self, tx: Tx, customer: customers.Customer) -> dict[str, Any]:
        mains = await customers.accounts_of(tx, customer.sid)
        sids = sorted({sid for main in mains for sid in await accounts.family(tx, main)})
        statuses = await accounts.statuses(tx, sids)
        standings = await self._office.standing.states(tx, sids)
        return {
            "balances": {
                each.currency: {
                    "kind": each.kind,
                    "balance": decimal_text(each.net),
                    "held": decimal_text(each.held),
                    "receivable": decimal_text(each.owed),
                    "unbilled": decimal_text(each.accounts.get("unbilled", 0)),
                }
                for each in await ledger.balances(tx, customer.sid)
            },
            "standing": {
                "dunning": (await collections.standing_of(tx, customer.sid)).state,
                "reasons": sorted({block.reason for state in standings.values() for block in state.reasons}),
            },
            "accounts": {
                sid: {
                    "status": statuses.get(sid, "closed"),
                    "can_send": sid not in standings or standings[sid].can_send,
                }
                for sid in sids
            },
        }

    async def _events(self, tx: Tx, begun_at: datetime, since: datetime, until: datetime) -> list[dict[str, Any]]:
        owners = {row["account_sid"]: row["customer_sid"] for row in await tx.fetch(_OWNERS)}
        aliases = _Aliases(begun_at)
        events: list[dict[str, Any]] = []
        seen: set[str] = set()
        for row in await tx.fetch(_EVENTS, since, until, self._limits.events):
            owner = row["owner"]
            customer_sid = owners.get(owner, owner if owner.startswith("OR") else None)
            event = {
                "at": _shown(row["at"]),
                "day": day_of(row["at"]).isoformat(),
                "kind": rehearsal.kind_of(row["type"]),
                "type": row["type"],
                "customer_sid": customer_sid,
                "subject": aliases.of(row["subject_sid"]),
                "data": aliases.of(row["data"]),
            }
            # Rooms tell each account of a customer; here it is one thing that happened.
            if (same := repr(event)) not in seen:
                seen.add(same)
                events.append(event)
        return events

    async def _days(
        self,
        tx: Tx,
        posted: int,
        exposed: Mapping[str, int],
        begun_at: datetime,
        from_at: datetime,
        reached: datetime,
    ) -> list[dict[str, Any]]:
        moved = {(row["day"], row["currency"]): row for row in await tx.fetch(_POSTED, posted, list(_EXPOSED))}
        running = {currency: exposed.get(currency, 0) for currency in {*exposed, *(each for _, each in moved)}}
        days: list[dict[str, Any]] = []
        day: date = day_of(begun_at)
        while day <= day_of(reached - timedelta(microseconds=1)):
            for currency in sorted(running):
                row = moved.get((day, currency))
                running[currency] += 0 if row is None else row["exposure"]
                if day >= day_of(from_at):
                    revenue = 0 if row is None else row["revenue"]
                    days.append(
                        {
                            "day": day.isoformat(),
                            "currency": currency,
                            "revenue": decimal_text(revenue),
                            "exposure": decimal_text(running[currency]),
                        }
                    )
            day += timedelta(days=1)
        return days


class _Aliases:
    """Names for SIDs made in a rehearsal: their random parts differ each time, and they exist nowhere else."""

    def __init__(self, begun_at: datetime) -> None:
        self._begun_ms = int(begun_at.timestamp() * 1000)
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def of(self, value: Any) -> Any:
        """Return a value with every such SID in it replaced: `IN~1` is the first one of its prefix."""
        if isinstance(value, str):
            return _SID.sub(self._name, value)
        if isinstance(value, dict):
            return {name: self.of(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.of(each) for each in value]
        return value

    def _name(self, match: re.Match[str]) -> str:
        sid, prefix, ms = match[0], match[1], int(match[2], 16)
        if ms < self._begun_ms:
            return sid
        if sid not in self._names:
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            self._names[sid] = f"{prefix}~{self._counts[prefix]}"
        return self._names[sid]


async def _everybody(tx: Tx) -> list[customers.Customer]:
    found: list[customers.Customer] = []
    while True:
        page = await customers.list_customers(tx, found[-1].sid if found else "", _PAGE)
        found += page
        if len(page) < _PAGE:
            return found


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
