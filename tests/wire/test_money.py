"""Money before traffic, as a customer meets it: sign up, be refused, pay, send, see what it cost."""

from decimal import Decimal

import pytest
import requests
from twilio.rest import Client

SIMULATED_CARD = "4242424242424242"


@pytest.fixture
def signed_up(server):
    """A customer that signed itself up: bound by the terms, without funds."""
    version = requests.get(f"{server.url}/legal/tos", timeout=10).headers["X-Version-Sid"]
    application = {
        "organization_name": "Northwind",
        "country": "US",
        "org_type": "corporate",
        "use": "business",
        "email": "owner@northwind.example",
        "signer_name": "Ann Example",
        "signer_role": "director",
        "authority": True,
        "compliance": True,
        "accepted_version": version,
    }
    answer = requests.post(f"{server.url}/commercial/v1/SignUps", json=application, timeout=10)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def customer(signed_up):
    return Client(signed_up["account_sid"], signed_up["auth_token"])


@pytest.fixture
def own_number(customer, pay):
    """A number that the customer holds and paid for, which leaves nothing; given back at the end."""
    listed = customer.pricing.v1.phone_numbers.countries("US").fetch().phone_number_prices
    [price] = [row["current_price"] for row in listed if row["number_type"] == "local"]
    assert pay(f"{price:.2f}")["state"] == "succeeded"
    found = customer.available_phone_numbers("US").local.list(limit=1)[0].phone_number
    bought = customer.incoming_phone_numbers.create(phone_number=found)
    yield found
    bought.delete()


@pytest.fixture
def pay(server, signed_up):
    """Top the customer's balance up with a card of the payment simulator."""

    def top_up(amount):
        auth = (signed_up["account_sid"], signed_up["auth_token"])
        card = requests.post(
            f"{server.url}/simulator/v1/payments/cards", json={"number": SIMULATED_CARD}, timeout=10
        ).json()
        base = f"{server.url}/commercial/v1"
        method = requests.post(
            f"{base}/PaymentMethods", json={"kind": "card", "token": card["token"]}, auth=auth, timeout=10
        )
        assert method.status_code == 201, method.text
        made = requests.post(f"{base}/TopUps", json={"amount": amount}, auth=auth, timeout=10)
        assert made.status_code in (201, 202), made.text
        server.settle()
        return requests.get(f"{base}/TopUps/{made.json()['sid']}", auth=auth, timeout=10).json()

    return top_up


class TestFunds:
    def test_sending_without_funds_is_refused_and_stores_nothing(self, customer, own_number, handset, refused):
        with refused(20005, 403):
            customer.messages.create(to=handset.number, from_=own_number, body="for free?")
        assert customer.messages.list() == []
        assert handset.bodies() == []

    def test_who_has_paid_sends_and_sees_what_it_cost(self, server, customer, own_number, handset, pay):
        assert pay("5.00")["state"] == "succeeded"
        assert Decimal(customer.balance.fetch().balance) == Decimal("5")
        sent = customer.messages.create(to=handset.number, from_=own_number, body="paid for")
        assert sent.price is None
        server.settle()
        delivered = customer.messages(sent.sid).fetch()
        assert (delivered.status, delivered.price_unit) == ("delivered", "USD")
        cost = -Decimal(delivered.price)
        assert cost > 0
        assert Decimal(customer.balance.fetch().balance) == Decimal("5") - cost
        [used] = customer.usage.records.today.list(category="sms-outbound")
        assert (used.count, used.usage) == ("1", "1")
        assert round(Decimal(used.price), 5) == cost

    def test_two_segments_cost_twice(self, server, customer, own_number, handset, pay):
        pay("5.00")
        one = customer.messages.create(to=handset.number, from_=own_number, body="x")
        two = customer.messages.create(to=handset.number, from_=own_number, body="x" * 161)
        server.settle()
        prices = [Decimal(customer.messages(sid).fetch().price) for sid in (one.sid, two.sid)]
        assert prices[1] == 2 * prices[0]

    def test_message_the_carrier_refuses_costs_nothing(self, server, customer, own_number, handset, pay):
        pay("5.00")
        handset.behaves(outcome="reject")
        sent = customer.messages.create(to=handset.number, from_=own_number, body="never gone")
        server.settle()
        failed = customer.messages(sent.sid).fetch()
        assert failed.status == "failed"
        assert Decimal(failed.price) == 0
        assert Decimal(customer.balance.fetch().balance) == Decimal("5")

    def test_balance_is_spent_to_its_last_message_and_not_beyond(self, server, customer, own_number, handset, pay):
        pay("5.00")
        probe = customer.messages.create(to=handset.number, from_=own_number, body="x")
        server.settle()
        cost = -Decimal(customer.messages(probe.sid).fetch().price)
        # Ten segments a message bring the end near quickly.
        sent = 1
        try:
            while True:
                customer.messages.create(to=handset.number, from_=own_number, body="x" * 1530)
                sent += 10
        except Exception as error:
            assert getattr(error, "code", None) == 20005
        server.settle()
        left = Decimal(customer.balance.fetch().balance)
        assert left == Decimal("5") - sent * cost
        assert 0 <= left < 10 * cost

    def test_inbound_message_costs_and_the_reply_to_stop_is_free(self, server, customer, own_number, handset, pay):
        pay("5.00")
        handset.send(own_number, "STOP")
        server.settle()
        prices = {message.direction: Decimal(message.price) for message in customer.messages.list()}
        assert prices["inbound"] < 0
        assert prices["outbound-reply"] == 0


class TestPrices:
    def test_price_list_names_what_a_message_costs(self, server, customer, own_number, handset, pay):
        pay("5.00")
        sent = customer.messages.create(to=handset.number, from_=own_number, body="x")
        server.settle()
        country = customer.pricing.v1.messaging.countries("US").fetch()
        listed = {
            Decimal(str(price["current_price"])) for row in country.outbound_sms_prices for price in row["prices"]
        }
        assert -Decimal(customer.messages(sent.sid).fetch().price) in {round(price, 5) for price in listed}


class TestSignUp:
    def test_without_acceptance_there_is_no_account(self, server):
        answer = requests.post(
            f"{server.url}/commercial/v1/SignUps",
            json={
                "organization_name": "Northwind",
                "country": "US",
                "org_type": "corporate",
                "use": "business",
                "email": "owner@northwind.example",
                "signer_name": "Ann Example",
                "signer_role": "director",
                "authority": True,
                "compliance": True,
            },
            timeout=10,
        )
        assert answer.status_code == 403
        assert answer.json()["details"]["clause"] == "P.6"


class TestInvoicing:
    @pytest.fixture(autouse=True)
    def _other_shell(self, _shell, clock_server, monkeypatch):
        for name, value in clock_server.env.items():
            monkeypatch.setenv(name, value)

    def test_approved_customer_gets_the_month_as_an_invoice_by_mail(self, clock_server):
        server = clock_server
        account = server.make_account("On account")
        auth = account.auth
        base = f"{server.url}/commercial/v1"
        [customer] = requests.get(f"{base}/Customers", auth=auth, timeout=10).json()["items"]
        contact = {"kind": "billing", "name": "Accounts payable", "address": "payable@northwind.example"}
        assert requests.post(f"{base}/Contacts", json=contact, auth=auth, timeout=10).status_code == 201
        applied = requests.post(f"{base}/InvoicingApplications", json={}, auth=auth, timeout=10)
        assert applied.status_code == 201, applied.text
        decision = requests.post(
            f"{base}/InvoicingApplications/{applied.json()['sid']}/Decision",
            params={"customer_sid": customer["sid"]},
            json={"decision": "approve", "credit_limit": "500.00"},
            headers={"Authorization": f"Bearer {server.operator_key}"},
            timeout=10,
        )
        assert decision.status_code == 200, decision.text
        handset = server.make_handset()
        client = account.client()
        sent = client.messages.create(to=handset.number, from_=account.number, body="on account")
        server.settle()
        cost = -Decimal(client.messages(sent.sid).fetch().price)
        server.advance(days=35)
        invoices = requests.get(f"{base}/Invoices", auth=auth, timeout=10).json()["items"]
        assert invoices, "the month was not closed"
        first = requests.get(f"{base}/Invoices/{invoices[0]['sid']}", auth=auth, timeout=10).json()
        # The sandbox's money, which the account began with, settles it at once.
        assert (first["state"], first["currency"]) == ("paid", "USD")
        assert first["number"]
        fees = {line["service"]: Decimal(line["amount"]) for line in first["sections"][0]["lines"]}
        assert fees["sms"] == round(cost, 2)
        assert Decimal(first["totals"]["fee"]) == sum(fees.values())
        assert "payable@northwind.example" in [each["address"] for each in first["sent_to"]]
        mails = requests.get(f"{server.url}/simulator/v1/mailboxes/{contact['address']}/messages", timeout=10).json()
        assert any(
            first["number"] in mail["subject"] for mail in (mails["items"] if isinstance(mails, dict) else mails)
        )
