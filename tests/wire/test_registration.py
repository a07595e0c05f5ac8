"""Registered senders by the official client: profile, brand, vetting, campaign, toll-free, and what follows."""

import itertools
from decimal import Decimal

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

WAIT_S = 10
PRIMARY, SECONDARY = "RN6433641899984f951173ef1738c3bdd0", "RNdfbf3fae0e1107f8aded0e7cead80bf5"
STARTER = "RN806dd6cd175f314e1f96a9727ee271f4"
A2P, A2P_STARTER = "RNb0d4771c2c98518d916a3d4cd70a8f8b", "RN670d5d2e282a6130ae063b234b6019c8"
ADDRESS = {"address_sids": "AD" + "0" * 32}
PERSON = {
    "first_name": "Ann",
    "last_name": "Example",
    "email": "ann@acme.example",
    "phone_number": "+12025550123",
    "business_title": "Head",
    "job_position": "CEO",
}
CAMPAIGN = {
    "description": "Reminders of appointments to customers who asked for them when they booked.",
    "message_flow": "Customers tick a box below the form in which they book an appointment at our desk.",
    "message_samples": ["Your appointment is tomorrow at 9.", "Your appointment was moved to 10."],
    "us_app_to_person_usecase": "CUSTOMER_CARE",
    "has_embedded_links": False,
    "has_embedded_phone": False,
}
VERIFICATION = {
    "business_name": "Acme",
    "business_website": "https://acme.example",
    "notification_email": "owner@acme.example",
    "use_case_categories": ["CUSTOMER_CARE"],
    "use_case_summary": "Reminders of appointments",
    "production_message_sample": "Your appointment is tomorrow at 9.",
    "opt_in_image_urls": ["https://acme.example/opt-in.png"],
    "opt_in_type": "WEB_FORM",
    "message_volume": "1,000",
}
_handsets = itertools.count(1)


@pytest.fixture(scope="module")
def strict(start_server):
    """A server that asks for registration, with a clock that may be moved."""
    with start_server({"ONTERMS_SENDER_REGISTRATION": "1"}) as running:
        yield running


@pytest.fixture(autouse=True)
def _strict_shell(_shell, strict, monkeypatch):
    for name, value in strict.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def account(strict):
    return strict.make_account("Acme")


@pytest.fixture
def client(account):
    return account.client()


def business(**change):
    return {
        "business_type": "Corporation",
        "business_registration_number": "12-3456780",
        "business_name": "Acme",
        "business_registration_identifier": "EIN",
        "business_identity": "direct_customer",
        "business_industry": "TECHNOLOGY",
        "website_url": "https://acme.example",
        "business_regions_of_operation": "USA_AND_CANADA",
        **change,
    }


class Applicant:
    """Somebody who goes the whole way."""

    def __init__(self, server, client):
        self.server = server
        self.client = client
        self.hub = client.trusthub.v1

    def end_user(self, kind, attributes):
        return self.hub.end_users.create(friendly_name=kind, type=kind, attributes=attributes).sid

    def address(self):
        made = self.hub.supporting_documents.create(
            friendly_name="Office", type="customer_profile_address", attributes=ADDRESS
        )
        return made.sid

    def profile(self, policy=PRIMARY, parts=(), name="Acme", **more):
        made = self.hub.customer_profiles.create(
            friendly_name=name, email="owner@acme.example", policy_sid=policy, **more
        )
        for sid in parts:
            self.hub.customer_profiles(made.sid).customer_profiles_entity_assignments.create(object_sid=sid)
        return made.sid

    def primary(self, **change):
        parts = [
            self.end_user("customer_profile_business_information", business(**change)),
            self.end_user("authorized_representative_1", PERSON),
            self.address(),
        ]
        return self.profile(parts=parts)

    def product(self, profile_sid, policy=A2P, kind="us_a2p_messaging_profile_information", **attributes):
        made = self.hub.trust_products.create(friendly_name="A2P", email="owner@acme.example", policy_sid=policy)
        for sid in (self.end_user(kind, attributes or {"company_type": "private"}), profile_sid):
            self.hub.trust_products(made.sid).trust_products_entity_assignments.create(object_sid=sid)
        return made.sid

    def hand_in(self, resource, wait_s=180):
        resource.update(status="pending-review")
        self.server.advance(seconds=wait_s)
        return resource.fetch().status

    def profiles(self, **change):
        profile_sid = self.primary(**change)
        assert self.hand_in(self.hub.customer_profiles(profile_sid)) == "twilio-approved"
        product_sid = self.product(profile_sid)
        assert self.hand_in(self.hub.trust_products(product_sid)) == "twilio-approved"
        return {"customer_profile_bundle_sid": profile_sid, "a2p_profile_bundle_sid": product_sid}

    def brand(self, wait_s=600, skip_automatic_sec_vet=True, **change):
        made = self.client.messaging.v1.brand_registrations.create(
            **self.profiles(**change), skip_automatic_sec_vet=skip_automatic_sec_vet
        )
        assert (made.status, made.sid[:2]) == ("PENDING", "BN")
        self.server.advance(seconds=wait_s)
        return self.client.messaging.v1.brand_registrations(made.sid).fetch()

    def service(self):
        return self.client.messaging.v1.services.create(friendly_name="Acme")

    def campaign(self, brand_sid, service_sid, **change):
        made = self.client.messaging.v1.services(service_sid).us_app_to_person.create(
            brand_registration_sid=brand_sid, **{**CAMPAIGN, **change}
        )
        return self.client.messaging.v1.services(service_sid).us_app_to_person(made.sid)


@pytest.fixture
def applicant(strict, client):
    return Applicant(strict, client)


@pytest.fixture
def send(strict, account, client):
    """Send to a handset, on a network where that matters, and return what became of it."""

    def to_handset(ending="00", sender=None, body="hello"):
        recipient = f"+19075{next(_handsets):04d}{ending}"
        requests.post(f"{strict.url}/simulator/v1/handsets/{recipient}", json={}, timeout=WAIT_S)
        made = client.messages.create(to=recipient, from_=sender or account.number, body=body)
        strict.advance(seconds=30)
        found = client.messages(made.sid).fetch()
        return found.status, found.error_code

    return to_handset


class TestTheWholeWay:
    def test_registered_number_sends_and_no_other(self, strict, account, client, applicant, send):
        assert send() == ("undelivered", 30034)
        brand = applicant.brand(skip_automatic_sec_vet=False)
        assert (brand.status, brand.identity_status, brand.brand_score) == ("APPROVED", "VETTED_VERIFIED", 80)
        assert brand.tcr_id.startswith("B")
        [vetting] = client.messaging.v1.brand_registrations(brand.sid).brand_vettings.list()
        assert (vetting.vetting_status, vetting.vetting_class) == ("APPROVED", "STANDARD")
        service = applicant.service()
        campaign = applicant.campaign(brand.sid, service.sid)
        shown = campaign.fetch()
        assert (shown.campaign_status, shown.campaign_id, shown.sid[:2]) == ("PENDING", None, "QE")
        assert shown.rate_limits == {"att": {"mps": 75.0, "msg_class": "A"}, "tmobile": {"brand_tier": "TOP"}}
        strict.advance(seconds=90)
        assert campaign.fetch().campaign_status == "IN_PROGRESS"
        assert send() == ("undelivered", 30034)
        strict.advance(seconds=300)
        assert campaign.fetch().campaign_status == "VERIFIED"
        assert campaign.fetch().campaign_id.startswith("C")
        assert client.messaging.v1.services(service.sid).fetch().us_app_to_person_registered
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        # Carriers need a while to know the number.
        assert send() == ("undelivered", 30035)
        strict.advance(seconds=120)
        assert send() == ("delivered", None)
        client.messaging.v1.services(service.sid).phone_numbers(account.number_sid).delete()
        assert send() == ("undelivered", 30034)

    def test_numbers_that_are_in_the_service_already_are_registered_with_the_campaign(
        self, strict, account, client, applicant, send
    ):
        brand, service = applicant.brand(), applicant.service()
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        campaign = applicant.campaign(brand.sid, service.sid)
        strict.advance(seconds=600)
        assert send() == ("delivered", None)
        campaign.delete()
        assert send() == ("undelivered", 30034)

    def test_what_was_barred_costs_nothing(self, strict, client, send):
        before = Decimal(client.balance.fetch().balance)
        assert send() == ("undelivered", 30034)
        assert Decimal(client.balance.fetch().balance) == before

    def test_suspended_campaign_ends_messages_until_it_is_lifted(
        self, strict, account, client, applicant, send, refused
    ):
        brand, service = applicant.brand(), applicant.service()
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        campaign = applicant.campaign(brand.sid, service.sid)
        strict.advance(seconds=600)
        sid = campaign.fetch().sid
        route = f"/operator/v1/SenderRegistrations/{sid}"
        assert strict.operator(route, {"event": "suspend", "codes": [30990]})["status"] == "SUSPENDED"
        assert send() == ("undelivered", 30033)
        with refused(21729):
            campaign.update(**{**_editable(CAMPAIGN), "age_gated": False, "direct_lending": False})
        assert strict.operator(route, {"event": "lift"})["status"] == "VERIFIED"
        assert send() == ("delivered", None)

    def test_external_campaign_registers_numbers_and_costs_nothing(self, strict, account, client, applicant, send):
        service = applicant.service()
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        before = Decimal(client.balance.fetch().balance)
        made = client.messaging.v1.external_campaign.create(campaign_id="CABC123", messaging_service_sid=service.sid)
        strict.advance(seconds=600)
        shown = client.messaging.v1.services(service.sid).us_app_to_person(made.sid).fetch()
        assert (shown.campaign_status, shown.campaign_id, shown.is_externally_registered) == (
            "VERIFIED",
            "CABC123",
            True,
        )
        assert Decimal(client.balance.fetch().balance) == before
        assert send() == ("delivered", None)

    def test_external_campaign_that_is_not_shared_fails(self, strict, client, applicant):
        service = applicant.service()
        made = client.messaging.v1.external_campaign.create(campaign_id="CUNKNOWN", messaging_service_sid=service.sid)
        strict.advance(seconds=600)
        shown = client.messaging.v1.services(service.sid).us_app_to_person(made.sid).fetch()
        assert shown.campaign_status == "FAILED"
        assert [each["error_code"] for each in shown.errors] == [30904]


def _editable(campaign):
    return {name: value for name, value in campaign.items() if name != "us_app_to_person_usecase"}


class TestProfiles:
    def test_incomplete_profile_is_evaluated_and_rejected_with_reasons(self, strict, client, applicant):
        profile_sid = applicant.profile()
        profile = client.trusthub.v1.customer_profiles(profile_sid)
        judged = profile.customer_profiles_evaluations.create(policy_sid=PRIMARY)
        assert judged.status == "noncompliant"
        assert [each["error_code"] for each in judged.results] == [22214, 22214, 22216]
        assert applicant.hand_in(profile) == "twilio-rejected"
        assert {each["code"] for each in profile.fetch().errors} == {22215, 22219}

    def test_rejected_profile_is_mended_and_approved_and_its_owner_told_each_time(
        self, strict, account, client, applicant
    ):
        profile_sid = applicant.primary(business_name="Acme REJECT")
        profile = client.trusthub.v1.customer_profiles(profile_sid)
        email = f"owner-{profile_sid}@acme.example"
        profile.update(email=email)
        profile.update(status="pending-review")
        assert profile.fetch().status == "pending-review"
        strict.advance(seconds=60)
        assert profile.fetch().status == "in-review"
        strict.advance(seconds=120)
        rejected = profile.fetch()
        assert rejected.status == "twilio-rejected"
        assert [each["code"] for each in rejected.errors] == [18602]
        [business_sid] = [
            each.object_sid
            for each in profile.customer_profiles_entity_assignments.list(
                object_type="customer_profile_business_information"
            )
        ]
        client.trusthub.v1.end_users(business_sid).update(attributes=business())
        assert applicant.hand_in(profile) == "twilio-approved"
        assert profile.fetch().errors == []
        box = requests.get(f"{strict.url}/simulator/v1/mailboxes/{email}/messages", timeout=WAIT_S)
        assert [word in box.text for word in ("Acme: rejected", "Acme: approved", "18602")] == [True, True, True]

    def test_what_is_under_review_or_approved_does_not_change(self, strict, client, applicant, refused):
        profile_sid = applicant.primary()
        profile = client.trusthub.v1.customer_profiles(profile_sid)
        parts = profile.customer_profiles_entity_assignments.list()
        profile.update(status="pending-review")
        with refused(20409, 409):
            parts[0].delete()
        with refused(20409, 409):
            client.trusthub.v1.end_users(parts[-1].object_sid).update(friendly_name="Other")
        with refused(21647):
            profile.delete()
        profile.update(status="draft")
        assert profile.fetch().status == "draft"
        strict.advance(seconds=600)
        assert profile.fetch().status == "draft"
        assert applicant.hand_in(profile) == "twilio-approved"
        with refused(20409, 409):
            parts[0].delete()
        with refused(20001):
            profile.update(status="twilio-approved" if profile.fetch().status != "twilio-approved" else "in-review")

    def test_things_in_use_are_not_deleted(self, client, applicant, refused):
        profile_sid = applicant.primary()
        parts = client.trusthub.v1.customer_profiles(profile_sid).customer_profiles_entity_assignments.list()
        codes = {"IT": 21644, "RD": 21645}
        for part in parts:
            resource = "end_users" if part.object_sid.startswith("IT") else "supporting_documents"
            with refused(codes[part.object_sid[:2]]):
                getattr(client.trusthub.v1, resource)(part.object_sid).delete()
        assert client.trusthub.v1.customer_profiles(profile_sid).delete()
        for part in parts:
            resource = "end_users" if part.object_sid.startswith("IT") else "supporting_documents"
            assert getattr(client.trusthub.v1, resource)(part.object_sid).delete()

    def test_subaccount_stands_on_the_approved_profile_of_its_main_account_only(
        self, strict, client, applicant, refused
    ):
        primary_sid = applicant.primary()
        made = client.api.v2010.accounts.create(friendly_name="Customer")
        below = Applicant(strict, Client(made.sid, made.auth_token))
        parts = [
            below.end_user("customer_profile_business_information", business(business_name="Customer")),
            below.end_user("authorized_representative_1", PERSON),
            below.address(),
        ]
        profile_sid = below.profile(SECONDARY, parts)
        assignments = below.hub.customer_profiles(profile_sid).customer_profiles_entity_assignments
        with refused(22205):
            assignments.create(object_sid=primary_sid)
        assert applicant.hand_in(applicant.hub.customer_profiles(primary_sid)) == "twilio-approved"
        assignments.create(object_sid=primary_sid)
        assert below.hand_in(below.hub.customer_profiles(profile_sid)) == "twilio-approved"
        with refused(21647):
            applicant.hub.customer_profiles(primary_sid).delete()

    def test_policies_and_types_name_what_is_needed(self, client):
        listed = {policy.sid: policy for policy in client.trusthub.v1.policies.list()}
        needed = listed[SECONDARY].requirements
        assert [each["type"] for each in needed["end_user"]] == [
            "customer_profile_business_information",
            "authorized_representative_1",
            "authorized_representative_2",
        ]
        assert [each["requirement_name"] for each in needed["supporting_customer_profiles"]] == [
            "primary_customer_profile"
        ]
        types = {each.machine_name: each for each in client.trusthub.v1.end_user_types.list()}
        fields = types["authorized_representative_1"].fields
        assert {"machine_name": "job_position", "friendly_name": "Job Position", "constraint": "String"} in fields
        assert client.trusthub.v1.end_user_types(types["authorized_representative_1"].sid).fetch().fields == fields


class TestBrands:
    @pytest.mark.parametrize(
        ("tax_id", "code", "feedback"),
        [
            ("12-0000001", 30795, "TAX_ID"),
            ("12-0000002", 30796, "STOCK_SYMBOL"),
            ("12-0000003", 30797, "GOVERNMENT_ENTITY"),
            ("12-0000004", 30798, "NONPROFIT"),
            ("12-0000005", 30799, "OTHERS"),
        ],
    )
    def test_brand_that_does_not_match_fails_with_feedback(self, applicant, client, tax_id, code, feedback):
        brand = applicant.brand(business_registration_number=tax_id)
        assert (brand.status, brand.brand_feedback, brand.identity_status) == ("FAILED", [feedback], "UNVERIFIED")
        assert [each["error_code"] for each in brand.errors] == [code]
        assert [alert.error_code for alert in client.monitor.v1.alerts.list()] == [str(code)]

    def test_failed_brand_is_handed_in_again_three_times_at_most(self, strict, applicant, client, refused):
        brand = applicant.brand(business_registration_number="12-0000001")
        resource = client.messaging.v1.brand_registrations(brand.sid)
        for _ in range(3):
            assert resource.update().status == "PENDING"
            with refused(21725):
                resource.update()
            strict.advance(seconds=300)
            assert resource.fetch().status == "FAILED"
        with refused(21724):
            resource.update()

    def test_mended_brand_is_approved_without_another_fee(self, strict, applicant, client):
        brand = applicant.brand(business_registration_number="12-0000001")
        before = Decimal(client.balance.fetch().balance)
        profile = client.trusthub.v1.customer_profiles(brand.customer_profile_bundle_sid)
        route = f"/operator/v1/SenderRegistrations/{brand.customer_profile_bundle_sid}"
        strict.operator(route, {"event": "revoke", "codes": [18602]})
        [business_sid] = [
            each.object_sid
            for each in profile.customer_profiles_entity_assignments.list(
                object_type="customer_profile_business_information"
            )
        ]
        client.trusthub.v1.end_users(business_sid).update(attributes=business())
        # The brand is handed in while its profile is looked at, and waits for that.
        profile.update(status="pending-review")
        resource = client.messaging.v1.brand_registrations(brand.sid)
        assert resource.update().status == "PENDING"
        strict.advance(seconds=600)
        assert profile.fetch().status == "twilio-approved"
        assert resource.fetch().status == "APPROVED"
        assert Decimal(client.balance.fetch().balance) == before

    def test_brand_on_profiles_that_are_not_approved_fails(self, strict, applicant, client):
        profile_sid = applicant.primary()
        made = client.messaging.v1.brand_registrations.create(
            customer_profile_bundle_sid=profile_sid, a2p_profile_bundle_sid=applicant.product(profile_sid)
        )
        strict.settle()
        brand = client.messaging.v1.brand_registrations(made.sid).fetch()
        assert (brand.status, [each["error_code"] for each in brand.errors]) == ("FAILED", [30793])

    def test_mock_brand_is_approved_at_once_for_nothing(self, strict, applicant, client):
        profiles = applicant.profiles()
        before = Decimal(client.balance.fetch().balance)
        made = client.messaging.v1.brand_registrations.create(**profiles, mock=True)
        strict.settle()
        brand = client.messaging.v1.brand_registrations(made.sid).fetch()
        assert (brand.status, brand.mock) == ("APPROVED", True)
        service = applicant.service()
        campaign = applicant.campaign(brand.sid, service.sid)
        strict.settle()
        assert (campaign.fetch().campaign_status, campaign.fetch().mock) == ("VERIFIED", True)
        assert Decimal(client.balance.fetch().balance) == before

    def test_sole_proprietor_confirms_by_text_and_has_one_campaign_and_one_number(
        self, strict, account, applicant, client, refused, send
    ):
        primary_sid = applicant.primary()
        assert applicant.hand_in(applicant.hub.customer_profiles(primary_sid)) == "twilio-approved"
        person = {name: PERSON[name] for name in ("first_name", "last_name", "email", "phone_number")}
        parts = [applicant.end_user("starter_customer_profile_information", person), applicant.address(), primary_sid]
        starter_sid = applicant.profile(STARTER, parts)
        assert applicant.hand_in(applicant.hub.customer_profiles(starter_sid)) == "twilio-approved"
        mobile = f"+1202555{next(_handsets):04d}"
        given = {"brand_name": "Ann's", "vertical": "RETAIL", "mobile_phone_number": mobile}
        product_sid = applicant.product(starter_sid, A2P_STARTER, "sole_proprietor_information", **given)
        assert applicant.hand_in(applicant.hub.trust_products(product_sid)) == "twilio-approved"
        made = client.messaging.v1.brand_registrations.create(
            customer_profile_bundle_sid=starter_sid, a2p_profile_bundle_sid=product_sid, brand_type="SOLE_PROPRIETOR"
        )
        brand = client.messaging.v1.brand_registrations(made.sid)
        strict.advance(seconds=600)
        assert brand.fetch().status == "IN_REVIEW"
        assert brand.brand_registration_otps.create().brand_registration_sid == made.sid
        url = f"{strict.url}/simulator/v1/registrar/texts/{mobile}"
        texts = requests.get(url, timeout=WAIT_S).json()["items"]
        assert [text["brand_sid"] for text in texts] == [made.sid, made.sid]
        assert "Ann's" in texts[0]["body"]
        assert requests.post(url, json={"body": "yes"}, timeout=WAIT_S).status_code == 200
        strict.advance(seconds=120)
        assert brand.fetch().status == "APPROVED"
        with refused(20409, 409):
            brand.brand_registration_otps.create()
        services = [applicant.service(), applicant.service()]
        with refused(21719):
            applicant.campaign(made.sid, services[0].sid)
        more = {"us_app_to_person_usecase": "SOLE_PROPRIETOR"}
        campaign = applicant.campaign(made.sid, services[0].sid, **more)
        with refused(21732):
            applicant.campaign(made.sid, services[1].sid, **more)
        strict.advance(seconds=600)
        assert campaign.fetch().campaign_status == "VERIFIED"
        pool = client.messaging.v1.services(services[0].sid).phone_numbers
        pool.create(phone_number_sid=account.number_sid)
        strict.advance(seconds=120)
        stock = client.available_phone_numbers("US").local.list(limit=1)
        second = client.incoming_phone_numbers.create(phone_number=stock[0].phone_number)
        pool.create(phone_number_sid=second.sid)
        strict.advance(seconds=120)
        assert send() == ("delivered", None)
        assert send(sender=second.phone_number) == ("undelivered", 30034)
        second.delete()

    def test_sole_proprietor_who_does_not_answer_within_a_day_fails(self, strict, applicant, client):
        primary_sid = applicant.primary()
        assert applicant.hand_in(applicant.hub.customer_profiles(primary_sid)) == "twilio-approved"
        person = {name: PERSON[name] for name in ("first_name", "last_name", "email", "phone_number")}
        parts = [applicant.end_user("starter_customer_profile_information", person), applicant.address(), primary_sid]
        starter_sid = applicant.profile(STARTER, parts)
        assert applicant.hand_in(applicant.hub.customer_profiles(starter_sid)) == "twilio-approved"
        given = {"brand_name": "Ann's", "vertical": "RETAIL", "mobile_phone_number": "+12025550199"}
        product_sid = applicant.product(starter_sid, A2P_STARTER, "sole_proprietor_information", **given)
        assert applicant.hand_in(applicant.hub.trust_products(product_sid)) == "twilio-approved"
        made = client.messaging.v1.brand_registrations.create(
            customer_profile_bundle_sid=starter_sid, a2p_profile_bundle_sid=product_sid, brand_type="SOLE_PROPRIETOR"
        )
        strict.advance(hours=25)
        brand = client.messaging.v1.brand_registrations(made.sid).fetch()
        assert (brand.status, [each["error_code"] for each in brand.errors]) == ("FAILED", [30752])

    def test_political_vetting_takes_a_token(self, applicant, client, strict, refused):
        brand = applicant.brand()
        vettings = client.messaging.v1.brand_registrations(brand.sid).brand_vettings
        with refused(21722):
            vettings.create(vetting_provider="campaign-verify", vetting_id="hello")
        made = vettings.create(vetting_provider="campaign-verify", vetting_id="cv|1.0|tcr|10dlc|abc")
        assert (made.vetting_class, made.vetting_status) == ("POLITICAL", "PENDING")
        with refused(21723, 409):
            vettings.create(vetting_provider="campaign-verify", vetting_id="cv|1.0|tcr|10dlc|abc")
        strict.advance(seconds=300)
        assert vettings.list(vetting_provider="campaign-verify")[0].vetting_status == "APPROVED"
        assert vettings.list(vetting_provider="aegis") == []

    def test_starter_brands_are_not_registered(self, applicant, client, refused):
        profile_sid = applicant.primary()
        with refused(21726):
            client.messaging.v1.brand_registrations.create(
                customer_profile_bundle_sid=profile_sid, a2p_profile_bundle_sid=profile_sid, brand_type="STARTER"
            )


class TestCampaigns:
    def test_failed_campaign_is_edited_and_verified(self, strict, applicant, client, refused):
        brand, service = applicant.brand(), applicant.service()
        samples = ["See https://acme.example for your visit.", "Your appointment was moved to 10."]
        campaign = applicant.campaign(brand.sid, service.sid, message_samples=samples)
        strict.advance(seconds=600)
        failed = campaign.fetch()
        assert failed.campaign_status == "FAILED"
        [error] = failed.errors
        assert (error["error_code"], error["fields"]) == (30893, ["MESSAGE_SAMPLES", "HAS_EMBEDDED_LINKS"])
        before = Decimal(client.balance.fetch().balance)
        change = {**_editable(CAMPAIGN), "message_samples": samples, "has_embedded_links": True}
        edited = campaign.update(**change, age_gated=False, direct_lending=False)
        assert (edited.campaign_status, edited.errors) == ("PENDING", [])
        assert Decimal(client.balance.fetch().balance) == before
        strict.advance(seconds=600)
        assert campaign.fetch().campaign_status == "VERIFIED"
        with refused(20409, 409):
            campaign.update(**change, age_gated=False, direct_lending=False)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"description": "too short"}, 21728),
            ({"message_samples": ["Your appointment is tomorrow at 9."]}, 21728),
            ({"us_app_to_person_usecase": "FUN"}, 21720),
            ({"us_app_to_person_usecase": "SOLE_PROPRIETOR"}, 21719),
        ],
    )
    def test_campaign_that_cannot_be_registered_is_refused(self, strict, applicant, client, refused, change, code):
        profiles = applicant.profiles()
        brand = client.messaging.v1.brand_registrations.create(**profiles, mock=True)
        strict.settle()
        service = applicant.service()
        with refused(code):
            applicant.campaign(brand.sid, service.sid, **change)

    def test_brand_must_be_approved_and_the_service_free(self, strict, applicant, client, refused):
        profiles = applicant.profiles()
        pending = client.messaging.v1.brand_registrations.create(**profiles)
        service = applicant.service()
        with refused(21717):
            applicant.campaign(pending.sid, service.sid)
        with refused(21717):
            applicant.campaign("BN" + "0" * 32, service.sid)
        strict.advance(seconds=600)
        applicant.campaign(pending.sid, service.sid)
        with refused(20409, 409):
            applicant.campaign(pending.sid, service.sid)
        assert len(client.messaging.v1.services(service.sid).us_app_to_person.list()) == 1
        strict.operator(f"/operator/v1/SenderRegistrations/{pending.sid}", {"event": "suspend"})
        with refused(21731):
            applicant.campaign(pending.sid, applicant.service().sid)

    def test_use_cases_are_those_of_the_brand(self, applicant, client):
        service = applicant.service()
        listed = client.messaging.v1.services(service.sid).us_app_to_person_usecases.fetch()
        codes = [each["code"] for each in listed.us_app_to_person_usecases]
        assert "2FA" in codes and "SOLE_PROPRIETOR" not in codes

    def test_deleting_the_service_gives_the_campaign_up(self, strict, applicant, client, refused):
        profiles = applicant.profiles()
        brand = client.messaging.v1.brand_registrations.create(**profiles, mock=True)
        strict.settle()
        service = applicant.service()
        campaign = applicant.campaign(brand.sid, service.sid)
        client.messaging.v1.services(service.sid).delete()
        with refused(20404, 404):
            campaign.fetch()


class TestFees:
    def booked(self, client):
        [found] = client.usage.records.all_time.list(category="a2p-registration-fees")
        return int(found.count), Decimal(found.price)

    def test_each_step_costs_its_price_and_the_campaign_each_month(self, strict, applicant, client):
        before = Decimal(client.balance.fetch().balance)
        brand = applicant.brand(skip_automatic_sec_vet=False)
        assert before - Decimal(client.balance.fetch().balance) == Decimal("46.00")
        service = applicant.service()
        campaign = applicant.campaign(brand.sid, service.sid, us_app_to_person_usecase="LOW_VOLUME")
        assert before - Decimal(client.balance.fetch().balance) == Decimal("61.00")
        strict.advance(seconds=600)
        # The number of the account is charged by the month as well.
        assert before - Decimal(client.balance.fetch().balance) == Decimal("62.50")
        strict.advance(days=32)
        assert before - Decimal(client.balance.fetch().balance) == Decimal("62.50") + Decimal("1.50") + Decimal("1.10")
        assert self.booked(client) == (5, Decimal("64.00"))
        campaign.delete()
        strict.advance(days=32)
        assert before - Decimal(client.balance.fetch().balance) == Decimal("62.50") + Decimal("1.50") + Decimal("2.20")

    def test_who_cannot_pay_registers_nothing(self, strict, refused):
        sid, token = strict.sign_up()
        applicant = Applicant(strict, Client(sid, token))
        profiles = applicant.profiles()
        with pytest.raises(TwilioRestException) as caught:
            applicant.client.messaging.v1.brand_registrations.create(**profiles)
        assert caught.value.status in (402, 403)
        assert applicant.client.messaging.v1.brand_registrations.list() == []


class TestDailyCap:
    def test_brand_sends_to_the_capped_network_up_to_its_cap_and_again_the_next_day(
        self, strict, account, applicant, client, send
    ):
        # Unvetted, the cap is 2,000 segments a day; ten parts a message come to it quickly.
        brand, service = applicant.brand(), applicant.service()
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        applicant.campaign(brand.sid, service.sid)
        strict.advance(seconds=600)
        long = "x" * 1530
        for place in range(200):
            client.messages.create(to=f"+190756{place:03d}40", from_=account.number, body=long)
        # The campaign sends 3.75 segments a second.
        strict.advance(seconds=3600)
        assert send("40") == ("undelivered", 30023)
        assert send("00") == ("delivered", None)
        assert {alert.error_code for alert in client.monitor.v1.alerts.list()} >= {"30025", "30026", "30027"}
        strict.advance(hours=24)
        assert send("40") == ("delivered", None)


class TestTollfree:
    @pytest.fixture
    def number(self, client):
        stock = client.available_phone_numbers("US").toll_free.list(limit=1)
        made = client.incoming_phone_numbers.create(phone_number=stock[0].phone_number)
        yield made
        made.delete()

    def create(self, client, number, **change):
        return client.messaging.v1.tollfree_verifications.create(
            **{**VERIFICATION, **change}, tollfree_phone_number_sid=number.sid
        )

    def test_unverified_number_does_not_send_and_a_verified_one_does(self, strict, client, number, send):
        sender = number.phone_number
        assert send(sender=sender) == ("undelivered", 30032)
        made = self.create(client, number)
        assert (made.status, made.sid[:2], made.tollfree_phone_number) == ("PENDING_REVIEW", "HH", sender)
        resource = client.messaging.v1.tollfree_verifications(made.sid)
        strict.advance(seconds=90)
        assert resource.fetch().status == "IN_REVIEW"
        assert send(sender=sender) == ("undelivered", 30032)
        strict.advance(seconds=300)
        assert resource.fetch().status == "TWILIO_APPROVED"
        assert send(sender=sender) == ("delivered", None)
        resource.delete()
        assert send(sender=sender) == ("undelivered", 30032)

    def test_rejected_verification_is_edited_within_its_window(self, strict, client, number, refused):
        email = f"{number.sid}@acme.example"
        made = self.create(client, number, business_name="REJECT Ltd", notification_email=email)
        resource = client.messaging.v1.tollfree_verifications(made.sid)
        with refused(20409, 409):
            resource.update(business_name="Acme")
        strict.advance(seconds=600)
        rejected = resource.fetch()
        assert (rejected.status, rejected.error_code, rejected.edit_allowed) == ("TWILIO_REJECTED", 30445, True)
        assert [reason["code"] for reason in rejected.rejection_reasons] == [30445]
        assert (rejected.edit_expiration - rejected.date_updated).days == 7
        edited = resource.update(business_name="Acme", edit_reason="The name was wrong")
        assert (edited.status, edited.business_name, edited.edit_allowed) == ("IN_REVIEW", "Acme", None)
        strict.advance(seconds=600)
        assert resource.fetch().status == "TWILIO_APPROVED"
        box = requests.get(f"{strict.url}/simulator/v1/mailboxes/{email}/messages", timeout=WAIT_S).json()
        subjects = [mail["subject"].rpartition(": ")[2] for mail in box]
        assert subjects == ["rejected", "approved"]

    def test_edit_window_closes_after_seven_days(self, strict, client, number, refused):
        made = self.create(client, number, business_name="REJECT Ltd")
        strict.advance(days=8)
        with refused(30437):
            client.messaging.v1.tollfree_verifications(made.sid).update(business_name="Acme")

    def test_disallowed_use_is_rejected_for_good(self, strict, client, number, refused):
        made = self.create(client, number, use_case_summary="Coins [30464]")
        strict.advance(seconds=600)
        resource = client.messaging.v1.tollfree_verifications(made.sid)
        assert (resource.fetch().error_code, resource.fetch().edit_allowed) == (30464, False)
        with refused(20409, 409):
            resource.update(use_case_summary="Reminders of appointments")

    def test_one_verification_for_a_toll_free_number_of_ones_own(self, strict, account, client, number, refused):
        self.create(client, number)
        with refused(20409, 409):
            self.create(client, number)
        with refused(30436):
            client.messaging.v1.tollfree_verifications.create(
                **VERIFICATION, tollfree_phone_number_sid=account.number_sid
            )
        assert [each.tollfree_phone_number for each in client.messaging.v1.tollfree_verifications.list()] == [
            number.phone_number
        ]
        assert client.messaging.v1.tollfree_verifications.list(status="TWILIO_APPROVED") == []


class TestTenants:
    def test_others_see_and_touch_nothing(self, strict, applicant, client, refused):
        brand, service = applicant.brand(), applicant.service()
        campaign = applicant.campaign(brand.sid, service.sid).fetch()
        other = strict.make_account("Other").client()
        messaging = other.messaging.v1
        with refused(20404, 404):
            messaging.brand_registrations(brand.sid).fetch()
        with refused(20404, 404):
            messaging.services(service.sid).us_app_to_person(campaign.sid).fetch()
        with refused(20404, 404):
            messaging.brand_registrations.create(
                customer_profile_bundle_sid=brand.customer_profile_bundle_sid,
                a2p_profile_bundle_sid=brand.a2p_profile_bundle_sid,
            )
        with refused(21717):
            Applicant(strict, other).campaign(brand.sid, Applicant(strict, other).service().sid)
        assert messaging.brand_registrations.list() == []


class TestCallbacks:
    def test_status_callback_hears_of_each_status(self, strict, account, client, applicant, webhook):
        webhook.trust(account)
        profile_sid = applicant.primary()
        profile = client.trusthub.v1.customer_profiles(profile_sid)
        profile.update(status_callback=webhook.url("/profile"))
        profile.update(status="pending-review")
        strict.advance(seconds=300)
        heard = [webhook.heard("/profile").fields for _ in range(3)]
        assert [each["Status"] for each in heard] == ["pending-review", "in-review", "twilio-approved"]
        assert {each["BundleSid"] for each in heard} == {profile_sid}

    def test_callback_that_nobody_answers_is_in_the_debugger(self, strict, client, applicant):
        profile_sid = applicant.primary()
        profile = client.trusthub.v1.customer_profiles(profile_sid)
        profile.update(status_callback="http://127.0.0.1:9/nobody")
        assert applicant.hand_in(profile) == "twilio-approved"
        alerts = [alert for alert in client.monitor.v1.alerts.list() if alert.resource_sid == profile_sid]
        assert alerts and {alert.error_code for alert in alerts} == {"11205"}


class TestTheOperator:
    def decide(self, server, sid, **word):
        return server.operator(f"/operator/v1/SenderRegistrations/{sid}", word)["status"]

    def waiting(self, server):
        answer = requests.get(
            f"{server.url}/operator/v1/SenderRegistrations",
            headers={"Authorization": f"Bearer {server.operator_key}"},
            timeout=WAIT_S,
        )
        assert answer.status_code == 200, answer.text
        return {each["sid"]: each["status"] for each in answer.json()["items"]}

    def test_operator_decides_each_step_by_hand(self, strict, account, applicant, client):
        profile_sid = applicant.primary()
        applicant.hub.customer_profiles(profile_sid).update(status="pending-review")
        assert self.waiting(strict)[profile_sid] == "pending-review"
        assert self.decide(strict, profile_sid, event="take_up") == "in-review"
        assert self.decide(strict, profile_sid, event="approve") == "twilio-approved"
        product_sid = applicant.product(profile_sid)
        applicant.hub.trust_products(product_sid).update(status="pending-review")
        assert self.decide(strict, product_sid, event="approve") == "twilio-approved"
        made = client.messaging.v1.brand_registrations.create(
            customer_profile_bundle_sid=profile_sid, a2p_profile_bundle_sid=product_sid
        )
        assert self.decide(strict, made.sid, event="take_up") == "IN_REVIEW"
        assert self.decide(strict, made.sid, event="approve", external_id="BREAL01") == "APPROVED"
        assert self.decide(strict, made.sid, event="vetted", score=51) == "APPROVED"
        brand = client.messaging.v1.brand_registrations(made.sid).fetch()
        assert (brand.tcr_id, brand.brand_score, brand.identity_status) == ("BREAL01", 51, "VETTED_VERIFIED")
        service = applicant.service()
        campaign = applicant.campaign(made.sid, service.sid)
        sid = campaign.fetch().sid
        assert self.decide(strict, sid, event="fail", codes=[30882], reason="No terms") == "FAILED"
        [error] = campaign.fetch().errors
        assert (error["error_code"], error["description"]) == (30882, "No terms")
        # What the simulator would have said comes too late now.
        strict.advance(seconds=600)
        assert campaign.fetch().campaign_status == "FAILED"
        assert not {profile_sid, product_sid, made.sid, sid} & self.waiting(strict).keys()

    def test_word_that_does_not_apply_is_refused(self, strict, applicant):
        profile_sid = applicant.primary()
        url = f"{strict.url}/operator/v1/SenderRegistrations/"
        key = {"Authorization": f"Bearer {strict.operator_key}"}
        for sid, word, status in (
            (profile_sid, {"event": "approve"}, 409),
            (profile_sid, {"event": "sing"}, 400),
            (profile_sid, {"event": "fail"}, 400),
            ("QE" + "0" * 32, {"event": "approve"}, 404),
            ("XX" + "0" * 32, {"event": "approve"}, 404),
        ):
            answer = requests.post(url + sid, json=word, headers=key, timeout=WAIT_S)
            assert answer.status_code == status, answer.text


def test_embedded_inquiries_are_not_served(client, refused):
    with refused(20501, 501):
        client.trusthub.v1.compliance_tollfree_inquiries.create(
            tollfree_phone_number="+18005550123", notification_email="owner@acme.example"
        )
