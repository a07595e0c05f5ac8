"""Sakura Notice K.K. of Tokyo buys on an order form, in yen.

What it uses, in yen:

    a segment to a number of Japan     list price 11.2; by the order form, from February to July, 12.5 for the first 100
                                       of a month and 10.25 beyond
    its number, bought on 10 January   165 on the 10th of each month
    commitment                         5,000 of messages a quarter of the order form

An invoice's lines are rounded half up to whole yen; consumption tax of 10 % is rounded down, once an invoice.
"""

from decimal import Decimal
from typing import Any

from year_world import Party, World, application, document, lines_of

HANDSET = "+818012345678"
OFFICE = "office@sakura.example"
FORM = {
    "number": "SN-2027-1",
    "currency": "JPY",
    "term_from": "2027-02-01",
    "term_to": "2027-07-31",
    "net_days": 60,
    "commitments": [{"amount": "5000", "period": "quarter", "services": ["sms"]}],
}
RATE = {"service": "sms", "direction": "outbound", "country": "JP", "unit": "segment"}
TIERS = {"mode": "graduated", "steps": [{"from": 0, "price": "12.5"}, {"from": 100, "price": "10.25"}]}


class Japanese:
    """The story; each method is one entry of the diary."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.paid = Decimal()
        world.on("2027-01-04", self.signs_up)
        world.on("2027-01-10", self.begins)
        world.on("2027-01-12", self.signs_an_order_form)
        world.on("2027-01-15", lambda: self.party.sends(1, HANDSET))
        world.on("2027-02-02", self.gets_the_january_invoice)
        world.on("2027-02-15", self.pays_the_agreed_rate)
        world.on("2027-02-20", lambda: self.pays("2027-01", "304"))
        world.on("2027-03-02", self.gets_the_february_invoice)
        world.on("2027-03-15", lambda: self.party.sends(15, HANDSET))
        world.on("2027-04-02", self.gets_the_march_invoice)
        world.on("2027-04-15", lambda: self.party.sends(4, HANDSET))
        world.on("2027-04-20", lambda: self.pays("2027-02", "1295"))
        world.on("2027-05-02", self.falls_short)
        world.on("2027-05-15", lambda: self.party.sends(10, HANDSET))
        world.on("2027-05-20", lambda: self.pays("2027-03", "2120"))
        world.on("2027-06-20", self.withholds)
        world.on("2027-06-25", self.proves_it)
        world.on("2027-07-15", lambda: self.party.sends(20, HANDSET))
        world.on("2027-07-20", lambda: self.pays("2027-05", "1556"))
        world.on("2027-08-02", self.is_back_on_the_list)
        world.on("2027-08-15", lambda: self.party.sends(5, HANDSET))
        world.on("2027-08-20", lambda: self.pays("2027-06", "181"))
        world.on("2027-09-01", self.is_told_of_new_terms)
        world.on("2027-09-15", self.uses_before_their_day)
        world.on("2027-09-20", lambda: self.pays("2027-07", "4306"))
        world.on("2027-09-25", lambda: self.pays("2027-08", "797"))
        world.on("2027-10-03", self.accepts_by_using)
        world.on("2027-10-20", lambda: self.pays("2027-09", "181"))
        world.on("2027-11-20", lambda: self.pays("2027-10", "193"))
        world.on("2027-12-20", lambda: self.pays("2027-11", "181"))

    # ---- January

    def signs_up(self) -> None:
        about = {"organization_name": "Sakura Notice K.K.", "country": "JP", "email": OFFICE}
        world = self.world
        unattested = application(world, **about)
        world.call("POST", "SignUps", json=unattested, refused=(422, "10.4.6"))
        alone = application(world, **about) | {"org_type": "individual", "no_antisocial_forces": True}
        world.call("POST", "SignUps", json=alone, refused=(422, "10.4.1"))
        self.party = Party.signs_up(world, **about, no_antisocial_forces=True)
        bound = self.party.call("GET", "Agreements")
        assert bound["contracting_entity"]["key"] == "japan"
        assert bound["contracting_entity"]["name"] == "Operator Japan KK"
        assert (bound["governing_law"], bound["courts"]) == ("Japan", "Tokyo District Court")
        assert bound["riders"] == ["10.4"]
        forum = self.party.call("GET", "Forum", params={"first_request_on": "2027-01-04"})
        assert (forum["route"], forum["courts"], forum["clause"]) == ("litigation", "Tokyo District Court", "10.4.7")
        assert forum["not_before"] == "2027-02-04"

    def begins(self) -> None:
        self.party.is_approved_for_invoicing("100000")
        self.party.buys_a_number()

    def signs_an_order_form(self) -> None:
        operator = self.party.operator
        named = FORM | {"customer_sid": self.party.sid}
        operator("POST", "OrderForms", named | {"currency": "XXX", "rates": []}, refused=(400, "3.3.2"))
        too_fine = [RATE | {"price": "12.1234567"}]
        operator("POST", "OrderForms", named | {"rates": too_fine}, refused=(400, "3.1"))
        form = operator("POST", "OrderForms", named | {"rates": [RATE | {"tiers": TIERS}]})
        operator("POST", f"OrderForms/{form['sid']}/Send", {})
        self.party.call("POST", f"OrderForms/{form['sid']}/Signatures", {"name": "The representative director"})
        signed = operator("POST", f"OrderForms/{form['sid']}/Signatures", {"name": "The operator's director"})
        assert signed["state"] == "signed"
        assert {each["party"] for each in signed["signatures"]} == {"customer", "operator"}
        again = named | {"number": "SN-2027-2", "rates": [RATE | {"price": "9"}]}
        operator("POST", "OrderForms", again, refused=(409, "1.8"))
        self.form_sid = form["sid"]

    def form(self) -> dict[str, Any]:
        found: dict[str, Any] = self.party.call("GET", f"OrderForms/{self.form_sid}")
        return found

    def gets_the_january_invoice(self) -> None:
        # Ten segments at the list price, for the order form begins in February; 277 * 10 % = 27.7.
        january = self.invoice("2027-01", "2027-03-02", "304")
        assert lines_of(january) == [
            ("fee", "phone-number-local", "1", "165.00", "165"),
            ("fee", "sms", "10", "11.20", "112"),
            ("tax", "JP", "277", "10.00", "27"),
        ]
        assert january["number"] == "japan-2027-000001"

    def invoice(self, month: str, due_on: str, total: str) -> dict[str, Any]:
        """Read an invoice and check what every one has in common: it is in whole yen throughout."""
        found = self.party.invoice_of(month)
        assert (found["currency"], found["due_on"], found["total"]) == ("JPY", due_on, total)
        amounts = [line["amount"] for section in found["sections"] for line in section["lines"]]
        assert all("." not in amount for amount in [*amounts, *found["totals"].values(), found["undisputed_due"]])
        [mail] = self.world.mails(OFFICE, found["number"])
        assert f"bills you {total} JPY" in mail["body"]
        return found

    def pays(self, month: str, amount: str) -> None:
        invoice = self.party.invoice_of(month)
        assert invoice["undisputed_due"] == amount
        instruction = [{"document": invoice["sid"], "amount": amount}]
        self.party.pays_by_bank(amount, f"transfer for {month}", currency="JPY", instruction=instruction)
        assert self.party.invoice_of(month)["state"] == "paid"
        self.paid += Decimal(amount)

    # ---- the order form, February to July

    def pays_the_agreed_rate(self) -> None:
        assert self.form()["state"] == "active"
        assert {message.price for message in self.party.sends(8, HANDSET)} == {"-125.00000"}
        [one] = self.party.sends(1, HANDSET, "One segment.")
        assert (one.price, one.price_unit) == ("-12.50000", "JPY")

    def gets_the_february_invoice(self) -> None:
        # 81 * 12.5 = 1012.5; 1178 * 10 % = 117.8. Due after the sixty days of the order form.
        assert lines_of(self.invoice("2027-02", "2027-04-29", "1295")) == [
            ("fee", "phone-number-local", "1", "165.00", "165"),
            ("fee", "sms", "81", "", "1013"),
            ("tax", "JP", "1178", "10.00", "117"),
        ]

    def gets_the_march_invoice(self) -> None:
        # 100 * 12.5 + 50 * 10.25 = 1762.5; 1928 * 10 % = 192.8.
        assert lines_of(self.invoice("2027-03", "2027-05-30", "2120")) == [
            ("fee", "phone-number-local", "1", "165.00", "165"),
            ("fee", "sms", "150", "", "1763"),
            ("tax", "JP", "1928", "10.00", "192"),
        ]

    def falls_short(self) -> None:
        # 40 * 12.5 = 500. The quarter from February to April came to 1012.5 + 1762.5 + 500 = 3275: 1725 are missing.
        assert lines_of(self.invoice("2027-04", "2027-06-29", "2629")) == [
            ("commitment", "sms", "1", "1725.00", "1725"),
            ("fee", "phone-number-local", "1", "165.00", "165"),
            ("fee", "sms", "40", "", "500"),
            ("tax", "JP", "2390", "10.00", "239"),
        ]

    def withholds(self) -> None:
        profile = {"customer_sid": self.party.sid, "country": "JP", "rate": "0.1021", "policy": "accept_certificate"}
        self.world.operator("POST", "WithholdingProfiles", profile)
        # 2629 * 10.21 % = 268.4...; it withholds 268 and pays 2361.
        april = self.party.invoice_of("2027-04")
        instruction = [{"document": april["sid"]}]
        self.party.pays_by_bank("2361", "transfer for 2027-04", currency="JPY", instruction=instruction)
        self.paid += 2361
        april = self.party.invoice_of("2027-04")
        assert (april["state"], april["undisputed_due"]) == ("partially_paid", "268")

    def proves_it(self) -> None:
        april = self.party.invoice_of("2027-04")
        claim = {"invoice_sid": april["sid"], "currency": "JPY", "amount": "268"}
        self.party.call("POST", "WithholdingProofs", claim, refused=(422, "3.2.1"))
        proof = self.party.call("POST", "WithholdingProofs", claim | {"document": document("receipt.pdf")})
        path = f"WithholdingProofs/{proof['sid']}"
        self.world.operator("POST", f"{path}/Review", {"by": "Tax desk"})
        accepted = self.world.operator("POST", f"{path}/Accept", {"by": "Tax desk"})
        assert accepted["state"] == "accepted"
        april = self.party.invoice_of("2027-04")
        assert (april["state"], april["undisputed_due"]) == ("paid", "0")

    def is_back_on_the_list(self) -> None:
        assert self.form()["state"] == "expired"
        # May: 100 * 12.5 = 1250; 1415 * 10 % = 141.5. June: 165 * 10 % = 16.5.
        assert lines_of(self.invoice("2027-05", "2027-07-30", "1556"))[-1] == ("tax", "JP", "1415", "10.00", "141")
        assert lines_of(self.invoice("2027-06", "2027-08-29", "181"))[-1] == ("tax", "JP", "165", "10.00", "16")
        # July: 100 * 12.5 + 100 * 10.25 = 2275. The second quarter came to 1250 + 2275 = 3525: 1475 are missing.
        assert lines_of(self.invoice("2027-07", "2027-09-29", "4306")) == [
            ("commitment", "sms", "1", "1475.00", "1475"),
            ("fee", "phone-number-local", "1", "165.00", "165"),
            ("fee", "sms", "200", "", "2275"),
            ("tax", "JP", "3915", "10.00", "391"),
        ]
        quoted = self.party.client.pricing.v1.messaging.countries("JP").fetch()
        assert quoted.price_unit == "JPY"
        assert {str(row["current_price"]) for each in quoted.outbound_sms_prices for row in each["prices"]} == {"11.2"}

    # ---- new terms, September and October

    def is_told_of_new_terms(self) -> None:
        # August, by the list again: 50 * 11.2 = 560; 725 * 10 % = 72.5.
        assert lines_of(self.invoice("2027-08", "2027-09-30", "797"))[-1] == ("tax", "JP", "725", "10.00", "72")
        operator = self.world.operator
        self.old_terms = self.world.current_terms()
        before = operator("GET", f"Versions/{self.old_terms}")["binding_md"]
        clause = "\n\n### P.18: Seasons\nWe wish each other well at the turn of the year.\n"
        draft = {"document": "tos", "label": "Autumn 2027", "binding_md": before + clause}
        made = operator("POST", "Versions", draft | {"summary_md": "One more clause."})
        days = {"published_on": "2027-09-01", "new_effective_on": "2027-09-01"}
        path = f"Versions/{made['sid']}/Publication"
        operator("POST", path, days | {"existing_effective_on": "2027-09-30"}, refused=(422, "P.12"))
        operator("POST", path, days | {"existing_effective_on": "2027-10-01"})
        self.new_terms = made["sid"]

    def in_force(self) -> str:
        return str(self.party.call("GET", "Agreements")["in_force"]["tos"]["sid"])

    def accepted(self) -> list[tuple[str, str]]:
        """Return day and mode of each acceptance of the new terms."""
        found = self.party.items("Acceptances")
        return [(each["accepted_at"][:10], each["mode"]) for each in found if each["version_sid"] == self.new_terms]

    def uses_before_their_day(self) -> None:
        [mail] = self.world.mails(OFFICE, "Change of tos")
        assert "2027-10-01" in mail["body"]
        self.party.client.messages.list(limit=1)
        assert (self.in_force(), self.accepted()) == (self.old_terms, [])

    def accepts_by_using(self) -> None:
        # Their day has come, but nobody has used anything since.
        assert (self.in_force(), self.accepted()) == (self.old_terms, [])
        [message] = self.party.sends(1, HANDSET, "One segment.")
        assert message.price == "-11.20000"
        assert (self.in_force(), self.accepted()) == (self.new_terms, [("2027-10-03", "continued_use")])

    def is_done(self) -> None:
        """What is left on 2 January."""
        # October: 11.2 and 165; 176 * 10 % = 17.6.
        assert lines_of(self.invoice("2027-10", "2027-11-30", "193"))[-1] == ("tax", "JP", "176", "10.00", "17")
        december = self.invoice("2027-12", "2028-01-30", "181")
        assert december["undisputed_due"] == "181"
        # 304 + 1295 + 2120 + 2629 + 1556 + 181 + 4306 + 797 + 181 + 193 + 181 + 181
        assert self.party.billed_in_the_year() == Decimal(13924)
        # Segments and numbers; a commitment is nothing that was used.
        assert self.party.used_in_the_year() == Decimal("7483.2") + 12 * Decimal(165)
        books = self.party.ledger("JPY")
        # 304 + 1295 + 2120 + 2361 + 1556 + 181 + 4306 + 797 + 181 + 193 + 181
        assert books["cash:bank"] == self.paid == Decimal(13475)
        assert books["withholding_receivable"] == Decimal(268)
        assert books["receivable"] == Decimal(181)
        # 112 + 1012.5 + 1762.5 + 500 + 1250 + 2275 + 560 + 11.2
        assert -books["revenue:sms"] == Decimal("7483.2")
        assert -books["revenue:phone-number-local"] == 12 * Decimal(165)
        assert -books["commitment_income"] == Decimal(1725 + 1475)
        # 27 + 117 + 192 + 239 + 141 + 16 + 391 + 72 + 16 + 17 + 16 + 16
        assert -books["tax_payable:JP"] == Decimal(1260)
        # Rounded less exact: 0.5 in February and in March, -0.2 in October.
        assert -books["rounding"] == Decimal("0.8")
        assert sum(books.values()) == 0


def sets_up(world: World) -> None:
    """What the operator sets before the year begins; the tax of Japan ships with the install."""
    entity = {"key": "japan", "name": "Operator Japan KK", "address": "1-1 Marunouchi\nTokyo", "country": "JP"}
    world.operator("POST", "ContractingEntities", entity)
