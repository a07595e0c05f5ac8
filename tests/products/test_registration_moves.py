"""The tables of registrations: each row is a move, and there is no other."""

import itertools
from datetime import UTC, date, datetime

import pytest

from onterms.products.registration.model import (
    BRAND_MOVES,
    CAMPAIGN_MOVES,
    NUMBER_MOVES,
    TOLLFREE_MOVES,
    VETTING_MOVES,
    after,
    rates,
    usecases,
)
from onterms.products.trust import model as trust
from onterms.products.trust.model import Part, policies

ROWS = {
    "brand": (
        BRAND_MOVES,
        """
        PENDING take_up IN_REVIEW
        PENDING approve APPROVED
        PENDING fail FAILED
        IN_REVIEW approve APPROVED
        IN_REVIEW fail FAILED
        FAILED resubmit PENDING
        APPROVED suspend SUSPENDED
        SUSPENDED lift APPROVED
        """,
    ),
    "vetting": (
        VETTING_MOVES,
        """
        PENDING take_up IN_REVIEW
        PENDING approve APPROVED
        PENDING fail FAILED
        IN_REVIEW approve APPROVED
        IN_REVIEW fail FAILED
        """,
    ),
    "campaign": (
        CAMPAIGN_MOVES,
        """
        PENDING take_up IN_PROGRESS
        PENDING approve VERIFIED
        PENDING fail FAILED
        IN_PROGRESS approve VERIFIED
        IN_PROGRESS fail FAILED
        FAILED edit PENDING
        VERIFIED suspend SUSPENDED
        SUSPENDED lift VERIFIED
        """,
    ),
    "number": (
        NUMBER_MOVES,
        """
        PENDING approve REGISTERED
        PENDING fail FAILED
        """,
    ),
    "tollfree": (
        TOLLFREE_MOVES,
        """
        PENDING_REVIEW take_up IN_REVIEW
        PENDING_REVIEW approve TWILIO_APPROVED
        PENDING_REVIEW fail TWILIO_REJECTED
        IN_REVIEW approve TWILIO_APPROVED
        IN_REVIEW fail TWILIO_REJECTED
        TWILIO_REJECTED edit IN_REVIEW
        TWILIO_APPROVED fail TWILIO_REJECTED
        """,
    ),
    "bundle": (
        trust.MOVES,
        """
        draft submit pending-review
        twilio-rejected submit pending-review
        pending-review withdraw draft
        pending-review take_up in-review
        pending-review approve twilio-approved
        pending-review reject twilio-rejected
        in-review approve twilio-approved
        in-review reject twilio-rejected
        twilio-approved revoke twilio-rejected
        """,
    ),
}
EVERY = [(kind, *line.split()) for kind, (_, text) in ROWS.items() for line in text.strip().splitlines()]


@pytest.mark.parametrize(("kind", "status", "event", "then"), EVERY)
def test_event_moves_a_registration_to_its_next_status(kind: str, status: str, event: str, then: str) -> None:
    assert after(ROWS[kind][0], status, event) == then


@pytest.mark.parametrize("kind", ROWS)
def test_no_other_event_moves_a_registration(kind: str) -> None:
    table = ROWS[kind][0]
    rows = {(status, event) for each, status, event, _ in EVERY if each == kind}
    statuses = {status for status, _ in table} | set(table.values())
    events = {event for _, event in table}
    for pair in itertools.product(statuses, events):
        assert (after(table, *pair) is not None) == (pair in rows)


class TestRates:
    @pytest.mark.parametrize(
        ("score", "usecase", "per_s", "cap"),
        [
            (100, "MIXED", 225.0, 200_000),
            (75, "2FA", 225.0, 200_000),
            (74, "2FA", 120.0, 40_000),
            (50, "MARKETING", 120.0, 40_000),
            (49, "MARKETING", 12.0, 10_000),
            (25, "2FA", 12.0, 10_000),
            (24, "2FA", 12.0, 2_000),
            (None, "2FA", 12.0, 2_000),
            (90, "LOW_VOLUME", 3.75, 200_000),
        ],
    )
    def test_score_and_use_case_set_rate_and_cap(self, score: int | None, usecase: str, per_s: float, cap: int) -> None:
        rate = rates.campaign_rate(rates.BrandFacts("STANDARD", score), usecase, "QE1", "BN1")
        assert (rate.segments_per_s, rate.daily_cap, rate.group, rate.cap_group) == (per_s, cap, "QE1", "BN1")

    def test_sole_proprietor_has_a_rate_and_a_cap_of_its_own(self) -> None:
        rate = rates.campaign_rate(rates.BrandFacts("SOLE_PROPRIETOR", None), "SOLE_PROPRIETOR", "QE1", "BN1")
        assert (rate.segments_per_s, rate.daily_cap) == (1.0, 1_000)

    def test_firm_of_the_russell_3000_has_the_highest_cap_whatever_its_score(self) -> None:
        rate = rates.campaign_rate(rates.BrandFacts("STANDARD", 10, True), "2FA", "QE1", "BN1")
        assert (rate.segments_per_s, rate.daily_cap, rate.tmobile_tier) == (12.0, 200_000, "TOP")

    def test_cap_begins_anew_at_midnight_pacific_time(self) -> None:
        assert rates.cap_day(datetime(2030, 1, 15, 7, 59, tzinfo=UTC)) == date(2030, 1, 14)
        assert rates.cap_day(datetime(2030, 1, 15, 8, 0, tzinfo=UTC)) == date(2030, 1, 15)

    def test_marks_are_told_of_once_when_they_are_crossed(self) -> None:
        assert rates.crossed(0, 499, 1000) == []
        assert rates.crossed(499, 500, 1000) == [30025]
        assert rates.crossed(500, 699, 1000) == []
        assert rates.crossed(0, 1000, 1000) == [30025, 30026, 30027]


class TestCampaignTexts:
    def details(self, **more: object) -> dict[str, object]:
        sample = "Your appointment is tomorrow at 9."
        return {"description": "x" * 40, "message_flow": "x" * 40, "message_samples": [sample, sample], **more}

    def test_texts_within_their_lengths_have_no_fault(self) -> None:
        assert usecases.faults(self.details(), "MIXED") == []

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ({"description": "x" * 39}, "Description must have 40"),
            ({"message_flow": "x" * 2049}, "MessageFlow must have 40 to 2048"),
            ({"message_samples": ["x" * 20]}, "MessageSamples must be 2 to 5"),
            ({"message_samples": ["x" * 19, "x" * 20]}, "MessageSamples must have 20"),
            ({"help_message": "x" * 19}, "HelpMessage must have 20"),
            ({"opt_in_keywords": ["x" * 256]}, "opt_in_keywords must have at most 255"),
        ],
    )
    def test_text_outside_its_lengths_is_a_fault(self, more: dict[str, object], words: str) -> None:
        [fault] = usecases.faults(self.details(**more), "MIXED")
        assert fault.startswith(words)

    def test_sole_proprietor_may_give_one_sample(self) -> None:
        assert usecases.faults(self.details(message_samples=["x" * 20]), "SOLE_PROPRIETOR") == []


BUSINESS = {
    "business_type": "Corporation",
    "business_registration_number": "12-3456780",
    "business_name": "Acme",
    "business_registration_identifier": "EIN",
    "business_identity": "direct_customer",
    "business_industry": "TECHNOLOGY",
    "website_url": "https://acme.example",
    "business_regions_of_operation": "USA_AND_CANADA",
}
PERSON = {
    "first_name": "Ann",
    "last_name": "Example",
    "email": "ann@acme.example",
    "phone_number": "+12025550123",
    "business_title": "Head",
    "job_position": "CEO",
}
ADDRESS = {"address_sids": "AD" + "0" * 32}
WHOLE = (
    Part(policies.BUSINESS, BUSINESS),
    Part("authorized_representative_1", PERSON),
    Part(policies.ADDRESS, ADDRESS),
)


class TestEvaluation:
    def judge(self, name: str, *parts: Part) -> list[tuple[str, int]]:
        results = trust.evaluate(policies.NAMED[name], parts)
        return [(each["requirement_name"], each["error_code"]) for each in results if not each["passed"]]

    def test_profile_with_all_that_its_policy_asks_is_compliant(self) -> None:
        assert self.judge(policies.PRIMARY, *WHOLE) == []

    def test_empty_profile_lacks_each_requirement_with_its_code(self) -> None:
        assert self.judge(policies.PRIMARY) == [
            (policies.BUSINESS, 22214),
            ("authorized_representative_1", 22214),
            (policies.ADDRESS, 22216),
        ]

    @pytest.mark.parametrize(
        "change", [{"business_name": ""}, {"business_type": "Circus"}, {"business_regions_of_operation": "MOON"}]
    )
    def test_field_that_is_missing_or_has_no_known_value_fails(self, change: dict[str, str]) -> None:
        parts = (Part(policies.BUSINESS, {**BUSINESS, **change}), *WHOLE[1:])
        assert self.judge(policies.PRIMARY, *parts) == [(policies.BUSINESS, 22215)]

    def test_field_may_hold_several_of_its_values(self) -> None:
        regions = {"business_regions_of_operation": "EUROPE, ASIA"}
        assert self.judge(policies.PRIMARY, Part(policies.BUSINESS, {**BUSINESS, **regions}), *WHOLE[1:]) == []

    def test_second_representative_is_judged_only_where_there_is_one(self) -> None:
        second = Part("authorized_representative_2", {**PERSON, "email": ""})
        assert self.judge(policies.PRIMARY, *WHOLE, second) == [("authorized_representative_2", 22215)]

    def test_address_that_is_no_sid_fails(self) -> None:
        parts = (*WHOLE[:2], Part(policies.ADDRESS, {"address_sids": "Main Street"}))
        assert self.judge(policies.PRIMARY, *parts) == [(policies.ADDRESS, 22219)]

    def test_public_company_names_its_stock(self) -> None:
        profile = Part(policies.PRIMARY, {}, "twilio-approved")
        public = Part(policies.MESSAGING_PROFILE, {"company_type": "public"})
        assert self.judge(policies.A2P, public, profile) == [(policies.MESSAGING_PROFILE, 22215)]
        private = Part(policies.MESSAGING_PROFILE, {"company_type": "private"})
        assert self.judge(policies.A2P, private, profile) == []

    @pytest.mark.parametrize("status", ["draft", "pending-review", "twilio-rejected"])
    def test_product_needs_an_approved_profile(self, status: str) -> None:
        private = Part(policies.MESSAGING_PROFILE, {"company_type": "private"})
        profile = Part(policies.SECONDARY, {}, status)
        assert self.judge(policies.A2P, private, profile) == [(policies.PRIMARY, 18036)]
