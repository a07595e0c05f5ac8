"""The tables of claims: service levels, non-conformity, indemnity, disputes under 9.7."""

from datetime import datetime, timedelta

from onterms.business.cases import Case, Machine, Move, Role, Violation
from onterms.core.calendar import day_of, end_of, plus_days, plus_months

SLA_CLAIM_DAYS = 30
NEGOTIATION_DAYS = 30
_BOTH: tuple[Role, ...] = ("operator", "customer")


def _in_time(case: Case, at: datetime) -> Violation | None:
    month = case.day("month")
    if month.day != 1:
        return Violation("no_month", "'month' must be the first day of a month", 422)
    month_end = plus_months(month, 1) - timedelta(days=1)
    if day_of(at) <= month_end:
        return Violation("month_runs", "The month is not over", 409)
    if at >= end_of(plus_days(month_end, SLA_CLAIM_DAYS)):
        return Violation("claimed_late", f"A claim is filed within {SLA_CLAIM_DAYS} days of the month's end", 409)
    return None


def _entitled(case: Case, at: datetime) -> Violation | None:
    if case.facts["excluded"] or case.micros("credit") == 0:
        return Violation("not_entitled", "The measurements give no credit")
    return None


def _not_entitled(case: Case, at: datetime) -> Violation | None:
    return Violation("entitled", "The measurements give a credit") if _entitled(case, at) is None else None


SLA_CLAIM = Machine(
    kind="sla_claim",
    prefix="SC",
    clause="2.1(b)",
    moves={
        ("", "open"): Move("filed", "in_time", ("assess",), by=_BOTH, needs=("service", "month")),
        ("filed", "credit"): Move("credited", "entitled", ("give_credit",)),
        ("filed", "refuse"): Move("refused", "not_entitled", takes=("reason",)),
    },
    fields={"service": "text", "month": "day", "reason": "prose"},
    guards={"in_time": _in_time, "entitled": _entitled, "not_entitled": _not_entitled},
)


def _interval(case: Case, at: datetime) -> Violation | None:
    if case.day("until_on") < case.day("from_on"):
        return Violation("days_reversed", "'until_on' lies before 'from_on'", 422)
    return None


def _within_scope(case: Case, at: datetime) -> Violation | None:
    return (
        Violation("excluded", "The warranty does not cover this service", 409, "5.5")
        if case.facts["excluded"]
        else None
    )


NONCONFORMITY = Machine(
    kind="nonconformity",
    prefix="NF",
    clause="5.4",
    moves={
        ("", "open"): Move(
            "filed", "interval", ("answer",), by=_BOTH, needs=("service", "from_on", "until_on", "description")
        ),
        ("filed", "reproduce"): Move("reproduced", "within_scope", needs=("finding",)),
        ("filed", "refuse"): Move("refused", needs=("reason",)),
        ("reproduced", "remediate"): Move("remediated", needs=("remedy",)),
        ("reproduced", "refund"): Move("refunded", None, ("refund",)),
    },
    fields={
        "service": "text",
        "from_on": "day",
        "until_on": "day",
        "description": "prose",
        "finding": "prose",
        "reason": "prose",
        "remedy": "prose",
    },
    guards={"interval": _interval, "within_scope": _within_scope},
)


def _direction(case: Case, at: datetime) -> Violation | None:
    if case.facts["direction"] not in ("operator", "customer"):
        return Violation("unknown_direction", "'direction' must be operator or customer", 422)
    if case.day("notified_on") < case.day("received_on"):
        return Violation("days_reversed", "'notified_on' lies before 'received_on'", 422)
    return None


def _own_side(case: Case, at: datetime) -> Violation | None:
    # The operator also writes down what reached it in letters; a customer speaks for itself only.
    if case.facts["moved_by"] == "customer" and case.facts["direction"] != "customer":
        return Violation("not_the_indemnifier", "This is the indemnifying party's to say", 403, "6.3(b)")
    return None


def _other_side(case: Case, at: datetime) -> Violation | None:
    if case.facts["moved_by"] == "customer" and case.facts["direction"] == "customer":
        return Violation("own_consent", "The consent is the other party's", 403, "6.3")
    return None


def _covered(case: Case, at: datetime) -> Violation | None:
    wrong_side = _own_side(case, at)
    if wrong_side is not None:
        return wrong_side
    if case.facts["direction"] == "operator" and case.facts.get("excluded"):
        return Violation("excluded", "6.1.3 takes this claim out", 409, "6.1.3")
    if case.facts["direction"] == "customer" and case.facts.get("legal_check") == "required":
        return Violation("legal_check", "Look first whether law allows this indemnity", 409, "10.1.6")
    return None


def _indemnifier_settles(case: Case, at: datetime) -> Violation | None:
    speaks_for_other = case.facts["moved_by"] == "customer" and case.facts["settled_by"] != "customer"
    if case.facts["settled_by"] != case.facts["direction"] or speaks_for_other:
        return Violation("not_the_indemnifier", "The indemnifying party runs the settlement", 403, "6.3(b)")
    binds = case.facts.get("admits_liability") or case.facts.get("binds_other")
    if binds and not case.facts.get("consent"):
        return Violation("no_consent", "This settlement needs the other party's consent", 409, "6.3")
    return None


def _option_of_operator(case: Case, at: datetime) -> Violation | None:
    if case.facts["direction"] != "operator":
        return Violation("no_option", "The options are the operator's", 409, "6.1.2")
    return None


_DEFENCE = ("accepted", "defended")

INDEMNITY = Machine(
    kind="indemnity",
    prefix="IY",
    clause="6",
    moves={
        ("", "open"): Move(
            "notified",
            "direction",
            ("examine",),
            by=_BOTH,
            needs=("direction", "third_party", "services", "received_on", "notified_on"),
            takes=("prejudice", "service_price", "exclusions", "description"),
        ),
        ("notified", "check_law"): Move("notified", None, ("law_checked",), needs=("law_finding",)),
        ("notified", "accept"): Move("accepted", "covered", by=_BOTH, needs=("defence_owner",)),
        ("notified", "contest"): Move("contested", "own_side", by=_BOTH, needs=("reason",)),
        ("accepted", "defend"): Move("defended", "own_side", by=_BOTH, takes=("defence_owner",)),
        **{
            (state, event): move
            for state in _DEFENCE
            for event, move in {
                "cost": Move(state, None, ("book_cost",), by=_BOTH, needs=("amount", "purpose")),
                "consent": Move(state, "other_side", by=_BOTH, needs=("consent",)),
                "settle": Move(
                    "settled",
                    "indemnifier_settles",
                    by=_BOTH,
                    needs=("settled_by", "settlement"),
                    takes=("admits_liability", "binds_other"),
                ),
                "award": Move("awarded", needs=("awarded",)),
                "procure": Move(state, "option_of_operator", ("option_procure",), needs=("licence",)),
                "modify": Move(state, "option_of_operator", ("option_modify",), needs=("change",)),
                "end_service": Move(
                    state,
                    "option_of_operator",
                    ("option_end",),
                    needs=("prepaid", "term_from", "term_days", "ended_on"),
                ),
            }.items()
        },
        ("settled", "close"): Move("closed"),
        ("awarded", "close"): Move("closed"),
        ("contested", "accept"): Move("accepted", "covered", by=_BOTH, needs=("defence_owner",)),
    },
    fields={
        "direction": "text",
        "third_party": "text",
        "services": "texts",
        "received_on": "day",
        "notified_on": "day",
        "prejudice": "prose",
        "service_price": "amount",
        "exclusions": "texts",
        "description": "prose",
        "law_finding": "prose",
        "defence_owner": "text",
        "reason": "prose",
        "amount": "amount",
        "purpose": "text",
        "consent": "text",
        "settled_by": "text",
        "settlement": "prose",
        "admits_liability": "flag",
        "binds_other": "flag",
        "awarded": "amount",
        "licence": "text",
        "change": "text",
        "prepaid": "amount",
        "term_from": "day",
        "term_days": "int",
        "ended_on": "day",
    },
    guards={
        "direction": _direction,
        "covered": _covered,
        "own_side": _own_side,
        "other_side": _other_side,
        "indemnifier_settles": _indemnifier_settles,
        "option_of_operator": _option_of_operator,
    },
)


def negotiation_ends(case: Case) -> datetime:
    """Return the instant from which a dispute may go on to its forum."""
    if not case.facts.get("negotiates", True):
        return case.opened_at
    last = plus_days(case.day("first_request_on"), NEGOTIATION_DAYS)
    return end_of(case.day("agreed_until") if case.facts.get("agreed_until") else last)


def _negotiated(case: Case, at: datetime) -> Violation | None:
    if at < negotiation_ends(case):
        return Violation("negotiating", f"Negotiations go on until {negotiation_ends(case).isoformat()}")
    return None


DISPUTE = Machine(
    kind="contract_dispute",
    prefix="DC",
    clause="9.7",
    moves={
        ("", "open"): Move(
            "negotiating",
            None,
            ("classify",),
            by=_BOTH,
            needs=("dispute_kind", "claimant", "first_request_on", "description"),
            takes=("amount", "currency"),
        ),
        ("negotiating", "agree"): Move("negotiating", by=_BOTH, needs=("agreed_until",)),
        ("negotiating", "settle"): Move("settled", by=_BOTH, needs=("settlement",)),
        ("negotiating", "file"): Move("filed", "negotiated", ("choose_forum",), by=_BOTH),
        ("filed", "settle"): Move("settled", by=_BOTH, needs=("settlement",)),
        ("filed", "costs"): Move("filed", None, ("split_costs",), needs=("arbitrator_fees", "currency")),
        ("filed", "decide"): Move("decided", needs=("decision",)),
        ("decided", "enforce"): Move("enforced", takes=("settlement",)),
    },
    fields={
        "dispute_kind": "text",
        "claimant": "text",
        "first_request_on": "day",
        "description": "prose",
        "amount": "amount",
        "currency": "text",
        "agreed_until": "day",
        "settlement": "prose",
        "arbitrator_fees": "amount",
        "decision": "prose",
    },
    guards={"negotiated": _negotiated},
)
