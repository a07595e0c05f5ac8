"""What our own API shows of disputes."""

from collections.abc import Sequence
from typing import Any

from onterms.business.disputes.model import Dispute, Task
from onterms.core.money import minor_text


def dispute(found: Dispute, tasks: Sequence[Task] = ()) -> dict[str, Any]:
    """Render a dispute with its lines and tasks."""
    code = found.currency
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "invoice_sid": found.invoice_sid,
        "state": found.state,
        "currency": code,
        "reason": found.reason,
        "filed_at": found.filed_at.isoformat(),
        "deadline": found.deadline.isoformat(),
        "amount": minor_text(found.micros, code),
        "withheld": minor_text(found.withheld, code),
        "credited": minor_text(found.credited, code),
        "shielded": found.shielded,
        "missed_tasks": found.missed,
        "decided_by": found.decided_by,
        "decision": found.decision,
        "lines": [
            {"ref": line.ref, "net": minor_text(line.net, code), "tax": minor_text(line.tax, code)}
            for line in found.lines
        ],
        "tasks": [task(each) for each in tasks],
    }


def task(found: Task) -> dict[str, Any]:
    """Render what a customer is asked for."""
    return {
        "sid": found.sid,
        "subject": found.subject,
        "due_on": found.due_on.isoformat(),
        "state": found.state,
        "answer": found.answer,
    }
