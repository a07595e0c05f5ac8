"""How a customer leaves, and what it may claim: termination, claims and support joined to the other rooms.

Each closing step does its work over the rooms that keep the things: the steps themselves are in
business/termination, their order too.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import asyncpg

from onterms.app.claim_bills import ClaimBills
from onterms.business import (
    accounts,
    agreements,
    cases,
    claims,
    customers,
    invoicing,
    payments,
    pricing,
    privacy,
    standing,
    support,
    suspension,
    termination,
    usage,
)
from onterms.business.termination import Closing
from onterms.carriers.letterbox import Letterbox
from onterms.core import e164
from onterms.core.calendar import day_of, end_of, plus_days
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, Refusal
from onterms.core.money import decimal_text
from onterms.engines import jobs, ledger
from onterms.engines.api import Binding, Call, Operation, OwnRoute, load
from onterms.products import messaging, numbers

_log = logging.getLogger("onterms.exit")

CLAUSES: Final = {"convenience": "8.2.1", "breach": "8.2.2", "insolvency": "8.2.3", "trade": "5.2", "ip": "6.1.2(c)"}
BLOCK_SOURCE: Final = "termination"
FUNDS_TASK: Final = "termination.funds"
# Unused funds stay paid (3.3) but where an infringement ends the service.
_REFUNDED: Final = "ip"
# Where the addendum that binds says nothing; the template says 60.
EXPORT_DAYS: Final = 60
# Counts are written so often, in real seconds.
_FLUSH_S = 20.0
_HELD_PAUSE: Final = timedelta(hours=1)
_BUYING: Final = "api_v2010:CreateIncomingPhoneNumber"
# Services whose requests are measured, by the room that serves them.
_MEASURED: Final = {"messaging": "messaging", "numbers": "numbers"}


class ExitRooms:
    """The rooms of leaving and claiming of one running process."""

    def __init__(
        self,
        database: Database,
        mailed: cases.Notices,
        *,
        billing: invoicing.Surroundings,
        meter: usage.Meter,
        pay: Callable[[], payments.Payments],
        suspensions: suspension.Suspensions,
        data: privacy.Privacy,
        order_forms: agreements.OrderForms,
        review_dunning: Callable[[Tx, str, datetime], Awaitable[object]],
    ) -> None:
        self._database = database
        self._mailed = mailed
        self._billing = billing
        self._meter = meter
        self._pay = pay
        self._suspensions = suspensions
        self._data = data
        self._order_forms = order_forms
        self._review_dunning = review_dunning
        closing: dict[str, Closing] = {
            "block_writes": self._block_writes,
            "sweep_usage": self._sweep_usage,
            "end_order_forms": self._end_order_forms,
            "charge_shortfall": self._charge_shortfall,
            "final_invoice": self._final_invoice,
            "release_numbers": self._release_numbers,
            "open_export": self._open_export,
            "schedule_deletion": self._schedule_deletion,
        }
        self.terminations = termination.Terminations(
            mailed, self._last_order_form, closing, unused_funds=_unused_funds, hindered=self._hindered
        )
        self.measurements = claims.Measurements()
        self.uses = support.EndpointUses()
        self.letterbox = Letterbox()
        bills = ClaimBills(billing, lambda: self.claims)
        self.claims = claims.Claims(bills, _Forums())
        self.support = support.Support(
            mailed,
            suspend=self._suspend,
            lift=self._lift,
            set_partner=_set_partner,
            affected=self._affected,
            letters=self.letterbox.post,
        )
        self._apis = (
            termination.Api(self.terminations),
            claims.Api(self.claims),
            support.Api(self.support),
        )

    def register(self, worker: jobs.Worker) -> None:
        """Serve the rooms' own jobs; before the worker runs."""
        worker.register(FUNDS_TASK, self._end_funds)

    def books(self) -> list[cases.Book]:
        """Return the rooms' books, for the worker of deadlines."""
        return [book for api in self._apis for book in api.books()]

    def routes(self) -> list[OwnRoute]:
        """Return the rooms' own API, and the sandbox's letterboxes."""
        return [*(route for api in self._apis for route in api.routes()), *self.letterbox.routes()]

    # ---- what requests tell

    def guarded(self, binding: Binding) -> Binding:
        """Ask for a verified identity before a voice number of a country that wants it is handed out (10.4.2)."""
        handler = binding.handler
        if not binding.operation_id.startswith(_BUYING) or handler is None:
            return binding

        @functools.wraps(handler)
        async def buy(tx: Tx, call: Call) -> object:
            # All numbers of these countries in stock have voice.
            country = e164.country_of(str(call.params.get("PhoneNumber", "")))
            if country in support.VERIFIED_VOICE and not call.account.test:
                customer = await customers.customer_of(tx, call.account.sid)
                if customer is not None:
                    await self.support.require_verified(tx, customer.sid, country)
            return await handler(tx, call)

        return replace(binding, handler=buy)

    def watched(self, binding: Binding) -> Binding:
        """Count an operation's requests by the minute, and note who uses it (2.1(b), 2.4)."""
        handler, batch = binding.handler, binding.batch_handler
        inner = handler or batch
        assert inner is not None
        room = getattr(inner, "__wrapped__", inner).__module__.split(".")[2]
        service, name = _MEASURED.get(room), binding.operation_id
        if handler is not None:

            @functools.wraps(handler)
            async def watch(tx: Tx, call: Call) -> object:
                failed = 0
                self._note(call, name)
                try:
                    return await handler(tx, call)
                except BaseException as error:
                    failed = int(_is_ours(error))
                    raise
                finally:
                    if service is not None:
                        self.measurements.count(service, call.at, tried=1, failed=failed)

            return replace(binding, handler=watch)
        assert batch is not None

        @functools.wraps(batch)
        async def watch_batch(tx: Tx, calls: list[Call]) -> Sequence[Any]:
            failed = 0
            for call in calls:
                self._note(call, name)
            try:
                answers = await batch(tx, calls)
                failed = sum(isinstance(answer, Refusal) and _is_ours(answer) for answer in answers)
                return answers
            except BaseException as error:
                failed = len(calls) * int(_is_ours(error))
                raise
            finally:
                if service is not None and calls:
                    self.measurements.count(service, calls[0].at, tried=len(calls), failed=failed)

        return replace(binding, batch_handler=watch_batch)

    def _note(self, call: Call, operation: str) -> None:
        # Operations that are open to all have no account.
        if call.account.sid:
            self.uses.note(call.account.sid, operation, call.at)

    async def keep_counts(self) -> None:
        """Write what requests told, now and then, for as long as the process runs."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                async with self._database.transaction() as tx:
                    await self.measurements.flush(tx)
                    await self.uses.flush(tx)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("counts of requests wait to be written: %s", type(error).__name__)

    # ---- for rooms below

    async def payment_cure(self, tx: Tx, customer_sid: str, given_on: date, days: int) -> date | None:
        """Return the last day to cure late payment, longer by the days on which the customer was excused (9.8)."""
        return await self.terminations.cure_end(tx, customer_sid, given_on, days, "customer", "payment")

    async def form_signed(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        """Let an end under way wait for an order form that was signed meanwhile (8.2.1)."""
        await self.terminations.look_again(tx, customer_sid, at)

    # ---- the closing steps

    async def _last_order_form(self, tx: Tx, customer_sid: str, at: datetime) -> date | None:
        end = await pricing.latest_end(tx, customer_sid, at)
        return None if end is None else day_of(end - timedelta(microseconds=1), self._billing.zone)

    async def _hindered(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        await self._review_dunning(tx, customer_sid, at)

    async def _block_writes(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        # First of all locks, as wherever a month is closed: usage, prices and funds follow.
        await invoicing.lock(tx, customer_sid)
        await standing.set_block(
            tx,
            customer_sid,
            BLOCK_SOURCE,
            "everything",
            standing.WHOLE_CUSTOMER,
            "closing",
            CLAUSES[kind],
            customer_sid,
            at,
        )
        revoked = 0
        family = await _family(tx, customer_sid)
        for account_sid in family:
            revoked += await accounts.revoke_keys(tx, account_sid)
        refused = await messaging.refuse_waiting(tx, family, at)
        for row in await agreements.agreements(tx, customer_sid):
            if row["kind"] == "online" and row["state"] == "active":
                await agreements.end_agreement(tx, customer_sid, row["sid"], at)
        return f"blocked, {revoked} keys revoked, {refused} waiting messages refused"

    async def _sweep_usage(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        settled, left = await messaging.settle_now(tx, self._meter, await _family(tx, customer_sid), at)
        return f"{settled} messages settled, {left} with the carrier"

    async def _end_order_forms(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        return f"{await pricing.end_all(tx, customer_sid, CLAUSES[kind], at)} ended"

    async def _charge_shortfall(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        lines = await pricing.settle_commitments(tx, customer_sid, at)
        return ", ".join(f"{decimal_text(line.micros)} {line.currency}" for line in lines) or "none"

    async def _final_invoice(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        made = await invoicing.close_finally(tx, self._billing, customer_sid, at)
        if made is None:
            # Somebody without invoices pays what its commitments fell short of from its balance, or owes it.
            charged = await self._charge_lines(tx, customer_sid, at)
            outcome = f"none: pays in advance, {charged} lines charged"
        else:
            outcome = ", ".join(f"{invoice.number} {invoice.sid}" for invoice in made) or "nothing to bill"
        # In a transaction of its own: whoever moves money takes other locks first.
        await jobs.enqueue(tx, [jobs.NewJob(FUNDS_TASK, {"customer_sid": customer_sid, "kind": kind})], at)
        return f"{outcome}; unused funds are paid back" if kind == _REFUNDED else outcome

    async def _charge_lines(self, tx: Tx, customer_sid: str, at: datetime) -> int:
        lines = [line for line in await pricing.settle_commitments(tx, customer_sid, at) if line.invoice_sid is None]
        charges = []
        for line in lines:
            if await ledger.balance(tx, customer_sid, line.currency) is None:
                await ledger.open_balance(tx, customer_sid, line.currency, at)
            split = ledger.Split("commitment", line.micros)
            charges.append(
                ledger.Charge(customer_sid, line.currency, f"commitment:{line.id}", split, {"line": line.id})
            )
        return len(await ledger.charge(tx, charges, at))

    async def _end_funds(self, run: jobs.Run, batch: Sequence[jobs.Job]) -> None:
        for job in batch:
            async with run.transaction() as tx:
                customer_sid, at = job.payload["customer_sid"], run.clock.now()
                await self._pay().stop_recharging(tx, customer_sid, "termination", at)
                is_refunded = job.payload["kind"] == _REFUNDED
                if is_refunded:
                    await self._pay_back(tx, customer_sid, at)
                if is_refunded and await _unused(tx, customer_sid) != await _unused(tx, customer_sid, with_held=False):
                    # A chunk that a worker keeps for speed, or a message at the carrier: it is free before long.
                    await run.retry(tx, job, due_at=at + _HELD_PAUSE, error="funds are held")
                else:
                    await run.complete(tx, [job])

    async def _pay_back(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        """Pay unused funds back to where they came from."""
        pay = self._pay()
        for source_sid, currency, micros in await pay.sources(tx, customer_sid):
            unused = (await _unused(tx, customer_sid, with_held=False)).get(currency, 0)
            amount = min(unused, micros)
            if amount > 0:
                await pay.refund(
                    tx,
                    customer_sid,
                    source_sid,
                    amount,
                    "6.1.2",
                    "operator",
                    at,
                    taken_from="prepaid_balance",
                )

    async def _release_numbers(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        released = await numbers.release_all(tx, await _family(tx, customer_sid), at)
        return f"{len(released)} released"

    async def _deletion_due(self, tx: Tx, customer_sid: str, at: datetime) -> datetime:
        said = await agreements.resolve(tx, "export_days", customer_sid, None, at, self._order_forms)
        days = int(said.value) if said.value is not None and said.value.isdigit() else EXPORT_DAYS
        # The whole of the last day is the customer's.
        return end_of(plus_days(day_of(at, self._billing.zone), days), self._billing.zone)

    async def _open_export(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        due_at = await self._deletion_due(tx, customer_sid, at)
        body = (
            f"Your agreement ended at {at.isoformat()} under clause {CLAUSES[kind]} and your accounts are closed.\n"
            f"Until {due_at.isoformat()} you can export your data: POST /commercial/v1/ClosedAccountExports with the "
            "SID and auth token of your main account. Then it is deleted and you get a certificate of it.\n"
            "Invoices, the agreement and its evidence are kept as the law asks.\n"
        )
        sid = await self._mailed.send(tx, customer_sid, "export_offered", "Export your data", body, "legal", at)
        return f"until {due_at.isoformat()}, notice {sid}"

    async def _schedule_deletion(self, tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
        due_at = await self._deletion_due(tx, customer_sid, at)
        return f"{await self._data.close(tx, customer_sid, due_at, at)} at {due_at.isoformat()}"

    # ---- support

    async def _suspend(self, tx: Tx, customer_sid: str, why: str, at: datetime) -> str:
        facts = {"scope": "customer", "ground": "reseller", "determination": why}
        return (await self._suspensions.suspend(tx, customer_sid, facts, cases.OPERATOR.name, at)).sid

    async def _lift(self, tx: Tx, customer_sid: str, sid: str, reason: str, at: datetime) -> None:
        await self._suspensions.lift(tx, customer_sid, sid, reason, cases.OPERATOR, at)

    async def _affected(self, tx: Tx, endpoint: str, at: datetime) -> Sequence[str]:
        operations = _operations_at(endpoint)
        users = await self.uses.users_of(tx, operations, at)
        return sorted({customer.sid for customer in (await customers.customers_of(tx, users)).values()})


class _Forums:
    """What claims ask of the agreements."""

    async def forum(
        self, tx: Tx, customer_sid: str, kind: str, amount: int | None, currency: str | None, at: datetime
    ) -> str:
        """Name where a dispute goes."""
        # Amounts in other currencies stay unknown: no rates of exchange are kept, and the tables say so.
        in_usd = amount if currency in (None, "USD") else None
        case = agreements.Case("ip" if kind == "ip" else "contract", day_of(at), in_usd)
        found = await agreements.forum_of(tx, customer_sid, case, at)
        return ", ".join(part for part in (found.route, found.body, found.seat or found.courts, found.clause) if part)

    async def docs_snapshot(self, tx: Tx, customer_sid: str, on: date) -> str | None:
        """Return the version of the documentation on a day."""
        found = await agreements.version_in_force(tx, customer_sid, end_of(on) - timedelta(microseconds=1), "docs")
        return None if found is None else f"{found.label} {found.sid}"


async def _set_partner(tx: Tx, customer_sid: str, since: date | None, until: date | None, at: datetime) -> None:
    changes = {"partner_since": since, "partner_until": until}
    await customers.change_flags(tx, customer_sid, changes, "operator", "partner programme", at)


async def _family(tx: Tx, customer_sid: str) -> list[str]:
    mains = await customers.accounts_of(tx, customer_sid)
    return [each for main in mains for each in await accounts.family(tx, main)]


async def _unused(tx: Tx, customer_sid: str, *, with_held: bool = True) -> dict[str, int]:
    found = {}
    for each in await ledger.balances(tx, customer_sid):
        held = each.held if each.kind == "prepaid" and not with_held else 0
        # What is owed is taken from it first.
        found[each.currency] = min(-each.accounts.get("prepaid_balance", 0) - held, each.net)
    return {currency: micros for currency, micros in found.items() if micros > 0}


async def _unused_funds(tx: Tx, customer_sid: str) -> Mapping[str, str]:
    return {currency: decimal_text(micros) for currency, micros in (await _unused(tx, customer_sid)).items()}


def _is_ours(error: BaseException) -> bool:
    """Tell whether a request failed by our fault: anything that is no refusal, and refusals that say so."""
    return error.status >= 500 if isinstance(error, Refusal) else isinstance(error, Exception)


def _operations_at(endpoint: str) -> list[str]:
    """Return the operations that a change of an endpoint concerns: by their name, or by the beginning of their path.

    Raises: InvalidParameter where there is none, or nobody would be told for a slip of the pen.
    """
    found = [each.id for each in _operations() if each.id == endpoint or _is_below(each.path, endpoint)]
    if not found:
        raise InvalidParameter(f"No operation is at {endpoint}")
    return found


def _is_below(path: str, endpoint: str) -> bool:
    wanted = endpoint.removesuffix(".json").rstrip("/")
    return wanted.startswith("/") and (path.removesuffix(".json") + "/").startswith(wanted + "/")


@functools.cache
def _operations() -> tuple[Operation, ...]:
    return tuple(load())
