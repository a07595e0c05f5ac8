"""The ledger over a database: journal, balances, holds, concurrency, crashes."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.money import micros
from onterms.engines import ledger
from onterms.engines.ledger import (
    Balance,
    Capture,
    Captured,
    Charge,
    Duplicate,
    Ended,
    Extended,
    Extension,
    Held,
    HoldKey,
    HoldRequest,
    Insufficient,
    InsufficientFunds,
    KeyReused,
    NoBalance,
    Posting,
    Receivable,
    Released,
    Split,
    TooMuch,
    Transaction,
    Unknown,
    templates,
)

A, B = "OR" + 32 * "a", "OR" + 32 * "b"
ACCOUNT = "AC" + 32 * "a"
LEASE_OF_10 = """
INSERT INTO ledger_leases (customer_sid, currency, worker, chunk, good_until) VALUES ($1, 'USD', 'w', 10, $2)
"""
SPEND_WITHOUT_A_HOLD = """
INSERT INTO ledger_lease_spending (customer_sid, lease_id, micros) SELECT customer_sid, id, 5 FROM ledger_leases
"""
_numbers = itertools.count(1)


class Books:
    """A ledger over a database, each call in a transaction of its own."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock

    async def open(self, customer: str = A, funds: str = "10.00", currency: str = "USD", **terms: Any) -> None:
        async with self.database.transaction() as tx:
            await ledger.open_balance(tx, customer, currency, self.clock.now(), **terms)
        if micros(funds):
            await self.post(templates.topup(micros(funds), "stripe"), customer=customer, currency=currency)

    async def post(
        self, *postings: Posting, customer: str = A, currency: str = "USD", key: str | None = None
    ) -> list[ledger.Posted]:
        made = [
            Transaction(customer, currency, key or f"test-{next(_numbers)}", posting, {"note": "x"})
            for posting in postings
        ]
        async with self.database.transaction() as tx:
            return await ledger.post(tx, made, self.clock.now())

    async def hold(self, *requests: HoldRequest) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await ledger.hold(tx, requests, self.clock.now()))

    async def capture(self, *captures: Capture) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await ledger.capture(tx, captures, self.clock.now()))

    async def release(self, *keys: HoldKey) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await ledger.release(tx, keys, self.clock.now()))

    async def extend(self, *extensions: Extension) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await ledger.extend(tx, extensions))

    async def charge(self, *charges: Charge) -> list[ledger.Posted]:
        async with self.database.transaction() as tx:
            return await ledger.charge(tx, charges, self.clock.now())

    async def expire(self) -> list[HoldKey]:
        async with self.database.transaction() as tx:
            return await ledger.expire(tx, self.clock.now())

    async def balance(self, customer: str = A, currency: str = "USD") -> Balance:
        async with self.database.snapshot() as tx:
            found = await ledger.balance(tx, customer, currency)
        assert found is not None
        return found

    async def verified(self) -> None:
        async with self.database.snapshot() as tx:
            assert await ledger.verify(tx) == []

    def request(self, id: str, amount: str = "1.00", customer: str = A, currency: str = "USD") -> HoldRequest:
        at = self.clock.now() + timedelta(hours=1)
        return HoldRequest(id, ACCOUNT, customer, currency, micros(amount), at, "message")


@pytest.fixture
def books(database: Database, clock: VirtualClock) -> Books:
    return Books(database, clock)


def key(id: str, customer: str = A) -> HoldKey:
    return HoldKey(customer, id)


def capture(id: str, fee: str, service: str = "sms", customer: str = A, **parts: Any) -> Capture:
    return Capture(key(id, customer), Split(service, fee=micros(fee), **parts))


def kinds(outcomes: Sequence[Any]) -> list[str]:
    return [type(outcome).__name__ for outcome in outcomes]


class TestJournal:
    async def test_a_topup_is_spendable_and_stands_in_the_journal(self, books: Books) -> None:
        await books.open(funds="0")
        [posted] = await books.post(templates.topup(micros("12.50"), "stripe"), key="payment-1")
        assert posted.is_new
        found = await books.balance()
        assert (found.posted, found.held, found.available, found.owed) == (12_500_000, 0, 12_500_000, 0)
        assert found.accounts == {"cash:stripe": 12_500_000, "prepaid_balance": -12_500_000}
        async with books.database.snapshot() as tx:
            lines = await ledger.entries(tx, A)
            rest = await ledger.entries(tx, A, after=(lines[0].transaction_id, lines[0].place))
            cash = await ledger.entries(tx, A, account="cash:stripe")
        assert [(line.account, line.micros, line.kind, line.key) for line in lines] == [
            ("cash:stripe", 12_500_000, "topup", "payment-1"),
            ("prepaid_balance", -12_500_000, "topup", "payment-1"),
        ]
        assert rest == lines[1:] and cash == lines[:1] and lines[0].at == books.clock.now()
        await books.verified()

    async def test_a_repeated_key_with_the_same_body_changes_nothing(self, books: Books) -> None:
        await books.open(funds="0")
        [first] = await books.post(templates.topup(5, "stripe"), key="k")
        [second] = await books.post(templates.topup(5, "stripe"), key="k")
        assert (second.id, second.is_new) == (first.id, False)
        assert (await books.balance()).posted == 5
        twice = await books.post(templates.topup(7, "stripe"), templates.topup(7, "stripe"), key="twice")
        assert [each.is_new for each in twice] == [True, False]
        assert (await books.balance()).posted == 12
        await books.verified()

    async def test_a_repeated_key_with_another_body_is_refused(self, books: Books) -> None:
        await books.open(funds="0")
        await books.post(templates.topup(5, "stripe"), key="k")
        with pytest.raises(KeyReused):
            await books.post(templates.topup(6, "stripe"), key="k")
        with pytest.raises(KeyReused):
            await books.post(templates.topup(6, "stripe"), templates.topup(7, "stripe"), key="l")
        assert (await books.balance()).posted == 5

    async def test_keys_of_customers_are_apart(self, books: Books) -> None:
        await books.open(A, "0")
        await books.open(B, "0")
        await books.post(templates.topup(5, "stripe"), key="k")
        [posted] = await books.post(templates.topup(6, "stripe"), key="k", customer=B)
        assert posted.is_new
        assert ((await books.balance(A)).posted, (await books.balance(B)).posted) == (5, 6)

    async def test_concurrent_repeats_post_once(self, books: Books) -> None:
        await books.open(funds="0")
        made = await asyncio.gather(*[books.post(templates.topup(5, "stripe"), key="k") for _ in range(12)])
        assert sum(posted.is_new for [posted] in made) == 1
        assert (await books.balance()).posted == 5
        await books.verified()

    async def test_posting_without_a_balance_is_refused(self, books: Books) -> None:
        with pytest.raises(NoBalance):
            await books.post(templates.topup(5, "stripe"))
        await books.open(currency="USD")
        with pytest.raises(NoBalance):
            await books.post(templates.topup(5, "stripe"), currency="EUR")

    async def test_a_pending_entry_is_no_journal_entry(self, books: Books) -> None:
        await books.open()
        with pytest.raises(ValueError, match="pending"):
            await books.post(templates.hold(5))

    async def test_a_debit_below_what_is_held_is_refused(self, books: Books) -> None:
        await books.open(funds="10.00")
        await books.hold(books.request("h", "8.00"))
        with pytest.raises(InsufficientFunds):
            await books.post(templates.refund(micros("2.000001"), "stripe", "prepaid_balance"))
        await books.post(templates.refund(micros("2.00"), "stripe", "prepaid_balance"))
        found = await books.balance()
        assert (found.posted, found.available) == (8_000_000, 0)
        await books.verified()

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE ledger_entries SET micros = 1",
            "DELETE FROM ledger_entries",
            "UPDATE ledger_transactions SET kind = 'gift'",
            "DELETE FROM ledger_transactions",
            "TRUNCATE ledger_entries, ledger_transactions",
        ],
    )
    async def test_the_journal_refuses_every_change(self, books: Books, sql: str) -> None:
        await books.open()
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            async with books.database.transaction() as tx:
                await tx.execute(sql)
        await books.verified()

    async def test_the_database_refuses_entries_that_do_not_sum_to_zero(self, books: Books) -> None:
        await books.open()
        with pytest.raises(asyncpg.CheckViolationError, match="sum to zero"):
            async with books.database.transaction() as tx:
                await tx.execute(
                    """
                    INSERT INTO ledger_entries (customer_sid, transaction_id, place, currency, account, micros)
                    SELECT customer_sid, id, 9, 'USD', 'gift', 1 FROM ledger_transactions
                    """
                )

    async def test_receivables_are_known_by_document(self, books: Books) -> None:
        await books.open(kind="invoiced", funds="0")
        await books.post(templates.rate_usage([Split("sms", fee=9_000)]))
        await books.post(templates.invoice_close("IN1", 9_000, {"US-NY": 720}))
        await books.post(templates.dispute_open("IN1", 2_160))
        await books.post(templates.payment(7_000, "bank"), templates.allocation({"IN1": 6_000}))
        async with books.database.snapshot() as tx:
            assert await ledger.receivables(tx, A) == [Receivable("IN1", "USD", 1_560, 2_160)]
            assert await ledger.verify(tx, {(A, "USD"): 3_720}) == []
            [violation] = await ledger.verify(tx, {(A, "USD"): 3_721})
        assert violation.invariant == 9
        found = await books.balance()
        assert (found.owed, found.net, found.accounts["prepaid_balance"]) == (3_720, -2_720, -1_000)
        await books.post(templates.dispute_uphold("IN1", [Split("sms", fee=2_000, taxes={"US-NY": 160})]))
        await books.post(templates.write_off("IN1", 1_560))
        async with books.database.snapshot() as tx:
            assert await ledger.receivables(tx, A) == []
        await books.verified()


class TestHolds:
    async def test_a_hold_sets_funds_aside_and_a_capture_takes_what_was_used(self, books: Books) -> None:
        await books.open(funds="10.00")
        assert await books.hold(books.request("h", "2.00")) == [Held(key("h"))]
        found = await books.balance()
        assert (found.posted, found.held, found.available) == (10_000_000, 2_000_000, 8_000_000)
        split = {"surcharge": micros("0.10"), "taxes": {"US-NY": micros("0.05")}}
        assert await books.capture(capture("h", "1.00", **split)) == [Captured(key("h"), 1_150_000, 850_000, True)]
        found = await books.balance()
        assert (found.posted, found.held) == (8_850_000, 0)
        assert found.accounts == {
            "cash:stripe": 10_000_000,
            "prepaid_balance": -8_850_000,
            "revenue:sms": -1_000_000,
            "surcharge_payable": -100_000,
            "tax_payable:US-NY": -50_000,
        }
        await books.verified()

    async def test_a_replayed_hold_is_a_duplicate_whatever_became_of_it(self, books: Books) -> None:
        await books.open(funds="2.00")
        request, other = books.request("h", "1.50"), books.request("h", "1.40")
        assert await books.hold(request, request) == [Held(key("h")), Duplicate(key("h"), "held", True)]
        assert await books.hold(request) == [Duplicate(key("h"), "held", True)]
        assert await books.hold(other) == [Duplicate(key("h"), "held", False)]
        await books.release(key("h"))
        assert await books.hold(request) == [Duplicate(key("h"), "released", True)]
        assert (await books.balance()).held == 0
        await books.verified()

    async def test_a_batch_is_served_in_order_while_it_fits(self, books: Books) -> None:
        await books.open(funds="3.00")
        sizes = ["1.00", "1.50", "1.00", "0.50", "0.01"]
        outcomes = await books.hold(*[books.request(str(place), size) for place, size in enumerate(sizes)])
        assert kinds(outcomes) == ["Held", "Held", "Insufficient", "Held", "Insufficient"]
        assert outcomes[2] == Insufficient(key("2"), 500_000)
        assert (await books.balance()).available == 0
        await books.verified()

    async def test_one_customer_without_funds_does_not_stop_another(self, books: Books) -> None:
        await books.open(A, "1.00")
        await books.open(B, "0")
        nobody = "OR" + 32 * "c"
        requests = [books.request("h", "1.00", customer) for customer in (A, B, nobody)]
        assert kinds(await books.hold(*requests)) == ["Held", "Insufficient", "Insufficient"]
        assert kinds(await books.hold(books.request("e", "1.00", A, "EUR"))) == ["Insufficient"]
        await books.verified()

    async def test_no_requests_are_no_work(self, books: Books) -> None:
        assert [await books.hold(), await books.capture(), await books.release(), await books.extend()] == [[]] * 4
        assert await books.post() == [] and await books.charge() == []

    async def test_a_credit_limit_bounds_an_invoiced_customer_and_none_does_not(self, books: Books) -> None:
        await books.open(A, "0", kind="invoiced", credit_limit=micros("5.00"))
        await books.open(B, "0", kind="invoiced")
        assert kinds(await books.hold(books.request("a", "4.00"), books.request("b", "2.00"))) == [
            "Held",
            "Insufficient",
        ]
        assert kinds(await books.hold(books.request("a", "9000.00", B))) == ["Held"]
        await books.capture(capture("a", "4.00"))
        found = await books.balance()
        assert (found.posted, found.available, found.credit_limit) == (-4_000_000, 1_000_000, 5_000_000)
        assert found.accounts["unbilled"] == 4_000_000
        assert (await books.balance(B)).available is None
        # Paying makes room again.
        await books.post(templates.payment(micros("3.00"), "bank"))
        assert kinds(await books.hold(books.request("c", "4.00"))) == ["Held"]
        await books.verified()

    async def test_a_hold_ends_once(self, books: Books) -> None:
        await books.open()
        await books.hold(*[books.request(id) for id in ("captured", "released", "small")])
        await books.capture(capture("captured", "0.40"))
        await books.release(key("released"))
        assert await books.capture(capture("captured", "0.40")) == [Captured(key("captured"), 400_000, 600_000, False)]
        assert await books.capture(capture("captured", "0.30")) == [Ended(key("captured"), "captured", 400_000)]
        assert await books.capture(capture("released", "0.40")) == [Ended(key("released"), "released", 0)]
        assert await books.capture(capture("small", "1.01")) == [TooMuch(key("small"), 1_000_000)]
        assert await books.capture(capture("none", "1.00")) == [Unknown(key("none"))]
        found = await books.release(key("captured"), key("released"), key("small"), key("small"), key("none"))
        assert found == [
            Ended(key("captured"), "captured", 400_000),
            Released(key("released"), False),
            Released(key("small"), True),
            Released(key("small"), False),
            Unknown(key("none")),
        ]
        assert await books.extend(Extension(key("small"), micros("2"), books.clock.now())) == [
            Ended(key("small"), "released", 0)
        ]
        found_balance = await books.balance()
        assert (found_balance.posted, found_balance.held) == (9_600_000, 0)
        await books.verified()

    async def test_the_database_refuses_a_second_end(self, books: Books) -> None:
        await books.open()
        await books.hold(books.request("h"))
        await books.release(key("h"))
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            async with books.database.transaction() as tx:
                await tx.execute("UPDATE ledger_holds SET state = 'held', ended_at = NULL")

    async def test_concurrent_ends_of_one_hold_have_one_winner(self, books: Books) -> None:
        await books.open()
        await books.hold(books.request("h"))
        ends = [books.capture(capture("h", "0.40")) if n % 2 else books.release(key("h")) for n in range(12)]
        outcomes = [outcome for [outcome] in await asyncio.gather(*ends)]
        assert sum(getattr(outcome, "is_new", False) for outcome in outcomes) == 1
        found = await books.balance()
        assert (found.held, found.posted) in ((0, 10_000_000), (0, 9_600_000))
        await books.verified()

    async def test_captures_are_posted_once_per_customer_and_service(self, books: Books) -> None:
        await books.open(A)
        await books.open(B)
        await books.open(A, currency="EUR")
        await books.hold(*[books.request(str(n), "0.01", customer) for n in range(50) for customer in (A, B)])
        await books.hold(books.request("euro", "0.50", A, "EUR"))
        wanted = [capture(str(n), "0.007", "sms" if n % 5 else "mms", c) for n in range(50) for c in (A, B)]
        outcomes = await books.capture(*wanted, capture("euro", "0.50"))
        assert kinds(outcomes) == ["Captured"] * 101
        async with books.database.snapshot() as tx:
            captures = {line.key: line for line in await ledger.entries(tx, A) if line.kind == "capture"}
        assert len(captures) == 3
        assert sorted((line.currency, line.memo["holds"]) for line in captures.values()) == [
            ("EUR", 1), ("USD", 10), ("USD", 40),
        ]  # fmt: skip
        for customer in (A, B):
            found = await books.balance(customer)
            assert (found.posted, found.held) == (10_000_000 - 350_000, 0)
            assert (found.accounts["revenue:sms"], found.accounts["revenue:mms"]) == (-280_000, -70_000)
        await books.verified()

    async def test_an_extension_reaches_a_total_while_funds_last(self, books: Books) -> None:
        await books.open(funds="3.00")
        await books.hold(books.request("call", "1.00"))
        later = books.clock.now() + timedelta(hours=2)
        assert await books.extend(Extension(key("call"), micros("2.00"), later)) == [Extended(key("call"), 2_000_000)]
        # A repeat finds the total reached.
        assert await books.extend(Extension(key("call"), micros("2.00"), later)) == [Extended(key("call"), 2_000_000)]
        assert await books.extend(Extension(key("call"), micros("3.01"), later)) == [
            Insufficient(key("call"), 1_000_000)
        ]
        assert await books.extend(Extension(key("none"), micros("3.01"), later)) == [Unknown(key("none"))]
        assert (await books.balance()).held == 2_000_000
        # The first request is still the same request.
        assert await books.hold(books.request("call", "1.00")) == [Duplicate(key("call"), "held", True)]
        books.clock.hold(later - timedelta(seconds=1))
        assert await books.expire() == []
        await books.capture(capture("call", "2.00"))
        await books.verified()

    async def test_a_hold_expires_at_its_time_and_not_before(self, books: Books) -> None:
        await books.open()
        await books.hold(books.request("a"), books.request("b"))
        await books.capture(capture("b", "1.00"))
        books.clock.hold(books.clock.now() + timedelta(hours=1) - timedelta(microseconds=1))
        assert await books.expire() == []
        books.clock.hold(books.clock.now() + timedelta(microseconds=1))
        assert await books.expire() == [key("a")]
        assert await books.expire() == []
        assert await books.capture(capture("a", "1.00")) == [Ended(key("a"), "expired", 0)]
        found = await books.balance()
        assert (found.posted, found.held) == (9_000_000, 0)
        await books.verified()

    async def test_a_customer_cannot_end_another_ones_hold(self, books: Books) -> None:
        await books.open(A)
        await books.open(B)
        await books.hold(books.request("h"))
        assert await books.capture(capture("h", "1.00", customer=B)) == [Unknown(key("h", B))]
        assert await books.release(key("h", B)) == [Unknown(key("h", B))]
        assert (await books.balance(A)).held == 1_000_000


class TestCharges:
    async def test_a_charge_takes_what_is_available_and_the_rest_is_owed(self, books: Books) -> None:
        await books.open(funds="1.00")
        await books.hold(books.request("h", "0.60"))
        month = Charge(A, "USD", "number-2030-01", Split("numbers", fee=micros("0.41")))
        [posted] = await books.charge(month)
        assert posted.is_new
        found = await books.balance()
        assert (found.available, found.owed, found.net) == (0, 10_000, 590_000)
        # A repeat is a no-op although funds are different now.
        await books.post(templates.topup(micros("5.00"), "stripe"))
        [again, third] = await books.charge(month, month)
        assert (again.id, again.is_new, third.is_new) == (posted.id, False, False)
        with pytest.raises(KeyReused):
            await books.charge(Charge(A, "USD", "number-2030-01", Split("numbers", fee=micros("0.42"))))
        await books.post(templates.allocation({None: 10_000}))
        assert (await books.balance()).owed == 0
        await books.verified()

    async def test_two_charges_of_one_batch_share_the_funds(self, books: Books) -> None:
        await books.open(funds="1.00")
        await books.charge(*[Charge(A, "USD", f"n{n}", Split("numbers", fee=micros("0.70"))) for n in (1, 2)])
        found = await books.balance()
        assert (found.posted, found.owed, found.net) == (0, 400_000, -400_000)
        await books.verified()

    async def test_an_invoiced_customer_is_charged_on_the_next_invoice(self, books: Books) -> None:
        await books.open(funds="0", kind="invoiced", credit_limit=0)
        await books.charge(Charge(A, "USD", "n", Split("numbers", fee=700)))
        found = await books.balance()
        assert (found.accounts["unbilled"], found.owed, found.available) == (700, 0, -700)

    async def test_a_charge_without_a_balance_is_refused(self, books: Books) -> None:
        with pytest.raises(NoBalance):
            await books.charge(Charge(A, "USD", "n", Split("numbers", fee=700)))


class TestKinds:
    async def test_opening_again_changes_the_terms_and_keeps_the_money(self, books: Books) -> None:
        await books.open(funds="2.00")
        await books.open(funds="0", kind="invoiced", credit_limit=micros("3.00"))
        await books.charge(Charge(A, "USD", "n", Split("numbers", fee=micros("0.50"))))
        assert (await books.balance()).available == micros("4.50")
        await books.open(funds="0")
        found = await books.balance()
        assert (found.kind, found.posted, found.available, found.net) == ("prepaid", 2_000_000, 2_000_000, 1_500_000)
        await books.verified()

    async def test_becoming_prepaid_needs_money_for_what_is_held(self, books: Books) -> None:
        await books.open(funds="2.00", kind="invoiced")
        await books.hold(books.request("h", "2.01"))
        with pytest.raises(InsufficientFunds):
            await books.open(funds="0")
        assert (await books.balance()).kind == "invoiced"

    async def test_terms_that_make_no_sense_are_refused(self, books: Books) -> None:
        with pytest.raises(ValueError):
            await books.open(credit_limit=5)
        with pytest.raises(ValueError):
            await books.open(kind="invoiced", credit_limit=-5)


class TestConcurrency:
    async def test_replays_in_parallel_hold_once(self, books: Books) -> None:
        await books.open(funds="10.00")
        outcomes = await asyncio.gather(*[books.hold(books.request("h", "3.00")) for _ in range(24)])
        assert sorted(kinds([outcome for [outcome] in outcomes])) == ["Duplicate"] * 23 + ["Held"]
        assert (await books.balance()).held == 3_000_000
        await books.verified()

    async def test_batches_of_shared_customers_in_any_order_do_not_wait_in_circles(self, books: Books) -> None:
        await books.open(A, "100.00")
        await books.open(B, "100.00")

        async def work(number: int) -> None:
            customers = (A, B) if number % 2 else (B, A)
            await books.hold(*[books.request(f"{number}", "0.10", customer) for customer in customers])
            await books.capture(*[capture(f"{number}", "0.05", customer=customer) for customer in reversed(customers)])

        await asyncio.gather(*[work(number) for number in range(40)])
        for customer in (A, B):
            found = await books.balance(customer)
            assert (found.posted, found.held) == (98_000_000, 0)
        await books.verified()

    async def test_mixed_work_never_spends_more_than_there_is(self, books: Books) -> None:
        await books.open(funds="3.00")

        async def work(number: int) -> None:
            [outcome] = await books.hold(books.request(f"{number}", "0.10"))
            if isinstance(outcome, Held):
                await (books.capture(capture(f"{number}", "0.10")) if number % 3 else books.release(outcome.key))

        await asyncio.gather(*[work(number) for number in range(80)])
        found = await books.balance()
        assert found.held == 0 and 0 <= found.posted < 3_000_000
        await books.verified()


class TestCrashes:
    """A connection that dies between any two statements leaves all or nothing."""

    @pytest.mark.parametrize("dies_at", range(1, 8))
    async def test_a_dying_connection_leaves_the_books_in_order(self, books: Books, dies_at: int) -> None:
        await books.open(funds="5.00")
        before = await books.balance()
        steps = 0

        async def step(tx: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == dies_at:
                async with books.database.snapshot() as other:
                    await other.fetchval(
                        "SELECT pg_terminate_backend($1, 5000)", await tx.fetchval("SELECT pg_backend_pid()")
                    )

        at = books.clock.now()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            async with books.database.transaction() as tx:
                await step(tx)
                await ledger.hold(tx, [books.request("a", "2.00"), books.request("b", "2.00")], at)
                await step(tx)
                await ledger.hold(tx, [books.request("c", "2.00"), books.request("d", "1.00")], at)
                await step(tx)
                await ledger.capture(tx, [capture("a", "1.50")], at)
                await step(tx)
                await ledger.release(tx, [key("b")], at)
                await step(tx)
                await ledger.charge(tx, [Charge(A, "USD", "n", Split("numbers", fee=micros("9.00")))], at)
                await step(tx)
                await ledger.extend(tx, [Extension(key("d"), micros("1.00"), at)])
                await step(tx)
        assert steps == dies_at
        assert await books.balance() == before
        await books.verified()
        # Everything may be asked for again.
        assert kinds(await books.hold(books.request("a", "2.00"))) == ["Held"]


class TestVerify:
    @pytest.mark.parametrize(
        ("sql", "invariant"),
        [
            ("UPDATE ledger_balances SET micros = micros + 1 WHERE account = 'cash:stripe'", {1}),
            ("UPDATE ledger_funds SET posted = posted + 1", {2}),
            ("UPDATE ledger_funds SET held = held + 1", {3}),
            ("UPDATE ledger_holds SET micros = micros + 1 WHERE id = 'open'", {3}),
            ("DELETE FROM ledger_holds WHERE id = 'used'", {4}),
            ("DELETE FROM ledger_funds", {3}),
            (SPEND_WITHOUT_A_HOLD, {3, 27}),
            ("UPDATE ledger_leases SET chunk = 999999999999", {3, 27}),
        ],
    )  # fmt: skip
    async def test_what_is_wrong_is_found(self, books: Books, sql: str, invariant: set[int]) -> None:
        await books.open()
        await books.hold(books.request("open"), books.request("used"))
        await books.capture(capture("used", "0.50"))
        async with books.database.transaction() as tx:
            await tx.execute(LEASE_OF_10, A, books.clock.now())
            await tx.execute("UPDATE ledger_funds SET held = held + 10")
        await books.verified()
        assert await ledger.verify_ledger(books.database) == (0, ["The ledger is in order."])
        async with books.database.transaction() as tx:
            await tx.execute(sql)
        async with books.database.snapshot() as tx:
            found = await ledger.verify(tx)
        assert {violation.invariant for violation in found} == invariant, found
        status, lines = await ledger.verify_ledger(books.database)
        assert status == 1 and len(lines) == len(found)

    async def test_an_overpaid_document_is_found(self, books: Books) -> None:
        await books.open()
        await books.post(templates.allocation({"IN1": 5}))
        async with books.database.snapshot() as tx:
            assert [violation.invariant for violation in await ledger.verify(tx)] == [9]
