"""Posting templates, row by row."""

from collections.abc import Callable

import pytest

from onterms.engines.ledger import Entry, Posting, Split, Transaction, Unbalanced
from onterms.engines.ledger import templates as t

SMS = Split("sms", fee=700, surcharge=30, taxes={"US-NY": 8})
CALLS = Split("voice", fee=100, taxes={"US-NY": 2, "US-CA": 1})

# Each row: what is posted, and what it does to which account (debits positive, documents after a slash).
TABLE: dict[str, tuple[Posting, dict[str, int]]] = {
    "topup": (t.topup(500, "stripe"), {"cash:stripe": 500, "prepaid_balance": -500}),
    "hold": (t.hold(327), {"prepaid_balance?": 327, "prepaid_hold?": -327}),
    "release": (t.release(327), {"prepaid_balance?": -327, "prepaid_hold?": 327}),
    "capture_prepaid": (
        t.capture("prepaid", 1000, [SMS, CALLS]),
        {
            "prepaid_balance?": -1000,
            "prepaid_hold?": 1000,
            "prepaid_balance": 841,
            "revenue:sms": -700,
            "revenue:voice": -100,
            "surcharge_payable": -30,
            "tax_payable:US-CA": -1,
            "tax_payable:US-NY": -10,
        },
    ),
    "capture_invoiced": (
        t.capture("invoiced", 50, [Split("sms", fee=50)]),
        {"prepaid_balance?": -50, "prepaid_hold?": 50, "unbilled": 50, "revenue:sms": -50},
    ),
    "rate_usage": (
        t.rate_usage([Split("sms", fee=70, surcharge=3)]),
        {"unbilled": 73, "revenue:sms": -70, "surcharge_payable": -3},
    ),
    "rate_usage_with_too_little_prepaid": (
        t.rate_usage([Split("numbers", fee=100)], prepaid=60, receivable=40),
        {"prepaid_balance": 60, "receivable": 40, "revenue:numbers": -100},
    ),
    "rate_usage_corrected": (t.rate_usage([Split("sms", fee=-70)]), {"unbilled": -70, "revenue:sms": 70}),
    "invoice_close": (
        t.invoice_close("IN1", 571_342, {"US-NY": 45_700}, rounding=-342),
        {"receivable/IN1": 616_700, "unbilled": -571_342, "tax_payable:US-NY": -45_700, "rounding": 342},
    ),
    "payment": (t.payment(900, "bank"), {"cash:bank": 900, "prepaid_balance": -900}),
    "allocation": (
        t.allocation({"IN1": 600, "IN2": 250, None: 50}),
        {"prepaid_balance": 900, "receivable/IN1": -600, "receivable/IN2": -250, "receivable": -50},
    ),
    "dispute_open": (t.dispute_open("IN1", 265), {"receivable_disputed/IN1": 265, "receivable/IN1": -265}),
    "dispute_reject": (t.dispute_reject("IN1", 265), {"receivable/IN1": 265, "receivable_disputed/IN1": -265}),
    "dispute_uphold": (
        t.dispute_uphold("IN1", [Split("sms", fee=250, taxes={"US-NY": 15})], late_fee=4),
        {
            "revenue:sms": 250,
            "tax_payable:US-NY": 15,
            "late_fee_income": 4,
            "receivable_disputed/IN1": -265,
            "unbilled": -4,
        },
    ),
    "credit_note_unpaid": (
        t.credit_note([SMS], "IN1"),
        {"revenue:sms": 700, "surcharge_payable": 30, "tax_payable:US-NY": 8, "receivable/IN1": -738},
    ),
    "credit_note_paid": (
        t.credit_note([Split("sms", fee=5)], None),
        {"revenue:sms": 5, "prepaid_balance": -5},
    ),
    "late_fee": (t.late_fee(117), {"unbilled": 117, "late_fee_income": -117}),
    "late_fee_taken_back": (t.late_fee(-17), {"unbilled": -17, "late_fee_income": 17}),
    "reversal": (
        t.reversal(t.invoice_close("IN1", 100, {"US-NY": 8})),
        {"receivable/IN1": -108, "unbilled": 100, "tax_payable:US-NY": 8},
    ),
    "refund_of_funds": (t.refund(40, "stripe", "prepaid_balance"), {"prepaid_balance": 40, "cash:stripe": -40}),
    "refund_of_fees": (t.refund(40, "stripe", "refunds"), {"refunds": 40, "cash:stripe": -40}),
    "write_off": (t.write_off("IN1", 300), {"bad_debt": 300, "receivable/IN1": -300}),
    "tax_backbill": (
        t.tax_backbill("DN1", {"US-NY": 168, "US-NY interest": 12}),
        {"receivable/DN1": 180, "tax_payable:US-NY": -168, "tax_payable:US-NY interest": -12},
    ),
    "withholding_proof": (
        t.withholding_proof("IN1", 1_500),
        {"withholding_receivable": 1_500, "receivable/IN1": -1_500},
    ),
    "chargeback_opened": (t.chargeback(90, "stripe", "opened"), {"chargeback": 90, "cash:stripe": -90}),
    "chargeback_won": (t.chargeback(90, "stripe", "won"), {"cash:stripe": 90, "chargeback": -90}),
    "chargeback_lost": (
        t.chargeback(90, "stripe", "lost", prepaid=30),
        {"prepaid_balance": 30, "receivable": 60, "chargeback": -90},
    ),
    "commitment": (t.commitment(1_000), {"unbilled": 1_000, "commitment_income": -1_000}),
}


def name_of(entry: Entry) -> str:
    return entry.account + (f"/{entry.document}" if entry.document else "") + ("?" if entry.is_pending else "")


@pytest.mark.parametrize("row", TABLE)
def test_a_template_moves_what_it_says(row: str) -> None:
    posting, expected = TABLE[row]
    assert {name_of(entry): entry.micros for entry in posting.entries} == expected
    assert len(posting.entries) == len(expected)
    assert row.startswith(posting.kind)


def test_every_template_has_a_row() -> None:
    public = {
        name for name, value in vars(t).items() if callable(value) and getattr(value, "__module__", "") == t.__name__
    }
    made = {posting.kind for posting, _ in TABLE.values()}
    assert made == {name for name in public if not name.startswith("_")}


def test_a_reversal_undoes_a_posting() -> None:
    for posting, _ in TABLE.values():
        twice = t.reversal(t.reversal(posting))
        assert twice.entries == posting.entries


@pytest.mark.parametrize(
    "make",
    [
        lambda: t.topup(0, "stripe"),
        lambda: t.payment(-1, "stripe"),
        lambda: t.hold(0),
        lambda: t.allocation({"IN1": 5, "IN2": -5}),
        lambda: t.capture("prepaid", 700, [SMS]),
        lambda: t.capture("prepaid", 700, []),
        lambda: t.chargeback(10, "stripe", "lost", prepaid=11),
        lambda: t.write_off("IN1", 0),
    ],
)
def test_an_amount_that_makes_no_sense_is_refused(make: Callable[[], Posting]) -> None:
    with pytest.raises(ValueError):
        make()


def test_entries_that_do_not_sum_to_zero_are_no_posting() -> None:
    with pytest.raises(Unbalanced):
        Posting("payment", (Entry("cash:bank", 2), Entry("prepaid_balance", -1)))
    # Pending and posted entries are two sums.
    with pytest.raises(Unbalanced):
        Posting("hold", (Entry("prepaid_balance", 1, is_pending=True), Entry("prepaid_hold", -1)))


def test_the_hash_of_a_transaction_tells_apart_what_is_asked_for() -> None:
    def made(**change: object) -> bytes:
        fields: dict[str, object] = {
            "customer_sid": "OR1", "currency": "USD", "key": "k", "posting": t.topup(5, "x"), "memo": {"a": 1, "b": 2},
        }  # fmt: skip
        return Transaction(**{**fields, **change}).body_sha256()  # type: ignore[arg-type]

    assert made() == made(memo={"b": 2, "a": 1})
    others = [made(currency="EUR"), made(posting=t.topup(6, "x")), made(posting=t.payment(5, "x")), made(memo={})]
    assert len({made(), *others}) == 5
