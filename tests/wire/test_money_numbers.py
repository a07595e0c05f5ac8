"""What numbers cost: a month when one is bought, each further one on its day, and nothing once it is given back."""

from decimal import Decimal

import pytest
import requests
from twilio.base.exceptions import TwilioRestException

WAIT_S = 10


@pytest.fixture(autouse=True)
def _clock_shell(_shell, clock_server, monkeypatch):
    """The shell of the server whose clock may be moved."""
    for name, value in clock_server.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def account(clock_server):
    """An account with play money and no number."""
    return clock_server.make_account("Numbers", with_number=False)


@pytest.fixture
def client(account):
    return account.client()


def price_of(client, kind="local", country="US"):
    listed = client.pricing.v1.phone_numbers.countries(country).fetch()
    assert listed.price_unit == "USD"
    [found] = [row["current_price"] for row in listed.phone_number_prices if row["number_type"] == kind]
    return Decimal(str(found))


def balance(client):
    return Decimal(client.balance.fetch().balance)


def buy(client, kind="local"):
    stock = getattr(client.available_phone_numbers("US"), kind).list(limit=1)
    return client.incoming_phone_numbers.create(phone_number=stock[0].phone_number)


def months(client, category="phonenumbers"):
    [found] = client.usage.records.all_time.list(category=category)
    return int(found.count), round(Decimal(found.price), 5)


class TestFirstMonth:
    def test_buying_costs_the_listed_price_at_once(self, client):
        before = balance(client)
        buy(client).delete()
        assert balance(client) == before - price_of(client)
        assert months(client) == months(client, "phonenumbers-local") == (1, price_of(client))

    def test_toll_free_number_has_its_own_price_and_category(self, client):
        before = balance(client)
        buy(client, "toll_free").delete()
        assert price_of(client, "toll free") != price_of(client)
        assert balance(client) == before - price_of(client, "toll free")
        assert months(client, "phonenumbers-tollfree") == (1, price_of(client, "toll free"))
        assert months(client, "phonenumbers-local") == (0, 0)

    def test_without_funds_nothing_is_bought(self, clock_server, client, account):
        broke = account.client(*clock_server.sign_up())
        wanted = client.available_phone_numbers("US").local.list(limit=1)[0].phone_number
        with pytest.raises(TwilioRestException) as caught:
            broke.incoming_phone_numbers.create(phone_number=wanted)
        assert (caught.value.code, caught.value.status) == (20005, 403)
        assert broke.incoming_phone_numbers.list() == []
        assert wanted in [row.phone_number for row in client.available_phone_numbers("US").local.list(limit=50)]

    def test_test_credentials_pay_nothing(self, client, account):
        before = balance(client)
        pretending = account.client(account.test_sid, account.test_token)
        pretending.incoming_phone_numbers.create(phone_number="+15005550006")
        assert balance(client) == before


class TestNextMonths:
    def test_each_month_costs_again_and_a_returned_number_no_more(self, clock_server, client):
        before, price = balance(client), price_of(client)
        number = buy(client)
        clock_server.advance(days=20)
        assert balance(client) == before - price
        clock_server.advance(days=12)
        assert balance(client) == before - 2 * price
        clock_server.advance(days=62)
        assert balance(client) == before - 4 * price
        number.delete()
        clock_server.advance(days=62)
        assert balance(client) == before - 4 * price
        assert months(client) == (4, 4 * price)

    def test_moved_to_a_subaccount_it_goes_on_costing_there(self, clock_server, client):
        before, price = balance(client), price_of(client)
        number = buy(client)
        below = client.api.v2010.accounts.create(friendly_name="below")
        client.incoming_phone_numbers(number.sid).update(account_sid=below.sid)
        clock_server.advance(days=32)
        assert balance(client) == before - 2 * price
        mine = client.usage.records.all_time.list(category="phonenumbers", include_subaccounts=False)
        assert [row.count for row in mine] == ["1"]
        client.api.v2010.accounts(below.sid).incoming_phone_numbers(number.sid).delete()

    def test_number_of_the_first_start_was_given_and_costs_from_its_second_month(self, clock_server):
        first = requests.get(
            f"{clock_server.url}/2010-04-01/Accounts/{clock_server.account_sid}/Usage/Records/AllTime.json",
            params={"Category": "phonenumbers"},
            auth=(clock_server.account_sid, clock_server.auth_token),
            timeout=WAIT_S,
        ).json()["usage_records"][0]
        clock_server.advance(days=32)
        again = requests.get(
            f"{clock_server.url}/2010-04-01/Accounts/{clock_server.account_sid}/Usage/Records/AllTime.json",
            params={"Category": "phonenumbers"},
            auth=(clock_server.account_sid, clock_server.auth_token),
            timeout=WAIT_S,
        ).json()["usage_records"][0]
        # In 32 days begins a month of it, or two where the span begins just before one.
        assert int(again["count"]) - int(first["count"]) in (1, 2)

    def test_month_that_funds_do_not_cover_is_owed_and_bars_new_accounts(self, clock_server, account):
        auth = clock_server.sign_up()
        poor = account.client(*auth)
        clock_server.top_up(auth, f"{price_of(poor):.2f}")
        number = buy(poor)
        assert balance(poor) == 0
        clock_server.advance(days=32)
        assert balance(poor) == -price_of(poor)
        assert clock_server.standing(auth) == "insufficient"
        with pytest.raises(TwilioRestException):
            poor.api.v2010.accounts.create(friendly_name="one more")
        # Paying lifts it; the number stayed the customer's.
        clock_server.top_up(auth, "10.00")
        assert clock_server.standing(auth) == "ok"
        assert balance(poor) == 10 - price_of(poor)
        poor.incoming_phone_numbers(number.sid).delete()


class TestInvoiced:
    def test_invoice_has_a_line_for_the_numbers_month(self, clock_server, account, client):
        server, auth = clock_server, account.auth
        base = f"{server.url}/commercial/v1"
        [customer] = requests.get(f"{base}/Customers", auth=auth, timeout=WAIT_S).json()["items"]
        applied = requests.post(f"{base}/InvoicingApplications", json={}, auth=auth, timeout=WAIT_S).json()
        decided = requests.post(
            f"{base}/InvoicingApplications/{applied['sid']}/Decision",
            params={"customer_sid": customer["sid"]},
            json={"decision": "approve", "credit_limit": "500.00"},
            headers={"Authorization": f"Bearer {server.operator_key}"},
            timeout=WAIT_S,
        )
        assert decided.status_code == 200, decided.text
        chosen = requests.post(f"{base}/PaymentMethods", json={"kind": "invoice"}, auth=auth, timeout=WAIT_S)
        assert chosen.status_code in (200, 201), chosen.text
        number = buy(client)
        server.advance(days=32)
        invoices = requests.get(f"{base}/Invoices", auth=auth, timeout=WAIT_S).json()["items"]
        first = requests.get(f"{base}/Invoices/{invoices[0]['sid']}", auth=auth, timeout=WAIT_S).json()
        lines = [line for section in first["sections"] for line in section["lines"]]
        [month] = [line for line in lines if line["service"] == "phone-number-local"]
        assert (month["kind"], month["quantity"], month["unit"]) == ("fee", 1, "month")
        assert Decimal(month["amount"]) == price_of(client)
        number.delete()
