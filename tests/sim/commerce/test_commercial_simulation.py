"""A seeded life of customers in the real commercial rooms, audited after each step.

What happens, when, and where the process dies all come from one number. After each step the auditor, which keeps its
own sums, says what every account has to be, to the micro-unit. A failure prints the seed and the steps so far; the same
seed repeats them.

    ONTERMS_SIM_SEEDS=5-40 ONTERMS_SIM_STEPS=400 python -m pytest tests/sim/commerce
"""

import importlib.util
import itertools
import os
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from onterms.business import accounts, invoicing, standing
from onterms.business.usage import Settled, Use
from onterms.core.calendar import start_of
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text, micros, minor_digits
from onterms.engines import ledger

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NUMBERS = {"US": "+19075550142", "DE": "+4915123456789", "JP": "+819012345678"}
CARDS = ("4242424242424242", "5555555555554444", "4000000000000002", "4000002500003155", "4000000000000259")


def _load(name: str) -> Any:
    # Beside the test files nothing is importable.
    spec = importlib.util.spec_from_file_location(f"commerce_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_auditor = _load("auditor")
Auditor, Books, Customer, Hold, Price, TAX = (
    getattr(_auditor, name) for name in ("Auditor", "Books", "Customer", "Hold", "Price", "TAX")
)


# ---- what happens


class Life:
    """Random steps on one install, all from one seed."""

    def __init__(self, world: Any, seed: int) -> None:
        self.world = world
        self.random = Random(seed)
        self.books = Books()
        self.auditor = Auditor(world, self.books)
        self.told: list[str] = []
        self.ids = itertools.count(1)
        self.refused: Counter[str] = Counter()

    async def begin(self) -> None:
        call, books = self.world.call, self.books
        now = self.world.clock.now()
        listed = {("US", "USD"): "0.0079", ("DE", "USD"): "0.0921", ("JP", "USD"): "0.0745", ("JP", "JPY"): "11.5"}
        listed |= {("US", "JPY"): "1.25", ("DE", "JPY"): "14.2"}
        for (country, currency), price in listed.items():
            given = {"service": "sms", "unit": "segment", "currency": currency, "country": country, "price": price}
            begins = now + HOUR
            await call("POST", "PriceBooks/main/Prices", {"prices": [{**given, "effective_from": begins.isoformat()}]})
            books.prices[country, currency] = [Price(micros(price), begins)]
        for country, (kind, rate, base) in TAX.items():
            rule = {"jurisdiction": country, "kind": kind, "rate": rate, "base": base, "source": "made up"}
            await call("POST", "TaxRules", {**rule, "effective_from": "2020-01-01T00:00:00Z"})
        legal = {"jurisdiction": "DE", "rate": "0.10", "from_on": "2020-01-01", "source": "made up"}
        await call("POST", "Collections/LegalMaxima", legal)
        await call("POST", "Collections/Policy", {"late_fee": "auto", "suspension": "auto"})
        await self.world.advance(2 * HOUR)
        for country in ("US", "DE", "JP"):
            await self.sign_up(country)
        await self.go_invoiced(books.customers[1], "250.00")
        await self.go_invoiced(books.customers[2], "60000")
        await self.order_form(books.customers[2])
        for customer in books.customers:
            await self.add_card(customer, CARDS[0])

    async def step(self) -> None:
        weights = [weight for _, weight in _ACTIONS]
        [(name, _)] = self.random.choices(_ACTIONS, weights)
        customer = self.random.choice(self.books.customers)
        self.told.append(f"{len(self.told)}. {self.world.clock.now():%Y-%m-%d %H:%M} {name} {customer.country}")
        try:
            await getattr(self, name)(customer)
        except Refusal as refusal:
            clause = (refusal.details or {}).get("reason") or (refusal.details or {}).get("clause") or refusal.message
            self.refused[f"{name}: {refusal.status} {clause}"] += 1
            assert refusal.status < 500 or (refusal.status == 503 and name == "add_card"), "the reason is the caller's"
            self.told[-1] += f" refused: {refusal.status} {clause}"
        await self.world.work()
        assert await self.world.worker.dead() == []
        async with self.world.database.snapshot() as tx:
            await self.auditor.check(tx)

    def amount(self, customer: Any, low: int, high: int) -> str:
        """An amount of whole minor units."""
        unit = 10 ** (6 - minor_digits(customer.currency))
        scale = 150 if customer.currency == "JPY" else 1
        return decimal_text(self.random.randint(low * scale * 1_000_000, high * scale * 1_000_000) // unit * unit)

    # ---- becoming a customer

    async def sign_up(self, country: str) -> None:
        async with self.world.database.transaction() as tx:
            current = await self.world.office.texts.current(tx, "tos", self.world.clock.now())
        number = next(self.ids)
        body = {
            "organization_name": f"Customer {number}",
            "country": country,
            "org_type": "corporate",
            "use": "business",
            "email": f"owner{number}@example.com",
            "signer_name": "Ann Example",
            "signer_role": "director",
            "authority": True,
            "compliance": True,
            "no_antisocial_forces": country == "JP",
            "accepted_version": current,
        }
        with pytest.raises(Refusal) as refused:
            await self.world.call("POST", "SignUps", {**body, "accepted_version": None})
        assert refused.value.status == 403
        made = await self.world.call("POST", "SignUps", body, once=True)
        customer = Customer(made["customer"]["sid"], made["account_sid"], country, made["customer"]["currency"])
        for kind in ("legal", "billing"):
            contact = {"kind": kind, "name": kind, "address": f"{kind}{number}@example.com"}
            sid = (await self.world.call("POST", "Contacts", contact, account=customer.account, once=True))["sid"]
            customer.contact = sid if kind == "legal" else customer.contact
        self.books.customers.append(customer)

    async def accept(self, customer: Any) -> None:
        async with self.world.database.transaction() as tx:
            current = await self.world.office.texts.current(tx, "tos", self.world.clock.now())
        body = {"version_sid": current, "signer_name": "Ann", "signer_role": "director", "authority": True}
        await self.world.call("POST", "Acceptances", body, account=customer.account)

    async def go_invoiced(self, customer: Any, limit: str | None = None) -> None:
        if customer.kind == "invoiced":
            return
        limit = limit or self.amount(customer, 5, 200)
        made = await self.world.call("POST", "InvoicingApplications", {}, account=customer.account, once=True)
        path = f"InvoicingApplications/{made['sid']}/Decision"
        decision = {"customer_sid": customer.sid, "decision": "approve", "credit_limit": limit}
        if self.told and self.random.random() < 0.2:
            decision |= {"decision": "decline", "reason": "too new"}
        await self.world.call("POST", path, decision, once=True)
        if decision["decision"] == "approve":
            await self.world.call("POST", "PaymentMethods", {"kind": "invoice"}, account=customer.account)
            customer.kind, customer.limit = "invoiced", micros(limit)

    # ---- cards and banks

    async def add_card(self, customer: Any, number: str = "") -> None:
        number = number or self.random.choice(CARDS)
        token = (await self.world.call("POST", "/simulator/v1/payments/cards", {"number": number}))["token"]
        body = {"kind": "card", "token": token}
        made = await self.world.call("POST", "PaymentMethods", body, account=customer.account)
        await self.world.call("POST", f"PaymentMethods/{made['sid']}", account=customer.account)

    async def top_up(self, customer: Any) -> None:
        body = {"amount": self.amount(customer, 5, 60), "idempotency_key": f"key {next(self.ids)}"}
        first = await self.world.call("POST", "TopUps", body, account=customer.account)
        again = await self.world.call("POST", "TopUps", body, account=customer.account)
        assert first["sid"] == again["sid"], "a request that is sent twice is one top-up"

    async def auto_recharge(self, customer: Any) -> None:
        amount = self.amount(customer, 10, 20)
        body = {"threshold": self.amount(customer, 1, 5), "amount": amount, "cap_per_day": amount}
        await self.world.call("POST", "AutoRecharge", body, account=customer.account)
        customer.recharges = True

    async def provider_moods(self, customer: Any) -> None:
        body: dict[str, Any] = {
            "webhook_delay_s": self.random.choice((0, 0, 60, 86_400)),
            "webhook_copies": self.random.choice((1, 1, 2, 3)),
            "holds_webhooks": self.random.random() < 0.2,
            "settles_later": self.random.random() < 0.3,
            "is_unreachable": self.random.random() < 0.15,
        }
        await self.world.call("POST", "/simulator/v1/payments/settings", body)

    async def old_webhooks(self, customer: Any) -> None:
        """Late, twice, in any order."""
        told = (await self.world.call("GET", "/simulator/v1/payments/webhooks"))["items"]
        for webhook in self.random.sample(told, min(4, len(told))):
            await self.world.call("POST", f"/simulator/v1/payments/webhooks/{webhook['id']}/deliveries")

    async def forged_webhook(self, customer: Any) -> None:
        told = (await self.world.call("GET", "/simulator/v1/payments/webhooks"))["items"]
        if told:
            body = self.random.choice(told)["body"].replace('"minor":', '"minor":9').encode()
            with pytest.raises(Refusal):
                await self.world.pay_webhook(body, "somebody else's secret")

    async def authenticate(self, customer: Any) -> None:
        charges = (await self.world.call("GET", "/simulator/v1/payments/charges"))["items"]
        for charge in charges:
            if charge["state"] == "needs_action":
                outcome = self.random.choice(("succeed", "fail"))
                path = f"/simulator/v1/payments/charges/{charge['id']}/authentication"
                await self.world.call("POST", path, {"outcome": outcome}, once=True)

    async def card_dispute(self, customer: Any) -> None:
        charges = (await self.world.call("GET", "/simulator/v1/payments/charges"))["items"]
        paid = [charge for charge in charges if charge["state"] == "succeeded"]
        if not paid:
            return
        charge = self.random.choice(paid)
        path = f"/simulator/v1/payments/charges/{charge['id']}/disputes"
        for dispute in (await self.world.call("GET", path))["items"]:
            if dispute["state"] == "opened":
                body = {"outcome": self.random.choice(("won", "lost"))}
                close = f"/simulator/v1/payments/disputes/{dispute['id']}/closure"
                await self.world.call("POST", close, body, once=True)
                return
        await self.world.call("POST", path, {}, once=True)

    async def bank_payment(self, customer: Any) -> None:
        found = (await self.world.call("GET", "Invoices", account=customer.account))["items"]
        due = [each for each in found if micros(each["undisputed_due"]) > 0]
        amount = self.amount(customer, 1, 80)
        if due and self.random.random() < 0.6:
            amount = self.random.choice(due)["undisputed_due"]
        back = self.world.today() - self.random.randint(0, 10) * DAY
        body = {"customer_sid": customer.sid, "amount": amount, "reference": f"bank {next(self.ids)}"}
        body |= {"currency": customer.currency, "received_on": back.isoformat()}
        await self.world.call("POST", "Payments", body)
        await self.world.call("POST", "Payments", body)
        self.books.move(customer, "payment", body["reference"], "", micros(amount))

    async def refund(self, customer: Any) -> None:
        found = (await self.world.call("GET", "TopUps", account=customer.account))["items"]
        paid = [each for each in found if each["state"] == "succeeded"]
        if paid:
            source = self.random.choice(paid)
            body = {
                "customer_sid": customer.sid,
                "source_sid": source["sid"],
                "amount": self.amount(customer, 1, 30),
                "basis": self.random.choice(("goodwill", "6.1.2(c)", "5.4", "kindness")),
                "taken_from": self.random.choice(("refunds", "prepaid_balance")),
                "idempotency_key": f"refund {next(self.ids)}",
            }
            await self.world.call("POST", "Refunds", body)

    # ---- using the services

    async def send(self, customer: Any) -> None:
        now = self.world.clock.now()
        uses = []
        for _ in range(self.random.randint(1, 12)):
            country = self.random.choice(tuple(NUMBERS))
            sid = new_sid("SM", now)
            qty = self.random.choice((1, 2, 9, 40, 150))
            uses.append(Use(customer.account, sid, "sms", "outbound", country, NUMBERS[country], "segment", qty))
        answers = await self.world.send(uses, fails=self.random.random() < 0.15)
        async with self.world.database.snapshot() as tx:
            state = (await standing.states(tx, [customer.account]))[customer.account]
        short: list[Any] = []
        for use, answer in zip(uses, answers, strict=True):
            hold = self.books.hold(customer, use, now)
            if answer is None:
                assert state.can_send, "nothing is sent by who may not"
                customer.holds[use.id] = hold
                if self.random.random() < 0.6:
                    self.world.delivered.add(use.id)
            elif answer.status != 403:
                short.append(hold)
        spendable = await self.spendable(customer)
        if customer.kind == "invoiced":
            assert spendable == customer.available
            assert customer.available >= 0 or all(answers), "nothing is set aside beyond the credit limit"
        for hold in short:
            assert hold.micros > spendable, "refused while there are funds"
        self.told[-1] += f" {len(uses)} uses, {sum(each is None for each in answers)} accepted"

    async def spendable(self, customer: Any) -> int:
        """What is free, with what only waits in leases. How a prepaid customer's money was split its books know not."""
        async with self.world.database.snapshot() as tx:
            found = await ledger.balance(tx, customer.sid, customer.currency)
            chunks = await tx.fetchval(
                "SELECT coalesce(sum(chunk), 0)::bigint FROM ledger_leases WHERE customer_sid = $1", customer.sid
            )
            spent = await tx.fetchval(
                "SELECT coalesce(sum(micros), 0)::bigint FROM ledger_lease_spending WHERE customer_sid = $1",
                customer.sid,
            )
        return 0 if found is None else int((found.available or 0) + chunks - spent)

    async def settle(self, customer: Any) -> None:
        ids = self.random.sample(sorted(customer.holds), self.random.randint(0, len(customer.holds)))
        settled = [self.settled(customer, id_) for id_ in ids]
        again = self.random.sample(sorted(customer.ended), min(3, len(customer.ended)))
        settled += [self.settled(customer, id_) for id_ in again]
        self.random.shuffle(settled)
        if not settled:
            return
        costs = await self.world.settle(settled)
        for each in settled:
            if each.use.id in again:
                assert costs[each.use.id] == customer.ended[each.use.id], (
                    "a repeat, or a contradiction, changes nothing"
                )
            elif each.outcome == "charge":
                assert costs[each.use.id] == customer.holds[each.use.id].micros
                self.books.charge(customer, each.use.id, self.world.clock.now())
            else:
                assert costs[each.use.id] == 0
                self.books.free(customer, each.use.id)

    def settled(self, customer: Any, id_: str) -> Settled:
        hold = customer.holds.get(id_)
        country = hold.country if hold else "US"
        use = Use(
            customer.account, id_, "sms", "outbound", country, NUMBERS[country], "segment", hold.qty if hold else 1
        )
        return Settled(use, self.random.choice(("charge", "charge", "free")), self.world.clock.now())

    async def delivered(self, customer: Any) -> None:
        """Receipts that nobody settled: the sweep finds them after 72 hours."""
        self.world.delivered.update(id_ for id_ in sorted(customer.holds) if self.random.random() < 0.5)

    # ---- what it costs

    async def new_price(self, customer: Any) -> None:
        country = self.random.choice(tuple(NUMBERS))
        price = decimal_text(self.random.randint(1, 20_000) * (150 if customer.currency == "JPY" else 5))
        last = self.books.prices[country, customer.currency][-1].since
        begins = max(last, self.world.clock.now()) + self.random.randint(1, 200) * HOUR
        given = {"service": "sms", "unit": "segment", "currency": customer.currency, "country": country}
        body = {"prices": [{**given, "price": price, "effective_from": begins.isoformat()}]}
        await self.world.call("POST", "PriceBooks/main/Prices", body, once=True)
        self.books.prices[country, customer.currency].append(Price(micros(price), begins))

    async def surcharge(self, customer: Any) -> None:
        known = len(self.books.extras.get(customer.currency, []))
        if known >= 2:
            return
        price = "0.35" if customer.currency == "JPY" else "0.003"
        begins = self.world.clock.now() + self.random.randint(1, 100) * HOUR
        # Of one kind there is only ever one on a use.
        body = {"price": price, "currency": customer.currency, "kind": ("carrier-fee", "registration")[known]}
        await self.world.call("POST", "SurchargeRules", {**body, "effective_from": begins.isoformat()}, once=True)
        self.books.extras.setdefault(customer.currency, []).append(Price(micros(price), begins))

    async def order_form(self, customer: Any) -> None:
        begins, days = self.world.today() + DAY, self.random.randint(20, 120)
        price = "9.99" if customer.currency == "JPY" else "0.0061"
        body = {
            "customer_sid": customer.sid,
            "number": f"OF-{next(self.ids)}",
            "currency": customer.currency,
            "term_from": begins.isoformat(),
            "term_to": (begins + days * DAY).isoformat(),
            "rates": [{"service": "sms", "unit": "segment", "country": "JP", "price": price}],
        }
        form = await self.world.call("POST", "OrderForms", body, once=True)
        of_customer = {"customer_sid": customer.sid}
        await self.world.call("POST", f"OrderForms/{form['sid']}/Send", {}, once=True)
        path = f"OrderForms/{form['sid']}/Signatures"
        await self.world.call("POST", path, {"name": "Ann"}, account=customer.account, once=True)
        await self.world.call("POST", path, {"name": "Bob", **of_customer}, once=True)
        since, until = start_of(begins), start_of(begins + (days + 1) * DAY)
        self.books.forms.setdefault((customer.sid, "JP"), []).append(Price(micros(price), since, until))

    async def exemption(self, customer: Any) -> None:
        if customer.country not in TAX or (customer.exempt and customer.exempt[-1][1] is None):
            return
        kind = TAX[customer.country][0]
        document = {"name": "certificate.pdf", "content": "JVBERg=="}
        body = {"kind": kind, "jurisdiction": customer.country, "certificate": "C-1", "document": document}
        made = await self.world.call("POST", "Exemptions", body, account=customer.account, once=True)
        answer = self.random.choice(("Approve", "Approve", "Reject"))
        decision = {"customer_sid": customer.sid, "reason": "not ours"} if answer == "Reject" else {}
        await self.world.call(
            "POST", f"Exemptions/{made['sid']}/{answer}", {"customer_sid": customer.sid, **decision}, once=True
        )
        if answer == "Approve":
            customer.exempt.append((self.world.clock.now(), None))

    # ---- objections

    async def line(self, customer: Any) -> tuple[Any, Any] | None:
        found = (await self.world.call("GET", "Invoices", account=customer.account))["items"]
        if not found:
            return None
        async with self.world.database.snapshot() as tx:
            made = await invoicing.require(tx, customer.sid, self.random.choice(found)["sid"])
        lines = [line for line in made.lines if line.kind in ("fee", "communications_surcharge") and line.micros > 0]
        return (made, self.random.choice(lines)) if lines else None

    def part(self, customer: Any, whole: int) -> str:
        unit = 10 ** (6 - minor_digits(customer.currency))
        return decimal_text(self.random.randint(1, max(1, whole // unit)) * unit)

    async def dispute(self, customer: Any) -> None:
        found = await self.line(customer)
        if found is None:
            return
        body = {
            "contact_sid": customer.contact,
            "invoice_sid": found[0].sid,
            "lines": [{"ref": found[1].ref, "amount": self.part(customer, found[1].micros)}],
            "reason": "we did not send this",
        }
        made = await self.world.call("POST", "Disputes", body, account=customer.account, once=True)
        late = self.world.today() > found[0].issued_on + 60 * DAY
        assert (made["state"] == "late") == late, "sixty days are sixty days"

    async def decide_dispute(self, customer: Any) -> None:
        found = (await self.world.call("GET", "Disputes", account=customer.account))["items"]
        if not found:
            return
        path = f"Disputes/{self.random.choice(found)['sid']}"
        one = await self.world.call("GET", path, account=customer.account)
        said = {"customer_sid": customer.sid, "decided_by": "Bob", "reasons": "we looked"}
        how = self.random.choice(("upheld", "rejected", "partly", "bad_faith", "withdrawn", "ask"))
        if how == "withdrawn":
            await self.world.call("POST", f"{path}/Withdrawal", account=customer.account, once=True)
        elif how == "bad_faith":
            await self.world.call("POST", f"{path}/Determinations", {**said, "finding": "bad_faith"}, once=True)
        elif how == "ask":
            due_on = (self.world.today() + 5 * DAY).isoformat()
            body = {"customer_sid": customer.sid, "subject": "Which messages?", "due_on": due_on}
            await self.world.call("POST", f"{path}/Tasks", body, once=True)
        else:
            lines = [{"ref": x["ref"], "amount": self.part(customer, micros(x["net"]))} for x in one["lines"]]
            await self.world.call("POST", f"{path}/Resolution", {**said, "outcome": how, "lines": lines}, once=True)

    async def credit(self, customer: Any) -> None:
        found = await self.line(customer)
        if found is not None:
            lines = [{"ref": found[1].ref, "amount": self.part(customer, found[1].micros)}]
            body = {"customer_sid": customer.sid, "invoice_sid": found[0].sid, "lines": lines, "reason": "our error"}
            await self.world.call("POST", "CreditNotes", body, once=True)

    # ---- keeping to the terms

    async def mail_moods(self, customer: Any) -> None:
        boxes = await self.world.call("GET", "/simulator/v1/mailboxes")
        if boxes:
            box = self.random.choice(sorted(box["address"] for box in boxes))
            behaviour = self.random.choice(("accept", "accept", "refuse", "bounce"))
            await self.world.call("POST", f"/simulator/v1/mailboxes/{box}", {"behaviour": behaviour})

    async def bounce(self, customer: Any) -> None:
        boxes = await self.world.call("GET", "/simulator/v1/mailboxes")
        if boxes:
            box = self.random.choice(sorted(box["address"] for box in boxes))
            await self.world.call("POST", f"/simulator/v1/mailboxes/{box}/bounces", {}, once=True)

    async def pause(self, customer: Any) -> None:
        """The account's own suspension, for a lift to leave as it is; while nobody else suspends it."""
        found = (await self.world.call("GET", "Suspensions", account=customer.account))["items"]
        if any(case["state"] in ("noticed", "active", "converted") for case in found):
            return
        customer.paused = not customer.paused
        async with self.world.database.transaction() as tx:
            status = "suspended" if customer.paused else "active"
            await accounts.change_status(tx, customer.account, status, self.world.clock.now())

    async def suspend(self, customer: Any) -> None:
        scope = self.random.choice(("customer", "account"))
        body = {
            "customer_sid": customer.sid,
            "event": "propose",
            "scope": scope,
            "ground": self.random.choice(("aup", "security", "law", "spike")),
            "determination": "Seen in good faith",
        }
        if scope == "account":
            body["account_sid"] = customer.account
        made = await self.world.call("POST", "Suspensions", body, once=True)
        path = f"Suspensions/{made['sid']}/Events"
        of_customer = {"customer_sid": customer.sid}
        await self.world.call("POST", path, {**of_customer, "event": "approve", "approved_by": "Bob"}, once=True)
        await self.world.call("POST", path, {**of_customer, "event": "notice"}, once=True)

    async def lift(self, customer: Any) -> None:
        found = (await self.world.call("GET", "Suspensions", account=customer.account))["items"]
        held = [case for case in found if case["state"] in ("noticed", "active")]
        if held:
            path = f"Suspensions/{self.random.choice(held)['sid']}/Events"
            body = {"customer_sid": customer.sid, "event": "lift", "reason": "looked into"}
            await self.world.call("POST", path, body, once=True)

    async def decide_proposal(self, customer: Any) -> None:
        found = (await self.world.call("GET", f"Collections/Proposals?customer_sid={customer.sid}"))["items"]
        if found:
            path = f"Collections/Proposals/{self.random.choice(found)['sid']}"
            said = {"customer_sid": customer.sid, "decided_by": "Bob"}
            said["decision"] = self.random.choice(("approve", "decline"))
            await self.world.call("POST", path, said, once=True)

    async def collections_policy(self, customer: Any) -> None:
        body = {name: self.random.choice(("auto", "auto", "propose")) for name in ("late_fee", "suspension", "notice")}
        await self.world.call("POST", "Collections/Policy", body)

    # ---- time

    async def stop_recharging(self) -> None:
        # It looks every hour, which makes months long.
        for customer in self.books.customers:
            if customer.recharges:
                body = {"threshold": "1", "amount": "10", "cap_per_day": "10", "enabled": False}
                await self.world.call("POST", "AutoRecharge", body, account=customer.account)
                customer.recharges = False

    async def hours(self, customer: Any) -> None:
        await self.world.advance(self.random.randint(1, 48) * HOUR)

    async def days(self, customer: Any) -> None:
        await self.stop_recharging()
        await self.world.advance(self.random.randint(2, 20) * DAY)

    async def month(self, customer: Any) -> None:
        await self.stop_recharging()
        await self.world.advance(self.random.randint(28, 40) * DAY)

    async def newcomer(self, customer: Any) -> None:
        if len(self.books.customers) < 5:
            await self.sign_up(self.random.choice(("US", "DE", "JP")))


_ACTIONS = (
    ("send", 18), ("settle", 14), ("hours", 5), ("days", 7), ("month", 4), ("top_up", 6), ("add_card", 3),
    ("auto_recharge", 1), ("provider_moods", 3), ("old_webhooks", 3), ("forged_webhook", 1), ("authenticate", 2),
    ("card_dispute", 3), ("bank_payment", 7), ("refund", 3), ("delivered", 4), ("new_price", 3), ("surcharge", 1),
    ("order_form", 1), ("exemption", 2), ("dispute", 7), ("decide_dispute", 6), ("credit", 3), ("mail_moods", 2),
    ("bounce", 1), ("pause", 1), ("suspend", 2), ("lift", 3), ("decide_proposal", 3), ("collections_policy", 1),
    ("go_invoiced", 2), ("newcomer", 1), ("accept", 1),
)  # fmt: skip


def _seeds() -> list[int]:
    text = os.environ.get("ONTERMS_SIM_SEEDS", "1-6")
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


@pytest.mark.parametrize("seed", _seeds())
async def test_invariants_1_2_3_5_6_7_8_9_14_15_20_23_24_25_hold_through_a_life_of_chance(
    make_world: Any, seed: int
) -> None:
    life = Life(await make_world(seed), seed)
    try:
        await life.begin()
        for _ in range(int(os.environ.get("ONTERMS_SIM_STEPS", "70"))):
            await life.step()
    except BaseException:
        print(f"seed {seed}\n" + "\n".join(life.told))
        print(f"refused: {dict(life.refused)}")
        raise
    happened = Counter(what for customer in life.books.customers for what, _, _ in customer.seen)
    print(f"seed {seed}: {life.world.clock.now()}, {life.world.crashes} deaths, {dict(happened)}")
    print(f"refused: {dict(life.refused)}")
    assert life.world.crashes and life.world.faults.count, "a life without a fault proves less"
