"""The world that a year happens in: a running server, its virtual clock, the operator, mailboxes and handsets."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

WAIT_S = 30
GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
# 1,530 characters are ten segments of 153; 160 are one.
TEN_SEGMENTS = "x" * 1530
# A refusal that a script waits for: HTTP status, code of the error and the clause that it names.
Refusal = tuple[int, str | None]


@dataclass
class Moment:
    """Something that a customer or the operator does at an instant."""

    at: str
    act: Callable[[], None]


@dataclass
class World:
    """The server and everybody around it.

    Shapes: `diary` holds what happens, in any order; `live` goes through it with the clock.
    """

    server: Any
    webhook: Any
    diary: list[Moment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.now = self.server.clock(hold=True)["now"]

    def on(self, at: str, act: Callable[[], None]) -> None:
        """Write into the diary: a day, or a day and a time of day."""
        self.diary.append(Moment(at if "T" in at else f"{at}T09:00", act))

    def live(self, until: str) -> None:
        """Live through the diary: each entry at its time, what is due before it done."""
        for moment in sorted(self.diary, key=lambda each: each.at):
            self.move_to(moment.at)
            try:
                moment.act()
            except Exception as error:
                error.add_note(f"on {moment.at}: {getattr(moment.act, '__qualname__', moment.act)}")
                raise
            self.settle()
        self.move_to(until)

    def move_to(self, at: str) -> None:
        """Move the clock, which stands still otherwise, to a time; one that has passed meanwhile is left as it is."""
        target = f"{at}:00.000Z" if "T" in at else f"{at}T00:00:00.000Z"
        # A move ends after so much real time, and the next goes on from there.
        while target > self.now:
            self.now = self.server.clock(to=target)["now"]

    def settle(self) -> None:
        """Let a minute pass, so that what waits a few seconds on purpose is done as well."""
        answer = self.server.clock(advance_s=60)
        assert answer["stopped_by"] is None, answer
        self.now = answer["now"]

    # ---- the own API

    def call(self, method: str, path: str, *, refused: Refusal | None = None, **options: Any) -> Any:
        """Call the own API; return its JSON, or check that it refuses and names the clause."""
        url = self.server.url + (path if path.startswith("/simulator") else f"/commercial/v1/{path}")
        answer = self.session.request(method, url, timeout=WAIT_S, **options)
        if refused is not None:
            status, clause = refused
            assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
            assert answer.json().get("details", {}).get("clause") == clause, answer.text
            return answer.json()
        assert answer.status_code in (200, 201), f"{method} {path}: {answer.status_code} {answer.text}"
        if "json" not in answer.headers["content-type"]:
            return answer.content
        return answer.json()

    def operator(self, method: str, path: str, body: dict[str, Any] | None = None, **options: Any) -> Any:
        """Act as the operator."""
        headers = {"Authorization": f"Bearer {self.server.operator_key}"}
        return self.call(method, path, headers=headers, json=body if method == "POST" else None, **options)

    def mails(self, address: str, subject: str = "") -> list[dict[str, Any]]:
        """Return what arrived in a mailbox under a subject, once what is on its way has."""
        self.settle()
        found = self.call("GET", f"/simulator/v1/mailboxes/{address}/messages")
        return [mail for mail in found if subject in mail["subject"]]

    def current_terms(self) -> str:
        """Return the version of the terms that whoever signs up now has to accept."""
        return self.session.get(f"{self.server.url}/legal/tos", timeout=WAIT_S).headers["X-Version-Sid"]


@dataclass
class Party:
    """A customer: its credentials, its numbers, its official client."""

    world: World
    sid: str
    account_sid: str
    token: str
    number: str = ""

    def __post_init__(self) -> None:
        self.client = Client(self.account_sid, self.token)

    @classmethod
    def signs_up(cls, world: World, **answers: Any) -> "Party":
        """Sign up with the terms in force accepted."""
        made = world.call("POST", "SignUps", json=application(world, **answers))
        return cls(world, made["customer"]["sid"], made["account_sid"], made["auth_token"])

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **options: Any) -> Any:
        """Call the own API with the account's token."""
        auth = (self.account_sid, self.token)
        return self.world.call(method, path, auth=auth, json=body if method == "POST" else None, **options)

    def operator(self, method: str, path: str, body: dict[str, Any] | None = None, **options: Any) -> Any:
        """Have the operator do something about this customer."""
        return self.world.operator(method, path, body, params={"customer_sid": self.sid}, **options)

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return the first page of a list."""
        return self.call("GET", path)["items"]

    def buys_a_number(self) -> None:
        """Buy a local number of the United States."""
        found = self.client.available_phone_numbers("US").local.list(limit=1)[0].phone_number
        self.number = self.client.incoming_phone_numbers.create(phone_number=found).phone_number

    def sends(self, count: int, to: str, body: str = TEN_SEGMENTS, client: Client | None = None) -> list[Any]:
        """Send as many messages and wait for their receipts."""
        if not count:
            return []
        use = client or self.client
        made = [use.messages.create(to=to, from_=self.number, body=body) for _ in range(count)]
        self.world.settle()
        sids = {message.sid for message in made}
        found = [message for message in use.messages.list(limit=count) if message.sid in sids]
        assert len(found) == count
        return found

    def is_refused(self, to: str, code: int, status: int, client: Client | None = None) -> None:
        """Check that a message is refused with this code."""
        try:
            (client or self.client).messages.create(to=to, from_=self.number, body="?")
        except TwilioRestException as error:
            assert (error.code, error.status) == (code, status), error.msg
        else:
            raise AssertionError(f"the message was not refused with {code}")

    def balance(self) -> Decimal:
        """Return what Twilio's Balance says."""
        return Decimal(self.client.balance.fetch().balance)

    def pays_by_card(self, amount: str, number: str = GOOD_CARD, **body: Any) -> dict[str, Any]:
        """Add a card, choose it and top the balance up with it; return the top-up when it is decided."""
        token = self.world.call("POST", "/simulator/v1/payments/cards", json={"number": number})["token"]
        card = self.call("POST", "PaymentMethods", {"kind": "card", "token": token})
        self.call("POST", f"PaymentMethods/{card['sid']}", {})
        made = self.call("POST", "TopUps", {"amount": amount, **body})
        self.world.settle()
        return self.call("GET", f"TopUps/{made['sid']}")

    def is_approved_for_invoicing(self, limit: str, **body: Any) -> None:
        """Apply, be approved, and choose to pay by invoice."""
        asked = self.call("POST", "InvoicingApplications", {**body})
        self.operator(
            "POST",
            f"InvoicingApplications/{asked['sid']}/Decision",
            {"decision": "approve", "credit_limit": limit},
        )
        self.call("POST", "PaymentMethods", {"kind": "invoice"})

    def invoice_of(self, month: str) -> dict[str, Any]:
        """Return the invoice of a month (2027-01) with its lines."""
        [found] = [
            each for each in self.items("Invoices") if each["kind"] == "invoice" and each["period_from"][:7] == month
        ]
        return self.call("GET", f"Invoices/{found['sid']}")

    def pays_by_bank(self, amount: str, reference: str, **body: Any) -> dict[str, Any]:
        """Have a bank transfer arrive."""
        return self.operator("POST", "Payments", {"amount": amount, "reference": reference, **body})

    def disputes(self, invoice: dict[str, Any], ref: str, amount: str) -> dict[str, Any]:
        """Dispute a part of a line, as the legal contact."""
        [legal] = [each for each in self.items("Contacts") if each["kind"] == "legal"]
        body = {"contact_sid": legal["sid"], "invoice_sid": invoice["sid"], "reason": "Not what was sent"}
        return self.call("POST", "Disputes", {**body, "lines": [{"ref": ref, "amount": amount}]})

    def used_in_the_year(self) -> Decimal:
        """Return the total of Twilio's yearly usage record."""
        [year] = self.client.usage.records.yearly.list(
            category="totalprice", start_date="2027-01-01", end_date="2027-12-31"
        )
        return round(Decimal(year.price), 6)

    def billed_in_the_year(self) -> Decimal:
        """Return what all invoices of the year come to."""
        found = self.operator("GET", "Invoices")["items"]
        return sum((Decimal(each["total"]) for each in found if each["kind"] == "invoice"), Decimal())

    def ledger(self, currency: str) -> dict[str, Decimal]:
        """Return the balances of the books, debits positive."""
        books = self.operator("GET", "LedgerBalances")["items"]
        [found] = [each for each in books if each["currency"] == currency]
        return {name: Decimal(amount) for name, amount in found["accounts"].items()}


def application(world: World, **answers: Any) -> dict[str, Any]:
    """Return a sign-up that leaves nothing open."""
    return {
        "org_type": "corporate",
        "use": "business",
        "signer_name": "The director",
        "signer_role": "director",
        "authority": True,
        "compliance": True,
        "accepted_version": world.current_terms(),
    } | answers


def lines_of(invoice: dict[str, Any], customer_sid: str | None = None) -> list[tuple[str, ...]]:
    """Return the lines of an invoice in order.

    Shapes: (kind, service, quantity, price, amount), and of taxes ("tax", jurisdiction, base, rate, amount).
    """
    found: list[tuple[str, ...]] = []
    for section in invoice["sections"]:
        if customer_sid in (None, section["customer_sid"]):
            for line in section["lines"]:
                if line["kind"] == "tax":
                    found.append(("tax", line["jurisdiction"], line["base"], line["rate"], line["amount"]))
                else:
                    price = line["price"] or ""
                    found.append((line["kind"], line["service"], str(line["quantity"]), price, line["amount"]))
    return sorted(found)


def document(name: str) -> dict[str, str]:
    """Return a document to hand in."""
    return {"name": name, "content": base64.b64encode(b"a scan of " + name.encode()).decode()}
