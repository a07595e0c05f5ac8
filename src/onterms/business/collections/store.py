"""The room's SQL."""

from collections.abc import Sequence
from datetime import date, datetime

from onterms.business.collections.model import Assessed, Dunning, LateNotice, LegalRate, Policy, Proposal
from onterms.core.db import Row, Tx

_NOTICE = "customer_sid, invoice_sid, part, notice_sid, sent_at, given_on, cure_until, voided_at"
_FEE = (
    "customer_sid, sid, invoice_sid, part, currency, micros, from_on, until_on, contract, legal, flags, assessed_by, "
    "assessed_at"
)
_PROPOSAL = (
    "customer_sid, sid, kind, invoice_sid, part, state, currency, micros, evidence, created_at, decided_by, decided_at"
)


async def dunning(tx: Tx, customer_sid: str) -> Dunning:
    """Return where a customer stands; one without a row is clear."""
    row = await tx.fetchrow(
        "SELECT customer_sid, state, version, changed_at, notice_sid, review_on FROM dunning WHERE customer_sid = $1",
        customer_sid,
    )
    return Dunning(customer_sid) if row is None else Dunning(**dict(row))


async def save(tx: Tx, customer_sid: str, found: Dunning) -> None:
    """Keep where a customer stands."""
    await tx.execute(
        "INSERT INTO dunning (customer_sid, state, version, changed_at, notice_sid, review_on) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer_sid) DO UPDATE SET state = excluded.state, "
        "version = excluded.version, changed_at = excluded.changed_at, notice_sid = excluded.notice_sid, "
        "review_on = excluded.review_on",
        customer_sid,
        found.state,
        found.version,
        found.changed_at,
        found.notice_sid,
        found.review_on,
    )


async def notices(tx: Tx, customer_sid: str) -> list[LateNotice]:
    """Return a customer's notices of late payment, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_NOTICE} FROM late_notices WHERE customer_sid = $1 ORDER BY sent_at, notice_sid", customer_sid
    )
    return [LateNotice(**dict(row)) for row in rows]


async def insert_notice(tx: Tx, customer_sid: str, invoice_sid: str, part: str, notice_sid: str, at: datetime) -> None:
    """Note that a notice was sent."""
    await tx.execute(
        "INSERT INTO late_notices (customer_sid, invoice_sid, part, notice_sid, sent_at) VALUES ($1, $2, $3, $4, $5)",
        customer_sid,
        invoice_sid,
        part,
        notice_sid,
        at,
    )


async def date_notice(
    tx: Tx, customer_sid: str, notice_sid: str, given_on: date | None, until: date | None, voided_at: datetime | None
) -> None:
    """Note when a notice was given, or that it was not after all."""
    await tx.execute(
        "UPDATE late_notices SET given_on = $3, cure_until = $4, voided_at = $5 "
        "WHERE customer_sid = $1 AND notice_sid = $2",
        customer_sid,
        notice_sid,
        given_on,
        until,
        voided_at,
    )


async def fees(tx: Tx, customer_sid: str) -> list[Assessed]:
    """Return what was assessed of a customer, the oldest first."""
    rows = await tx.fetch(f"SELECT {_FEE} FROM late_fees WHERE customer_sid = $1 ORDER BY sid", customer_sid)
    return [Assessed(**{**dict(row), "flags": tuple(row["flags"])}) for row in rows]


async def insert_fee(tx: Tx, customer_sid: str, fee: Assessed) -> None:
    """Note an assessed fee."""
    names = [name.strip() for name in _FEE.split(",")]
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    values = {name: getattr(fee, name) for name in names} | {"customer_sid": customer_sid, "flags": list(fee.flags)}
    await tx.execute(f"INSERT INTO late_fees ({_FEE}) VALUES ({marks})", *[values[name] for name in names])


# tenant: the operator's list of what it has to decide, or that of one customer.
async def proposals(tx: Tx, customer_sid: str | None, *, only_open: bool = True) -> list[Proposal]:
    """Return what waits for the operator, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_PROPOSAL} FROM collection_proposals WHERE ($1::text IS NULL OR customer_sid = $1) "
        "AND (state = 'open' OR NOT $2) ORDER BY sid LIMIT 1000",
        customer_sid,
        only_open,
    )
    return [_proposal(row) for row in rows]


def _proposal(row: Row) -> Proposal:
    return Proposal(**dict(row))


async def insert_proposal(tx: Tx, customer_sid: str, new: Proposal) -> None:
    """Keep a proposal."""
    names = [name.strip() for name in _PROPOSAL.split(",")]
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    values = {name: getattr(new, name) for name in names}
    values |= {"customer_sid": customer_sid, "evidence": dict(new.evidence)}
    await tx.execute(
        f"INSERT INTO collection_proposals ({_PROPOSAL}) VALUES ({marks})", *[values[name] for name in names]
    )


async def renew_proposal(tx: Tx, customer_sid: str, sid: str, micros: int | None) -> None:
    """Bring an open proposal's amount up to date."""
    await tx.execute(
        "UPDATE collection_proposals SET micros = $3 WHERE customer_sid = $1 AND sid = $2 AND state = 'open'",
        customer_sid,
        sid,
        micros,
    )


async def end_proposal(tx: Tx, customer_sid: str, sid: str, state: str, actor: str, at: datetime) -> None:
    """Decide a proposal."""
    await tx.execute(
        "UPDATE collection_proposals SET state = $3, decided_by = $4, decided_at = $5 "
        "WHERE customer_sid = $1 AND sid = $2 AND state = 'open'",
        customer_sid,
        sid,
        state,
        actor,
        at,
    )


async def policy(tx: Tx) -> Policy:
    """Return the operator's switches."""
    row = await tx.fetchrow(
        "SELECT notice, late_fee, suspension, fee_start FROM collection_policies ORDER BY id DESC LIMIT 1"
    )
    return Policy() if row is None else Policy(**dict(row))


async def save_policy(tx: Tx, new: Policy, actor: str, at: datetime) -> None:
    """Keep the operator's switches; those before stay on record."""
    await tx.execute(
        "INSERT INTO collection_policies (notice, late_fee, suspension, fee_start, recorded_by, recorded_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        new.notice,
        new.late_fee,
        new.suspension,
        new.fee_start,
        actor,
        at,
    )


async def legal_maxima(tx: Tx, jurisdictions: Sequence[str] | None = None) -> list[LegalRate]:
    """Return the rates on file for places, or all."""
    rows = await tx.fetch(
        "SELECT applies_to, jurisdiction, rate, from_on, until_on, source FROM legal_maxima "
        "WHERE $1::text[] IS NULL OR jurisdiction = ANY($1) ORDER BY jurisdiction, from_on, id",
        None if jurisdictions is None else list(jurisdictions),
    )
    return [LegalRate(**dict(row)) for row in rows]


async def insert_legal_maximum(tx: Tx, rate: LegalRate, at: datetime) -> None:
    """Put a rate on file."""
    await tx.execute(
        "INSERT INTO legal_maxima (applies_to, jurisdiction, rate, from_on, until_on, source, recorded_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        rate.applies_to,
        rate.jurisdiction,
        rate.rate,
        rate.from_on,
        rate.until_on,
        rate.source,
        at,
    )
