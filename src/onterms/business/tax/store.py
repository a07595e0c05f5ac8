"""Every SQL statement of this room."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from onterms.business.tax.model import BackBilling, Exempted, Exemption, Proof, TaxRule, WithholdingProfile
from onterms.core.db import Row, Tx

_RULE = "id, jurisdiction, kind, base, rate, rounding, effective_from, effective_to, source, recorded_at"
_EXEMPTION = (
    "customer_sid, sid, state, kind, jurisdiction, certificate, valid_from, valid_to, submitted_at, approved_at, "
    "ended_at, revoked_from, reason"
)
_PROOF = (
    "customer_sid, sid, state, invoice_sid, currency, micros, document_name, document_sha256, uploaded_at, "
    "reviewed_at, decided_at, decided_by, reason"
)


async def insert_rule(tx: Tx, rule: TaxRule) -> TaxRule:
    """Add a tax rule."""
    row = await tx.fetchrow(
        f"INSERT INTO tax_rules (jurisdiction, kind, base, rate, rounding, effective_from, effective_to, source, "
        f"recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {_RULE}",
        rule.jurisdiction,
        rule.kind,
        rule.base,
        rule.rate,
        rule.rounding,
        rule.effective_from,
        rule.effective_to,
        rule.source,
        rule.recorded_at,
    )
    assert row is not None
    return TaxRule(**dict(row))


async def rules_of(tx: Tx, jurisdictions: Sequence[str]) -> list[TaxRule]:
    """Return the rules of jurisdictions."""
    rows = await tx.fetch(f"SELECT {_RULE} FROM tax_rules WHERE jurisdiction = ANY($1)", list(jurisdictions))
    return [TaxRule(**dict(row)) for row in rows]


async def page_of_rules(tx: Tx, jurisdiction: str | None, after: int, limit: int) -> list[TaxRule]:
    """Return rules in the order in which they were recorded."""
    rows = await tx.fetch(
        f"SELECT {_RULE} FROM tax_rules WHERE ($1::text IS NULL OR jurisdiction = $1) AND id > $2 ORDER BY id LIMIT $3",
        jurisdiction,
        after,
        limit,
    )
    return [TaxRule(**dict(row)) for row in rows]


# ---- exemptions


async def insert_exemption(tx: Tx, customer_sid: str, exemption: Exemption, document: bytes, sha256: str) -> None:
    """Store a request for an exemption with its certificate."""
    await tx.execute(
        "INSERT INTO tax_exemptions (customer_sid, sid, state, kind, jurisdiction, certificate, document_sha256, "
        "document, valid_from, valid_to, submitted_at, reason) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        customer_sid,
        exemption.sid,
        exemption.state,
        exemption.kind,
        exemption.jurisdiction,
        exemption.certificate,
        sha256,
        document,
        exemption.valid_from,
        exemption.valid_to,
        exemption.submitted_at,
        exemption.reason,
    )


async def find_exemption(tx: Tx, customer_sid: str, sid: str) -> Exemption | None:
    """Return a customer's exemption and hold it until the transaction ends."""
    row = await tx.fetchrow(
        f"SELECT {_EXEMPTION} FROM tax_exemptions WHERE customer_sid = $1 AND sid = $2 FOR UPDATE", customer_sid, sid
    )
    return None if row is None else Exemption(**dict(row))


async def customer_of_exemption(tx: Tx, sid: str) -> str | None:
    """Return whose exemption this is, for the operator, who names it alone."""
    found: str | None = await tx.fetchval("SELECT customer_sid FROM tax_exemptions WHERE sid = $1", sid)
    return found


async def rule_instants(tx: Tx) -> list[datetime]:
    """Return when rules begin and end, of all jurisdictions."""
    rows = await tx.fetch(
        "SELECT effective_from AS at FROM tax_rules UNION "
        "SELECT effective_to FROM tax_rules WHERE effective_to IS NOT NULL"
    )
    return [row["at"] for row in rows]


async def exemptions_of(tx: Tx, customer_sid: str) -> list[Exemption]:
    """Return the exemptions of a customer that were ever approved."""
    rows = await tx.fetch(
        f"SELECT {_EXEMPTION} FROM tax_exemptions WHERE customer_sid = $1 AND approved_at IS NOT NULL ORDER BY sid",
        customer_sid,
    )
    return [Exemption(**dict(row)) for row in rows]


async def page_of_exemptions(tx: Tx, customer_sid: str | None, after: str, limit: int) -> list[Exemption]:
    """Return exemptions of a customer, or of all for the operator, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_EXEMPTION} FROM tax_exemptions WHERE ($1::text IS NULL OR customer_sid = $1) AND sid > $2 "
        "ORDER BY sid LIMIT $3",
        customer_sid,
        after,
        limit,
    )
    return [Exemption(**dict(row)) for row in rows]


async def update_exemption(tx: Tx, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Write changed columns of an exemption that is held."""
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(changes, 3))
    await tx.execute(
        f"UPDATE tax_exemptions SET {sets} WHERE customer_sid = $1 AND sid = $2", customer_sid, sid, *changes.values()
    )


async def insert_exempted(
    tx: Tx, customer_sid: str, invoice_sid: str, exempted: Sequence[Exempted], tax_due_on: date
) -> None:
    """Note what an invoice left untaxed; again for the same invoice changes nothing."""
    await tx.execute(
        """
        INSERT INTO tax_exempted (customer_sid, exemption_sid, invoice_sid, line_ref, jurisdiction, kind, currency,
                                  base_micros, rate, rounding, occurred_at, tax_due_on)
        SELECT $1, exemption, $2, line, jurisdiction, kind, currency, base, rate, rounding, occurred_at, $3
        FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
                    $11::text[], $12::timestamptz[])
             AS e(exemption, line, jurisdiction, kind, currency, base, rate, rounding, occurred_at)
        ON CONFLICT DO NOTHING
        """,
        customer_sid,
        invoice_sid,
        tax_due_on,
        [each.exemption_sid for each in exempted],
        [each.line_ref for each in exempted],
        [each.jurisdiction for each in exempted],
        [each.kind for each in exempted],
        [each.currency for each in exempted],
        [each.base for each in exempted],
        [each.rate for each in exempted],
        [each.rounding for each in exempted],
        [each.occurred_at for each in exempted],
    )


async def exempted_by(tx: Tx, customer_sid: str, exemption_sid: str) -> list[Exempted]:
    """Return what an exemption left untaxed and nobody has charged since."""
    rows = await tx.fetch(
        "SELECT exemption_sid, line_ref, jurisdiction, kind, currency, base_micros AS base, rate, rounding, "
        "occurred_at, tax_due_on FROM tax_exempted WHERE customer_sid = $1 AND exemption_sid = $2 "
        "AND back_billing_sid IS NULL ORDER BY occurred_at, invoice_sid, line_ref",
        customer_sid,
        exemption_sid,
    )
    return [Exempted(**dict(row)) for row in rows]


async def insert_back_billing(
    tx: Tx,
    customer_sid: str,
    sid: str,
    exemption_sid: str,
    billing: BackBilling,
    revoked_from: datetime,
    determined_on: date,
    at: datetime,
) -> None:
    """Store a back-billing and mark what it charges."""
    await tx.execute(
        "INSERT INTO tax_back_billings (customer_sid, sid, exemption_sid, currency, tax_micros, interest_micros, "
        "penalty_micros, lines, determined_on, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        customer_sid,
        sid,
        exemption_sid,
        billing.currency,
        billing.tax,
        billing.interest,
        billing.penalty,
        [list(line) for line in billing.lines],
        determined_on,
        at,
    )
    await tx.execute(
        "UPDATE tax_exempted SET back_billing_sid = $3 WHERE customer_sid = $1 AND exemption_sid = $2 "
        "AND currency = $4 AND occurred_at >= $5 AND back_billing_sid IS NULL",
        customer_sid,
        exemption_sid,
        sid,
        billing.currency,
        revoked_from,
    )


async def back_billings(tx: Tx, customer_sid: str, *, exemption_sid: str | None = None) -> list[Row]:
    """Return a customer's back-billings, oldest first."""
    return await tx.fetch(
        "SELECT customer_sid, sid, exemption_sid, currency, tax_micros, interest_micros, penalty_micros, lines, "
        "determined_on, recorded_at, debit_note_sid FROM tax_back_billings WHERE customer_sid = $1 "
        "AND ($2::text IS NULL OR exemption_sid = $2) ORDER BY sid",
        customer_sid,
        exemption_sid,
    )


async def mark_back_billing(tx: Tx, customer_sid: str, sid: str, debit_note_sid: str) -> bool:
    """Note the debit note that charges a back-billing, once."""
    return bool(
        await tx.execute(
            "UPDATE tax_back_billings SET debit_note_sid = $3 WHERE customer_sid = $1 AND sid = $2 "
            "AND debit_note_sid IS NULL",
            customer_sid,
            sid,
            debit_note_sid,
        )
    )


# ---- identifiers


async def put_vat_id(
    tx: Tx, customer_sid: str, from_on: date, vat_id: str, confirmed: bool, evidence: str, at: datetime
) -> None:
    """Keep a customer's identifier from a day on; again for the same day replaces it."""
    await tx.execute(
        "INSERT INTO vat_ids (customer_sid, from_on, vat_id, confirmed, evidence, recorded_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer_sid, from_on) DO UPDATE "
        "SET vat_id = $3, confirmed = $4, evidence = $5, recorded_at = $6",
        customer_sid,
        from_on,
        vat_id,
        confirmed,
        evidence,
        at,
    )


async def vat_ids(tx: Tx, customer_sid: str) -> list[Row]:
    """Return a customer's identifiers, the latest first."""
    return await tx.fetch(
        "SELECT from_on, vat_id, confirmed, evidence, recorded_at FROM vat_ids WHERE customer_sid = $1 "
        "ORDER BY from_on DESC",
        customer_sid,
    )


# ---- withholding


async def save_profile(tx: Tx, customer_sid: str, profile: WithholdingProfile, at: datetime) -> None:
    """Store how a customer withholds."""
    await tx.execute(
        "INSERT INTO withholding_profiles (customer_sid, country, rate, policy, treaty_rate, treaty_certificate, "
        "treaty_from, treaty_to, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
        "ON CONFLICT (customer_sid) DO UPDATE SET country = $2, rate = $3, policy = $4, treaty_rate = $5, "
        "treaty_certificate = $6, treaty_from = $7, treaty_to = $8, updated_at = $9",
        customer_sid,
        profile.country,
        profile.rate,
        profile.policy,
        profile.treaty_rate,
        profile.treaty_certificate,
        profile.treaty_from,
        profile.treaty_to,
        at,
    )


async def profile_of(tx: Tx, customer_sid: str) -> WithholdingProfile | None:
    """Return how a customer withholds, or None if it does not."""
    row = await tx.fetchrow(
        "SELECT customer_sid, country, rate, policy, treaty_rate, treaty_certificate, treaty_from, treaty_to "
        "FROM withholding_profiles WHERE customer_sid = $1",
        customer_sid,
    )
    return None if row is None else WithholdingProfile(**dict(row))


async def insert_proof(tx: Tx, customer_sid: str, proof: Proof, document: bytes) -> None:
    """Store a proof with its document."""
    await tx.execute(
        "INSERT INTO withholding_proofs (customer_sid, sid, state, invoice_sid, currency, micros, document_name, "
        "document_sha256, document, uploaded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        customer_sid,
        proof.sid,
        proof.state,
        proof.invoice_sid,
        proof.currency,
        proof.micros,
        proof.document_name,
        proof.document_sha256,
        document,
        proof.uploaded_at,
    )


async def find_proof(tx: Tx, customer_sid: str, sid: str) -> Proof | None:
    """Return a customer's proof and hold it until the transaction ends."""
    row = await tx.fetchrow(
        f"SELECT {_PROOF} FROM withholding_proofs WHERE customer_sid = $1 AND sid = $2 FOR UPDATE", customer_sid, sid
    )
    return None if row is None else Proof(**dict(row))


async def customer_of_proof(tx: Tx, sid: str) -> str | None:
    """Return whose proof this is, for the operator, who names it alone."""
    found: str | None = await tx.fetchval("SELECT customer_sid FROM withholding_proofs WHERE sid = $1", sid)
    return found


async def page_of_proofs(tx: Tx, customer_sid: str | None, after: str, limit: int) -> list[Proof]:
    """Return proofs of a customer, or of all for the operator, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_PROOF} FROM withholding_proofs WHERE ($1::text IS NULL OR customer_sid = $1) AND sid > $2 "
        "ORDER BY sid LIMIT $3",
        customer_sid,
        after,
        limit,
    )
    return [Proof(**dict(row)) for row in rows]


async def update_proof(tx: Tx, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Write changed columns of a proof that is held."""
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(changes, 3))
    await tx.execute(
        f"UPDATE withholding_proofs SET {sets} WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        sid,
        *changes.values(),
    )


async def proven(tx: Tx, customer_sid: str, invoice_sid: str) -> int:
    """Add up the accepted proofs for an invoice."""
    return int(
        await tx.fetchval(
            "SELECT coalesce(sum(micros), 0)::bigint FROM withholding_proofs "
            "WHERE customer_sid = $1 AND invoice_sid = $2 AND state = 'accepted'",
            customer_sid,
            invoice_sid,
        )
    )


async def document(tx: Tx, customer_sid: str | None, kind: Literal["exemption", "proof"], sid: str) -> bytes | None:
    """Return the document of a customer's exemption or proof, or of anybody's for the operator."""
    table = "tax_exemptions" if kind == "exemption" else "withholding_proofs"
    found: bytes | None = await tx.fetchval(
        f"SELECT document FROM {table} WHERE ($1::text IS NULL OR customer_sid = $1) AND sid = $2", customer_sid, sid
    )
    return found
