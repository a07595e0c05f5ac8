"""The outside shapes of this room: what requests hold and what answers show."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Literal

from msgspec import UNSET, UnsetType, field

from onterms.business.customers import model
from onterms.business.customers.model import percent_text
from onterms.core.db import Row
from onterms.engines.api.own import OwnRequest
from onterms.engines.api.shapes import Instant, Prose, Shape, Sid, Text

# Tells where a request came from, as evidence: (address, request id). The front door knows; headers could be forged.
Origin = Callable[[OwnRequest], tuple[str, str]]

PAGE_SIZE = 50


class Signer(Shape):
    """Who agrees, in which role and with what authority."""

    signer_name: Text = ""
    signer_role: Text = ""
    authority: bool = False

    def consent(self, origin: tuple[str, str]) -> model.Consent:
        """Join it to where the request came from."""
        return model.Consent(self.signer_name, self.signer_role, self.authority, *origin)


class SignUp(Signer, kw_only=True):
    """An organization that wants to become a customer."""

    organization_name: Text
    country: Text
    subdivision: Text = ""
    org_type: Text
    size: Text = "other"
    nonprofit: bool = False
    use: Text
    email: Text
    accepted_version: Text | None = None
    compliance: bool = False
    no_antisocial_forces: bool = False
    waiver_version: Text | None = None
    served_in: tuple[str, ...] = ()
    gov_kind: Text | None = None

    def read(self, origin: tuple[str, str]) -> model.SignUp:
        """Turn it into the room's own."""
        return model.SignUp(
            name=self.organization_name,
            country=self.country,
            subdivision=self.subdivision,
            org_type=self.org_type,
            size=self.size,
            nonprofit=self.nonprofit,
            use=self.use,
            email=self.email,
            accepted_version=self.accepted_version,
            consent=self.consent(origin),
            compliance=self.compliance,
            no_antisocial_forces=self.no_antisocial_forces,
            waiver_version=self.waiver_version,
            served_in=self.served_in,
            gov_kind=self.gov_kind,
        )


class Flags(Shape):
    """What the operator verified; what is left out stays."""

    name: Text | UnsetType = UNSET
    size: Literal["micro", "small", "other"] | UnsetType = UNSET
    gov_kind: Text | UnsetType | None = UNSET
    partner_since: date | UnsetType | None = UNSET
    partner_until: date | UnsetType | None = UNSET
    nonprofit: bool | UnsetType = UNSET
    evidence: Prose = ""

    def changes(self) -> dict[str, object]:
        """Return what is to change."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "evidence"}
        return {name: value for name, value in given.items() if value is not UNSET}


class NewDomicile(Shape):
    """Where a customer lives from a day on, today where none is named."""

    country: Text
    evidence: Prose
    subdivision: Text = ""
    from_on: date | None = None


class NewAttestation(Shape):
    """A customer attests that it complies."""

    compliance: bool = False


class AccountChange(Shape):
    """Who administers or uses an account from a day on; naming who owes it is recorded as void (9.2)."""

    obligor_sid: Sid | UnsetType = UNSET
    administrator_sid: Text | UnsetType | None = UNSET
    user_sid: Text | UnsetType | None = UNSET
    from_on: date | None = None


class ContactQuery(Shape):
    """Contacts of a kind, or all."""

    kind: str | None = None


class NewContact(Shape):
    """A person or address for one kind of matter."""

    kind: Text
    address: Text
    name: Text = ""


class OnDay(Shape):
    """A day, today where none is named."""

    on: date | None = None


class NewOrganization(Shape):
    """An organization beside the customers, for shares."""

    name: Text
    country: Text


class OwnershipQuery(Shape):
    """Shares of or in an organization."""

    organization_sid: str = ""


class NewOwnership(Shape):
    """A share of one organization in another."""

    parent_sid: Sid
    child_sid: Sid
    percent: Text
    from_on: date | None = None
    until_on: date | None = None
    evidence: Prose = ""


class OwnershipEnd(Shape):
    """When a share ended."""

    until_on: date


class MarkQuery(Shape):
    """Marks of an end user, of a kind, or all."""

    identity: str | None = None
    kind: str | None = None


class NewMark(Shape):
    """Something known of an end user."""

    identity: Text
    kind: Text
    note: Prose = ""


class NewIncident(Shape):
    """Unauthorized use of an account, and when it was noticed."""

    account_sid: Sid
    description: Prose
    noticed_at: Instant | None = None


class NewAssignment(Shape):
    """To whom a customer wants to assign its agreement, and why it may."""

    to_sid: Sid
    basis: Text = "other"
    proof: Prose = ""


class AssignmentDecision(Shape):
    """The operator's answer."""

    decision: Literal["consent", "refuse"]
    reason: Prose = ""


class Customer(Shape):
    """A customer."""

    sid: Sid
    name: str
    org_type: str
    size: str
    nonprofit: bool
    corporate: bool
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
    riders: list[str]
    created_at: datetime = field(name="date_created")


class SignedUp(Shape):
    """A new customer with the credentials of its account, which are shown this once."""

    customer: Customer
    account_sid: Sid
    auth_token: str
    test_account_sid: Sid
    test_auth_token: str
    acceptance_sid: Sid


class Contact(Shape):
    """A contact."""

    sid: Sid
    customer_sid: Sid
    kind: str
    name: str
    address: str
    verified_at: datetime | None
    created_at: datetime = field(name="date_created")


class Removed(Shape):
    """What was removed, and when."""

    sid: Sid
    removed_at: datetime


class Verified(Shape):
    """What was verified, and when."""

    sid: Sid
    verified_at: datetime


class Confirmed(Shape):
    """What was confirmed, and when."""

    sid: Sid
    confirmed_at: datetime


class Domicile(Shape):
    """Where a customer lives from a day on."""

    country: str
    subdivision: str
    from_on: date
    evidence: str
    recorded_at: datetime


class Attestation(Shape):
    """When compliance was attested, and when it is due again."""

    attested_on: date
    due_on: date


class Score(Shape):
    """Confirmed complaints of end users."""

    customer_sid: Sid
    score: int


class AccountParties(Shape):
    """Who owes for an account, and who administers it."""

    account_sid: Sid
    obligors: list[Sid]
    administrator_sid: Sid | None


class Affiliate(Shape):
    """An affiliate on a day."""

    sid: Sid
    name: str
    on: date


class Organization(Shape):
    """An organization beside the customers."""

    sid: Sid
    name: str


class Made(Shape):
    """What was made."""

    sid: Sid


class Ownership(Shape):
    """A share of one organization in another."""

    sid: Sid
    parent_sid: Sid
    child_sid: Sid
    percent: str
    from_on: date
    until_on: date | None
    evidence: str


class OwnershipEnded(Shape):
    """A share that ended."""

    sid: Sid
    until_on: date


class Mark(Shape):
    """What is known of an end user."""

    sid: Sid
    customer_sid: Sid
    identity: str
    kind: str
    note: str
    created_at: datetime = field(name="date_created")
    confirmed_at: datetime | None


class Incident(Shape):
    """An incident."""

    sid: Sid
    customer_sid: Sid
    account_sid: Sid
    description: str
    noticed_at: datetime
    reported_at: datetime
    minutes_to_report: int
    state: str
    keys_revoked: int | None
    keys_revoked_at: datetime | None


class Assignment(Shape):
    """A request to assign the agreement."""

    sid: Sid
    customer_sid: Sid
    to_sid: Sid
    basis: str
    proof: str
    state: str
    reason: str
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime = field(name="date_created")


class VoidAssignment(Assignment):
    """An assignment by force, which is recorded and void."""

    clause: str = "9.2"


class CustomerTask(Shape):
    """What a customer is asked to do."""

    sid: Sid
    kind: str
    clause: str
    subject: str
    due_on: date
    created_at: datetime = field(name="date_created")
    done_at: datetime | None


def customer(found: model.Customer, on: date | None = None) -> Customer:
    """Show a customer as on a day."""
    return Customer.of(found, riders=sorted(found.riders(on or found.created_at.date())))


def signed_up(made: model.SignedUp) -> SignedUp:
    """Show a new customer."""
    return SignedUp.of(made.credentials, customer=customer(made.customer), acceptance_sid=made.acceptance_sid)


def ownership(row: Row) -> Ownership:
    """Show a share."""
    return Ownership.of(row, percent=percent_text(row["share_ppm"]))


def incident(found: model.Incident) -> Incident:
    """Show an incident with how long its report took."""
    minutes = int((found.reported_at - found.noticed_at).total_seconds() // 60)
    return Incident.of(found, minutes_to_report=minutes)
