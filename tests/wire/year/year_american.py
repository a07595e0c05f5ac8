"""Hudson Parcel Inc. of New York pays in advance, by card.

What it uses, in US dollars:

    a segment to a number of the United States    0.0079 until 30 June, 0.0083 from 1 July
    the carrier's surcharge on it                 0.0030
    so a message of ten segments                  0.1090, then 0.1130
    its number, bought on 5 January               1.10 on the 5th of each month

Taxes, each rounded half up once a statement: New York sales tax, 8.875 % on fees; the communications tax of this story,
3 % on fees and surcharges. What is used is taken from the balance exactly, its taxes when the month is closed.
"""

from decimal import Decimal
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from year_world import DECLINED_CARD, Party, World, application, lines_of

HANDSET = "+19075551001"
PRICE, RAISED, SURCHARGE = "0.0079", "0.0083", "0.003"


class American:
    """The story; each method is one entry of the diary."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.on("2027-01-04", self.signs_up)
        world.on("2027-01-05", self.spends_its_first_dollars)
        world.on("2027-01-06", self.has_a_card_declined)
        world.on("2027-01-07", self.pays_and_sends)
        world.on("2027-02-02", self.gets_the_january_statement)
        world.on("2027-02-10", self.is_filled_up_and_called)
        world.on("2027-03-02", self.gets_the_february_statement)
        world.on("2027-03-31", self.disputes_on_day_59)
        world.on("2027-04-02", self.disputes_on_day_61)
        world.on("2027-04-10", self.is_right)
        world.on("2027-05-10", self.hears_of_a_raise)
        world.on("2027-06-20", self.sends_before_the_raise)
        world.on("2027-07-20", self.sends_after_the_raise)
        world.on("2027-08-10", self.pays_again)
        world.on("2027-08-15", self.takes_a_payment_back)
        world.on("2027-08-25", self.wins_it_back_from_the_bank)
        world.on("2027-09-02", self.gets_the_summer_statements)
        world.on("2027-12-01", self.gives_notice)
        world.on("2027-12-31", self.is_served_to_the_last_day)

    # ---- January

    def signs_up(self) -> None:
        about = {"organization_name": "Hudson Parcel Inc.", "country": "US", "subdivision": "NY"}
        about |= {"email": "accounts@hudson.example"}
        world = self.world
        unaccepted = application(world, **about) | {"accepted_version": None}
        world.call("POST", "SignUps", json=unaccepted, refused=(403, "P.6"))
        personal = application(world, **about) | {"use": "personal"}
        world.call("POST", "SignUps", json=personal, refused=(422, "P.8"))
        self.party = Party.signs_up(world, **about)
        bound = self.party.call("GET", "Agreements")
        assert bound["bound"] is True
        assert (bound["contracting_entity"]["key"], bound["governing_law"]) == ("default", "State of California")

    def spends_its_first_dollars(self) -> None:
        party = self.party
        with pytest.raises(TwilioRestException) as refused:
            party.buys_a_number()
        assert (refused.value.code, refused.value.status) == (20005, 403)
        assert party.pays_by_card("2.10")["state"] == "succeeded"
        party.buys_a_number()
        # 2.10 - 1.10 pays nine messages of 0.109 (0.981); of the 0.019 left, one segment of 0.0109 and no second one.
        for message in party.sends(9, HANDSET):
            assert (message.status, message.price, message.price_unit) == ("delivered", "-0.10900", "USD")
        [last] = party.sends(1, HANDSET, "One segment.")
        assert last.price == "-0.01090"
        assert party.balance() == Decimal("0.0081")
        party.is_refused(HANDSET, 20005, 403)
        assert party.balance() == Decimal("0.0081")

    def has_a_card_declined(self) -> None:
        failed = self.party.pays_by_card("20.00", DECLINED_CARD)
        assert (failed["state"], failed["failure_code"]) == ("failed", "card_declined")
        assert self.party.balance() == Decimal("0.0081")

    def pays_and_sends(self) -> None:
        party = self.party
        assert party.pays_by_card("20.00")["state"] == "succeeded"
        # 20.0081 - 31 * 0.109
        party.sends(31, HANDSET)
        assert party.balance() == Decimal("16.6291")

    def gets_the_january_statement(self) -> None:
        party = self.party
        january = party.invoice_of("2027-01")
        # 9 * 10 + 1 + 31 * 10 = 401 segments: 401 * 0.0079 = 3.1679, 401 * 0.003 = 1.203.
        # 4.27 * 8.875 % = 0.3789..., (4.27 + 1.20) * 3 % = 0.1641.
        assert lines_of(january) == [
            ("communications_surcharge", "sms", "401", SURCHARGE, "1.20"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "401", PRICE, "3.17"),
            ("tax", "US", "5.47", "3.00", "0.16"),
            ("tax", "US-NY", "4.27", "8.875", "0.38"),
        ]
        assert (january["total"], january["undisputed_due"], january["state"]) == ("6.01", "0.00", "paid")
        assert january["number"] == "default-2027-000001"
        [mail] = self.world.mails("accounts@hudson.example", january["number"])
        assert "5.47 of it is paid already" in mail["body"]
        # What it used was taken then, its taxes of 0.54 now.
        assert party.balance() == Decimal("16.0891")
        self.used("2027-01-01", "2027-01-31", 41, 401, "3.1679", "1.203")
        [day] = party.client.usage.records.daily.list(
            category="sms-outbound", start_date="2027-01-07", end_date="2027-01-07"
        )
        assert (day.count, day.usage, round(Decimal(day.price), 6)) == ("31", "310", Decimal("2.449"))
        self.january = january

    def used(self, start: str, end: str, count: int, segments: int, fee: str, surcharge: str) -> None:
        """Compare Twilio's usage records of a time with what was counted by hand."""
        read = self.party.client.usage.records.list
        [sent] = read(category="sms-outbound", start_date=start, end_date=end)
        assert (sent.count, sent.usage, round(Decimal(sent.price), 6)) == (str(count), str(segments), Decimal(fee))
        [carriers] = read(category="sms-messages-carrierfees", start_date=start, end_date=end)
        assert round(Decimal(carriers.price), 6) == Decimal(surcharge)

    # ---- February

    def is_filled_up_and_called(self) -> None:
        party, webhook = self.party, self.world.webhook
        webhook.tokens[party.account_sid] = party.token
        trigger = party.client.usage.triggers.create(
            callback_url=webhook.url("/usage"),
            trigger_value="1.5",
            usage_category="sms-outbound",
            trigger_by="price",
            recurring="monthly",
        )
        # 16.0891 - 1.10 for the number's second month.
        assert party.balance() == Decimal("14.9891")
        body = {"threshold": "14.00", "amount": "10.00", "cap_per_day": "20.00"}
        party.call("POST", "AutoRecharge", body)
        # 12 messages leave 14.9891 - 1.308 = 13.6811, which is below 14: 10.00 more.
        party.sends(12, HANDSET)
        assert party.balance() == Decimal("23.6811")
        assert webhook.is_quiet("/usage")
        # 8 more make 200 segments: 200 * 0.0079 = 1.58 of fees, which reaches 1.5.
        party.sends(8, HANDSET)
        heard = webhook.heard("/usage")
        assert heard.fields["UsageTriggerSid"] == trigger.sid
        assert Decimal(heard.fields["CurrentValue"]) == Decimal("1.58")
        party.call("POST", "AutoRecharge", body | {"enabled": False})
        charged = [each for each in party.items("TopUps") if each["origin"] == "auto"]
        assert [(each["amount"], each["state"]) for each in charged] == [("10.00", "succeeded")]
        # 23.6811 - 0.872
        assert party.balance() == Decimal("22.8091")

    def gets_the_february_statement(self) -> None:
        february = self.party.invoice_of("2027-02")
        # 200 segments: 1.58 and 0.60. 2.68 * 8.875 % = 0.2378..., 3.28 * 3 % = 0.0984.
        assert lines_of(february) == [
            ("communications_surcharge", "sms", "200", SURCHARGE, "0.60"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "200", PRICE, "1.58"),
            ("tax", "US", "3.28", "3.00", "0.10"),
            ("tax", "US-NY", "2.68", "8.875", "0.24"),
        ]
        assert (february["total"], february["state"]) == ("3.62", "paid")
        # 22.8091 - 0.34
        assert self.party.balance() == Decimal("22.4691")
        self.used("2027-02-01", "2027-02-28", 20, 200, "1.58", "0.6")

    # ---- March and April: the statement of 31 January can be disputed until the end of 1 April, its day 60

    def fee_line(self) -> str:
        [section] = self.january["sections"]
        [ref] = [line["ref"] for line in section["lines"] if (line["kind"], line["service"]) == ("fee", "sms")]
        return ref

    def disputes_on_day_59(self) -> None:
        self.dispute = self.party.disputes(self.january, self.fee_line(), "0.79")
        # Its taxes go with it: 0.38 * 0.79 / 4.27 = 0.0703..., 0.16 * 0.79 / 5.47 = 0.0231...
        assert (self.dispute["state"], self.dispute["amount"]) == ("open", "0.88")
        assert self.dispute["deadline"] == "2027-04-01"

    def disputes_on_day_61(self) -> None:
        late = self.party.disputes(self.january, self.fee_line(), "0.79")
        assert (late["state"], late["shielded"], late["withheld"]) == ("late", False, "0.00")
        assert late["clause"] == "3.3.3"

    def is_right(self) -> None:
        # 22.4691 - 2 * 1.10 for March and April - 0.10 - 0.03 of taxes on the first.
        assert self.party.balance() == Decimal("20.1391")
        decided = self.party.operator(
            "POST",
            f"Disputes/{self.dispute['sid']}/Resolution",
            {"outcome": "upheld", "decided_by": "Counsel", "reasons": "Ten messages were sent twice"},
        )
        assert (decided["state"], decided["credited"]) == ("upheld", "0.88")
        [note] = self.party.items("CreditNotes")
        assert (note["total"], note["to_balance"], note["off_invoice"]) == ("0.88", "0.88", "0.00")
        assert self.party.balance() == Decimal("21.0191")
        assert self.world.mails("accounts@hudson.example", "dispute is decided")

    # ---- May to July: the price goes up on 1 July

    def raise_from(self, effective_from: str) -> dict[str, Any]:
        price = {"service": "sms", "direction": "outbound", "country": "US", "unit": "segment", "currency": "USD"}
        return {"prices": [price | {"price": RAISED, "effective_from": effective_from}]}

    def listed(self) -> str:
        country = self.party.client.pricing.v1.messaging.countries("US").fetch()
        [price] = {row["current_price"] for each in country.outbound_sms_prices for row in each["prices"]}
        return str(price)

    def hears_of_a_raise(self) -> None:
        world, path = self.world, "PriceBooks/default/Prices"
        world.operator("POST", path, self.raise_from("2027-05-10T00:00:00Z"), refused=(409, "3.1"))
        world.operator("POST", path, self.raise_from("2027-07-01T00:00:00Z"))
        assert self.listed() == PRICE
        coming = self.party.call(
            "GET",
            "Prices",
            params={"service": "sms", "country": "US", "unit": "segment", "at": "2027-07-01T00:00:00Z"},
        )
        assert coming["price"] == RAISED

    def sends_before_the_raise(self) -> None:
        assert {message.price for message in self.party.sends(10, HANDSET)} == {"-0.10900"}

    def sends_after_the_raise(self) -> None:
        assert self.listed() == RAISED
        assert {message.price for message in self.party.sends(10, HANDSET)} == {"-0.11300"}

    # ---- August: a payment is taken back

    def pays_again(self) -> None:
        # Since April: 21.0191 - 0.13 (taxes of April) - 1.10 - 0.13 (May) - 1.10 - 1.09 - 0.24 (June)
        #   - 1.10 - 1.13 - 0.24 (July) - 1.10 (August's number) = 13.6591.
        assert self.party.balance() == Decimal("13.6591")
        self.top_up = self.party.pays_by_card("10.00")
        assert self.party.balance() == Decimal("23.6591")

    def takes_a_payment_back(self) -> None:
        path = f"/simulator/v1/payments/charges/{self.top_up['reference']}/disputes"
        self.bank_dispute = self.world.call("POST", path, json={})
        self.world.settle()
        [opened] = self.party.items("Chargebacks")
        assert (opened["state"], opened["amount"]) == ("opened", "10.00")
        assert self.party.balance() == Decimal("23.6591")

    def wins_it_back_from_the_bank(self) -> None:
        path = f"/simulator/v1/payments/disputes/{self.bank_dispute['id']}/closure"
        self.world.call("POST", path, json={"outcome": "lost"})
        self.world.settle()
        [lost] = self.party.items("Chargebacks")
        assert lost["state"] == "lost"
        assert self.party.balance() == Decimal("13.6591")

    def gets_the_summer_statements(self) -> None:
        june, july, august = (self.party.invoice_of(month) for month in ("2027-06", "2027-07", "2027-08"))
        # June: 100 segments, 0.79 and 0.30; 1.89 * 8.875 % = 0.1677..., 2.19 * 3 % = 0.0657.
        assert lines_of(june) == [
            ("communications_surcharge", "sms", "100", SURCHARGE, "0.30"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "100", PRICE, "0.79"),
            ("tax", "US", "2.19", "3.00", "0.07"),
            ("tax", "US-NY", "1.89", "8.875", "0.17"),
        ]
        # July: 0.83 and 0.30; 1.93 * 8.875 % = 0.1712..., 2.23 * 3 % = 0.0669.
        assert lines_of(july) == [
            ("communications_surcharge", "sms", "100", SURCHARGE, "0.30"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "100", RAISED, "0.83"),
            ("tax", "US", "2.23", "3.00", "0.07"),
            ("tax", "US-NY", "1.93", "8.875", "0.17"),
        ]
        # August: the number alone; 1.10 * 8.875 % = 0.0976..., 1.10 * 3 % = 0.033.
        assert lines_of(august) == [
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("tax", "US", "1.10", "3.00", "0.03"),
            ("tax", "US-NY", "1.10", "8.875", "0.10"),
        ]
        assert [each["total"] for each in (june, july, august)] == ["2.43", "2.47", "1.23"]
        # 13.6591 - 0.13
        assert self.party.balance() == Decimal("13.5291")

    # ---- December: it leaves

    def gives_notice(self) -> None:
        body = {"event": "receive", "kind_of_end": "convenience", "reason": "We close the parcel service"}
        self.end = self.party.call("POST", "Terminations", body)
        # 1 December and 30 days: the end of 31 December.
        assert (self.end["state"], self.end["last_day"]) == ("notice_given", "2027-12-31")

    def is_served_to_the_last_day(self) -> None:
        # 13.5291 - 3 * 1.23 (September to November) - 1.10 (December's number)
        assert self.party.balance() == Decimal("8.7391")
        # 401 + 200 + 100 segments at 0.0079 and 100 at 0.0083, 801 * 0.003, and twelve months of the number.
        assert self.party.used_in_the_year() == Decimal("6.3679") + Decimal("2.403") + Decimal("13.20")

    def is_gone(self) -> None:
        """What is left on 2 January."""
        party = self.party
        ended = party.operator("GET", f"Terminations/{self.end['sid']}")
        assert ended["state"] == "terminated"
        december = party.operator("GET", "Invoices")["items"]
        assert [each["total"] for each in december if each["period_from"] == "2027-12-01"] == ["1.23"]
        # 6.01 + 3.62 + 3 * 1.23 + 2.43 + 2.47 + 5 * 1.23
        assert party.billed_in_the_year() == Decimal("24.37")
        books = party.ledger("USD")
        # 2.10 + 20.00 + 10.00 + 10.00 by card, 10.00 of it taken back.
        assert books["cash:simulator"] == Decimal("32.10")
        # 3.1679 + 1.58 + 0.79 + 0.83, less the 0.79 that was credited.
        assert -books["revenue:sms"] == Decimal("5.5779")
        assert -books["revenue:phone-number-local"] == Decimal("13.20")
        # 1.203 + 0.60 + 0.30 + 0.30
        assert -books["surcharge_payable"] == Decimal("2.403")
        # January to December 0.38 + 0.24 + 3 * 0.10 + 0.17 + 0.17 + 5 * 0.10, less 0.07 that was credited.
        assert -books["tax_payable:US-NY"] == Decimal("1.69")
        # 0.16 + 0.10 + 3 * 0.03 + 0.07 + 0.07 + 5 * 0.03, less 0.02.
        assert -books["tax_payable:US"] == Decimal("0.62")
        # 8.7391 - 0.13; clause 3.3: fees are not refunded, and what was never used stays on the books.
        assert -books["prepaid_balance"] == Decimal("8.6091")
        assert books.get("receivable", Decimal()) == 0
        assert sum(books.values()) == 0


def sets_up(world: World) -> None:
    """What the operator sets before the year begins."""
    rule: dict[str, Any] = {"effective_from": "2027-01-01T00:00:00Z"}
    world.operator(
        "POST",
        "SurchargeRules",
        rule
        | {"kind": "carrier-fee", "name": "Carrier fee", "country": "US", "channel": "sms", "direction": "outbound"}
        | {"unit": "segment", "currency": "USD", "price": SURCHARGE},
    )
    world.operator(
        "POST",
        "TaxRules",
        rule | {"jurisdiction": "US-NY", "kind": "sales", "rate": "0.08875", "source": "NY Tax Law, state and city"},
    )
    world.operator(
        "POST",
        "TaxRules",
        rule
        | {"jurisdiction": "US", "kind": "communications", "base": "fees_and_surcharges", "rate": "0.03"}
        | {"source": "26 U.S.C. 4251, as this story applies it"},
    )
