"""Customers, their people and their relations: pure.

Theory of operation
-------------------

A customer is the obligor: it owes for every main account joined to it and for their subaccounts. Who administers an
account is a role beside that and changes nothing of it. An account changes its obligor by an assignment only, whose
states are the table ASSIGNMENT_MOVES. Organizations are the nodes of the ownership graph; each customer is one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from onterms.business.accounts import FirstCredentials
from onterms.core.errors import InvalidParameter

OrgType = Literal["corporate", "individual", "nonprofit", "government"]
Size = Literal["micro", "small", "other"]
GovKind = Literal["us_federal", "us_state_local", "us_tribal"]
ContactKind = Literal["owner", "billing", "legal", "security", "abuse", "product", "privacy"]
AssignmentState = Literal["requested", "consented", "refused", "approved", "void"]

ORG_TYPES = ("corporate", "individual", "nonprofit", "government")
SIZES = ("micro", "small", "other")
GOV_KINDS = ("us_federal", "us_state_local", "us_tribal")
CONTACT_KINDS = ("owner", "billing", "legal", "security", "abuse", "product", "privacy")
MARK_KINDS = ("opt_out", "complaint", "sanctions")
BASES = ("other", "successor", "affiliate")
# P.8: an individual's trade, craft or profession counts as business.
BUSINESS_USES = ("business", "trade", "craft", "profession")

# Clause 1.1: control is more than half, so exactly half is none.
CONTROL_PPM = 500_000
PPM = 1_000_000
# Clause 5.2(a): ours; an attestation is asked for again after a year.
ATTESTATION_MONTHS = 12

# Clause 10.2: the code applies in the member states of the European Economic Area and the United Kingdom. The islands
# and departments that belong to the Union's territory count with it (Treaty on the Functioning of the EU, article 355).
# fmt: off
EEA_AND_UK = frozenset((
    "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE", "IT", "LV", "LT", "LU", "MT",
    "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE", "IS", "LI", "NO", "GB", "AX", "GF", "GP", "MF", "MQ", "RE", "YT",
))
# fmt: on

_COUNTRY = re.compile(r"^[A-Z]{2}$")
# One @ with something on both sides, no spaces: whether mail arrives is shown by sending it.
_ADDRESS = re.compile(r"^[^@\s<>\"]{1,64}@[^@\s<>\"]{1,253}$")
_PERCENT = re.compile(r"^(\d{1,3})(?:\.(\d{1,4}))?$")


@dataclass(frozen=True, slots=True)
class Customer:
    """An obligor with where it lives.

    Shapes: `riders` are the clauses of section 10 that apply to it on the day it was read for.
    """

    sid: str
    name: str
    org_type: str
    size: str
    nonprofit: bool
    business_use: bool
    gov_kind: str | None
    gov_verified: bool
    country: str
    subdivision: str
    currency: str
    compliance_attested_on: date
    no_antisocial_forces: bool
    partner_since: date | None
    partner_until: date | None
    created_at: datetime
    version: int

    @property
    def corporate(self) -> bool:
        """Whether it is an entity rather than an individual in business."""
        return self.org_type != "individual"

    @property
    def government(self) -> str | None:
        """The verified kind of United States government, or None."""
        return self.gov_kind if self.gov_verified else None

    def is_partner(self, on: date) -> bool:
        """Tell whether it is a member of a partner programme on a day."""
        since, until = self.partner_since, self.partner_until
        return since is not None and since <= on and (until is None or on < until)

    def riders(self, on: date) -> frozenset[str]:
        """Return which clauses of section 10 apply: 10.1, 10.2, 10.3, 10.4, 10.5."""
        found = set()
        if self.government is not None:
            found.add("10.1")
        if needs_waiver(self.size, self.nonprofit, [self.country]):
            found.add("10.2")
        if self.country == "BR":
            found.add("10.3")
        if self.country == "JP":
            found.add("10.4")
        if self.is_partner(on):
            found.add("10.5")
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to write to about a kind of thing."""

    customer_sid: str
    sid: str
    kind: str
    name: str
    address: str
    verified_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Domicile:
    """Where a customer lives from a day on."""

    from_on: date
    country: str
    subdivision: str
    evidence: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class EndUser:
    """Somebody who uses the services through a customer, known by address or identity to that customer only."""

    customer_sid: str
    sid: str
    identity: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of an end user."""

    customer_sid: str
    sid: str
    identity: str
    kind: str
    note: str
    created_at: datetime
    confirmed_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Incident:
    """An unauthorised access that a customer reported."""

    customer_sid: str
    sid: str
    account_sid: str
    description: str
    noticed_at: datetime
    reported_at: datetime
    state: str
    keys_revoked: int | None
    keys_revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request to hand the contract to somebody else."""

    customer_sid: str
    sid: str
    to_sid: str
    basis: str
    proof: str
    state: AssignmentState
    reason: str
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Task:
    """What a customer is asked to do by a day."""

    customer_sid: str
    sid: str
    kind: str
    clause: str
    subject: str
    due_on: date
    created_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Consent:
    """Who agreed to the terms, in what capacity, from where."""

    actor: str
    role: str
    authority: bool
    ip: str
    request_id: str


@dataclass(frozen=True, slots=True)
class SignUp:
    """A request to become a customer, as it was sent."""

    name: str
    country: str
    subdivision: str
    org_type: str
    size: str
    nonprofit: bool
    use: str
    email: str
    accepted_version: str | None
    consent: Consent
    compliance: bool
    no_antisocial_forces: bool
    waiver_version: str | None
    served_in: tuple[str, ...]
    gov_kind: str | None = None


@dataclass(frozen=True, slots=True)
class SignedUp:
    """A new customer, its main account with credentials, and the evidence of what it accepted."""

    customer: Customer
    credentials: FirstCredentials
    acceptance_sid: str


@dataclass(frozen=True, slots=True)
class Move:
    """What an event makes of an assignment: who may cause it, what follows, the next state."""

    guard: str
    effects: tuple[str, ...]
    next: AssignmentState


# Clause 9.2. `free` is a basis of successor or affiliate with proof, outside what 10.1.7 takes away.
ASSIGNMENT_MOVES: Mapping[tuple[AssignmentState, str], Move] = {
    ("requested", "consent"): Move("reason_not_needed", ("move_accounts", "audit"), "consented"),
    ("requested", "refuse"): Move("reason_given", ("audit",), "refused"),
    ("requested", "free"): Move("free_basis_proven", ("move_accounts", "audit"), "approved"),
    ("requested", "force"): Move("always", ("audit",), "void"),
}


def needs_waiver(size: str, nonprofit: bool, served_in: list[str]) -> bool:
    """Tell whether clause 10.2 asks for the waiver of the communications code."""
    return (size in ("micro", "small") or nonprofit) and any(country in EEA_AND_UK for country in served_in)


def default_currency(country: str) -> str:
    """Return the currency that applies where nothing else is written: clauses 3.3.2 and 10.4.4."""
    return "JPY" if country == "JP" else "USD"


def check_country(country: str) -> str:
    """Return a country code, or refuse what has not the shape of one."""
    if not _COUNTRY.match(country):
        raise InvalidParameter("'country' must be two capital letters of ISO 3166-1")
    return country


def check_address(address: str) -> str:
    """Return an email address, or refuse what has not the shape of one."""
    if not _ADDRESS.match(address):
        raise InvalidParameter("'address' must be an email address")
    return address


def share_ppm(percent: str) -> int:
    """Read percent text with at most four decimals as millionths."""
    match = _PERCENT.match(percent)
    value = 0 if match is None else int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))
    if not 0 < value <= PPM:
        raise InvalidParameter("'percent' must be text above 0 and up to 100, with at most four decimals")
    return value


def percent_text(ppm: int) -> str:
    """Write millionths as percent text with two to four decimals."""
    whole, part = divmod(ppm, 10_000)
    return f"{whole}.{f'{part:04d}'.rstrip('0').ljust(2, '0')}"
