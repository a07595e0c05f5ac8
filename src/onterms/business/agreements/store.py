"""All SQL of documents, versions, bindings, acceptances, agreements and papers beside them."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from onterms.business.agreements.model.binding import Acceptance, Binding, State, Version
from onterms.core.db import Row, Tx

_VERSION = ", ".join(field.name for field in fields(Version))
_BINDING = ", ".join(field.name for field in fields(Binding))
_ACCEPTANCE = ", ".join(field.name for field in fields(Acceptance))
_LOCK = 0x61677265656D65  # "agreeme": one process at a time publishes or ships the template


def _version(row: Row) -> Version:
    return Version(**{field.name: row[field.name] for field in fields(Version)})


async def lock(tx: Tx) -> None:
    """Let one transaction at a time publish."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def lock_customer(tx: Tx, customer_sid: str) -> None:
    """Let one transaction at a time accept for a customer, so that two clicks are one acceptance."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", customer_sid, _LOCK)


# Documents and versions


async def insert_document(tx: Tx, name: str, title: str, rank: int | None, linked: bool, at: datetime) -> bool:
    """Insert a document unless one has the name."""
    sql = "INSERT INTO documents VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING"
    return await tx.execute(sql, name, title, rank, linked, at) == 1


async def documents(tx: Tx) -> list[Row]:
    """List the documents by rank and name."""
    return await tx.fetch("SELECT name, title, rank, linked, created_at FROM documents ORDER BY rank NULLS LAST, name")


async def insert_version(tx: Tx, version: Version) -> None:
    """Insert a draft."""
    await tx.execute(
        """
        INSERT INTO document_versions (sid, document, label, state, material, exempt_reason, exempt_evidence,
                                       binding_md, summary_md, sha256, summary_sha256, created_at)
        VALUES ($1, $2, $3, 'draft', $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        version.sid,
        version.document,
        version.label,
        version.material,
        version.exempt_reason,
        version.exempt_evidence,
        version.binding_md,
        version.summary_md,
        version.sha256,
        version.summary_sha256,
        version.created_at,
    )


async def update_draft(
    tx: Tx, sid: str, label: str, binding_md: str, summary_md: str, sha256: str, summary_sha256: str
) -> None:
    """Replace a draft's words."""
    await tx.execute(
        """
        UPDATE document_versions SET label = $2, binding_md = $3, summary_md = $4, sha256 = $5, summary_sha256 = $6
        WHERE sid = $1 AND state = 'draft'
        """,
        sid,
        label,
        binding_md,
        summary_md,
        sha256,
        summary_sha256,
    )


async def schedule(tx: Tx, sid: str, published_on: date, new_on: date, existing_on: date, parties: Any) -> None:
    """Fix the days and the tables of a draft."""
    await tx.execute(
        """
        UPDATE document_versions
        SET state = 'scheduled', published_on = $2, new_effective_on = $3, existing_effective_on = $4, parties = $5
        WHERE sid = $1 AND state = 'draft'
        """,
        sid,
        published_on,
        new_on,
        existing_on,
        parties,
    )


async def publish(tx: Tx, sid: str, at: datetime) -> None:
    """Make a scheduled version public, as the next of its document."""
    await tx.execute(
        """
        UPDATE document_versions v SET state = 'published', published_at = $2, number = (
            SELECT coalesce(max(number), 0) + 1 FROM document_versions WHERE document = v.document)
        WHERE sid = $1 AND state = 'scheduled'
        """,
        sid,
        at,
    )


async def version(tx: Tx, sid: str) -> Version | None:
    """Find a version."""
    row = await tx.fetchrow(f"SELECT {_VERSION} FROM document_versions WHERE sid = $1", sid)
    return None if row is None else _version(row)


async def versions(tx: Tx, document: str, *, published_only: bool = False) -> list[Version]:
    """List a document's versions, the newest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_VERSION} FROM document_versions WHERE document = $1 AND (NOT $2 OR state = 'published')
        ORDER BY number DESC NULLS FIRST, sid DESC
        """,
        document,
        published_only,
    )
    return [_version(row) for row in rows]


async def public_version(tx: Tx, document: str, on: date) -> Version | None:
    """Find what binds whoever accepts on a day."""
    row = await tx.fetchrow(
        f"""
        SELECT {_VERSION} FROM document_versions
        WHERE document = $1 AND state = 'published' AND new_effective_on <= $2 ORDER BY number DESC LIMIT 1
        """,
        document,
        on,
    )
    return None if row is None else _version(row)


async def linked_public_versions(tx: Tx, on: date) -> dict[str, str]:
    """Return the version of each linked document that binds whoever accepts on a day."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT ON (v.document) v.document, v.sid
        FROM document_versions v JOIN documents d ON d.name = v.document
        WHERE d.linked AND v.state = 'published' AND v.new_effective_on <= $1 ORDER BY v.document, v.number DESC
        """,
        on,
    )
    return {row["document"]: row["sid"] for row in rows}


async def parties(tx: Tx, version_sid: str) -> Any:
    """Return the tables of parties that a version carries."""
    return await tx.fetchval("SELECT parties FROM document_versions WHERE sid = $1", version_sid)


# Bindings


async def begin_bindings(tx: Tx, version: Version, at: datetime) -> int:
    """Begin a binding for every customer that accepted an earlier version of the document and has not left."""
    effective_on = None if version.needs_notice else version.existing_effective_on
    return await tx.execute(
        """
        INSERT INTO bindings (customer_sid, version_sid, document, state, effective_on, updated_at)
        SELECT DISTINCT customer_sid, $1, $2, 'pending', $3::date, $4::timestamptz
        FROM acceptances AS a WHERE document = $2
          AND NOT EXISTS (SELECT FROM agreements AS gone WHERE gone.customer_sid = a.customer_sid
                          AND gone.kind = 'online' AND gone.state = 'ended'
                          AND NOT EXISTS (SELECT FROM agreements AS now WHERE now.customer_sid = a.customer_sid
                                          AND now.kind = 'online' AND now.state = 'active'))
        ON CONFLICT (customer_sid, version_sid) DO NOTHING
        """,
        version.sid,
        version.document,
        effective_on,
        at,
    )


async def bindings_without_notice(tx: Tx, version_sid: str, limit: int) -> list[Binding]:
    """List bindings of a version whose customers got no notice yet."""
    rows = await tx.fetch(
        f"""
        SELECT {_BINDING} FROM bindings WHERE version_sid = $1 AND notice_sid IS NULL AND state <> 'accepted'
        ORDER BY customer_sid LIMIT $2
        """,
        version_sid,
        limit,
    )
    return [Binding(**dict(row)) for row in rows]


async def binding_of_notice(tx: Tx, notice_sid: str) -> Binding | None:
    """Find the binding that a notice is about, and keep others from moving it."""
    row = await tx.fetchrow(f"SELECT {_BINDING} FROM bindings WHERE notice_sid = $1 FOR UPDATE", notice_sid)
    return None if row is None else Binding(**dict(row))


async def bindings(tx: Tx, customer_sid: str) -> list[Binding]:
    """List a customer's bindings in the order their versions were published, and keep others from moving them."""
    columns = ", ".join(f"b.{field.name}" for field in fields(Binding))
    rows = await tx.fetch(
        f"""
        SELECT {columns} FROM bindings b JOIN document_versions v ON v.sid = b.version_sid
        WHERE b.customer_sid = $1 ORDER BY v.published_at, v.sid FOR UPDATE OF b
        """,
        customer_sid,
    )
    return [Binding(**dict(row)) for row in rows]


async def put_binding(tx: Tx, customer_sid: str, binding: Binding, at: datetime) -> None:
    """Write a binding's new state."""
    await tx.execute(
        """
        INSERT INTO bindings (customer_sid, version_sid, document, state, notice_sid, given_on, effective_on,
                              updated_at, declined_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (customer_sid, version_sid) DO UPDATE
        SET state = $4, notice_sid = $5, given_on = $6, effective_on = $7, updated_at = $8, declined_at = $9
        """,
        customer_sid,
        binding.version_sid,
        binding.document,
        binding.state,
        binding.notice_sid,
        binding.given_on,
        binding.effective_on,
        at,
        binding.declined_at,
    )


async def due_bindings(tx: Tx, version_sid: str, on: date, states: Sequence[State]) -> list[Binding]:
    """List bindings of a version whose day has come."""
    rows = await tx.fetch(
        f"""
        SELECT {_BINDING} FROM bindings WHERE version_sid = $1 AND effective_on <= $2 AND state = ANY($3::text[])
        ORDER BY customer_sid FOR UPDATE
        """,
        version_sid,
        on,
        list(states),
    )
    return [Binding(**dict(row)) for row in rows]


# Acceptances


async def insert_acceptance(tx: Tx, customer_sid: str, acceptance: Acceptance) -> None:
    """Insert the evidence of an acceptance."""
    await tx.execute(
        f"INSERT INTO acceptances ({_ACCEPTANCE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        customer_sid,
        *(getattr(acceptance, field.name) for field in fields(Acceptance)[1:]),
    )


async def acceptances(tx: Tx, customer_sid: str, document: str | None = None) -> list[Acceptance]:
    """List what a customer accepted, in time."""
    rows = await tx.fetch(
        f"""
        SELECT {_ACCEPTANCE} FROM acceptances WHERE customer_sid = $1 AND ($2::text IS NULL OR document = $2)
        ORDER BY accepted_at, sid
        """,
        customer_sid,
        document,
    )
    return [Acceptance(**dict(row)) for row in rows]


async def candidates(tx: Tx, customer_sid: str, document: str) -> list[tuple[Version, Binding | None, datetime | None]]:
    """List the published versions that a customer accepted or is bound by, the newest first."""
    columns = ", ".join(f"v.{field.name}" for field in fields(Version))
    rows = await tx.fetch(
        f"""
        SELECT {columns}, a.accepted_at, b.state AS b_state, b.notice_sid, b.given_on, b.effective_on,
               b.declined_at
        FROM document_versions v
             LEFT JOIN acceptances a ON a.version_sid = v.sid AND a.customer_sid = $1
             LEFT JOIN bindings b ON b.version_sid = v.sid AND b.customer_sid = $1
        WHERE v.document = $2 AND v.state = 'published' AND (a.customer_sid = $1 OR b.customer_sid = $1)
        ORDER BY v.number DESC
        """,
        customer_sid,
        document,
    )
    return [
        (
            _version(row),
            None
            if row["b_state"] is None
            else Binding(
                customer_sid,
                row["sid"],
                document,
                row["b_state"],
                row["notice_sid"],
                row["given_on"],
                row["effective_on"],
                row["declined_at"],
            ),
            row["accepted_at"],
        )
        for row in rows
    ]


# Agreements


async def insert_agreement(tx: Tx, customer_sid: str, row: dict[str, Any]) -> None:
    """Insert the contract with a customer."""
    await tx.execute(
        """
        INSERT INTO agreements (customer_sid, sid, kind, state, title, services, binding_md, from_on, until_on,
                                effective_at)
        VALUES ($1, $2, $3, 'active', $4, $5, $6, $7, $8, $9)
        """,
        customer_sid,
        row["sid"],
        row["kind"],
        row["title"],
        row["services"],
        row["binding_md"],
        row["from_on"],
        row["until_on"],
        row["effective_at"],
    )


async def agreements(tx: Tx, customer_sid: str) -> list[Row]:
    """List the contracts with a customer, in time."""
    return await tx.fetch(
        """
        SELECT sid, kind, state, title, services, binding_md, from_on, until_on, effective_at, ended_at
        FROM agreements WHERE customer_sid = $1 ORDER BY effective_at, sid
        """,
        customer_sid,
    )


async def end_agreement(tx: Tx, customer_sid: str, sid: str, at: datetime) -> bool:
    """End a contract; False when it is ended or not there."""
    sql = """
        UPDATE agreements SET state = 'ended', ended_at = $3 WHERE customer_sid = $1 AND sid = $2 AND state = 'active'
    """
    return await tx.execute(sql, customer_sid, sid, at) == 1


# Papers, overrides, entities, tasks


async def insert_attachment(
    tx: Tx, customer_sid: str, sid: str, kind: str, reference: str, text: str, signed: bool, at: datetime
) -> None:
    """Keep a paper beside the contract; it is void by itself."""
    await tx.execute(
        "INSERT INTO attachments VALUES ($1, $2, $3, $4, $5, $6, true, $7)",
        customer_sid,
        sid,
        kind,
        reference,
        text,
        signed,
        at,
    )


async def attachments(tx: Tx, customer_sid: str) -> list[Row]:
    """List the papers beside a contract."""
    return await tx.fetch(
        """
        SELECT sid, kind, reference, text, signed, void, created_at FROM attachments
        WHERE customer_sid = $1 ORDER BY sid
        """,
        customer_sid,
    )


async def put_override(
    tx: Tx,
    version_sid: str,
    clause: str,
    reason: str,
    replacement: str,
    decided_by: str,
    from_on: date,
    at: datetime,
) -> bool:
    """Strike a clause of a version unless it is struck."""
    sql = "INSERT INTO clause_overrides VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
    return await tx.execute(sql, version_sid, clause, reason, replacement, decided_by, from_on, at) == 1


async def overrides(tx: Tx, version_sid: str, on: date) -> dict[str, tuple[str, str]]:
    """Return reason and replacement of the clauses of a version that are struck on a day."""
    rows = await tx.fetch(
        "SELECT clause, reason, replacement FROM clause_overrides WHERE version_sid = $1 AND from_on <= $2",
        version_sid,
        on,
    )
    return {row["clause"]: (row["reason"], row["replacement"]) for row in rows}


async def put_entity(
    tx: Tx, key: str, from_on: date, name: str, address: str, country: str, at: datetime, *, vat_id: str = ""
) -> None:
    """Name one of the operator's companies from a day on."""
    await tx.execute(
        """
        INSERT INTO contracting_entities (key, from_on, name, address, country, recorded_at, vat_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (key, from_on) DO UPDATE SET name = $3, address = $4, country = $5, recorded_at = $6, vat_id = $7
        """,
        key,
        from_on,
        name,
        address,
        country,
        at,
        vat_id,
    )


async def entity(tx: Tx, key: str, on: date) -> Row | None:
    """Return one of the operator's companies as of a day."""
    return await tx.fetchrow(
        """
        SELECT key, from_on, name, address, country, vat_id FROM contracting_entities
        WHERE key = $1 AND from_on <= $2 ORDER BY from_on DESC LIMIT 1
        """,
        key,
        on,
    )


async def open_legal_task(
    tx: Tx, customer_sid: str, sid: str, kind: str, clause: str, subject: str, at: datetime
) -> bool:
    """Ask counsel, unless the same question is open."""
    sql = """
        INSERT INTO legal_tasks VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (customer_sid, kind, subject) WHERE done_at IS NULL DO NOTHING
    """
    return await tx.execute(sql, customer_sid, sid, kind, clause, subject, at) == 1


async def legal_tasks(tx: Tx, customer_sid: str) -> list[Row]:
    """List counsel's questions about a customer."""
    return await tx.fetch(
        """
        SELECT sid, kind, clause, subject, created_at, done_at FROM legal_tasks WHERE customer_sid = $1 ORDER BY sid
        """,
        customer_sid,
    )
