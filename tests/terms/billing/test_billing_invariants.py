"""The invariants of billing, over months of seeded chance: whatever happens, books, documents and clocks agree."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import collections, disputes, invoicing, pricing
from onterms.core.calendar import plus_months, start_of
from onterms.core.errors import Refusal
from onterms.core.money import decimal_text, micros
from onterms.engines import audit


class Chance:
    """One run: a year of usage, money, disputes, credits and looks at random days."""

    def __init__(self, billing: Any, seed: int) -> None:
        self.billing = billing
        self.random = random.Random(seed)
        self.day = date(2025, 1, 1)
        self.filed: list[str] = []
        self.billed = self.credited = 0

    def now(self) -> datetime:
        return start_of(self.day) + timedelta(hours=10)

    async def run(self) -> None:
        until = date(2025, 2, 1)
        while self.day < date(2025, 11, 1):
            self.day += timedelta(days=self.random.randint(1, 9))
            while until <= self.day:
                for made in await self.billing.close(until.isoformat()):
                    self.billed += made.total
                until = plus_months(until, 1)
            act = self.random.choice((self.use, self.use, self.pay, self.dispute, self.resolve, self.credit, self.look))
            await act()
            await self.check()

    async def use(self) -> None:
        amount = self.random.randint(1, 10**9)
        kind = self.random.choice(("fee", "surcharge"))
        await self.billing.use(decimal_text(amount), self.day.isoformat(), kind=kind)

    async def pay(self) -> None:
        back = self.day - timedelta(days=self.random.randint(0, 20))
        amount = decimal_text(self.random.randint(1, 100_000) * 10_000)
        await self.billing.pay(amount, self.day.isoformat(), on=back.isoformat())

    async def _line(self) -> tuple[Any, Any] | None:
        async with self.billing.database.snapshot() as tx:
            sids = await tx.fetch("SELECT sid FROM invoices ORDER BY sid")
            if not sids:
                return None
            sid = self.random.choice(sids)["sid"]
            made = await invoicing.require(tx, self.billing.customer, sid)
        lines = [line for line in made.lines if line.kind in ("fee", "communications_surcharge") and line.micros > 0]
        return (made, self.random.choice(lines)) if lines else None

    def _share(self, amount: int) -> str:
        return decimal_text(self.random.randint(1, amount // 10_000) * 10_000)

    async def dispute(self) -> None:
        found = await self._line()
        if found is None:
            return
        try:
            filed = await self.billing.dispute(found[0].sid, {found[1].ref: self._share(found[1].micros)}, self.now())
        except Refusal as refusal:
            assert refusal.status == 422
        else:
            self.filed.append(filed.sid)

    async def resolve(self) -> None:
        if not self.filed:
            return
        sid = self.filed.pop(self.random.randrange(len(self.filed)))
        customer = self.billing.customer
        how = self.random.choice(("upheld", "rejected", "partly", "bad_faith", "withdrawn"))
        async with self.billing.database.transaction() as tx:
            room: disputes.Disputes = self.billing.disputes
            found = await room.require(tx, customer, sid)
            if how == "bad_faith":
                await room.find_bad_faith(tx, customer, sid, "Ann", "no grounds", self.now())
            elif how == "withdrawn":
                await room.withdraw(tx, customer, sid, "customer", self.now())
            else:
                part = {line.ref: micros(self._share(line.net)) for line in found.lines}
                upheld = {"upheld": None, "rejected": {}, "partly": part}[how]
                done = await room.resolve(tx, customer, sid, upheld, "Ann", "we looked", self.now())
                self.credited += done.credited
                # Invariant 25.
                assert done.credited <= found.micros

    async def credit(self) -> None:
        found = await self._line()
        if found is None:
            return
        async with self.billing.database.transaction() as tx:
            room = self.billing
            nets = {found[1].ref: micros(self._share(found[1].micros))}
            before = await invoicing.store.credits(tx, room.customer, found[0].sid)
            open_ones = await disputes.store.disputed_nets(tx, room.customer, found[0].sid)
            gone = sum(line["net"] for note in before for line in note.lines if line["ref"] == found[1].ref)
            if gone + nets[found[1].ref] + open_ones.get(found[1].ref, 0) > found[1].micros:
                return
            made = await invoicing.credit(
                tx, room.surroundings, room.customer, found[0].sid, nets, "error", "Ann", self.now()
            )
            self.credited += made.total

    async def look(self) -> None:
        await self.billing.review(self.now())

    async def check(self) -> None:
        billing = self.billing
        # Invariants 1, 2 and 9.
        assert await billing.books() == []
        async with billing.database.snapshot() as tx:
            parts = await invoicing.parts(tx, billing.customer)
            # Invariant 6: a row is on one invoice or unbilled, and what is unbilled is what the ledger says.
            rows = await pricing.unbilled(tx, billing.customer, datetime(2026, 1, 1, tzinfo=UTC))
            waiting = sum(row["micros"] for row in await invoicing.store.charges(tx, billing.customer))
            standing = await collections.standing_of(tx, billing.customer)
            fees = await collections.fees(tx, billing.customer)
        assert await billing.account_sum("unbilled") == sum(row.micros for row in rows) + waiting
        assert all(part.fees >= 0 for part in parts)
        # Invariant 23.
        assert self.credited <= self.billed
        # Invariant 11: what was assessed in all is never below nothing.
        by_part: dict[tuple[str, str], int] = {}
        for fee in fees:
            by_part[fee.invoice_sid, fee.part] = by_part.get((fee.invoice_sid, fee.part), 0) + fee.micros
        assert all(total >= 0 for total in by_part.values())
        # Invariants 14 and 15: suspended and blocked are the same thing.
        can_send = (await billing.standing()).can_send
        assert can_send == (standing.state != "suspended")
        assert standing.state != "suspended" or standing.notice_sid is not None


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_invariants_1_6_7_8_9_11_14_15_23_25_hold_through_a_year_of_chance(billing: Any, seed: int) -> None:
    await billing.tax("0.08875", base="fees_and_surcharges")
    await billing.policy(late_fee="auto", suspension="auto")
    await billing.legal("0.10")
    run = Chance(billing, seed)
    await run.run()
    async with billing.database.snapshot() as tx:
        made = await tx.fetch("SELECT sid, number, total FROM invoices ORDER BY number")
        for row in made:
            invoice = await invoicing.require(tx, billing.customer, row["sid"])
            # Invariant 8.
            assert row["total"] == sum(line.micros for line in invoice.lines)
            taken = sum(group.micros for group in await pricing.billed(tx, billing.customer, row["sid"]))
            exact = sum(line.exact for line in invoice.lines if line.kind in ("fee", "communications_surcharge"))
            assert taken == exact
        rounded = await tx.fetchval("SELECT sum(micros - exact)::bigint FROM invoice_lines")
        assert await audit.verify(tx, billing.customer) is None
    assert [row["number"] for row in made] == [f"US-2025-{place:06d}" for place in range(1, len(made) + 1)]
    assert len(made) > 5
    # Invariant 7.
    assert await billing.account_sum("rounding") == -rounded
