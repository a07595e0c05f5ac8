"""Ends of agreements: pure.

    noticed --given--> notice_given --end--> terminated
       |                   |--cure--> cured          (breach)
       '--void--> void     '--withdraw--> withdrawn

A notice of the customer is received and begins at notice_given. Convenience ends by itself at the end of the day
max(notice + 30, last order form); insolvency, trade and ip end when the notice is given; after a breach the party that
gave notice may end it once the 15 days of cure are over, which force majeure of the other side makes longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from onterms.business.cases import Case, Machine, Move, Violation
from onterms.core.calendar import end_of, plus_days, start_of

# Clauses 8.2.1, 8.2.2, 8.2.3, 5.2 and 6.1.2(c).
CLAUSES = {"convenience": "8.2.1", "breach": "8.2.2", "insolvency": "8.2.3", "trade": "5.2", "ip": "6.1.2(c)"}
NOTICE_DAYS = 30
CURE_DAYS = 15
_AT_ONCE = ("insolvency", "trade", "ip")
# Clause 8.3, without what applies of section 10.
SURVIVING = ("2.1(c)", "3", "4", "5.5", "6", "7", "8.3", "9")
# What the agreement consists of, as far as 8.3 tells parts apart.
CLAUSES_IN_FORCE = (
    *("1", "2.1(a)", "2.1(b)", "2.1(c)", "2.1(d)", "2.1(e)", "2.1(f)", "2.1(g)", "2.2", "2.3", "2.4", "2.5", "2.6"),
    *("3", "4", "5.1", "5.2", "5.3", "5.4", "5.5", "6", "7", "8.1", "8.2", "8.3", "9"),
)
_DUTIES = {
    "2.1(a)": "Provide the services",
    "2.1(b)": "Keep the service levels",
    "2.1(c)": "Keep the security terms",
    "2.1(d)": "Obey the laws that apply in general",
    "2.1(e)": "Scan for malicious code",
    "2.1(f)": "Employ trained people",
    "2.1(g)": "Give support",
}
# The order in which an ended agreement is closed.
STEPS = (
    *("block_writes", "sweep_usage", "end_order_forms", "charge_shortfall", "final_invoice", "close_accounts"),
    *("release_numbers", "open_export", "schedule_deletion"),
)


def _kind_known(case: Case, at: datetime) -> Violation | None:
    if case.facts["kind_of_end"] not in CLAUSES:
        return Violation("unknown_kind", f"'kind_of_end' must be one of {', '.join(CLAUSES)}", 422)
    if case.facts["kind_of_end"] == "ip" and case.facts["moved_by"] == "customer":
        return Violation("operators_option", "This end is an option of the operator", 403, "6.1.2(c)")
    if case.facts["kind_of_end"] == "insolvency" and case.facts.get("legal_stay"):
        return Violation("legal_stay", "The law of the insolvency does not allow to end it now", 409, "8.2.3")
    return None


def _own_notice(case: Case, at: datetime) -> Violation | None:
    if case.facts["moved_by"] == "customer" and case.facts["party"] != "customer":
        return Violation("not_your_notice", "This is for the party that gave notice", 403)
    return None


def _may_end(case: Case, at: datetime) -> Violation | None:
    wrong_party = _own_notice(case, at)
    if wrong_party is not None:
        return wrong_party
    if case.facts.get("legal_stay"):
        return Violation("legal_stay", "The law of the insolvency does not allow to end it now", 409, "8.2.3")
    if at < case.instant("ends_at"):
        clause = CLAUSES[case.facts["kind_of_end"]]
        return Violation("too_early", f"The agreement can end from {case.facts['ends_at']} on", 409, clause)
    return None


def _is_breach(case: Case, at: datetime) -> Violation | None:
    if case.facts["kind_of_end"] != "breach":
        return Violation("nothing_to_cure", "Only a breach is cured", 409, "8.2.2")
    return None


def _deadline(case: Case) -> tuple[str, datetime] | None:
    # A breach ends nothing by itself: who gave notice decides.
    if case.state == "notice_given" and case.facts["kind_of_end"] != "breach" and not case.facts.get("legal_stay"):
        return "end", case.instant("ends_at")
    return None


TERMINATION = Machine(
    kind="termination",
    prefix="TE",
    clause="8.2",
    moves={
        ("", "open"): Move(
            "noticed", "kind_known", ("send_notice",), needs=("kind_of_end", "reason"), takes=("legal_stay", "duty")
        ),
        ("", "receive"): Move(
            "notice_given",
            "kind_known",
            ("receive", "fix_end"),
            by=("customer", "operator"),
            needs=("kind_of_end", "reason"),
            takes=("duty",),
        ),
        ("noticed", "given"): Move("notice_given", None, ("require_given", "fix_end"), by=("operator", "system")),
        ("noticed", "withdraw"): Move("withdrawn"),
        ("noticed", "void"): Move("void", by=("operator", "system")),
        ("notice_given", "reschedule"): Move("notice_given", None, ("fix_end",), by=("operator", "system")),
        ("notice_given", "stay"): Move("notice_given", needs=("legal_stay",)),
        ("notice_given", "cure"): Move("cured", "is_breach", needs=("reason",)),
        ("notice_given", "withdraw"): Move("withdrawn", "own_notice", by=("operator", "customer"), takes=("reason",)),
        ("notice_given", "void"): Move("void", by=("operator", "system")),
        ("notice_given", "end"): Move(
            "terminated", "may_end", ("close_down",), by=("operator", "customer", "system"), takes=("reason",)
        ),
    },
    fields={"kind_of_end": "text", "reason": "prose", "legal_stay": "flag", "duty": "text"},
    guards={"kind_known": _kind_known, "may_end": _may_end, "own_notice": _own_notice, "is_breach": _is_breach},
    deadline=_deadline,
)


def _days_in_order(case: Case, at: datetime) -> Violation | None:
    facts = case.facts
    if facts.get("until_on") and case.day("until_on") < case.day("from_on"):
        return Violation("days_reversed", "'until_on' lies before 'from_on'", 422)
    if facts.get("party") not in ("operator", "customer"):
        return Violation("unknown_party", "'party' must be operator or customer", 422)
    return None


FORCE_MAJEURE = Machine(
    kind="force_majeure",
    prefix="FM",
    clause="9.8",
    moves={
        ("", "open"): Move(
            "reported",
            "days_in_order",
            by=("operator", "customer"),
            needs=("party", "cause", "from_on", "duties", "mitigation"),
            takes=("until_on", "reaches_payment"),
        ),
        ("reported", "accept"): Move("accepted", "days_in_order", ("tell",), takes=("until_on", "reaches_payment")),
        ("reported", "contest"): Move("contested", needs=("reason",)),
        ("accepted", "end"): Move(
            "ended", "days_in_order", ("tell",), by=("operator", "customer"), needs=("until_on",)
        ),
    },
    fields={
        "party": "text",
        "cause": "prose",
        "from_on": "day",
        "until_on": "day",
        "duties": "texts",
        "mitigation": "prose",
        "reaches_payment": "flag",
        "reason": "prose",
    },
    guards={"days_in_order": _days_in_order},
)


@dataclass(frozen=True, slots=True)
class Hindrance:
    """An event of force majeure: from its first to its last day, which is None while it goes on."""

    party: str
    from_on: date
    until_on: date | None
    duties: frozenset[str]
    reaches_payment: bool

    def excuses(self, party: str, duty: str) -> bool:
        """Tell whether it excuses a party from a duty; paying is excused only where the cause reaches it."""
        if party != self.party:
            return False
        return self.reaches_payment if duty == "payment" else duty in self.duties


def hindrance(case: Case) -> Hindrance:
    """Read an event of force majeure from its case."""
    facts = case.facts
    return Hindrance(
        facts["party"],
        case.day("from_on"),
        case.day("until_on") if facts.get("until_on") else None,
        frozenset(facts["duties"]),
        bool(facts.get("reaches_payment")),
    )


def cure_end(start: date, days: int, hindrances: Sequence[Hindrance], party: str, duty: str) -> date | None:
    """Return the last day of a period of cure that began with notice on `start`; None while a hindrance goes on (9.8).

    Each day of the period on which the party was excused moves the end by one.
    """
    found = [each for each in hindrances if each.excuses(party, duty)]
    left, on = days, start
    while left:
        on = plus_days(on, 1)
        excused = [each for each in found if each.from_on <= on and (each.until_on is None or on <= each.until_on)]
        if any(each.until_on is None for each in excused):
            return None
        left -= not excused
    return on


def ends_at(kind: str, given_at: datetime, given_on: date, last_form: date | None, cured_by: date | None) -> datetime:
    """Return the instant from which an agreement is or can be ended."""
    if kind in _AT_ONCE:
        return given_at
    if kind == "convenience":
        last = given_on + timedelta(days=NOTICE_DAYS)
        return end_of(last if last_form is None else max(last, last_form))
    # A hindrance without end: the furthest day that a calendar knows.
    return end_of(cured_by) if cured_by is not None else start_of(date.max - timedelta(days=1))


def last_day(kind: str, ends: datetime) -> date:
    """Return the last day of an agreement: the day of notice, or the one whose end was waited for."""
    return ends.date() if kind in _AT_ONCE else (ends - timedelta(microseconds=1)).date()


def survives(riders: Sequence[str] = ()) -> frozenset[str]:
    """Return the clauses that survive the end (8.3): the listed ones and the parts of section 10 that apply."""
    return frozenset((*SURVIVING, *riders))


def effective_clauses(terminated: bool, riders: Sequence[str] = ()) -> frozenset[str]:
    """Return the clauses that bind."""
    return survives(riders) if terminated else frozenset((*CLAUSES_IN_FORCE, *riders))


def obligations(terminated: bool, riders: Sequence[str] = ()) -> list[tuple[str, str, bool]]:
    """List the operator's duties of 2.1 and whether each still binds: (clause, words, active)."""
    binding = effective_clauses(terminated, riders)
    return [(clause, words, clause in binding) for clause, words in _DUTIES.items()]
