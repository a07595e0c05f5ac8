"""Leaving and claiming as a customer and an operator meet it: notice, cure, claims, support, export, deletion."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

SIMULATED_CARD = "4242424242424242"
WAIT_S = 30
# The template's addendum.
EXPORT_DAYS = 60
_serials = itertools.count(1)


@pytest.fixture(scope="module")
def house(start_server: Any) -> Iterator[Any]:
    """A server of these tests' own, whose clock they move by months."""
    with start_server({}) as started:
        yield started


@dataclass
class Customer:
    """A customer that signed itself up, and the operator's view of it."""

    server: Any
    sid: str
    account_sid: str
    token: str
    email: str
    number: str = ""

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        expect: int = 0,
        operator: bool = False,
        named: bool = True,
    ) -> Any:
        """Ask /commercial/v1 as the customer, or as the operator (who names it, or not); the answer's JSON."""
        headers, auth, params = {}, None, {}
        if operator:
            headers = {"Authorization": f"Bearer {self.server.operator_key}"}
            if method == "GET":
                params = {"customer_sid": self.sid}
            elif named:
                body = {"customer_sid": self.sid, **(body or {})}
        else:
            auth = (self.account_sid, self.token)
        answer = requests.request(
            method,
            f"{self.server.url}/commercial/v1/{path}",
            json=body,
            params=params,
            auth=auth,
            headers=headers,
            timeout=WAIT_S,
        )
        if expect:
            assert answer.status_code == expect, answer.text
        else:
            assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.call("POST", path, body or {}, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def fire(self, noun: str, sid: str, event: str, **given: Any) -> Any:
        options = {name: given.pop(name) for name in ("operator", "expect") if name in given}
        return self.post(f"{noun}/{sid}/Events", {"event": event, **given}, **options)

    def rest(self, method: str, rest: str, data: Any = None) -> requests.Response:
        """Ask the 2010 API as the customer."""
        url = f"{self.server.url}/2010-04-01/Accounts/{self.account_sid}{rest}"
        return requests.request(method, url, data=data, auth=(self.account_sid, self.token), timeout=WAIT_S)

    def buy_number(self) -> str:
        found = self.rest("GET", "/AvailablePhoneNumbers/US/Local.json?PageSize=1").json()
        number = found["available_phone_numbers"][0]["phone_number"]
        assert self.rest("POST", "/IncomingPhoneNumbers.json", {"PhoneNumber": number}).status_code == 201
        self.number = number
        return str(number)

    def message(self, to: str, body: str) -> str:
        answer = self.rest("POST", "/Messages.json", {"From": self.number, "To": to, "Body": body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["sid"])

    def mails(self) -> list[dict[str, Any]]:
        """What its mailbox holds."""
        self.server.settle()
        url = f"{self.server.url}/simulator/v1/mailboxes/{self.email}/messages"
        return list(requests.get(url, timeout=WAIT_S).json())

    def order_form(self, term_from: date, term_to: date, **values: Any) -> str:
        """Draft, send and sign an order form with both parties."""
        body = {
            "number": f"OF-{next(_serials)}",
            "term_from": term_from.isoformat(),
            "term_to": term_to.isoformat(),
            "rates": [{"service": "sms", "unit": "segment", "price": "1.00"}],
            **values,
        }
        sid = str(self.post("OrderForms", body, operator=True)["sid"])
        self.post(f"OrderForms/{sid}/Send", operator=True, named=False)
        self.post(f"OrderForms/{sid}/Signatures", {"name": "Ann"})
        assert (
            self.post(f"OrderForms/{sid}/Signatures", {"name": "Bob"}, operator=True, named=False)["state"] == "signed"
        )
        self.server.settle()
        return sid

    def closed(self, method: str, path: str) -> requests.Response:
        """Ask what a closed account may still ask."""
        url = f"{self.server.url}/commercial/v1/{path}"
        return requests.request(
            method, url, json={} if method == "POST" else None, auth=(self.account_sid, self.token), timeout=WAIT_S
        )


@pytest.fixture
def join(house: Any) -> Any:
    """Sign customers up; each starts with 40.00 paid by card."""

    def sign_up(name: str = "Leaver", *, funds: str = "40.00") -> Customer:
        version = requests.get(f"{house.url}/legal/tos", timeout=WAIT_S).headers["X-Version-Sid"]
        email = f"owner{next(_serials)}@leaver.example"
        application = {
            "organization_name": name,
            "country": "US",
            "org_type": "corporate",
            "use": "business",
            "email": email,
            "signer_name": "Ann Example",
            "signer_role": "director",
            "authority": True,
            "compliance": True,
            "accepted_version": version,
        }
        answer = requests.post(f"{house.url}/commercial/v1/SignUps", json=application, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        customer = Customer(house, made["customer"]["sid"], made["account_sid"], made["auth_token"], email)
        customer.post("BillingProfiles", {"capacity": "principal"}, operator=True)
        if funds:
            token = requests.post(
                f"{house.url}/simulator/v1/payments/cards", json={"number": SIMULATED_CARD}, timeout=WAIT_S
            ).json()["token"]
            customer.post("PaymentMethods", {"kind": "card", "token": token})
            customer.post("TopUps", {"amount": funds})
            house.settle()
        return customer

    return sign_up


def now(server: Any) -> datetime:
    return datetime.fromisoformat(server.clock(advance_s=0)["now"])


def move(server: Any, to: datetime) -> None:
    # In steps: what happens in a month takes its time.
    while now(server) + timedelta(days=15) < to:
        server.advance(days=10)
    server.advance(seconds=(to - now(server)).total_seconds())


def midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def month_after(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def steps(case: dict[str, Any]) -> dict[str, str]:
    return {one["step"]: one["outcome"] for one in case["closing"]}


class TestConvenience:
    def test_notice_waits_for_the_order_form_then_closes_bills_exports_and_deletes(self, house: Any, join: Any) -> None:
        customer = join()
        customer.buy_number()
        today = now(house).date()
        form_end = today + timedelta(days=40)
        # It would renew itself; under notice it does not.
        customer.order_form(
            today, form_end, renewal_months=12, commitments=[{"amount": "5.00", "period": "term", "services": ["sms"]}]
        )
        sent = customer.message(house.make_handset().number, "remember me")
        house.settle()
        outlook = customer.get("TerminationOutlook")
        assert outlook["last_order_form_ends_on"] == outlook["last_day"] == form_end.isoformat()
        assert Decimal(outlook["unused_funds"]["USD"]) == Decimal("37.90"), "40.00 less a number and a message"
        case = customer.post("Terminations", {"event": "receive", "kind_of_end": "convenience", "reason": "moving"})
        assert (case["state"], case["last_day"]) == ("notice_given", form_end.isoformat())
        assert case["unused_funds"] == outlook["unused_funds"]

        move(house, midnight(form_end + timedelta(days=1)) - timedelta(minutes=5))
        assert customer.get(f"Terminations/{case['sid']}")["state"] == "notice_given"
        assert customer.rest("GET", ".json").status_code == 200
        move(house, midnight(form_end + timedelta(days=1)) + timedelta(minutes=5))

        ended = customer.get(f"Terminations/{case['sid']}", operator=True)
        assert ended["state"] == "terminated"
        outcomes = steps(ended)
        assert outcomes["close_accounts"] == "1 closed" and outcomes["release_numbers"] == "1 released"
        assert outcomes["charge_shortfall"] == "4.00 USD", "5.00 were promised, 1.00 was used"
        assert customer.rest("GET", ".json").status_code == 401
        [form] = customer.get("OrderForms", operator=True)["items"]
        assert (form["state"], form["term_to"]) == ("expired", form_end.isoformat())
        number = outcomes["final_invoice"].split()[0]
        [invoice] = [each for each in customer.get("Invoices", operator=True)["items"] if each["number"] == number]
        assert invoice["issued_on"] == form_end.isoformat()
        [section] = customer.get(f"Invoices/{invoice['sid']}", operator=True)["sections"]
        lines = section["lines"]
        assert "4.00" in [line["amount"] for line in lines if line["kind"] == "commitment"]
        survived = customer.get("EffectiveClauses", operator=True)
        assert survived["terminated"] and "8.3" in survived["items"] and "2.1(a)" not in survived["items"]

        # Nobody else gets the number before its quarantine ends.
        other = join("Other")
        wanted = {"PhoneNumber": customer.number}
        assert other.rest("POST", "/IncomingPhoneNumbers.json", wanted).status_code == 400
        # The export is for the owner of the closed account, and for nobody else.
        assert customer.closed("POST", "Exports").status_code == 401
        assert other.closed("POST", "ClosedAccountExports").status_code == 401
        export = customer.closed("POST", "ClosedAccountExports")
        assert export.status_code == 201, export.text
        tables = export.json()["tables"]
        assert [row["body"] for row in tables["messages"] if row["sid"] == sent] == ["remember me"]
        assert tables["incoming_numbers"] and tables["events"] and tables["rated_usage"]
        assert other.sid not in export.text and other.account_sid not in export.text
        assert any(mail["subject"] == "Export your data" for mail in customer.mails())

        deletion = customer.closed("GET", "ClosedAccountDeletion").json()
        due_at = datetime.fromisoformat(deletion["due_at"])
        assert due_at == midnight(form_end + timedelta(days=1 + EXPORT_DAYS + 1))
        move(house, due_at + timedelta(minutes=5))
        gone = customer.closed("POST", "ClosedAccountExports")
        assert gone.status_code == 410
        done = customer.closed("GET", "ClosedAccountDeletion").json()
        assert done["state"] == "deleted" and done["certificate"]["deleted"]["messages"] == 1
        assert done["certificate"]["deleted"]["incoming_numbers"] == 1
        assert done["certificate"]["kept"]["invoices"] == "books"
        [mail] = [mail for mail in customer.mails() if mail["subject"] == "Your data was deleted"]
        assert done["certificate_sha256"] in mail["body"]
        left = customer.post("Exports", operator=True)
        assert left["counts"]["messages"] == left["counts"]["api_keys"] == 0, "content is gone"
        assert [row["type"] for row in left["tables"]["events"]] == ["case.data_deletion.delete"]
        assert left["counts"]["invoices"] >= 1 and left["counts"]["rated_usage"] >= 1, "the books stay"
        assert "remember me" not in str(left)
        # Its quarantine is over too.
        assert other.rest("POST", "/IncomingPhoneNumbers.json", wanted).status_code == 201

    def test_form_signed_after_the_notice_moves_the_end(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        today = now(house).date()
        case = customer.post("Terminations", {"event": "receive", "kind_of_end": "convenience", "reason": "moving"})
        assert case["last_day"] == (today + timedelta(days=30)).isoformat()
        customer.order_form(today, today + timedelta(days=45))
        moved = customer.get(f"Terminations/{case['sid']}")
        assert moved["last_day"] == (today + timedelta(days=45)).isoformat()


class TestInfringement:
    def test_end_for_infringement_pays_unused_funds_back_to_their_card(self, house: Any, join: Any) -> None:
        customer = join()
        recharge = {"currency": "USD", "threshold": "5.00", "amount": "10.00", "cap_per_day": "50.00"}
        customer.post("AutoRecharge", recharge)
        body = {"kind_of_end": "ip", "reason": "no licence to be had"}
        refused = customer.post("Terminations", {"event": "receive", **body}, expect=403)
        assert refused["details"] == {"clause": "6.1.2(c)", "reason": "operators_option"}
        case = customer.post("Terminations", body, operator=True)
        house.settle()
        ended = customer.get(f"Terminations/{case['sid']}", operator=True)
        assert ended["state"] == "terminated" and ended["unused_funds"] == {"USD": "40.00"}
        [refund] = customer.get("Refunds", operator=True)["items"]
        assert (refund["basis"], refund["amount"], refund["state"]) == ("6.1.2", "40.00", "succeeded")
        assert [one["state"] for one in customer.get("AutoRecharge", operator=True)["items"]] == ["off"]


class TestBreach:
    def breach(self, customer: Customer) -> Any:
        body = {"kind_of_end": "breach", "reason": "unsolicited messages", "duty": "aup"}
        case = customer.post("Terminations", body, operator=True)
        assert case["state"] == "noticed"
        [mail] = [mail for mail in customer.mails() if mail["subject"] == "Notice of breach"]
        assert "unsolicited messages" in mail["body"]
        # The mail server took it, and with that its 15 days began.
        return customer.get(f"Terminations/{case['sid']}")

    def test_cured_within_15_days_ends_nothing(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        case = self.breach(customer)
        assert case["state"] == "notice_given"
        early = customer.fire("Terminations", case["sid"], "end", operator=True, expect=409)
        assert early["details"] == {"clause": "8.2.2", "reason": "too_early"}
        customer.fire("Terminations", case["sid"], "cure", operator=True, reason="list cleaned")
        move(house, now(house) + timedelta(days=17))
        customer.fire("Terminations", case["sid"], "end", operator=True, expect=409)
        assert customer.rest("GET", ".json").status_code == 200

    def test_not_cured_is_ended_by_the_operator_from_day_16_and_takes_order_forms_and_keys(
        self, house: Any, join: Any
    ) -> None:
        customer = join()
        customer.buy_number()
        today = now(house).date()
        form = customer.order_form(today, today + timedelta(days=300))
        key = customer.rest("POST", "/Keys.json", {"FriendlyName": "app"}).json()
        key_auth = (key["sid"], key["secret"])
        account_url = f"{house.url}/2010-04-01/Accounts/{customer.account_sid}/Messages.json"
        assert requests.get(account_url, auth=key_auth, timeout=WAIT_S).status_code == 200
        case = self.breach(customer)
        last = date.fromisoformat(case["given_on"]) + timedelta(days=15)
        assert case["last_day"] == last.isoformat()
        move(house, midnight(last + timedelta(days=1)))
        assert customer.get(f"Terminations/{case['sid']}")["state"] == "notice_given", "nothing ends by itself"
        # A carrier that cannot be reached keeps a message waiting.
        fault = house.fault(kind="unreachable", **{"from": customer.number})
        waiting = customer.message(house.make_handset().number, "too late")
        house.settle()
        ended = customer.fire("Terminations", case["sid"], "end", operator=True)
        requests.delete(f"{house.url}/simulator/v1/faults/{fault['id']}", timeout=WAIT_S)
        outcomes = steps(ended)
        assert outcomes["end_order_forms"] == "1 ended" and "1 keys revoked" in outcomes["block_writes"]
        [stored] = customer.get("OrderForms", operator=True)["items"]
        assert (stored["sid"], stored["state"], stored["ended_cause"]) == (form, "terminated", "8.2.2")
        assert requests.get(account_url, auth=key_auth, timeout=WAIT_S).status_code == 401
        assert customer.rest("GET", "/Messages.json").status_code == 401
        house.settle()
        rows = customer.closed("POST", "ClosedAccountExports").json()["tables"]["messages"]
        assert [(row["status"], row["error_code"]) for row in rows if row["sid"] == waiting] == [("failed", 30002)]

    def test_force_majeure_lengthens_the_cure_while_it_is_accepted(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        case = self.breach(customer)
        given_on = date.fromisoformat(case["given_on"])
        body = {
            "party": "customer",
            "cause": "earthquake",
            "from_on": (given_on + timedelta(days=2)).isoformat(),
            "until_on": (given_on + timedelta(days=6)).isoformat(),
            "duties": ["aup"],
            "mitigation": "moved to another site",
        }
        event = customer.post("ForceMajeure", body)
        assert customer.get(f"Terminations/{case['sid']}")["last_day"] == (given_on + timedelta(days=15)).isoformat()
        customer.fire("ForceMajeure", event["sid"], "accept", operator=True)
        assert customer.get(f"Terminations/{case['sid']}")["last_day"] == (given_on + timedelta(days=20)).isoformat()


class TestClaims:
    def used_month(self, house: Any, join: Any) -> tuple[Customer, date]:
        """A customer with five messages for 1.00 each on the invoice of a month that is over."""
        first = month_after(now(house).date())
        move(house, midnight(first) + timedelta(hours=12))
        customer = join()
        customer.buy_number()
        customer.order_form(first, first + timedelta(days=200))
        handset = house.make_handset()
        for number in range(5):
            customer.message(handset.number, f"message {number}")
        house.settle()
        # An hour behind the number's own anniversary.
        move(house, midnight(month_after(first)) + timedelta(hours=13))
        return customer, first

    def test_30_minutes_down_credit_a_tenth_of_the_months_fees(self, house: Any, join: Any) -> None:
        customer, month = self.used_month(house, join)
        down = {
            "minute": (midnight(month) + timedelta(hours=3)).isoformat(),
            "minutes": 30,
            "tried": 4,
            "failed": 4,
        }
        customer.post("Services/messaging/Measurements", down, operator=True, named=False)
        customer.post("Services/messaging/Measurements", down, expect=403)
        claim = customer.post("SlaClaims", {"service": "messaging", "month": month.isoformat()})
        assert (claim["unavailable_minutes"], claim["fees"], claim["credit"]) == (30, "5.00", "0.50")
        customer.fire("SlaClaims", claim["sid"], "credit", expect=403)
        done = customer.fire("SlaClaims", claim["sid"], "credit", operator=True)
        assert done["state"] == "credited" and done["credit_sid"].startswith("CC")
        [note] = customer.get("CreditNotes")["items"]
        assert claim["sid"] in note["reason"] and Decimal(note["total"]) >= Decimal("0.50")
        # What was credited counts no more for the cap of 7.2.
        incident = now(house).isoformat().replace("+00:00", "Z")
        cap = customer.get(f"LiabilityCap?services=messaging&first_incident={incident}")
        assert cap["cap"] == "4.50"

    def test_service_out_of_order_for_a_day_is_paid_back_with_its_tax_and_once(self, house: Any, join: Any) -> None:
        customer, day = self.used_month(house, join)
        body = {
            "service": "messaging",
            "from_on": day.isoformat(),
            "until_on": day.isoformat(),
            "description": "arrived in the wrong order",
        }
        # The taxes on the month's document are taken from the balance first.
        house.settle()
        before = Decimal(customer.rest("GET", "/Balance.json").json()["balance"])
        claim = customer.post("NonConformityClaims", body)
        assert claim["docs_snapshot"].startswith("template")
        customer.fire("NonConformityClaims", claim["sid"], "reproduce", operator=True, finding="seen")
        done = customer.fire("NonConformityClaims", claim["sid"], "refund", operator=True)
        assert done["state"] == "refunded" and Decimal(done["refund"]) >= 5
        [note] = customer.get("CreditNotes")["items"]
        assert Decimal(note["total"]) == Decimal(done["refund"])
        house.settle()
        assert Decimal(customer.rest("GET", "/Balance.json").json()["balance"]) == before + Decimal(done["refund"])
        again = customer.post("NonConformityClaims", body)
        customer.fire("NonConformityClaims", again["sid"], "reproduce", operator=True, finding="seen")
        refused = customer.fire("NonConformityClaims", again["sid"], "refund", operator=True, expect=409)
        assert refused["details"]["reason"] == "credited_already"

    def test_indemnity_notice_runs_and_its_ended_service_pays_back_what_was_prepaid(
        self, house: Any, join: Any
    ) -> None:
        customer = join(funds="")
        today = now(house).date().isoformat()
        body = {
            "direction": "operator",
            "third_party": "Patent Holder",
            "services": ["messaging"],
            "received_on": today,
            "notified_on": today,
        }
        claim = customer.post("IndemnityClaims", body)
        assert claim["state"] == "notified" and claim["indemnifying_party"] == "operator"
        customer.fire("IndemnityClaims", claim["sid"], "accept", defence_owner="us", expect=403)
        customer.fire("IndemnityClaims", claim["sid"], "accept", operator=True, defence_owner="counsel")
        term = {"prepaid": "1200.00", "term_from": "2025-01-01", "term_days": 365, "ended_on": "2025-04-01"}
        done = customer.fire("IndemnityClaims", claim["sid"], "end_service", operator=True, **term)
        assert (done["refund"], done["service_continues"]) == ("904.11", False)
        assert Decimal(customer.rest("GET", "/Balance.json").json()["balance"]) == Decimal("904.11")

    def test_dispute_goes_to_the_forum_of_the_agreement_after_its_negotiation(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        today = now(house).date()
        body = {
            "dispute_kind": "contract",
            "claimant": "customer",
            "first_request_on": today.isoformat(),
            "description": "about routes",
        }
        case = customer.post("ContractDisputes", body)
        customer.fire("ContractDisputes", case["sid"], "file", expect=409)
        move(house, midnight(today + timedelta(days=31)))
        assert customer.fire("ContractDisputes", case["sid"], "file")["forum"].startswith("arbitration, JAMS")


class TestSupport:
    def test_ticket_without_answer_records_its_breach_when_the_plans_time_ends(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        customer.post("SupportPlans/production", {"targets": {"P1": 60, "P2": 240}}, operator=True, named=False)
        house.clock(advance_s=1)
        body = {"plan": "production", "priority": "P1", "subject": "messages do not arrive"}
        ticket = customer.post("Tickets", body)
        assert ticket["state"] == "open" and ticket["breached"] is False
        opened = datetime.fromisoformat(ticket["date_created"])
        move(house, opened + timedelta(minutes=61))
        assert customer.get(f"Tickets/{ticket['sid']}")["breached"] is True
        answered = customer.fire("Tickets", ticket["sid"], "answer", operator=True, answer="mended")
        assert (answered["state"], answered["minutes_to_answer"]) == ("answered", 61)
        assert customer.fire("Tickets", ticket["sid"], "close")["state"] == "closed"

    def test_change_is_told_to_those_who_used_what_it_changes_and_a_report_on_it_is_exempt(
        self, house: Any, join: Any
    ) -> None:
        user, stranger = join(), join(funds="")
        user.buy_number()
        user.message(house.make_handset().number, "a use")
        change = {
            "title": "Carriers end a parameter",
            "endpoint": "/2010-04-01/Accounts/{AccountSid}/Messages",
            "breaking": True,
            "planned_on": (now(house).date() + timedelta(days=10)).isoformat(),
        }
        user.post("ServiceChanges", change, operator=True, named=False, expect=422)
        user.post("ServiceChanges", {**change, "endpoint": "/nowhere"}, operator=True, named=False, expect=422)
        reasons = {"override_reason": "the carriers' day", "exempt_reason": "carrier"}
        user.post(
            "ServiceChanges", {**change, **reasons, "endpoint": "/nowhere"}, operator=True, named=False, expect=400
        )
        made = user.post("ServiceChanges", {**change, **reasons}, operator=True, named=False)
        assert [mail["subject"] for mail in user.mails()].count("Change of a service") == 1
        assert "Change of a service" not in [mail["subject"] for mail in stranger.mails()]
        report = user.post("AdverseChanges", {"change_sid": made["sid"], "description": "our product broke"})
        house.settle()
        assert user.get(f"AdverseChanges/{report['sid']}")["state"] == "exempt"
        assert "Your report of a change" in [mail["subject"] for mail in user.mails()]

    def test_voice_number_of_japan_waits_for_the_letters_code(self, house: Any, join: Any) -> None:
        customer = join()
        address = f"{next(_serials)}-1 Chiyoda, Tokyo"
        body = {"country": "JP", "documents": ["passport.pdf"], "address": address}
        case = customer.post("IdentityVerifications", body)
        customer.fire("IdentityVerifications", case["sid"], "send_letter", operator=True)
        url = f"{house.url}/simulator/v1/letters"
        [letter] = requests.get(url, params={"address": address}, timeout=WAIT_S).json()
        code = letter["text"].removeprefix("Your code is ").removesuffix(".")
        customer.fire("IdentityVerifications", case["sid"], "confirm", code="wrong", expect=422)
        number = {"PhoneNumber": "+81355550100"}
        refused = customer.rest("POST", "/IncomingPhoneNumbers.json", number)
        assert (refused.status_code, refused.json()["details"]["reason"]) == (403, "not_verified")
        assert customer.fire("IdentityVerifications", case["sid"], "confirm", code=code)["state"] == "verified"
        assert customer.rest("POST", "/IncomingPhoneNumbers.json", number).status_code == 201

    def test_unpaid_reseller_suspends_after_its_own_cure_until_it_is_lifted(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        today = now(house).date()
        body = {
            "reseller": "R",
            "reported_by": "reseller",
            "evidence": "invoice 7",
            "from_on": today.isoformat(),
            "cure_days": 10,
        }
        case = customer.post("ResellerBreaches", body, operator=True)
        early = customer.fire("ResellerBreaches", case["sid"], "suspend", operator=True, expect=409)
        assert early["details"] == {"clause": "3.4", "reason": "cure_runs"}
        move(house, midnight(today + timedelta(days=11)) + timedelta(minutes=5))
        customer.fire("ResellerBreaches", case["sid"], "suspend", operator=True)
        house.clock(advance_s=5)
        assert customer.rest("GET", ".json").json()["status"] == "suspended"
        customer.fire("ResellerBreaches", case["sid"], "lift", operator=True, reason="paid")
        house.settle()
        assert customer.rest("GET", ".json").json()["status"] == "active"

    def test_partner_joins_and_its_riders_follow(self, house: Any, join: Any) -> None:
        customer = join(funds="")
        case = customer.post("Partners", {"programme": "build"})
        customer.fire("Partners", case["sid"], "qualify", operator=True, criteria=["a"], met=["a"])
        customer.fire("Partners", case["sid"], "approve", operator=True)
        assert "10.5" not in customer.get("EffectiveClauses")["items"]
        customer.fire("Partners", case["sid"], "accept", signer="Ann")
        assert "10.5" in customer.get("EffectiveClauses")["items"]


class TestRequestsForInformation:
    def test_request_is_told_to_the_customer_and_a_gagged_one_is_nowhere_to_be_seen(
        self, house: Any, join: Any
    ) -> None:
        customer = join(funds="")
        body = {"requester": "carrier", "basis": "traceback", "scope": "one call"}
        case = customer.post("InformationRequests", body, operator=True)
        customer.fire("InformationRequests", case["sid"], "validate", operator=True)
        customer.fire("InformationRequests", case["sid"], "notice", operator=True)
        assert "Request for information" in [mail["subject"] for mail in customer.mails()]
        gagged = customer.post("InformationRequests", {**body, "gag": True, "scope": "secret"}, operator=True)
        customer.fire("InformationRequests", gagged["sid"], "validate", operator=True)
        customer.fire("InformationRequests", gagged["sid"], "notice", operator=True, expect=409)
        customer.get("InformationRequests", expect=403)
        assert "secret" not in str(customer.post("Exports"))


class TestTenants:
    def test_another_tenants_cases_are_not_found_and_stay_as_they_are(self, house: Any, join: Any) -> None:
        victim, stranger = join(funds=""), join(funds="")
        today = now(house).date().isoformat()
        termination = victim.post("Terminations", {"event": "receive", "kind_of_end": "convenience", "reason": "x"})
        indemnity = victim.post(
            "IndemnityClaims",
            {
                "direction": "customer",
                "third_party": "T",
                "services": ["messaging"],
                "received_on": today,
                "notified_on": today,
            },
        )
        victim.post("SupportPlans/basic", {"targets": {"P4": 600}}, operator=True, named=False)
        house.clock(advance_s=1)
        ticket = victim.post("Tickets", {"plan": "basic", "priority": "P4", "subject": "x"})
        for noun, case, event, given in (
            ("Terminations", termination, "withdraw", {}),
            ("IndemnityClaims", indemnity, "accept", {"defence_owner": "x"}),
            ("Tickets", ticket, "close", {}),
        ):
            stranger.get(f"{noun}/{case['sid']}", expect=404)
            stranger.fire(noun, case["sid"], event, **given, expect=404)
            assert stranger.get(noun)["items"] == []
            stranger.post(f"{noun}/{case['sid']}/Events", {"event": event, "customer_sid": victim.sid}, expect=404)
            assert victim.get(f"{noun}/{case['sid']}")["version"] == case["version"]
        assert victim.closed("POST", "ClosedAccountExports").status_code == 401, "its account is open"
