"""Tickets, changes, beta, resellers, partners, verification, redaction: pure."""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any

from onterms.business.cases import Case, Machine, Move, Violation
from onterms.core.calendar import plus_days, start_of

CHANGE_NOTICE_DAYS = 60
REMOVAL_NOTICE_DAYS = 30
PRIORITIES = ("P1", "P2", "P3", "P4")
MASK = "[redacted]"
_PRICE_WORDS = ("price", "rate", "amount", "fee", "discount", "commitment", "prepaid", "micros", "tiers")
_SUM = re.compile(r"(?:[A-Z]{3}|[$€£¥])\s?\d[\d.,]*|\d[\d.,]*\s?(?:[A-Z]{3}\b|[$€£¥])")


def earliest_change_on(notice_on: date) -> date:
    """Return the first day for which a breaking change is planned without a reason to override (2.4)."""
    return plus_days(notice_on, CHANGE_NOTICE_DAYS)


def earliest_reseller_suspension_on(from_on: date, cure_days: int) -> date:
    """Return the first day after a reseller's own time to cure (3.4)."""
    return plus_days(from_on, cure_days + 1)


def removal_on(notice_on: date) -> date:
    """Return the day on which a partner's removal takes effect (10.5.4)."""
    return plus_days(notice_on, REMOVAL_NOTICE_DAYS)


def redact(document: Any, topics: Sequence[str]) -> tuple[Any, int]:
    """Return a copy with prices and listed topics masked, and how many places were (10.1.2)."""
    words = tuple(word.casefold() for word in (*_PRICE_WORDS, *topics))
    if isinstance(document, Mapping):
        copy: dict[str, Any] = {}
        masked = 0
        for name, value in document.items():
            if any(word in str(name).casefold() for word in words):
                copy[str(name)], count = MASK, 1
            else:
                copy[str(name)], count = redact(value, topics)
            masked += count
        return copy, masked
    if isinstance(document, list):
        pairs = [redact(each, topics) for each in document]
        return [pair[0] for pair in pairs], sum(pair[1] for pair in pairs)
    if isinstance(document, str):
        if any(topic.casefold() in document.casefold() for topic in topics):
            return MASK, 1
        return _SUM.subn(MASK, document)
    return document, 0


def _priority(case: Case, at: datetime) -> Violation | None:
    if case.facts["priority"] not in PRIORITIES:
        return Violation("unknown_priority", f"'priority' must be one of {', '.join(PRIORITIES)}", 422)
    return None


TICKET = Machine(
    kind="ticket",
    prefix="TI",
    clause="2.1(g)",
    moves={
        ("", "open"): Move(
            "open", "priority", ("set_clock",), by=("customer", "operator"), needs=("plan", "priority", "subject")
        ),
        ("open", "overdue"): Move("open", None, ("record_breach",), by=("system",)),
        ("open", "answer"): Move("answered", None, ("record_answer",), needs=("answer",)),
        ("answered", "reply"): Move("answered", by=("customer", "operator"), needs=("answer",)),
        ("answered", "close"): Move("closed", by=("customer", "operator")),
    },
    fields={"plan": "text", "priority": "text", "subject": "prose", "answer": "prose"},
    guards={"priority": _priority},
    deadline=lambda case: (
        ("overdue", case.instant("due_at")) if case.state == "open" and not case.facts.get("breached") else None
    ),
)

# Clause 2.4: what a change for security, carriers or law does is not worked on.
ADVERSE_CHANGE = Machine(
    kind="adverse_change",
    prefix="AD",
    clause="2.4",
    moves={
        ("", "open"): Move(
            "reported", None, ("triage",), by=("customer", "operator"), needs=("change_sid", "description")
        ),
        ("reported", "exempt"): Move("exempt", None, ("tell_exempt",), by=("system", "operator")),
        ("reported", "work"): Move("working"),
        ("reported", "decline"): Move("declined", needs=("reason",)),
        ("working", "resolve"): Move("resolved", needs=("resolution",)),
        ("working", "decline"): Move("declined", needs=("reason",)),
    },
    fields={"change_sid": "text", "description": "prose", "reason": "prose", "resolution": "prose"},
    deadline=lambda case: (
        ("exempt", case.updated_at) if case.state == "reported" and case.facts["exempt_reason"] else None
    ),
)


def _as_is(case: Case, at: datetime) -> Violation | None:
    if not case.facts.get("as_is"):
        return Violation("as_is_not_accepted", "A beta is offered as it is: accept that", 422)
    return None


BETA = Machine(
    kind="beta_enrolment",
    prefix="BE",
    clause="2.5",
    moves={
        ("", "open"): Move("offered", needs=("service",)),
        ("offered", "enrol"): Move("enrolled", "as_is", by=("customer",), needs=("as_is",)),
        ("enrolled", "leave"): Move("left", by=("customer",)),
        ("offered", "discontinue"): Move("discontinued"),
        ("enrolled", "discontinue"): Move("discontinued"),
        ("enrolled", "graduate"): Move("graduated"),
    },
    fields={"service": "text", "as_is": "flag"},
    guards={"as_is": _as_is},
)


def _reseller_cured_out(case: Case, at: datetime) -> Violation | None:
    earliest = earliest_reseller_suspension_on(case.day("from_on"), case.facts["cure_days"])
    if at < start_of(earliest):
        return Violation("cure_runs", f"The reseller may cure until then: {earliest.isoformat()}")
    return None


RESELLER_BREACH = Machine(
    kind="reseller_breach",
    prefix="RB",
    clause="3.4",
    moves={
        ("", "open"): Move("cure", needs=("reseller", "reported_by", "evidence", "from_on", "cure_days")),
        ("cure", "cure"): Move("cured", needs=("reason",)),
        ("cure", "suspend"): Move("suspended", "reseller_cured_out", ("suspend",)),
        ("suspended", "lift"): Move("lifted", None, ("lift",), needs=("reason",)),
    },
    fields={
        "reseller": "text",
        "reported_by": "text",
        "evidence": "text",
        "from_on": "day",
        "cure_days": "int",
        "reason": "prose",
    },
    guards={"reseller_cured_out": _reseller_cured_out},
)


def _all_met(case: Case, at: datetime) -> Violation | None:
    unmet = sorted(set(case.facts["criteria"]) - set(case.facts.get("met", ())))
    return Violation("criteria_unmet", f"Not met: {', '.join(unmet)}") if unmet else None


PARTNER = Machine(
    kind="partner",
    prefix="PT",
    clause="10.5",
    moves={
        ("", "open"): Move("applied", by=("customer", "operator"), needs=("programme",)),
        ("applied", "assess"): Move("applied", needs=("criteria",), takes=("met",)),
        ("applied", "qualify"): Move("qualified", "all_met", takes=("criteria", "met")),
        ("qualified", "approve"): Move("approved", "all_met"),
        ("approved", "accept"): Move("member", None, ("join",), by=("customer",), needs=("signer",)),
        ("member", "guide"): Move("member", None, ("send_guide",), needs=("guide", "guide_version")),
        ("member", "remove"): Move("leaving", None, ("give_removal_notice",)),
        ("leaving", "end"): Move("removed", None, ("leave",), by=("system",)),
    },
    fields={
        "programme": "text",
        "criteria": "texts",
        "met": "texts",
        "signer": "text",
        "guide": "text",
        "guide_version": "text",
    },
    guards={"all_met": _all_met},
    deadline=lambda case: ("end", start_of(case.day("removal_on"))) if case.state == "leaving" else None,
)


def _press_consent(case: Case, at: datetime) -> Violation | None:
    if case.facts.get("consented_by") in (None, case.facts["author"]):
        return Violation("no_consent", "A press release needs the other party's consent", 409, "10.5.3")
    return None


def _author_known(case: Case, at: datetime) -> Violation | None:
    if case.facts["author"] not in ("operator", "customer"):
        return Violation("unknown_author", "'author' must be operator or customer", 422)
    return None


PRESS = Machine(
    kind="press_release",
    prefix="PX",
    clause="10.5.3",
    moves={
        ("", "open"): Move("draft", "author_known", by=("customer", "operator"), needs=("author", "text")),
        ("draft", "consent"): Move("draft", None, ("consent",), by=("customer", "operator")),
        ("draft", "publish"): Move("published", "press_consent", by=("customer", "operator")),
    },
    fields={"author": "text", "text": "prose"},
    guards={"press_consent": _press_consent, "author_known": _author_known},
)


def code_digest(code: str) -> str:
    """Return what is stored of a code on a letter."""
    return sha256(code.encode()).hexdigest()


def _code_right(case: Case, at: datetime) -> Violation | None:
    if not hmac.compare_digest(code_digest(case.facts["code"]), case.facts["code_sha256"]):
        return Violation("wrong_code", "This is not the code of the letter", 422)
    return None


VERIFICATION = Machine(
    kind="identity_verification",
    prefix="IV",
    clause="10.4.2",
    moves={
        ("", "open"): Move("submitted", by=("customer", "operator"), needs=("country", "documents", "address")),
        ("submitted", "send_letter"): Move("letter_sent", None, ("send_letter",)),
        ("submitted", "reject"): Move("rejected", needs=("reason",)),
        ("letter_sent", "confirm"): Move("verified", "code_right", ("forget_code",), by=("customer",), needs=("code",)),
        ("letter_sent", "reject"): Move("rejected", needs=("reason",)),
        ("verified", "revoke"): Move("revoked", needs=("reason",)),
    },
    fields={"country": "text", "documents": "texts", "address": "prose", "reason": "prose", "code": "text"},
    guards={"code_right": _code_right},
    hidden=("code_sha256",),
)


def response_due(opened_at: datetime, targets: Mapping[str, Any], priority: str) -> datetime | None:
    """Return when a ticket must be answered, None where the plan promises nothing."""
    minutes = targets.get(priority)
    return None if minutes is None else opened_at + timedelta(minutes=int(minutes))
