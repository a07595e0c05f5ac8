"""The books as they ought to be, and the auditor that compares them with the rows.

`Books` know nothing of the rooms: they add up what was done. `Auditor` looks at the rows after each step, takes over
what time, providers and rules did by rules of its own, and then every account has to be the same to the micro-unit.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from onterms.business import accounts, invoicing
from onterms.business.usage import HOLD_FOR, Use
from onterms.core.calendar import start_of
from onterms.core.db import Tx
from onterms.core.money import micros, minor_digits
from onterms.engines import audit, ledger

_EVER = datetime.max.replace(tzinfo=UTC)
# By the customer's country: kind, rate, and what it is on.
TAX = {"US": ("sales", "0.08875", "fees"), "DE": ("vat", "0.19", "fees_and_surcharges")}


# ---- the model


@dataclass
class Price:
    """A price of a segment from an instant on; of one customer, or of the list."""

    micros: int
    since: datetime
    until: datetime | None = None


@dataclass
class Hold:
    micros: int
    made_at: datetime
    country: str
    qty: int
    fee: int


@dataclass
class Row:
    """A use that was charged: what was paid of it at once, the rest is to be billed."""

    occurred_at: datetime
    rated_at: datetime
    fee: int
    surcharge: int
    paid: int


@dataclass
class Customer:
    """What one customer has and owes, by what happened to it and nothing else."""

    sid: str
    account: str
    country: str
    currency: str
    contact: str = ""
    kind: str = "prepaid"
    limit: int = 0
    # What it left with us less what it owes, billed or not.
    net: int = 0
    unbilled: int = 0
    cash: Counter[str] = field(default_factory=Counter)
    parked: int = 0
    revenue: int = 0
    surcharges: int = 0
    taxes: int = 0
    late: int = 0
    rounding: int = 0
    given_back: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    # Rated rows that are on no invoice.
    waiting: dict[str, "Row"] = field(default_factory=dict)
    exempt: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    paused: bool = False
    recharges: bool = False
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def held(self) -> int:
        return sum(hold.micros for hold in self.holds.values())

    @property
    def available(self) -> int:
        # An invoiced customer has what it left less what it owes; a prepaid one's debts take nothing from its funds.
        return self.net - self.held + self.limit


class Books:
    """All customers, prices and surcharges as they ought to be."""

    def __init__(self) -> None:
        self.customers: list[Customer] = []
        self.prices: dict[tuple[str, str], list[Price]] = {}
        self.forms: dict[tuple[str, str], list[Price]] = {}
        self.extras: dict[str, list[Price]] = {}

    def fee(self, customer: Customer, country: str, at: datetime) -> int:
        for form in self.forms.get((customer.sid, country), []):
            if form.since <= at and (form.until is None or at < form.until):
                return form.micros
        return [each for each in self.prices[country, customer.currency] if each.since <= at][-1].micros

    def extra(self, customer: Customer, at: datetime) -> int:
        return sum(each.micros for each in self.extras.get(customer.currency, []) if each.since <= at)

    def hold(self, customer: Customer, use: Use, at: datetime) -> Hold:
        fee = self.fee(customer, use.country, at) * use.qty
        return Hold(fee + self.extra(customer, at) * use.qty, at, use.country, use.qty, fee)

    def charge(self, customer: Customer, id_: str, at: datetime) -> None:
        """A hold was captured in full: money that was set aside is spent, or is to be billed."""
        hold = customer.holds.pop(id_)
        customer.ended[id_] = hold.micros
        customer.net -= hold.micros
        customer.revenue += hold.fee
        customer.surcharges += hold.micros - hold.fee
        paid = hold.micros
        if customer.kind == "invoiced":
            customer.unbilled += hold.micros
            paid = 0
        customer.waiting[id_] = Row(hold.made_at, at, hold.fee, hold.micros - hold.fee, paid)

    def free(self, customer: Customer, id_: str) -> None:
        customer.holds.pop(id_)
        customer.ended[id_] = 0

    def move(self, customer: Customer, what: str, sid: str, state: str, amount: int) -> None:
        """Money of a card or bank came or went, once for each (thing, state), however often it is told."""
        if (what, sid, state) in customer.seen:
            return
        customer.seen.add((what, sid, state))
        match what, state:
            case "top_up", "succeeded":
                customer.net += amount
                customer.cash["simulator"] += amount
            case "payment", _:
                customer.net += amount
                customer.cash["bank"] += amount
            case "chargeback", "opened":
                customer.cash["simulator"] -= amount
                customer.parked += amount
            case "chargeback", "won":
                customer.cash["simulator"] += amount
                customer.parked -= amount
            case "chargeback", "lost":
                customer.net -= amount
                customer.parked -= amount


# ---- the auditor


class Auditor:
    """Looks at the rows after each step and compares them with the books."""

    def __init__(self, world: Any, books: Books) -> None:
        self.world, self.books = world, books
        self.past: dict[str, Any] = {}

    async def check(self, tx: Tx) -> None:
        violations = await ledger.verify(tx, await invoicing.open_totals(tx))
        assert violations == [], violations
        for customer in self.books.customers:
            await self.observe(tx, customer)
            await self.compare(tx, customer)
            await self.suspensions(tx, customer)
            assert await audit.verify(tx, customer.sid) is None
        await self.numbers(tx)
        await self.folds(tx)

    async def observe(self, tx: Tx, customer: Customer) -> None:
        """Take over what time, providers and rules did, each by its own rule and only once."""
        sid, books = customer.sid, self.books
        for row in await tx.fetch("SELECT sid, state, micros FROM payment_top_ups WHERE customer_sid = $1", sid):
            if row["state"] == "succeeded":
                books.move(customer, "top_up", row["sid"], "succeeded", row["micros"])
        for row in await tx.fetch("SELECT sid, state, micros FROM payment_chargebacks WHERE customer_sid = $1", sid):
            books.move(customer, "chargeback", row["sid"], "opened", row["micros"])
            books.move(customer, "chargeback", row["sid"], row["state"], row["micros"])
        rows = await tx.fetch("SELECT id, state, captured, ended_at FROM ledger_holds WHERE customer_sid = $1", sid)
        for row in rows:
            if row["id"] in customer.holds and row["state"] != "held":
                # Nobody settled it, so the sweep did, and not before its time.
                hold = customer.holds[row["id"]]
                assert hold.made_at + HOLD_FOR <= self.world.clock.now()
                assert (row["state"] == "captured") == (row["id"] in self.world.delivered), "swept the wrong way"
                assert row["captured"] in (0, hold.micros), "what was used costs what was set aside for it"
                if row["captured"]:
                    books.charge(customer, row["id"], row["ended_at"])
                else:
                    books.free(customer, row["id"])
        for row in await tx.fetch("SELECT sid, micros FROM late_fees WHERE customer_sid = $1", sid):
            if ("fee", row["sid"], "") not in customer.seen:
                customer.seen.add(("fee", row["sid"], ""))
                customer.late += row["micros"]
                customer.net -= row["micros"]
                customer.unbilled += row["micros"]
        await self.refunds(tx, customer)
        for row in await tx.fetch("SELECT sid FROM invoices WHERE customer_sid = $1 ORDER BY sid", sid):
            if ("invoice", row["sid"], "") not in customer.seen:
                customer.seen.add(("invoice", row["sid"], ""))
                await self.invoice(tx, customer, await invoicing.require(tx, sid, row["sid"]))
        await self.credits(tx, customer)

    async def refunds(self, tx: Tx, customer: Customer) -> None:
        rows = await tx.fetch(
            "SELECT sid, source_sid, provider, taken_from, state, micros FROM payment_refunds WHERE customer_sid = $1",
            customer.sid,
        )
        for row in rows:
            for state, sign in (("created", 1), ("failed", -1)):
                if state == "failed" != row["state"] or (key := ("refund", row["sid"], state)) in customer.seen:
                    continue
                customer.seen.add(key)
                customer.cash[row["provider"]] -= sign * row["micros"]
                if row["taken_from"] == "refunds":
                    customer.given_back += sign * row["micros"]
                else:
                    customer.net -= sign * row["micros"]

    async def invoice(self, tx: Tx, customer: Customer, made: Any) -> None:
        """Invariants 6, 7, 8 and 24 of a document that was made in this step."""
        assert made.total == sum(line.micros for line in made.lines)
        by_kind: Counter[str] = Counter()
        for line in made.lines:
            by_kind[line.kind] += line.exact
            unit = 10 ** (6 - minor_digits(made.currency))
            assert line.micros % unit == 0 and abs(line.micros - line.exact) * 2 <= unit
        until = start_of(made.period_to)
        rows = await tx.fetch("SELECT DISTINCT id FROM rated_usage WHERE invoice_sid = $1", made.sid)
        on_it = {row["id"] for row in rows}
        taken = {
            id_: row
            for id_, row in customer.waiting.items()
            # Of what was rated at that very instant nobody can say which came first.
            if row.occurred_at < until and (row.rated_at < made.created_at or id_ in on_it)
        }
        assert on_it == set(taken), "each rated row is on one invoice or waits"
        assert by_kind["fee"] == sum(row.fee for row in taken.values()), "an invoice has the fees of its rows"
        assert by_kind["communications_surcharge"] == sum(row.surcharge for row in taken.values())
        for id_ in taken:
            del customer.waiting[id_]
        exact = sum(line.exact for line in made.lines if line.kind != "tax")
        rounded = sum(line.micros for line in made.lines if line.kind != "tax")
        tax = made.total - rounded
        # What a prepaid balance paid when it was used is on the document, and paid.
        paid = sum(row.paid for row in taken.values())
        settled = -await tx.fetchval(
            "SELECT coalesce(sum(fees), 0)::bigint FROM invoice_movements WHERE invoice_sid = $1 "
            "AND kind = 'payment' AND source = 'prepaid balance'",
            made.sid,
        )
        slack = 10 ** (6 - minor_digits(made.currency)) * (len(made.lines) + 1)
        assert abs(settled - paid) < slack, "what was paid when it was used is not due again"
        customer.unbilled -= exact - paid
        customer.taxes += tax
        customer.rounding += rounded - exact - (settled - paid)
        customer.net -= made.total - settled - (exact - paid)
        rate = self.rate_of(customer)
        counted = ("fee",) if customer.country == "US" else ("fee", "communications_surcharge")
        base = sum(line.micros for line in made.lines if line.kind in counted)
        if not customer.exempt:
            digits = 10 ** (6 - minor_digits(made.currency))
            half = 0 if customer.country == "JP" else digits // 2
            assert tax == (base * rate // 1_000_000 + half) // digits * digits, "a tax is rounded once on its sum"
        due = sum(
            row.fee + (row.surcharge if "communications_surcharge" in counted else 0)
            for row in taken.values()
            if not any(since <= row.occurred_at < (end or _EVER) for since, end in customer.exempt)
        )
        # A line may be rounded by half a cent, so that many cents may be missing.
        assert tax >= due * rate // 1_000_000 - slack, "what was used before an exemption was approved is taxed"

    def rate_of(self, customer: Customer) -> int:
        return micros(TAX[customer.country][1]) if customer.country in TAX else micros("0.1")

    async def credits(self, tx: Tx, customer: Customer) -> None:
        """Invariants 23 and 25."""
        rows = await tx.fetch(
            "SELECT sid, invoice_sid, total, lines FROM credit_notes WHERE customer_sid = $1 ORDER BY sid", customer.sid
        )
        gone: Counter[tuple[str, str]] = Counter()
        for row in rows:
            made = await invoicing.require(tx, customer.sid, row["invoice_sid"])
            kinds = {line.ref: line.kind for line in made.lines}
            for line in row["lines"]:
                gone[made.sid, line["ref"]] += line["net"]
                assert gone[made.sid, line["ref"]] <= next(x.micros for x in made.lines if x.ref == line["ref"])
            if ("credit", row["sid"], "") in customer.seen:
                continue
            customer.seen.add(("credit", row["sid"], ""))
            customer.net += row["total"]
            for line in row["lines"]:
                customer.taxes -= sum(line["taxes"].values())
                match kinds[line["ref"]]:
                    case "communications_surcharge":
                        customer.surcharges -= line["net"]
                    case "late_fee":
                        customer.late -= line["net"]
                    case _:
                        customer.revenue -= line["net"]
        disputed = await tx.fetch(
            "SELECT sid, micros, credited FROM disputes WHERE customer_sid = $1 AND credited > micros", customer.sid
        )
        assert not disputed, "a dispute credits at most what was disputed"

    async def compare(self, tx: Tx, customer: Customer) -> None:
        """Every account is what the books say (invariants 1, 2, 3, 5, 9)."""
        found = await ledger.balance(tx, customer.sid, customer.currency)
        if found is None:
            assert not customer.net and not customer.holds
            return
        sums: Counter[str] = Counter()
        for name, amount in found.accounts.items():
            sums[name if name.startswith("cash:") else name.partition(":")[0]] += amount
        prepaid, owed = -sums["prepaid_balance"], sums["receivable"] + sums["receivable_disputed"]
        rows = await tx.fetch(
            "SELECT id, micros FROM ledger_holds WHERE customer_sid = $1 AND state = 'held'", customer.sid
        )
        actual = {
            "net": prepaid - owed - sums["unbilled"],
            "unbilled": sums["unbilled"],
            "cards": sums["cash:simulator"],
            "bank": sums["cash:bank"],
            "parked": sums["chargeback"],
            "revenue": -sums["revenue"],
            "surcharges": -sums["surcharge_payable"],
            "taxes": -sums["tax_payable"],
            "late": -sums["late_fee_income"],
            "rounding": -sums["rounding"],
            "given back": sums["refunds"],
            "holds": {row["id"]: row["micros"] for row in rows},
            "kind": found.kind,
        }
        expected = {
            "net": customer.net,
            "unbilled": customer.unbilled,
            "cards": customer.cash["simulator"],
            "bank": customer.cash["bank"],
            "parked": customer.parked,
            "revenue": customer.revenue,
            "surcharges": customer.surcharges,
            "taxes": customer.taxes,
            "late": customer.late,
            "rounding": customer.rounding,
            "given back": customer.given_back,
            "holds": {id_: hold.micros for id_, hold in customer.holds.items()},
            "kind": customer.kind,
        }
        assert actual == expected
        if found.kind == "prepaid":
            assert prepaid >= customer.held, "a prepaid balance covers its holds"

    async def suspensions(self, tx: Tx, customer: Customer) -> None:
        """Invariants 14 and 15."""
        rows = await tx.fetch(
            "SELECT block.sid, block.set_at, notice.created_at FROM standing_blocks AS block "
            "LEFT JOIN notices AS notice ON notice.sid = block.notice_sid "
            "WHERE block.customer_sid = $1 AND block.reason = 'suspended'",
            customer.sid,
        )
        for row in rows:
            assert row["created_at"] is not None and row["created_at"] < row["set_at"], "a notice comes before"
        cases = await tx.fetch(
            "SELECT state, facts FROM cases WHERE customer_sid = $1 AND kind = 'suspension' "
            "AND state IN ('active', 'converted')",
            customer.sid,
        )
        for case in cases:
            assert case["facts"]["notice_sid"] and case["facts"]["noticed_at"] < case["facts"]["effective_at"]
        suspended = any(case["facts"]["scope"] in ("customer", "account") for case in cases)
        status = await accounts.own_status(tx, customer.account)
        assert status == ("suspended" if suspended or customer.paused else "active"), "a lift restores what was"

    async def numbers(self, tx: Tx) -> None:
        """Invariant 8: numbers have no gaps, and what is final never changes."""
        rows = await tx.fetch("SELECT sid, number, issuer, kind, issued_on, total, sha256, body FROM invoices")
        series: dict[str, list[int]] = {}
        for row in rows:
            prefix, _, number = row["number"].rpartition("-")
            series.setdefault(prefix, []).append(int(number))
            kept = self.past.setdefault(row["sid"], dict(row))
            assert kept == dict(row), "a final document does not change"
        for prefix, found in series.items():
            assert sorted(found) == list(range(1, len(found) + 1)), f"{prefix} has gaps"

    async def folds(self, tx: Tx) -> None:
        """Invariant 20: what a thing is, is where its events led."""
        rows = await tx.fetch(
            "SELECT aggregate, aggregate_sid, from_state, to_state FROM audit_events "
            "WHERE to_state IS NOT NULL ORDER BY scope, number"
        )
        led: dict[tuple[str, str], str] = {}
        for row in rows:
            key = (row["aggregate"], row["aggregate_sid"])
            if key in led and row["from_state"] is not None and key[0] in _FOLDED:
                assert row["from_state"] == led[key], f"{key} went from {row['from_state']} but was {led[key]}"
            led[key] = row["to_state"]
        for aggregate, sql in _FOLDED.items():
            for row in await tx.fetch(sql):
                assert led.get((aggregate, row["sid"]), row["first"]) == row["state"], f"{aggregate} {row['sid']}"


_FOLDED = {
    "top_up": "SELECT sid, state, 'created' AS first FROM payment_top_ups",
    "chargeback": "SELECT sid, state, 'none' AS first FROM payment_chargebacks",
    "refund": "SELECT sid, state, 'created' AS first FROM payment_refunds",
    "dispute": "SELECT sid, state, 'filed' AS first FROM disputes",
    "invoice": "SELECT sid, state, 'draft' AS first FROM invoices WHERE kind = 'invoice'",
    "dunning": "SELECT customer_sid AS sid, state, 'clear' AS first FROM dunning",
    "suspension": "SELECT sid, state, '' AS first FROM cases WHERE kind = 'suspension'",
    "exemption": "SELECT sid, state, 'submitted' AS first FROM tax_exemptions",
    "payment_standing": "SELECT customer_sid AS sid, state, 'ok' AS first FROM payment_standings",
}
