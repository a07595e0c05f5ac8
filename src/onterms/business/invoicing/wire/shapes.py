"""Documents as our own API shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

from onterms.business.invoicing import model
from onterms.business.invoicing.model import Credit, Evidence, Invoice, Part
from onterms.core.money import minor_text

PAGE_SIZE = 50


def listed(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Render a page of a list: at most a page of items, and the SID of its last where there are more."""
    shown = list(items[:PAGE_SIZE])
    return {"items": shown, "next": shown[-1]["sid"] if len(items) > PAGE_SIZE else None}


def invoice(found: Invoice, parts: Sequence[Part]) -> dict[str, Any]:
    """Render a document with what is open of it."""
    code = found.currency
    disputed = sum(part.open for part in parts if part.disputed)
    due = sum(part.open for part in parts if not part.disputed)
    body: dict[str, Any] = {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "kind": found.kind,
        "number": found.number,
        "state": found.state,
        "issuer": found.issuer,
        "capacity": found.capacity,
        "on_behalf_of": found.on_behalf_of,
        "currency": code,
        "period_from": found.period_from.isoformat(),
        "period_to": found.period_to.isoformat(),
        "issued_on": found.issued_on.isoformat(),
        "due_on": found.due_on.isoformat(),
        "total": minor_text(found.total, code),
        "undisputed_due": minor_text(due, code),
        "disputed": minor_text(disputed, code),
        "sha256": found.sha256,
        "notice_sid": found.notice_sid,
    }
    if found.lines:
        body["totals"] = {kind: minor_text(amount, code) for kind, amount in sorted(model.totals(found.lines).items())}
        sections: dict[str, list[dict[str, Any]]] = {}
        for line in found.lines:
            sections.setdefault(line.section, []).append(model.line_body(line, code))
        body["sections"] = [{"customer_sid": name, "lines": lines} for name, lines in sections.items()]
        groups = model.settled_by_group(found.lines, found.total - due - disputed)
        body["settled"] = {name: minor_text(amount, code) for name, amount in groups.items()}
    return body


def evidence(found: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Render what became of a mail by address."""
    return [
        {
            "address": each.address,
            "accepted_on": None if each.accepted_on is None else each.accepted_on.isoformat(),
            "reply": each.reply,
        }
        for each in found
    ]


def credit(found: Credit) -> dict[str, Any]:
    """Render a credit note."""
    code = found.currency

    def line(each: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "ref": each["ref"],
            "net": minor_text(each["net"], code),
            "tax": minor_text(sum(each["taxes"].values()), code),
        }

    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "invoice_sid": found.invoice_sid,
        "number": found.number,
        "issuer": found.issuer,
        "currency": code,
        "reason": found.reason,
        "issued_on": found.issued_on.isoformat(),
        "total": minor_text(found.total, code),
        "off_invoice": minor_text(found.off_document, code),
        "to_balance": minor_text(found.to_balance, code),
        "lines": [line(each) for each in found.lines],
        "sha256": found.sha256,
    }
