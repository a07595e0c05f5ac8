"""Use cases: rules, exemptions, what follows when one falls, and withholding."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from onterms.business.tax import events, store
from onterms.business.tax.errors import (
    ExemptionNotFound,
    InvalidTaxRule,
    MoveNotAllowed,
    ProofNotFound,
    ProofRefused,
    TaxKindExcluded,
    VatIdRefused,
)
from onterms.business.tax.model import (
    CHARGEABLE_KINDS,
    Exempted,
    Exemption,
    Proof,
    TaxableLine,
    TaxResult,
    TaxRule,
    WithholdingProfile,
    applicable,
    back_bill,
    check_vat_id,
    compute,
    gross_up,
    jurisdictions,
    move_exemption,
    move_proof,
    still_due,
)
from onterms.business.tax.model.exemptions import Event as ExemptionEvent
from onterms.business.tax.model.exemptions import day_after
from onterms.business.tax.model.withholding import Event as ProofEvent
from onterms.core.calendar import day_of, start_of
from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.core.money import micros
from onterms.engines import audit, jobs, log
from onterms.ports.tax_determination import ApplicableTax, TaxDetermination, TaxFacts

EXPIRY_TASK = "tax.exemption_expiry"


class TaxTable:
    """The operator's own rules as the port asks them: the built-in adapter."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    async def determine(self, facts: TaxFacts, instants: Sequence[datetime]) -> list[list[ApplicableTax]]:
        """Return for each instant which taxes apply to what was supplied then."""
        rules = await store.rules_of(self._tx, jurisdictions(facts))
        return [applicable(rules, facts, at) for at in instants]


# ---- rules


async def add_rule(tx: Tx, rule: TaxRule, at: datetime) -> TaxRule:
    """Add a tax rule.

    Raises: TaxKindExcluded (422) for what the operator bears itself; InvalidTaxRule.
    """
    if rule.kind not in CHARGEABLE_KINDS:
        raise TaxKindExcluded(rule.kind)
    if not rule.source:
        raise InvalidTaxRule("A tax rule names its source")
    added = await store.insert_rule(tx, replace(rule, recorded_at=at))
    evidence = {"jurisdiction": rule.jurisdiction, "kind": rule.kind, "rate": rule.rate, "source": rule.source}
    event = audit.AuditEvent("operator", "operator", "tax_rule", str(added.id), None, None, "add", evidence)
    await audit.record(tx, [event], at)
    return added


async def ensure_default_rules(tx: Tx, at: datetime) -> None:
    """Give a new install the one rule that the Terms of Service name: Japanese consumption tax, 10 % rounded down."""
    if await store.rules_of(tx, ["JP"]):
        return
    # Consumption Tax Act and Local Tax Act: 7.8 % and 2.2 % since 1 October 2019.
    rule = TaxRule(
        id=0,
        jurisdiction="JP",
        kind="consumption",
        base="fees_and_surcharges",
        rate=micros("0.1"),
        rounding="down",
        effective_from=start_of(date(2019, 10, 1)),
        effective_to=None,
        source="Consumption Tax Act (Japan), standard rate",
        recorded_at=at,
    )
    await store.insert_rule(tx, rule)


async def tax_lines(
    tx: Tx,
    customer_sid: str,
    lines: Sequence[TaxableLine],
    facts: TaxFacts,
    *,
    determination: TaxDetermination | None = None,
) -> TaxResult:
    """Return the tax lines of an invoice, and what its customer's exemptions left untaxed.

    Keep the latter with `record_exempted` once the invoice is final.
    """
    port = determination or TaxTable(tx)
    instants = sorted({line.at for line in lines})
    answers = dict(zip(instants, await port.determine(facts, instants), strict=True))
    exemptions = await store.exemptions_of(tx, customer_sid)
    for taxes in answers.values():
        for tax in taxes:
            # Whoever determines, a tax on the operator's own income is never the customer's.
            if tax.kind not in CHARGEABLE_KINDS:
                raise TaxKindExcluded(tax.kind)
    return compute(lines, facts.currency, [answers[line.at] for line in lines], exemptions)


# ---- identifiers


async def record_vat_id(
    tx: Tx, customer_sid: str, country: str, text: str, at: datetime, *, confirmed: bool, evidence: str, actor: str
) -> Row:
    """Keep a customer's VAT identifier from today on; invoices of earlier days stay as they are.

    Raises: VatIdRefused for what is none of its country's, or is empty.
    """
    checked = check_vat_id(text)
    if not checked.valid or checked.country != country:
        raise VatIdRefused(f"'{text[:30]}' is no VAT identifier of {country}")
    prefix = "EL" if checked.country == "GR" else checked.country
    vat_id = prefix + checked.number
    await store.put_vat_id(tx, customer_sid, day_of(at), vat_id, confirmed, evidence, at)
    told = {"vat_id": vat_id, "confirmed": confirmed, "by_checksum": checked.by_checksum, "evidence": evidence}
    event = audit.AuditEvent(customer_sid, actor, "vat_id", vat_id, None, "recorded", "3.2.1", told)
    await audit.record(tx, [event], at)
    return (await store.vat_ids(tx, customer_sid))[0]


async def vat_id_on(tx: Tx, customer_sid: str, on: date) -> tuple[str, bool] | None:
    """Return the identifier of a day and whether the operator confirmed it, or None where there is none."""
    found = next((row for row in await store.vat_ids(tx, customer_sid) if row["from_on"] <= on), None)
    return None if found is None else (found["vat_id"], found["confirmed"])


async def turning_points(tx: Tx, customer_sid: str) -> list[datetime]:
    """Return the instants, ascending, at which what a customer is taxed on may change."""
    found: set[datetime | None] = set(await store.rule_instants(tx))
    for each in await store.exemptions_of(tx, customer_sid):
        found |= {each.approved_at, each.ended_at, each.revoked_from}
    return sorted(at for at in found if at is not None)


# ---- exemptions


@dataclass(frozen=True, slots=True)
class NewExemption:
    """A request for an exemption."""

    kind: str
    jurisdiction: str
    certificate: str
    valid_from: date
    valid_to: date | None
    document: bytes


async def submit(tx: Tx, customer_sid: str, request: NewExemption, at: datetime) -> Exemption:
    """Take a request; a certificate that is over is rejected at once.

    Raises: TaxKindExcluded.
    """
    if request.kind not in CHARGEABLE_KINDS:
        raise TaxKindExcluded(request.kind)
    over = request.valid_to is not None and request.valid_to < day_of(at)
    exemption = Exemption(
        customer_sid=customer_sid,
        sid=new_sid("TE", at),
        state="rejected" if over else "submitted",
        kind=request.kind,
        jurisdiction=request.jurisdiction,
        certificate=request.certificate,
        valid_from=request.valid_from,
        valid_to=request.valid_to,
        submitted_at=at,
        approved_at=None,
        ended_at=None,
        revoked_from=None,
        reason="certificate_expired" if over else "",
    )
    sha256 = hashlib.sha256(request.document).hexdigest()
    await store.insert_exemption(tx, customer_sid, exemption, request.document, sha256)
    told = events.EXEMPTION_REJECTED if over else events.EXEMPTION_SUBMITTED
    await _tell(tx, told, exemption, at, was=None, actor="customer")
    return exemption


async def approve(tx: Tx, customer_sid: str, sid: str, at: datetime) -> Exemption:
    """Exempt the customer from this instant on, until its certificate is over; never backwards."""
    exemption = await _changing(tx, customer_sid, sid, "approve", "approved")
    if exemption.valid_to is not None and exemption.valid_to < day_of(at):
        return await _end(
            tx, exemption, events.EXEMPTION_REJECTED, state="rejected", reason="certificate_expired", at=at
        )
    # A certificate that begins later counts from then.
    approved_at = max(at, start_of(exemption.valid_from))
    ended_at = None if exemption.valid_to is None else start_of(day_after(exemption.valid_to))
    await store.update_exemption(
        tx, customer_sid, sid, {"state": "approved", "approved_at": approved_at, "ended_at": ended_at}
    )
    exemption = replace(exemption, state="approved", approved_at=approved_at, ended_at=ended_at)
    if ended_at is not None:
        payload = {"customer_sid": customer_sid, "sid": sid}
        await jobs.enqueue(tx, [jobs.NewJob(EXPIRY_TASK, payload, due_at=ended_at)], at)
    await _tell(tx, events.EXEMPTION_APPROVED, exemption, at, was="submitted", actor="operator")
    return exemption


async def reject(tx: Tx, customer_sid: str, sid: str, reason: str, at: datetime) -> Exemption:
    """Refuse a request with a reason."""
    exemption = await _changing(tx, customer_sid, sid, "reject", "rejected")
    return await _end(tx, exemption, events.EXEMPTION_REJECTED, state="rejected", reason=reason, at=at)


async def expire(tx: Tx, payload: Mapping[str, Any], at: datetime) -> None:
    """Say that an exemption's certificate is over; that it counts no more is a matter of instants."""
    exemption = await store.find_exemption(tx, payload["customer_sid"], payload["sid"])
    if exemption is not None and exemption.state == "approved":
        await _end(tx, exemption, events.EXEMPTION_EXPIRED, state="expired", reason=exemption.reason, at=at)


async def revoke(
    tx: Tx,
    customer_sid: str,
    sid: str,
    *,
    revoked_from: datetime,
    determined_on: date,
    reason: str,
    at: datetime,
    interest_rate: int = 0,
    penalty_rate: int = 0,
    penalty: int = 0,
) -> list[Row]:
    """Follow an authority that says the customer was not exempt: charge the taxes, interest and penalties, once.

    Units: rates in millionths, interest a year; penalty in micro-units. Again, it returns what was charged then.
    """
    exemption = await _find(tx, customer_sid, sid)
    if exemption.state == "revoked":
        return await store.back_billings(tx, customer_sid, exemption_sid=sid)
    exemption = await _changing(tx, customer_sid, sid, "revoke", "revoked")
    # Nothing was exempt before the approval, so nothing can be taken back from before it.
    since = max(revoked_from, exemption.approved_at or revoked_from)
    changes = {"state": "revoked", "revoked_from": since, "reason": reason}
    await store.update_exemption(tx, customer_sid, sid, changes)
    was = exemption.state
    exemption = replace(exemption, state="revoked", revoked_from=since, reason=reason)
    await _tell(tx, events.EXEMPTION_REVOKED, exemption, at, was=was, actor="operator")
    billings = back_bill(
        await store.exempted_by(tx, customer_sid, sid),
        since,
        determined_on,
        interest_rate=interest_rate,
        penalty_rate=penalty_rate,
        penalty=penalty,
    )
    for billing in billings:
        billing_sid = new_sid("TB", at)
        await store.insert_back_billing(tx, customer_sid, billing_sid, sid, billing, since, determined_on, at)
        data = {
            "exemption": sid,
            "currency": billing.currency,
            "tax_micros": billing.tax,
            "interest_micros": billing.interest,
            "penalty_micros": billing.penalty,
        }
        await log.append(tx, [events.of_customer(events.BACK_BILLED, customer_sid, billing_sid, data)], at)
    return await store.back_billings(tx, customer_sid, exemption_sid=sid)


async def record_exempted(
    tx: Tx, customer_sid: str, invoice_sid: str, exempted: Sequence[Exempted], tax_due_on: date
) -> None:
    """Keep what a final invoice left untaxed; again for the same invoice changes nothing."""
    if exempted:
        await store.insert_exempted(tx, customer_sid, invoice_sid, exempted, tax_due_on)


async def unbilled_back_billings(tx: Tx, customer_sid: str) -> list[Row]:
    """Return the back-billings that wait for a debit note."""
    return [row for row in await store.back_billings(tx, customer_sid) if row["debit_note_sid"] is None]


async def mark_back_billed(tx: Tx, customer_sid: str, sid: str, debit_note_sid: str) -> bool:
    """Note the debit note of a back-billing; False if it has one already."""
    return await store.mark_back_billing(tx, customer_sid, sid, debit_note_sid)


# ---- withholding


async def set_profile(tx: Tx, profile: WithholdingProfile, at: datetime) -> None:
    """Store how a customer withholds."""
    await store.save_profile(tx, profile.customer_sid, profile, at)
    evidence = {"rate": profile.rate, "policy": profile.policy, "treaty_rate": profile.treaty_rate}
    change = audit.AuditEvent(
        profile.customer_sid, "operator", "withholding_profile", profile.customer_sid, None, None, "set", evidence
    )
    await audit.record(tx, [change], at)


async def amount_to_invoice(tx: Tx, customer_sid: str, net: int, currency: str, day: date) -> tuple[int, int]:
    """Return the gross to invoice so that the net arrives, and what the customer withholds of it."""
    profile = await store.profile_of(tx, customer_sid)
    if profile is None or profile.policy != "gross_up":
        return net, 0
    return gross_up(net, profile.rate_on(day), currency)


async def takes_proofs(tx: Tx, customer_sid: str) -> bool:
    """Tell whether proof of withheld tax settles an invoice of a customer, as its profile says."""
    profile = await store.profile_of(tx, customer_sid)
    return profile is not None and profile.policy == "accept_certificate"


async def outstanding(tx: Tx, customer_sid: str, invoice_sid: str, due: int, paid: int) -> int:
    """Return what of an invoice is owed after payments and accepted proofs."""
    profile = await store.profile_of(tx, customer_sid)
    proven = await store.proven(tx, customer_sid, invoice_sid)
    return still_due(due, paid, proven, profile.policy if profile else "gross_up")


@dataclass(frozen=True, slots=True)
class NewProof:
    """A proof that a withheld tax was paid."""

    invoice_sid: str
    currency: str
    micros: int
    document_name: str
    document: bytes


async def upload_proof(tx: Tx, customer_sid: str, new: NewProof, at: datetime) -> Proof:
    """Take a customer's proof.

    Raises: ProofRefused without a document.
    """
    if not new.document or new.micros <= 0:
        raise ProofRefused
    proof = Proof(
        customer_sid=customer_sid,
        sid=new_sid("WP", at),
        state="uploaded",
        invoice_sid=new.invoice_sid,
        currency=new.currency,
        micros=new.micros,
        document_name=new.document_name,
        document_sha256=hashlib.sha256(new.document).hexdigest(),
        uploaded_at=at,
        reviewed_at=None,
        decided_at=None,
        decided_by=None,
        reason="",
    )
    await store.insert_proof(tx, customer_sid, proof, new.document)
    await _tell_proof(tx, events.PROOF_UPLOADED, proof, at)
    return proof


async def advance_proof(
    tx: Tx, customer_sid: str, sid: str, event: ProofEvent, *, by: str, reason: str, at: datetime
) -> Proof:
    """Review, accept or reject a proof; a rejection has a reason."""
    proof = await store.find_proof(tx, customer_sid, sid)
    if proof is None:
        raise ProofNotFound
    step = move_proof(proof.state, event)
    if step is None or (step.guard == "reason_given" and not reason):
        raise MoveNotAllowed("A proof", f"{event}ed without a reason" if step else f"{event}ed", proof.state, "3.2.1")
    changes: dict[str, Any] = {"state": step.next}
    changes |= {"reviewed_at": at} if event == "review" else {"decided_at": at, "decided_by": by, "reason": reason}
    await store.update_proof(tx, customer_sid, sid, changes)
    was = proof.state
    proof = replace(proof, **changes)
    evidence = {"document_sha256": proof.document_sha256, "micros": proof.micros, "currency": proof.currency}
    change = audit.AuditEvent(customer_sid, by, "withholding_proof", sid, was, proof.state, reason or event, evidence)
    await audit.record(tx, [change], at)
    if event != "review":
        await _tell_proof(tx, events.PROOF_ACCEPTED if event == "accept" else events.PROOF_REJECTED, proof, at)
    return proof


# ---- steps


async def _find(tx: Tx, customer_sid: str, sid: str) -> Exemption:
    exemption = await store.find_exemption(tx, customer_sid, sid)
    if exemption is None:
        raise ExemptionNotFound
    return exemption


async def _changing(tx: Tx, customer_sid: str, sid: str, event: ExemptionEvent, word: str) -> Exemption:
    exemption = await _find(tx, customer_sid, sid)
    if move_exemption(exemption.state, event) is None:
        raise MoveNotAllowed("An exemption", word, exemption.state, "3.2.3")
    return exemption


async def _end(tx: Tx, exemption: Exemption, told: str, *, state: Any, reason: str, at: datetime) -> Exemption:
    await store.update_exemption(tx, exemption.customer_sid, exemption.sid, {"state": state, "reason": reason})
    was = exemption.state
    exemption = replace(exemption, state=state, reason=reason)
    actor = "timer" if state == "expired" else "operator"
    await _tell(tx, told, exemption, at, was=was, actor=actor)
    return exemption


async def _tell(tx: Tx, type_: str, exemption: Exemption, at: datetime, *, was: str | None, actor: str) -> None:
    change = audit.AuditEvent(
        scope=exemption.customer_sid,
        actor=actor,
        aggregate="exemption",
        aggregate_sid=exemption.sid,
        from_state=was,
        to_state=exemption.state,
        cause=exemption.reason or type_,
        evidence={"certificate": exemption.certificate},
    )
    await audit.record(tx, [change], at)
    data = {
        "exemption": exemption.sid,
        "kind": exemption.kind,
        "jurisdiction": exemption.jurisdiction,
        "state": exemption.state,
        "reason": exemption.reason,
    }
    await log.append(tx, [events.of_customer(type_, exemption.customer_sid, exemption.sid, data)], at)


async def _tell_proof(tx: Tx, type_: str, proof: Proof, at: datetime) -> None:
    data = {"proof": proof.sid, "invoice": proof.invoice_sid, "micros": proof.micros, "currency": proof.currency}
    await log.append(tx, [events.of_customer(type_, proof.customer_sid, proof.sid, data)], at)
