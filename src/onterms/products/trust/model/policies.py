"""What profiles need: policies with their requirements, and the types of end users and documents that these name.

Source: Twilio docs, TrustHub REST API (the policy of a secondary customer profile is printed there in full) and the
onboarding guides of A2P 10DLC for the values that fields take. The SIDs are the published ones, which customers'
programs hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a type. Shapes: `values` are the only ones it takes; without any it takes every text."""

    name: str
    friendly_name: str
    values: tuple[str, ...] = ()
    is_optional: bool = False
    # The field is needed where another one has this value, as (name, value).
    needed_with: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Type:
    """A type of end user or document."""

    name: str
    friendly_name: str
    fields: tuple[Field, ...]

    @property
    def sid(self) -> str:
        """The SID by which it is fetched; it never changes."""
        return "OY" + sha256(self.name.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a profile of one kind is made of."""

    sid: str
    name: str
    friendly_name: str
    kind: str
    end_users: tuple[str, ...] = ()
    optional_end_users: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    # Names of the policies of which an approved profile has to be assigned: one of them.
    profiles: tuple[str, ...] = ()


BUSINESS_TYPES = (
    *("Sole Proprietorship", "Partnership", "Limited Liability Corporation", "Co-operative"),
    *("Non-profit Corporation", "Corporation"),
)
REGISTRATION_IDENTIFIERS = (*("EIN", "DUNS", "CBN", "CN", "ACN", "CIN", "VAT", "VATRN", "RN", "Other"),)
INDUSTRIES = (
    *("AUTOMOTIVE", "AGRICULTURE", "BANKING", "CONSTRUCTION", "CONSUMER", "EDUCATION", "ENGINEERING", "ENERGY"),
    *("OIL_AND_GAS", "FAST_MOVING_CONSUMER_GOODS", "FINANCIAL", "FINTECH", "FOOD_AND_BEVERAGE", "GOVERNMENT"),
    *("HEALTHCARE", "HOSPITALITY", "INSURANCE", "LEGAL", "MANUFACTURING", "MEDIA", "ONLINE", "PROFESSIONAL_SERVICES"),
    *("RAW_MATERIALS", "REAL_ESTATE", "RELIGION", "RETAIL", "JEWELRY", "TECHNOLOGY", "TELECOMMUNICATIONS"),
    *("TRANSPORTATION", "TRAVEL", "ELECTRONICS", "NOT_FOR_PROFIT"),
)
REGIONS = ("AFRICA", "ASIA", "EUROPE", "LATIN_AMERICA", "USA_AND_CANADA")
JOB_POSITIONS = ("Director", "GM", "VP", "CEO", "CFO", "General Counsel", "Other")
COMPANY_TYPES = ("private", "public", "non_profit", "government")
EXCHANGES = (
    *("NONE", "NASDAQ", "NYSE", "AMEX", "AMX", "ASX", "B3", "BME", "BSE", "FRA", "ICEX", "JPX", "JSE", "KRX", "LON"),
    *("NSE", "OMX", "SEHK", "SGX", "SSE", "STO", "SWX", "SZSE", "TSX", "TWSE", "VSE", "OTHER"),
)
VERTICALS = (
    *("AGRICULTURE", "COMMUNICATION", "CONSTRUCTION", "EDUCATION", "ENERGY", "ENTERTAINMENT", "FINANCIAL"),
    *("GAMBLING", "GOVERNMENT", "HEALTHCARE", "HOSPITALITY", "HUMAN_RESOURCES", "INSURANCE", "LEGAL"),
    *("MANUFACTURING", "NGO", "POLITICAL", "POSTAL", "PROFESSIONAL", "REAL_ESTATE", "RETAIL", "TECHNOLOGY"),
    "TRANSPORTATION",
)

_PERSON = (
    Field("first_name", "First Name"),
    Field("last_name", "Last Name"),
    Field("email", "Email"),
    Field("phone_number", "Phone Number"),
    Field("business_title", "Business Title"),
    Field("job_position", "Job Position", JOB_POSITIONS),
)
BUSINESS = "customer_profile_business_information"
MESSAGING_PROFILE = "us_a2p_messaging_profile_information"
SOLE_PROPRIETOR = "sole_proprietor_information"
ADDRESS = "customer_profile_address"

END_USER_TYPES: Mapping[str, Type] = {
    each.name: each
    for each in (
        Type(
            BUSINESS,
            "Business Information",
            (
                Field("business_type", "Business Type", BUSINESS_TYPES),
                Field("business_registration_number", "Business Registration Number"),
                Field("business_name", "Business Name"),
                Field("business_registration_identifier", "Business Registration Identifier", REGISTRATION_IDENTIFIERS),
                Field("business_identity", "Business Identity", ("direct_customer", "isv_reseller_or_partner")),
                Field("business_industry", "Business Industry", INDUSTRIES),
                Field("website_url", "Website URL"),
                Field("business_regions_of_operation", "Business Regions of Operation", REGIONS),
                Field("social_media_profile_urls", "Social Media Profile URLs", is_optional=True),
            ),
        ),
        Type("authorized_representative_1", "Authorized Representative #1", _PERSON),
        Type("authorized_representative_2", "Authorized Representative #2", _PERSON),
        Type(
            MESSAGING_PROFILE,
            "US A2P Messaging Profile Information",
            (
                Field("company_type", "Company Type", COMPANY_TYPES),
                Field("stock_exchange", "Stock Exchange", EXCHANGES, needed_with=("company_type", "public")),
                Field("stock_ticker", "Stock Ticker", needed_with=("company_type", "public")),
                Field("brand_contact_email", "Brand Contact Email", needed_with=("company_type", "public")),
            ),
        ),
        Type(
            "starter_customer_profile_information",
            "Starter Customer Profile Information",
            (
                Field("first_name", "First Name"),
                Field("last_name", "Last Name"),
                Field("email", "Email"),
                Field("phone_number", "Phone Number"),
            ),
        ),
        Type(
            SOLE_PROPRIETOR,
            "Sole Proprietor Information",
            (
                Field("brand_name", "Brand Name"),
                Field("vertical", "Vertical", VERTICALS),
                Field("mobile_phone_number", "Mobile Phone Number"),
            ),
        ),
    )
}
DOCUMENT_TYPES: Mapping[str, Type] = {
    ADDRESS: Type(ADDRESS, "Physical Business Address", (Field("address_sids", "Address sid(s)"),)),
}

PRIMARY = "primary_customer_profile_type_business"
SECONDARY = "secondary_customer_profile_type_business"
STARTER = "starter_customer_profile"
A2P = "a2p_messaging_local_business"
A2P_STARTER = "a2p_messaging_local_starter"

POLICIES: Mapping[str, Policy] = {
    each.sid: each
    for each in (
        Policy(
            "RN6433641899984f951173ef1738c3bdd0",
            PRIMARY,
            "Primary Customer Profile of type Business",
            "customer_profile",
            (BUSINESS, "authorized_representative_1"),
            ("authorized_representative_2",),
            (ADDRESS,),
        ),
        Policy(
            "RNdfbf3fae0e1107f8aded0e7cead80bf5",
            SECONDARY,
            "Secondary Customer Profile of type Business",
            "customer_profile",
            (BUSINESS, "authorized_representative_1"),
            ("authorized_representative_2",),
            (ADDRESS,),
            (PRIMARY,),
        ),
        Policy(
            "RN806dd6cd175f314e1f96a9727ee271f4",
            STARTER,
            "Starter Customer Profile",
            "customer_profile",
            ("starter_customer_profile_information",),
            (),
            (ADDRESS,),
            (PRIMARY,),
        ),
        Policy(
            "RNb0d4771c2c98518d916a3d4cd70a8f8b",
            A2P,
            "A2P Messaging: Local - Business",
            "trust_product",
            (MESSAGING_PROFILE,),
            profiles=(PRIMARY, SECONDARY),
        ),
        Policy(
            "RN670d5d2e282a6130ae063b234b6019c8",
            A2P_STARTER,
            "Starter A2P Messaging: Local - Business",
            "trust_product",
            (SOLE_PROPRIETOR,),
            profiles=(STARTER,),
        ),
    )
}
NAMED: Mapping[str, Policy] = {policy.name: policy for policy in POLICIES.values()}


def type_by_sid(types: Mapping[str, Type], sid: str) -> Type | None:
    """Return the type with a SID."""
    return next((each for each in types.values() if each.sid == sid), None)


def fields_of(names: Sequence[Field]) -> list[dict[str, Any]]:
    """Return fields as a type shows them."""
    return [{"machine_name": each.name, "friendly_name": each.friendly_name, "constraint": "String"} for each in names]


def requirements_of(policy: Policy) -> dict[str, Any]:
    """Return a policy's requirements as they are shown."""
    return {
        "end_user": [
            {
                "url": f"/EndUserTypes/{name}",
                "fields": [field.name for field in END_USER_TYPES[name].fields],
                "type": name,
                "name": END_USER_TYPES[name].friendly_name,
                "requirement_name": name,
            }
            for name in (*policy.end_users, *policy.optional_end_users)
        ],
        "supporting_trust_products": [],
        "supporting_document": [
            [
                {
                    "description": "Customer Profile HQ Physical Address",
                    "type": "document",
                    "name": DOCUMENT_TYPES[name].friendly_name,
                    "accepted_documents": [
                        {
                            "url": f"/SupportingDocumentTypes/{name}",
                            "fields": [field.name for field in DOCUMENT_TYPES[name].fields],
                            "type": name,
                            "name": DOCUMENT_TYPES[name].friendly_name,
                        }
                    ],
                    "requirement_name": name,
                }
                for name in policy.documents
            ]
        ]
        if policy.documents
        else [],
        "supporting_customer_profiles": [
            {"type": name, "name": NAMED[name].friendly_name, "requirement_name": _PROFILE[name]}
            for name in policy.profiles
        ],
    }


_PROFILE = {
    PRIMARY: "primary_customer_profile",
    SECONDARY: "secondary_customer_profile",
    STARTER: "starter_customer_profile",
}
