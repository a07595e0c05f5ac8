"""Exporting, deleting, asking, telling and letting see."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from onterms.business import accounts, customers
from onterms.business.cases import OPERATOR, Book, Case, Notices
from onterms.business.privacy import store
from onterms.business.privacy.errors import DataDeleted
from onterms.business.privacy.model import (
    CONTENT,
    DELETED,
    DELETION,
    INFORMATION_REQUEST,
    MARKS_CONSENT,
    MARKS_USE,
    OF_CLOSED,
    Table,
    kept_because,
    marks_allowed,
    may_process,
    may_see,
    watermark,
)
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import Forbidden, InvalidParameter, NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text
from onterms.engines import audit


async def has_consent(tx: Tx, customer_sid: str, identity: str, channel: str, at: datetime) -> bool:
    """Tell whether a consent for a channel is on file and in force (5.3)."""
    return any(
        row["channel"] in ("", channel)
        and row["given_at"] <= at
        and (row["withdrawn_at"] is None or row["withdrawn_at"] > at)
        for row in await store.consents(tx, customer_sid, identity)
    )


class Privacy:
    """The books of requests, marks and deletions, and what is done with customers' data."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self.requests = Book(
            INFORMATION_REQUEST,
            {
                "ask_customer": self._nothing,
                "tell_customer": self._tell_customer,
                "escalate": self._escalate,
                "book_cost": self._book_cost,
            },
        )
        self.marks = Book(MARKS_CONSENT)
        self.uses = Book(MARKS_USE, {"check_consent": self._check_consent})
        self.deletions = Book(DELETION, {"delete": self._delete})

    # Data

    async def export(self, tx: Tx, customer_sid: str, purpose: str, actor: str, at: datetime) -> dict[str, Any]:
        """Return every row of every table of class `customer` that belongs to a customer, with counts (4.1).

        Raises: Forbidden for a purpose that the addendum does not know (4.2).
        """
        if not may_process(purpose, "customer"):
            raise Forbidden(
                "Customer data is processed to provide the services only",
                details={"clause": "4.2", "reason": "purpose_denied"},
            )
        family = await _family(tx, customer_sid)
        tables: dict[str, list[dict[str, Any]]] = {}
        for table in await store.tables(tx):
            if table.data_class == "customer":
                tables[table.name] = _without_secrets(
                    await store.rows_of(tx, table, _owners(table, customer_sid, family))
                )
        counts = {name: len(rows) for name, rows in tables.items()}
        entry = audit.AuditEvent(
            customer_sid, actor, "export", customer_sid, None, "exported", "4.1", {"purpose": purpose, "rows": counts}
        )
        await audit.record(tx, [entry], at)
        return {"customer_sid": customer_sid, "exported_at": at.isoformat(), "counts": counts, "tables": tables}

    async def _delete(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        family = await _family(tx, case.customer_sid)
        known = {table.name: table for table in await store.tables(tx)}
        deleted: dict[str, int] = {}
        is_closed = True
        for main in await customers.accounts_of(tx, case.customer_sid):
            is_closed = is_closed and await accounts.own_status(tx, main) == "closed"
        taken = DELETED if is_closed else CONTENT
        for name in taken:
            if name in known and known[name].owner is not None:
                owners = _owners(known[name], case.customer_sid, family)
                deleted[name] = await store.delete_rows(tx, known[name], owners)
                assert await store.count_rows(tx, known[name], owners) == 0
        kept: dict[str, str] = {}
        for table in known.values():
            if table.owner is not None and table.name not in taken:
                reason = "in use by open accounts" if table.name in OF_CLOSED else kept_because(table.name)
                if await store.count_rows(tx, table, _owners(table, case.customer_sid, family)):
                    kept[table.name] = reason or "other records"
        said = {"customer_sid": case.customer_sid, "deleted": deleted, "kept": kept, "deleted_at": at.isoformat()}
        digest = hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()
        entry = audit.AuditEvent(
            case.customer_sid, "system", "customer_data", case.sid, "held", "deleted", "4.1", {**said, "sha256": digest}
        )
        await audit.record(tx, [entry], at)
        notice_sid = await self._notices.send(
            tx,
            case.customer_sid,
            "deletion_certificate",
            "Your data was deleted",
            _certificate(said, digest),
            "privacy",
            at,
        )
        return {"certificate": said, "certificate_sha256": digest, "notice_sid": notice_sid}

    async def close(self, tx: Tx, customer_sid: str, due_at: datetime, at: datetime) -> str:
        """Plan the deletion of a customer's data after the end of its agreement and return the case's SID.

        One that is planned already is left as it is.
        """
        for case in await self.deletions.list(tx, customer_sid, ["scheduled"]):
            return case.sid
        case = await self.deletions.open(tx, customer_sid, {"due_at": due_at.isoformat()}, OPERATOR, at)
        return case.sid

    async def deletion_of(self, tx: Tx, customer_sid: str) -> Case | None:
        """Return the last deletion that was planned or done."""
        found = await self.deletions.list(tx, customer_sid, ["scheduled", "deleted"])
        return found[-1] if found else None

    async def export_closed(self, tx: Tx, account_sid: str, at: datetime) -> dict[str, Any]:
        """Return the data of a customer whose account is closed, while it waits for its deletion (4.1, DPA.8).

        Raises: NotFound; DataDeleted.
        """
        customer = await customers.customer_of(tx, account_sid)
        if customer is None:
            raise NotFound("The customer was not found")
        deletion = await self.deletion_of(tx, customer.sid)
        # One account that was closed opens nothing of a customer that goes on with others.
        for main in await customers.accounts_of(tx, customer.sid):
            if deletion is None or await accounts.own_status(tx, main) != "closed":
                raise NotFound("The agreement has not ended")
        assert deletion is not None
        if deletion.state == "deleted":
            raise DataDeleted(deletion.facts["certificate_sha256"])
        return await self.export(tx, customer.sid, "provide_services", f"{account_sid}/closed", at)

    # Confidentiality

    async def look(
        self,
        tx: Tx,
        customer_sid: str,
        actor: str,
        role: str,
        kind: str,
        subject_sid: str,
        at: datetime,
        *,
        break_glass_reason: str = "",
    ) -> None:
        """Let somebody of the operator's see what is confidential, and write it down.

        Raises: Forbidden without need to know, unless the glass is broken with a reason.
        """
        needed = may_see(role, kind)
        if not needed and not break_glass_reason.strip():
            raise Forbidden(
                f"The role {role} does not need to know this", details={"clause": "4.3.2", "reason": "no_need_to_know"}
            )
        sid = new_sid("LK", at)
        await store.insert_look(
            tx, customer_sid, sid, actor, role, kind, subject_sid, not needed, break_glass_reason, at
        )
        if not needed:
            evidence = {"role": role, "kind": kind, "subject_sid": subject_sid, "reason": break_glass_reason}
            entry = audit.AuditEvent(customer_sid, actor, "break_glass", sid, None, "looked", "4.3.2", evidence)
            await audit.record(tx, [entry], at)

    async def download_report(
        self, tx: Tx, customer_sid: str, report_sid: str, actor: str, at: datetime, *, nda: bool
    ) -> tuple[str, str]:
        """Hand out an audit report with its watermark: (title, content).

        Raises: Forbidden without the promise to keep it confidential; NotFound.
        """
        if not nda:
            raise Forbidden(
                "Reports are handed out under a non-disclosure agreement only",
                details={"clause": "4.3.2", "reason": "nda_missing"},
            )
        found = await store.reports(tx, report_sid)
        if not found:
            raise NotFound(f"The report {report_sid} was not found")
        customer = await customers.require(tx, customer_sid)
        mark = watermark(customer.name, actor, at)
        await store.insert_download(tx, customer_sid, new_sid("DL", at), report_sid, actor, mark, at)
        return found[0]["title"], f"{mark}\n\n{found[0]['content']}\n\n{mark}"

    async def reports(self, tx: Tx) -> list[tuple[str, str]]:
        """List the audit reports that there are: (SID, title)."""
        return [(row["sid"], row["title"]) for row in await store.reports(tx)]

    async def add_report(self, tx: Tx, title: str, content: str, at: datetime) -> str:
        """Store an audit report and return its SID."""
        sid = new_sid("AR", at)
        await store.insert_report(tx, sid, title, content, at)
        return sid

    # Consent

    async def record_consent(
        self,
        tx: Tx,
        customer_sid: str,
        identity: str,
        channel: str,
        purpose: str,
        source: str,
        given_at: datetime,
        at: datetime,
    ) -> str:
        """Write a consent into the ledger and return its SID.

        Raises: InvalidParameter for one that is to come.
        """
        if given_at > at:
            raise InvalidParameter("'given_at' lies in the future")
        sid = new_sid("CO", at)
        await store.insert_consent(tx, customer_sid, sid, identity, channel, purpose, source, given_at, at)
        return sid

    async def consents(self, tx: Tx, customer_sid: str, identity: str) -> list[dict[str, Any]]:
        """List what an identity consented to, withdrawn or not."""
        times = ("given_at", "withdrawn_at")
        return [
            {**dict(row), **{name: None if row[name] is None else row[name].isoformat() for name in times}}
            for row in await store.consents(tx, customer_sid, identity)
        ]

    async def withdraw_consent(self, tx: Tx, customer_sid: str, sid: str, at: datetime) -> None:
        """End a consent.

        Raises: NotFound.
        """
        if not await store.withdraw_consent(tx, customer_sid, sid, at):
            raise NotFound(f"No consent {sid} is in force")

    # Effects

    async def _nothing(self, tx: Tx, case: Case, at: datetime) -> None:
        return None

    async def _tell_customer(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        facts = case.facts
        body = f"{facts['requester']} asks on the basis of {facts['basis']} for: {facts['scope']}"
        sid = await self._notices.send(
            tx, case.customer_sid, "information_request", "Request for information", body, "legal", at
        )
        due_on = day_of(case.instant("due_at")) if "due_at" in facts else day_of(at)
        subject = f"Answer the request of {facts['requester']}"
        await customers.open_task(tx, case.customer_sid, f"information_{case.sid}", "2.2(f)", subject, due_on, at)
        return {"notice_sid": sid}

    async def _escalate(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        body = f"The request of {case.facts['requester']} was due at {case.facts['due_at']} and is not answered."
        sid = await self._notices.send(
            tx, case.customer_sid, "information_overdue", "Overdue: request for information", body, "legal", at
        )
        return {"escalated_at": at.isoformat(), "escalation_notice_sid": sid}

    async def _book_cost(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        amount = case.facts["hours"] * case.micros("hourly")
        made = {"hours": case.facts["hours"], "hourly": case.facts["hourly"], "charge": decimal_text(amount)}
        return {"charge_proposals": [*case.facts.get("charge_proposals", []), made]}

    async def _check_consent(self, tx: Tx, case: Case, at: datetime) -> None:
        customer = await customers.require(tx, case.customer_sid)
        said: list[str] = []
        for each in await self.marks.list(tx, case.customer_sid, ["in_force"]):
            said += [f"{'allow' if each.facts['allowed'] else 'deny'}:{use}" for use in each.facts["uses"]]
        if not marks_allowed(said, case.facts["use"], is_government=customer.government is not None):
            clause = "10.1.5" if customer.government is not None else "4.4"
            raise Refusal(
                "The marks may not be used without consent",
                status=422,
                details={"clause": clause, "reason": "no_marks_consent"},
            )


def _certificate(said: Mapping[str, Any], digest: str) -> str:
    deleted = "\n".join(f"- {name}: {count} rows" for name, count in said["deleted"].items())
    kept = "\n".join(f"- {name}: {reason}" for name, reason in said["kept"].items())
    return (
        f"Customer {said['customer_sid']}: your data was deleted at {said['deleted_at']}.\n\nDeleted:\n{deleted}\n\n"
        f"Kept, because the law or the agreement asks for it:\n{kept}\n\nSHA-256 of the certificate: {digest}\n"
    )


async def _family(tx: Tx, customer_sid: str) -> list[str]:
    return [each for main in await customers.accounts_of(tx, customer_sid) for each in await accounts.family(tx, main)]


def _owners(table: Table, customer_sid: str, family: Sequence[str]) -> list[str]:
    return [customer_sid] if table.owner == "customer_sid" else list(family)


def _without_secrets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Sealed tokens and digests are the operator's means of checking, of no use to the customer and a risk in a file.
    hidden = ("_sealed", "_digest", "secret")
    return [{name: value for name, value in row.items() if not name.endswith(hidden)} for row in rows]
