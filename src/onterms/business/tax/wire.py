"""The shapes of our own API: rules, exemptions, back-billings and proofs."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from onterms.business.tax import model
from onterms.business.tax.errors import InvalidTaxRule
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Instant, Micros, NotNegative, Shape, Sid

_RATE_UNIT = 1_000_000

_Line = Annotated[str, Meta(max_length=500)]
_Jurisdiction = Annotated[str, Meta(pattern="^[A-Z]{2}(-[A-Z0-9]{1,8}(-[A-Z0-9]{1,16})?)?$")]


class TaxPage(Shape):
    """A page of up to `limit` after a token, the `next` of the page before; the operator may name a customer."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    customer_sid: str | None = None


class TaxesOf(Shape):
    """Whose: the operator names it."""

    customer_sid: str | None = None


class RulesPage(Shape):
    """Rules of a jurisdiction, or all."""

    jurisdiction: str | None = None
    after: Annotated[str, Meta(pattern="^[0-9]{0,18}$")] = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class File(Shape):
    """A document, its bytes in Base64."""

    name: _Line = ""
    content: Annotated[bytes, Meta(max_length=2**20)] = b""


class NewTaxRule(Shape):
    """A tax rule; the rate is a fraction: 8.875 % is 0.08875."""

    refusals: ClassVar = {"base": InvalidTaxRule, "rounding": InvalidTaxRule}

    jurisdiction: _Jurisdiction
    kind: _Line
    rate: NotNegative
    base: Literal["fees", "fees_and_surcharges"] = "fees"
    rounding: Literal["half_up", "down"] = "half_up"
    effective_from: Instant | None = None
    effective_to: Instant | None = None
    source: _Line = ""

    def read(self, at: datetime) -> model.TaxRule:
        """Turn it into the room's own.

        Raises: InvalidTaxRule.
        """
        begins, ends = self.effective_from or at, self.effective_to
        if ends is not None and ends <= begins:
            raise InvalidTaxRule("'effective_to' must come after 'effective_from'")
        if self.rate > _RATE_UNIT:
            raise InvalidTaxRule("'rate' is a fraction: 8.875 % is 0.08875")
        return model.TaxRule(
            id=0,
            jurisdiction=self.jurisdiction,
            kind=self.kind,
            base=self.base,
            rate=self.rate,
            rounding=self.rounding,
            effective_from=begins,
            effective_to=ends,
            source=self.source,
            recorded_at=at,
        )


class NewExemption(Shape):
    """A wish for an exemption, with its certificate."""

    kind: _Line
    jurisdiction: _Jurisdiction
    certificate: _Line
    valid_from: date | None = None
    valid_to: date | None = None
    document: File | None = None
    customer_sid: str | None = None


class RejectionReason(Shape):
    """Why."""

    reason: _Line


class Revocation(Shape):
    """From when an exemption did not hold, and what its authority asks for besides the tax."""

    revoked_from: Instant
    reason: _Line
    determined_on: date | None = None
    interest_rate: NotNegative | None = None
    penalty_rate: NotNegative | None = None
    penalty: NotNegative | None = None


class NewVatId(Shape):
    """A VAT identifier; that its authority confirmed it is the operator's to say."""

    vat_id: _Line
    confirmed: bool = False
    evidence: _Line = ""


class NewProof(Shape):
    """A proof that a withheld tax was paid."""

    invoice_sid: _Line
    amount: NotNegative
    currency: _Line = "USD"
    document: File | None = None
    customer_sid: str | None = None


class ProofDecision(Shape):
    """Who decides on a proof, and why."""

    by: _Line = "operator"
    reason: _Line = ""


class NewWithholdingProfile(Shape):
    """How a customer withholds; a rate is a fraction below 1."""

    customer_sid: Annotated[str, Meta(max_length=64)]
    country: Annotated[str, Meta(max_length=2)]
    rate: NotNegative
    policy: Literal["gross_up", "accept_certificate"] = "gross_up"
    treaty_rate: NotNegative | None = None
    treaty_certificate: _Line | None = None
    treaty_from: date | None = None
    treaty_to: date | None = None

    def read(self) -> model.WithholdingProfile:
        """Turn it into the room's own.

        Raises: InvalidParameter.
        """
        if self.rate >= _RATE_UNIT or (self.treaty_rate or 0) >= _RATE_UNIT:
            raise InvalidParameter("a rate is a fraction below 1")
        if self.treaty_rate is not None and (self.treaty_from is None or not self.treaty_certificate):
            raise InvalidParameter("a treaty rate needs 'treaty_certificate' and 'treaty_from'")
        return model.WithholdingProfile(
            customer_sid=self.customer_sid,
            country=self.country,
            rate=self.rate,
            policy=self.policy,
            treaty_rate=self.treaty_rate,
            treaty_certificate=self.treaty_certificate or None,
            treaty_from=self.treaty_from,
            treaty_to=self.treaty_to,
        )


class TaxRule(Shape):
    """A tax rule."""

    id: int
    jurisdiction: str
    kind: str
    base: str
    rate: Micros
    rounding: str
    effective_from: datetime
    effective_to: datetime | None
    source: str
    recorded_at: datetime


class Exemption(Shape):
    """An exemption without its document."""

    sid: Sid
    customer_sid: Sid
    state: str
    kind: str
    jurisdiction: str
    certificate: str
    valid_from: date
    valid_to: date | None
    submitted_at: datetime
    approved_at: datetime | None
    ended_at: datetime | None
    revoked_from: datetime | None
    reason: str


class VatId(Shape):
    """A VAT identifier."""

    vat_id: str
    from_on: date
    confirmed: bool
    evidence: str
    recorded_at: datetime


class BackBilledLine(Shape):
    """A tax that an exemption had left out."""

    jurisdiction: str
    kind: str
    rate: Micros
    base: Micros
    tax: Micros


class BackBilling(Shape):
    """What a revoked exemption had left out, with interest and penalties."""

    sid: Sid
    exemption_sid: Sid
    currency: str
    tax_micros: Micros = field(name="tax")
    interest_micros: Micros = field(name="interest")
    penalty_micros: Micros = field(name="penalties")
    total: Micros
    lines: list[BackBilledLine]
    determined_on: date
    debit_note_sid: str | None


class ProofDocument(Shape):
    """A document without its bytes."""

    name: str
    sha256: str


class Proof(Shape):
    """A proof without its document."""

    sid: Sid
    customer_sid: Sid
    state: str
    invoice_sid: str
    currency: str
    micros: Micros = field(name="amount")
    document: ProofDocument
    uploaded_at: datetime
    reviewed_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str


class WithholdingProfile(Shape):
    """How a customer withholds."""

    customer_sid: Sid
    country: str
    rate: Micros
    policy: str
    treaty_rate: Micros | None
    treaty_certificate: str | None
    treaty_from: date | None
    treaty_to: date | None


def back_billing(row: Mapping[str, object]) -> BackBilling:
    """Show a back-billing."""
    parts = [row[name] for name in ("tax_micros", "interest_micros", "penalty_micros")]
    lines = row["lines"]
    assert isinstance(lines, list), "the column holds a list"
    return BackBilling.of(
        row,
        total=Micros(sum(part for part in parts if isinstance(part, int))),
        lines=[
            BackBilledLine(place, kind, Micros(rate), Micros(base), Micros(tax))
            for place, kind, rate, base, tax in lines
        ],
    )


def proof(found: model.Proof) -> Proof:
    """Show a proof."""
    return Proof.of(found, document=ProofDocument(found.document_name, found.document_sha256))
