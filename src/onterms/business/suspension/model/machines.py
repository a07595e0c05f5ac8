"""Suspensions and the cases beside them: their tables of moves.

    proposed --approve--> approved --notice--> noticed --take_effect--> active --lift--> lifted
                                                  |                       |--convert--> converted
    withdraw leads out of proposed and approved, lift out of noticed. `post` begins at noticed with a notice that was
    given before.

A suspension counts from `effective_at`, which is after its notice was written; the timer that moves the word to
`active` may come later. Several may overlap: a use goes on when none covers it any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from onterms.business.cases import Case, Machine, Move, Violation
from onterms.business.suspension.model.policy import holds_for
from onterms.core.calendar import month_of, start_of
from onterms.core.money import share

# Clause 2.3 (a) to (e); 3.3.1 and 3.3.3 (payment), 3.4 (reseller), 5.2 (law).
GROUNDS = {
    "aup": "2.3(a)",
    "spike": "2.3(b)",
    "law": "2.3(c)",
    "security": "2.3(d)",
    "info": "2.3(e)",
    "payment": "3.3.3",
    "reseller": "3.4",
}
_SCOPES = ("customer", "account", "service", "end_user", "number")
_SCOPE_FACTS = {"account": "account_sid", "service": "service", "end_user": "target", "number": "target"}
_LICENCE_REMINDER_DAYS = 30


def _scope_named(case: Case, at: datetime) -> Violation | None:
    facts = case.facts
    if facts.get("ground") not in GROUNDS:
        return Violation("unknown_ground", f"'ground' must be one of {', '.join(GROUNDS)}", 422, "2.3")
    if facts.get("scope") not in _SCOPES:
        return Violation("unknown_scope", f"'scope' must be one of {', '.join(_SCOPES)}", 422)
    needed = _SCOPE_FACTS.get(str(facts["scope"]))
    if needed is not None and not facts.get(needed):
        return Violation("scope_incomplete", f"This scope needs '{needed}'", 422)
    if not str(facts.get("determination", "")).strip():
        return Violation("no_determination", "A suspension needs a determination in good faith", 422)
    return None


def _noticed_before(case: Case, at: datetime) -> Violation | None:
    if not case.facts.get("notice_sid"):
        return Violation("no_notice", "A suspension takes effect upon written notice only", 422)
    return _scope_named(case, at)


def _effect_reached(case: Case, at: datetime) -> Violation | None:
    if not case.facts.get("notice_sid") or case.instant("noticed_at") >= at:
        return Violation("no_notice", "The notice comes before the effect", 422)
    if case.instant("effective_at") > at:
        return Violation("not_yet", "The suspension takes effect later")
    return None


_SCOPE = ("account_sid", "service", "country", "target", "evidence", "lift_conditions", "case_sid")

SUSPENSION = Machine(
    kind="suspension",
    prefix="SU",
    clause="2.3",
    moves={
        ("", "propose"): Move(
            "proposed",
            "scope_named",
            ("check_account",),
            by=("operator", "system"),
            needs=("scope", "ground", "determination"),
            takes=_SCOPE,
        ),
        ("", "post"): Move(
            "noticed",
            "noticed_before",
            ("check_account", "check_notice"),
            takes=("scope", "ground", "determination", "notice_sid", *_SCOPE),
        ),
        ("proposed", "approve"): Move("approved", by=("operator", "system"), needs=("approved_by",)),
        ("proposed", "withdraw"): Move("withdrawn", takes=("reason",)),
        ("approved", "notice"): Move(
            "noticed", "scope_named", ("send_notice",), by=("operator", "system"), takes=("begins_at",)
        ),
        ("approved", "withdraw"): Move("withdrawn", takes=("reason",)),
        ("noticed", "take_effect"): Move("active", "effect_reached", ("suspend",), by=("operator", "system")),
        ("noticed", "lift"): Move("lifted", None, ("restore",), by=("operator", "system"), needs=("reason",)),
        ("active", "lift"): Move("lifted", None, ("restore",), by=("operator", "system"), needs=("reason",)),
        ("active", "convert"): Move("converted", takes=("reason",)),
    },
    fields={
        "scope": "text",
        "ground": "text",
        "determination": "prose",
        "approved_by": "text",
        "account_sid": "text",
        "service": "text",
        "country": "text",
        "target": "text",
        "evidence": "texts",
        "lift_conditions": "prose",
        "case_sid": "text",
        "notice_sid": "text",
        "begins_at": "instant",
        "reason": "prose",
    },
    guards={"scope_named": _scope_named, "noticed_before": _noticed_before, "effect_reached": _effect_reached},
    deadline=lambda case: ("take_effect", case.instant("effective_at")) if case.state == "noticed" else None,
    hidden=("approved_by", "case_sid", "evidence"),
)

# What somebody has to look at before anything happens (2.2(b), 2.3); confirming it proposes or makes a suspension.
REVIEW = Machine(
    kind="review",
    prefix="RV",
    clause="2.3",
    moves={
        ("", "open"): Move(
            "open",
            by=("operator", "system"),
            needs=("ground", "summary"),
            takes=("account_sid", "service", "country", "target", "evidence", "detail"),
        ),
        ("open", "dismiss"): Move("dismissed", needs=("reason",)),
        ("open", "confirm"): Move("confirmed", None, ("suspend",), needs=("determination",), takes=("scope",)),
    },
    fields={
        "ground": "text",
        "summary": "prose",
        "determination": "prose",
        "reason": "prose",
        "scope": "text",
        "account_sid": "text",
        "service": "text",
        "country": "text",
        "target": "text",
        "evidence": "texts",
        "detail": "object",
    },
    secret=True,
)

# Clause 5.2: a name that looks like one on a list; somebody decides.
SCREENING = Machine(
    kind="screening",
    prefix="SG",
    clause="5.2",
    moves={
        ("", "hit"): Move(
            "review",
            by=("operator", "system"),
            needs=("subject_kind", "subject", "name", "list_name", "list_sid", "entry_id", "score_ppm"),
            takes=("country",),
        ),
        ("review", "confirm"): Move("confirmed", None, ("cut_off",), needs=("determination",)),
        ("review", "clear"): Move("false_positive", needs=("reason",)),
    },
    fields={
        "subject_kind": "text",
        "subject": "text",
        "name": "text",
        "country": "text",
        "list_name": "text",
        "list_sid": "text",
        "entry_id": "text",
        "score_ppm": "int",
        "determination": "prose",
        "reason": "prose",
    },
    secret=True,
)


def _licence_deadline(case: Case) -> tuple[str, datetime] | None:
    until = case.day("valid_until")
    if case.state == "on_file":
        return "remind", start_of(until - timedelta(days=_LICENCE_REMINDER_DAYS))
    return ("expire", start_of(until + timedelta(days=1))) if case.state == "reminded" else None


# Clause 5.2, licences: on file with a reminder 30 days before they run out.
LICENCE = Machine(
    kind="export_licence",
    prefix="XL",
    clause="5.2",
    moves={
        ("", "open"): Move("submitted", by=("operator", "customer"), needs=("country", "document", "valid_until")),
        ("submitted", "accept"): Move("on_file"),
        ("submitted", "refuse"): Move("refused", needs=("reason",)),
        ("on_file", "remind"): Move("reminded", None, ("remind",), by=("system", "operator")),
        ("on_file", "revoke"): Move("revoked", needs=("reason",)),
        ("reminded", "expire"): Move("expired", by=("system", "operator")),
        ("reminded", "revoke"): Move("revoked", needs=("reason",)),
    },
    fields={"country": "text", "document": "text", "valid_until": "day", "reason": "prose"},
    deadline=_licence_deadline,
)

# Clause 5.2, report: violations are reported and remedied; each step has its stamp in the audit chain.
COMPLIANCE_REPORT = Machine(
    kind="compliance_report",
    prefix="CR",
    clause="5.2",
    moves={
        ("", "open"): Move("reported", by=("customer", "operator"), needs=("description",)),
        ("reported", "investigate"): Move("investigating", by=("customer", "operator"), needs=("step",)),
        ("investigating", "step"): Move("investigating", by=("customer", "operator"), needs=("step",)),
        ("investigating", "remedy"): Move("remedied", by=("customer", "operator"), needs=("remedy",)),
        ("remedied", "close"): Move("closed"),
    },
    fields={"description": "prose", "step": "prose", "remedy": "prose"},
)


@dataclass(frozen=True, slots=True)
class Use:
    """What somebody is about to do; an empty string is not known or does not apply."""

    account_sid: str
    main_account_sid: str = ""
    service: str = ""
    country: str = ""
    number: str = ""
    end_user: str = ""


def in_force(case: Case, at: datetime) -> bool:
    """Tell whether a suspension counts at an instant, its timer late or not."""
    if case.state in ("active", "converted"):
        return True
    return case.state == "noticed" and case.instant("effective_at") <= at


def covers(case: Case, use: Use) -> bool:
    """Tell whether a suspension's scope holds a use."""
    facts = case.facts
    scope = facts["scope"]
    if scope == "customer":
        return True
    if scope == "account":
        return facts["account_sid"] in (use.account_sid, use.main_account_sid)
    if facts.get("account_sid") and facts["account_sid"] not in (use.account_sid, use.main_account_sid):
        return False
    if scope == "service":
        return holds_for(facts["service"], use.service) and facts.get("country", "") in ("", use.country)
    if scope == "number":
        return bool(facts["target"] == use.number)
    return bool(facts["target"] == use.end_user)


def accrues(kind: str) -> bool:
    """Tell whether a kind of fee can arise while the services are suspended (2.3, last sentence)."""
    return kind == "recurring"


def monthly_charge(price: int, held: tuple[date, date], month: date) -> int:
    """Return what a month's recurring fee is for days held [from, until); it knows no suspensions, by 2.3.

    Units: micro-units.
    """
    first, following = month_of(month)
    days = (min(held[1], following) - max(held[0], first)).days
    return share(price, max(0, days), (following - first).days)


def resale_suspected(customer_type: str, brands: Sequence[str], own_brand: str, *, accounts_min: int = 20) -> bool:
    """Tell whether all traffic of a plain customer's subaccounts is for other brands (2.2(b)); a reason to look."""
    if customer_type != "standard" or len(brands) < accounts_min:
        return False
    return all(brand and brand != own_brand for brand in brands) and len(set(brands)) == len(brands)


def information_gaps(account_type: str, address: str, *, billing_bounced: bool, verification: str = "") -> list[str]:
    """Return what is wrong with an account's information (2.3(e)); trial accounts owe none yet."""
    if account_type != "Full":
        return []
    gaps = []
    if billing_bounced:
        gaps.append("billing_email_bounced")
    if not address.strip():
        gaps.append("address_empty")
    if verification == "rejected":
        gaps.append("verification_rejected")
    return gaps
