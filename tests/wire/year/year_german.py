"""Spree Logistik GmbH of Berlin is invoiced, and as a reseller it pays for Havel Apotheke GmbH.

What both use, in US dollars (the terms' currency where no order form says otherwise):

    a segment to a number of Germany      0.0980, so a message of ten segments 0.98
    their numbers, bought on 10 January   1.10 each on the 10th of each month

January bears German VAT of 19 %, February is exempt until the authority disagrees in June, and from March on Spree has
a VAT identifier, so that it accounts for the tax of the Irish company's services itself.
"""

from decimal import Decimal
from importlib.util import find_spec
from typing import Any
from xml.etree import ElementTree

import pytest
from twilio.base.exceptions import TwilioRestException
from year_world import Party, World, document, lines_of

# Printing needs the optional package; without it the mail bears the electronic invoice alone.
CAN_PRINT = find_spec("typst") is not None
HANDSET = "+4915112345678"
PAYABLE = "payable@spree.example"
# Both are examples of the authorities' own guides, with correct check digits.
IRISH_VAT_ID, GERMAN_VAT_ID = "IE6388047V", "DE136695976"
_RAM = "{urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100}"


class German:
    """The story; each method is one entry of the diary."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.paid = Decimal()
        world.on("2027-01-04", self.signs_up)
        world.on("2027-01-05", self.is_approved)
        world.on("2027-01-10", self.buys_numbers)
        world.on("2027-01-12", lambda: self.send(10, 5))
        world.on("2027-01-31T12:00", self.is_exempt_for_february)
        world.on("2027-02-02", self.gets_the_january_invoice)
        world.on("2027-02-12", lambda: self.send(20, 10))
        world.on("2027-03-01", self.has_a_vat_id)
        world.on("2027-03-03", self.gets_the_february_invoice)
        world.on("2027-03-12", lambda: self.send(60, 10))
        world.on("2027-04-02", self.gets_the_march_invoice)
        world.on("2027-04-05", self.suspends_an_account_itself)
        world.on("2027-04-12", lambda: self.send(10, 0))
        world.on("2027-05-02", self.is_late)
        world.on("2027-05-05", self.disputes_april)
        world.on("2027-05-16", self.is_in_its_last_day_of_cure)
        world.on("2027-05-17", self.can_be_suspended)
        world.on("2027-05-20", self.is_suspended)
        world.on("2027-05-25", self.pays_what_is_undisputed)
        world.on("2027-06-01", self.is_right_about_april)
        world.on("2027-06-17", self.pays_at_last)
        world.on("2027-06-25", lambda: self.pays("2027-05", "2.20"))
        world.on("2027-06-28", self.was_not_exempt)
        world.on("2027-07-02", self.gets_the_june_invoice)
        world.on("2027-07-20", lambda: self.pays("2027-06", "2.88"))
        for month, day in ((7, 8), (8, 9), (9, 10), (10, 11), (11, 12)):
            # Two numbers a month, reverse charge: 2.20.
            world.on(f"2027-{day:02}-20", lambda month=month: self.pays(f"2027-{month:02}", "2.20"))

    # ---- January

    def signs_up(self) -> None:
        world = self.world
        about = {"country": "DE", "subdivision": "BE"}
        self.spree = Party.signs_up(
            world, organization_name="Spree Logistik GmbH", email="office@spree.example", **about
        )
        self.havel = Party.signs_up(
            world, organization_name="Havel Apotheke GmbH", email="office@havel.example", **about
        )
        self.spree.call("POST", "Contacts", {"kind": "billing", "name": "Payables", "address": PAYABLE})
        bound = self.spree.call("GET", "Agreements")
        assert bound["contracting_entity"]["key"] == "europe"
        assert bound["contracting_entity"]["name"] == "Operator Ireland Ltd"
        assert (bound["governing_law"], bound["courts"]) == ("England and Wales", "Courts of London, England")
        assert bound["seat"] == "London"
        forum = self.spree.call("GET", "Forum", params={"first_request_on": "2027-01-04"})
        assert (forum["body"], forum["seat"], forum["not_before"]) == ("JAMS", "London", "2027-02-04")

    def is_approved(self) -> None:
        refused = self.spree.call("POST", "PaymentMethods", {"kind": "invoice"}, refused=(409, "3.3.2"))
        assert refused["details"]["reason"] == "invoicing_not_approved"
        self.spree.is_approved_for_invoicing("500.00")
        self.havel.is_approved_for_invoicing("100.00")
        # Havel buys through Spree, which administers its account and pays; who owes by contract stays the same (P.15).
        self.havel.operator("POST", "BillingProfiles", {"bill_to": self.spree.sid})
        path = f"Customers/{self.havel.sid}/Accounts/{self.havel.account_sid}"
        changed = self.world.operator("POST", path, {"administrator_sid": self.spree.sid})
        assert changed["administrator_sid"] == self.spree.sid
        assert changed["obligors"] == [self.havel.sid]

    def buys_numbers(self) -> None:
        self.spree.buys_a_number()
        self.havel.buys_a_number()
        make = self.spree.client.api.v2010.accounts.create
        self.depot, self.archive = make(friendly_name="Depot"), make(friendly_name="Archive")
        assert (self.depot.status, self.archive.status) == ("active", "active")

    def send(self, by_spree: int, by_havel: int) -> None:
        sent = self.spree.sends(by_spree, HANDSET) + self.havel.sends(by_havel, HANDSET)
        assert {message.price for message in sent} == {"-0.98000"}

    def is_exempt_for_february(self) -> None:
        body = {"kind": "vat", "jurisdiction": "DE", "certificate": "B-2027-17", "valid_to": "2027-02-28"}
        asked = self.spree.call("POST", "Exemptions", body | {"document": document("certificate.pdf")})
        assert asked["state"] == "submitted"
        self.exemption = self.world.operator("POST", f"Exemptions/{asked['sid']}/Approve", {})
        assert self.exemption["state"] == "approved"

    def gets_the_january_invoice(self) -> None:
        january = self.spree.invoice_of("2027-01")
        assert (january["number"], january["issued_on"], january["due_on"]) == (
            "europe-2027-000001",
            "2027-01-31",
            "2027-03-02",
        )
        # The exemption of the 31st came after these supplies.
        assert lines_of(january, self.spree.sid) == [
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "100", "0.098", "9.80"),
            # (9.80 + 1.10 + 4.90 + 1.10) * 19 % = 3.211
            ("tax", "DE", "16.90", "19.00", "3.21"),
        ]
        assert lines_of(january, self.havel.sid) == [
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "50", "0.098", "4.90"),
        ]
        assert (january["total"], january["undisputed_due"], january["state"]) == ("20.11", "20.11", "sent")
        assert self.havel.items("Invoices") == []
        [mail] = self.world.mails(PAYABLE, january["number"])
        kinds = {"xml", "pdf"} if CAN_PRINT else {"xml"}
        assert {each["name"] for each in mail["attachments"]} == {f"{january['number']}.{kind}" for kind in kinds}
        if CAN_PRINT:
            assert self.spree.call("GET", f"Invoices/{january['sid']}/Pdf").startswith(b"%PDF")
        assert self.tax_of(january) == ("S", "16.90", "19.00", "3.21")
        assert {each["address"] for each in january["sent_to"]} == {PAYABLE, "office@spree.example"}
        self.pays("2027-01", "20.11")

    def tax_of(self, invoice: dict[str, Any]) -> tuple[str | None, ...]:
        """Return category, base, rate and tax of the one tax of the electronic invoice."""
        root = ElementTree.fromstring(self.spree.call("GET", f"Invoices/{invoice['sid']}/Xml"))
        [settlement] = root.iter(f"{_RAM}ApplicableHeaderTradeSettlement")
        [total] = settlement.iter(f"{_RAM}GrandTotalAmount")
        assert total.text == invoice["total"]
        [tax] = settlement.findall(f"{_RAM}ApplicableTradeTax")
        names = ("CategoryCode", "BasisAmount", "RateApplicablePercent", "CalculatedAmount")
        return tuple(tax.findtext(_RAM + name) for name in names)

    def pays(self, month: str, amount: str) -> None:
        invoice = self.spree.invoice_of(month)
        assert invoice["undisputed_due"] == amount
        instruction = [{"document": invoice["sid"], "amount": amount}]
        made = self.spree.pays_by_bank(amount, f"transfer for {month}", instruction=instruction)
        assert made["unallocated"] == "0.00"
        assert self.spree.invoice_of(month)["undisputed_due"] == "0.00"
        self.paid += Decimal(amount)

    # ---- February and March

    def has_a_vat_id(self) -> None:
        self.spree.call("POST", "VatIds", {"vat_id": "DE136695977"}, refused=(422, "3.2.1"))
        self.spree.call("POST", "VatIds", {"vat_id": IRISH_VAT_ID}, refused=(422, "3.2.1"))
        made = self.spree.call("POST", "VatIds", {"vat_id": GERMAN_VAT_ID})
        assert (made["vat_id"], made["from_on"]) == (GERMAN_VAT_ID, "2027-03-01")

    def gets_the_february_invoice(self) -> None:
        february = self.spree.invoice_of("2027-02")
        # 200 * 0.098 + 1.10 + 100 * 0.098 + 1.10, nothing taxed.
        assert lines_of(february) == [
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "100", "0.098", "9.80"),
            ("fee", "sms", "200", "0.098", "19.60"),
        ]
        assert (february["number"], february["total"]) == ("europe-2027-000002", "31.60")
        self.pays("2027-02", "31.60")

    def gets_the_march_invoice(self) -> None:
        march = self.spree.invoice_of("2027-03")
        # 600 * 0.098 + 1.10 + 100 * 0.098 + 1.10; the customer accounts for the tax.
        assert lines_of(march) == [
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "100", "0.098", "9.80"),
            ("fee", "sms", "600", "0.098", "58.80"),
            ("tax", "DE", "70.80", "0.00", "0.00"),
        ]
        assert (march["number"], march["total"], march["due_on"]) == ("europe-2027-000003", "70.80", "2027-04-30")
        assert self.tax_of(march) == ("AE", "70.80", "0.00", "0.00")
        written = self.spree.call("GET", f"Invoices/{march['sid']}/Xml").decode()
        assert GERMAN_VAT_ID in written
        assert IRISH_VAT_ID in written
        self.march = march

    def suspends_an_account_itself(self) -> None:
        closed = self.spree.client.api.v2010.accounts(self.archive.sid).update(status="suspended")
        assert closed.status == "suspended"

    # ---- May: 70.80 is not paid by the end of 30 April

    def statuses(self) -> list[str]:
        read = self.spree.client.api.v2010.accounts
        return [read(sid).fetch().status for sid in (self.spree.account_sid, self.depot.sid, self.archive.sid)]

    def is_late(self) -> None:
        standing = self.spree.call("GET", "Collections")
        assert standing["state"] == "cure"
        assert self.spree.invoice_of("2027-03")["state"] == "past_due"
        [notice] = self.spree.items("Collections/Notices")
        # Given on 1 May, so it can be cured until the end of 16 May.
        assert (notice["given_on"], notice["cure_until"]) == ("2027-05-01", "2027-05-16")
        [mail] = self.world.mails(PAYABLE, "Late payment")
        assert "70.80 USD" in mail["body"]
        with pytest.raises(TwilioRestException) as refused:
            self.spree.client.api.v2010.accounts.create(friendly_name="One more")
        assert refused.value.status == 403
        assert self.spree.items("Blocks")[0]["clause"] == "3.3.2"
        assert self.statuses() == ["active", "active", "suspended"]

    def may_send(self) -> list[bool]:
        """Tell whether the main account and the depot's may send."""
        states = {each["account_sid"]: each["can_send"] for each in self.spree.items("Standing")}
        return [states[self.spree.account_sid], states[self.depot.sid]]

    def disputes_april(self) -> None:
        april = self.spree.invoice_of("2027-04")
        assert (april["number"], april["total"]) == ("europe-2027-000004", "12.00")
        [ref] = [
            line["ref"]
            for section in april["sections"]
            for line in section["lines"]
            if (line["kind"], line["service"]) == ("fee", "sms")
        ]
        self.dispute = self.spree.disputes(april, ref, "4.90")
        assert (self.dispute["state"], self.dispute["amount"], self.dispute["withheld"]) == ("open", "4.90", "4.90")
        april = self.spree.invoice_of("2027-04")
        assert (april["undisputed_due"], april["disputed"]) == ("7.10", "4.90")

    def is_in_its_last_day_of_cure(self) -> None:
        assert self.spree.call("GET", "Collections")["state"] == "cure"
        assert self.spree.operator("GET", "Collections/Proposals")["items"] == []

    def can_be_suspended(self) -> None:
        assert self.spree.call("GET", "Collections")["state"] == "breached"
        [self.proposal] = self.proposals("suspension")
        # Until somebody decides, everything goes on.
        assert self.may_send() == [True, True]

    def proposals(self, kind: str) -> list[dict[str, Any]]:
        found = self.spree.operator("GET", "Collections/Proposals")["items"]
        return [each for each in found if each["kind"] == kind]

    def is_suspended(self) -> None:
        decision = {"decision": "approve", "decided_by": "Head of credit"}
        decided = self.spree.operator("POST", f"Collections/Proposals/{self.proposal['sid']}", decision)
        assert decided["state"] == "suspended"
        assert self.may_send() == [False, False]
        self.spree.is_refused(HANDSET, 20005, 403)
        # Havel is a customer of its own, and goes on.
        assert self.havel.client.api.v2010.accounts(self.havel.account_sid).fetch().status == "active"

    def pays_what_is_undisputed(self) -> None:
        self.pays("2027-04", "7.10")
        assert self.spree.call("GET", "Collections")["state"] == "suspended"

    def is_right_about_april(self) -> None:
        body = {"outcome": "upheld", "decided_by": "Counsel", "reasons": "Five messages never arrived"}
        decided = self.spree.operator("POST", f"Disputes/{self.dispute['sid']}/Resolution", body)
        assert (decided["state"], decided["credited"]) == ("upheld", "4.90")
        [note] = self.spree.items("CreditNotes")
        assert (note["number"], note["total"], note["off_invoice"]) == ("europe-CN2027-000001", "4.90", "4.90")
        assert self.spree.invoice_of("2027-04")["state"] == "paid"

    # ---- June

    def pays_at_last(self) -> None:
        # From 17 May to 17 June, the day of payment: a month by the contract, 70.80 * 1.5 % = 1.062; by law
        # 70.80 * 11.27 % * 31 / 365 = 0.6776...: the lesser, rounded down.
        [proposal] = self.proposals("late_fee")
        assert proposal["amount"] == "0.67"
        decision = {"decision": "approve", "decided_by": "Head of credit"}
        self.spree.operator("POST", f"Collections/Proposals/{proposal['sid']}", decision)
        [fee] = self.spree.items("Collections/Fees")
        assert (fee["amount"], fee["contract_figure"], fee["legal_figure"]) == ("0.67", "1.06", "0.67")
        self.pays("2027-03", "70.80")
        assert self.spree.call("GET", "Collections")["state"] == "clear"
        assert self.may_send() == [True, True]
        # What its owner had suspended stays so; the others are what they were.
        assert self.statuses() == ["active", "active", "suspended"]
        [message] = self.spree.sends(1, "+19075552001", "Back again.")
        assert message.status == "delivered"
        self.spree.client.api.v2010.accounts.create(friendly_name="One more")

    def was_not_exempt(self) -> None:
        body = {"revoked_from": "2027-02-01T00:00:00Z", "reason": "The certificate was withdrawn"}
        body |= {"interest_rate": "0.06", "penalty": "2.00", "determined_on": "2027-06-28"}  # type: ignore[dict-item]
        revoked = self.world.operator("POST", f"Exemptions/{self.exemption['sid']}/Revoke", body)
        [billed] = revoked["items"]
        # 31.60 * 19 % = 6.004; due on 30 March, 90 days before: 6.004 * 6 % * 90 / 365 = 0.0888..., rounded down.
        assert (billed["tax"], billed["interest"], billed["penalties"]) == ("6.00", "0.08", "2.00")
        assert billed["total"] == "8.08"
        [note] = [each for each in self.spree.items("Invoices") if each["kind"] == "debit_note"]
        assert (note["number"], note["total"], note["due_on"]) == ("europe-DN2027-000001", "8.08", "2027-07-28")
        self.world.settle()
        assert self.world.mails(PAYABLE, note["number"])
        instruction = [{"document": note["sid"]}]
        self.spree.pays_by_bank("8.08", "back taxes", instruction=instruction)
        self.paid += Decimal("8.08")

    def gets_the_june_invoice(self) -> None:
        june = self.spree.invoice_of("2027-06")
        # One segment to the United States, 0.0079 and 0.003, comes to a cent and to nothing. A late fee is no supply.
        assert lines_of(june) == [
            ("communications_surcharge", "sms", "1", "0.003", "0.00"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "phone-number-local", "1", "1.10", "1.10"),
            ("fee", "sms", "1", "0.0079", "0.01"),
            ("late_fee", "", "1", "0.67", "0.67"),
            ("tax", "DE", "2.21", "0.00", "0.00"),
        ]
        assert june["total"] == "2.88"

    def is_done(self) -> None:
        """What is left on 2 January."""
        spree, havel = self.spree, self.havel
        numbers = sorted(each["number"] for each in spree.items("Invoices") if each["kind"] == "invoice")
        assert numbers == [f"europe-2027-{place:06}" for place in range(1, 13)]
        december = spree.invoice_of("2027-12")
        assert (december["total"], december["undisputed_due"]) == ("2.20", "2.20")
        # 20.11 + 31.60 + 70.80 + 12.00 + 2.20 + 2.88 + 6 * 2.20
        assert spree.billed_in_the_year() == Decimal("152.79")
        # 1000 segments to Germany, one to the United States with its surcharge, and twelve months of the number.
        assert spree.used_in_the_year() == Decimal("98.0109") + Decimal("13.20")
        books, theirs = spree.ledger("USD"), havel.ledger("USD")
        # 20.11 + 31.60 + 70.80 + 7.10 + 2.20 + 8.08 + 2.88 + 5 * 2.20
        assert books["cash:bank"] == self.paid == Decimal("153.77")
        assert books["receivable"] == Decimal("2.20")
        # 9.80 + 19.60 + 58.80 + 9.80 + 0.0079, less 4.90 that was credited.
        assert -books["revenue:sms"] == Decimal("93.1079")
        assert -books["revenue:phone-number-local"] == Decimal("13.20")
        # Havel: 4.90 + 9.80 + 9.80
        assert -theirs["revenue:sms"] == Decimal("24.50")
        assert -theirs["revenue:phone-number-local"] == Decimal("13.20")
        # 3.21 in January and 6.00 back; the authority's interest and penalty go to it as well.
        assert -books["tax_payable:DE"] == Decimal("11.29")
        assert -books["late_fee_income"] == Decimal("0.67")
        assert -books["surcharge_payable"] == Decimal("0.003")
        # Rounded less exact: 0.01 - 0.0079 and 0.00 - 0.003.
        assert -books["rounding"] == Decimal("-0.0009")
        assert books.get("unbilled", Decimal()) == theirs.get("unbilled", Decimal()) == 0
        assert sum(books.values()) == 0


def sets_up(world: World) -> None:
    """What the operator sets before the year begins."""
    world.operator(
        "POST",
        "ContractingEntities",
        {"key": "europe", "name": "Operator Ireland Ltd", "address": "1 Quay Street\nDublin", "country": "IE"}
        | {"vat_id": IRISH_VAT_ID},
    )
    rule = {"jurisdiction": "DE", "kind": "vat", "base": "fees_and_surcharges", "rate": "0.19"}
    source = {"source": "Umsatzsteuergesetz, section 12(1)", "effective_from": "2027-01-01T00:00:00Z"}
    world.operator("POST", "TaxRules", rule | source)
    maximum = {"jurisdiction": "DE", "rate": "0.1127", "from_on": "2027-01-01"}
    world.operator("POST", "Collections/LegalMaxima", maximum | {"source": "Buergerliches Gesetzbuch, section 288(2)"})
