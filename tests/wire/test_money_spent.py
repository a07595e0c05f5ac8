"""What follows when funds are spent: they are filled up, or the customer's standing changes, by sending alone."""

from decimal import Decimal

import pytest
import requests

WAIT_S = 10


class Customer:
    """A customer that signed itself up and holds a number that it paid for."""

    def __init__(self, server, client_of):
        self.server = server
        self.auth = server.sign_up()
        self.client = client_of(*self.auth)
        listed = self.client.pricing.v1.phone_numbers.countries("US").fetch().phone_number_prices
        [price] = [row["current_price"] for row in listed if row["number_type"] == "local"]
        server.top_up(self.auth, f"{price:.2f}")
        stock = self.client.available_phone_numbers("US").local.list(limit=1)
        self.bought = self.client.incoming_phone_numbers.create(phone_number=stock[0].phone_number)
        self.number = stock[0].phone_number

    def own(self, method, path, body=None):
        url = f"{self.server.url}/commercial/v1/{path}"
        answer = requests.request(method, url, json=body, auth=self.auth, timeout=WAIT_S)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def balance(self):
        return Decimal(self.client.balance.fetch().balance)

    def top_ups(self):
        return [(each["origin"], each["amount"], each["state"]) for each in self.own("GET", "TopUps")["items"]]

    def send(self, handset, segments=1):
        return self.client.messages.create(to=handset.number, from_=self.number, body="x" * 153 * segments)


@pytest.fixture
def customer(server, fresh_account):
    made = Customer(server, fresh_account.client)
    yield made
    made.bought.delete()


class TestAutoRecharge:
    def test_sending_below_the_threshold_fills_the_balance_up_once(self, server, customer, handset):
        server.top_up(customer.auth, "5.00")
        setting = {"threshold": "4.95", "amount": "10.00", "cap_per_day": "50.00"}
        assert customer.own("POST", "AutoRecharge", setting)["state"] == "on"
        customer.send(handset)
        server.settle()
        assert customer.balance() > Decimal("4.95")
        assert [each for each in customer.top_ups() if each[0] == "auto"] == []
        customer.send(handset, segments=9)
        server.settle()
        assert [each for each in customer.top_ups() if each[0] == "auto"] == [("auto", "10.00", "succeeded")]
        assert Decimal("14.85") < customer.balance() < Decimal("14.95")

    def test_each_fall_below_it_is_told_again(self, server, customer, handset):
        server.top_up(customer.auth, "1.00")
        customer.own("POST", "AutoRecharge", {"threshold": "0.95", "amount": "0.50", "cap_per_day": "50.00"})
        for _ in range(10):
            customer.send(handset, segments=10)
            server.settle()
        assert customer.balance() >= Decimal("0.85")
        assert len([each for each in customer.top_ups() if each == ("auto", "0.50", "succeeded")]) >= 1
        assert customer.balance() < Decimal("1.50")


class TestStanding:
    def test_fees_beyond_the_funds_bar_new_accounts_until_they_are_paid(self, server, customer, handset):
        assert server.standing(customer.auth) == "ok"
        # What comes in costs, and cannot be refused for want of funds.
        handset.send(customer.number, "hello")
        server.settle()
        assert customer.balance() < 0
        assert server.standing(customer.auth) == "insufficient"
        url = f"{server.url}/2010-04-01/Accounts.json"
        assert requests.post(url, data={}, auth=customer.auth, timeout=WAIT_S).status_code == 403
        server.top_up(customer.auth, "1.00")
        assert server.standing(customer.auth) == "ok"
        assert requests.post(url, data={}, auth=customer.auth, timeout=WAIT_S).status_code == 201


class TestNeverHeardOf:
    @pytest.fixture(autouse=True)
    def _clock_shell(self, _shell, clock_server, monkeypatch):
        for name, value in clock_server.env.items():
            monkeypatch.setenv(name, value)

    def test_message_without_a_receipt_is_charged_after_72_hours_and_says_so(self, clock_server):
        server = clock_server
        account = server.make_account()
        client, handset = account.client(), server.make_handset()
        heard = client.messages.create(to=handset.number, from_=account.number, body="heard of")
        server.settle()
        handset.behaves(outcome="lost_receipt")
        sent = client.messages.create(to=handset.number, from_=account.number, body="never heard of")
        server.settle()
        before = Decimal(client.balance.fetch().balance)
        waiting = client.messages(sent.sid).fetch()
        assert (waiting.status, waiting.price) == ("sent", None)
        server.advance(hours=79)
        charged = client.messages(sent.sid).fetch()
        assert charged.status == "sent"
        assert (charged.price, charged.price_unit) == (client.messages(heard.sid).fetch().price, "USD")
        assert Decimal(client.balance.fetch().balance) == before + Decimal(charged.price)
