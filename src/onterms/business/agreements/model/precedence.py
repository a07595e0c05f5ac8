"""Which of several documents answers a question: the order of precedence (9.9) with the riders that prevail.

Rank 0 are the riders that say they prevail over everything (10.1.12, 10.4.8, 10.5.5), 1 order forms, 2 the data
protection addendum, 3 the body with the riders that replace inside it (10.2, 10.3), 4 the use policy, 5 whatever else
is linked, 6 documentation. Papers beside the contract are no source at all (9.11).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

PREVAILING_RIDERS = ("10.1", "10.4", "10.5")
BODY_RIDERS = ("10.2", "10.3")
ORDER_FORM_RANK = 1
BODY_RANK = 3

# Clause 8.3: what lives on after the end. The riders of section 10 that apply are added for each customer.
SURVIVING = ("2.1(c)", "3", "4", "5.5", "6", "7", "8.3", "9")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to a question and where it stands."""

    rank: int
    value: str
    source: str
    clause: str
    # Within a rank: a rider goes before the body it changes, a later signature before an earlier one.
    order: tuple[int, int] = (0, 0)
    yields: bool = False


@dataclass(frozen=True, slots=True)
class FormTerm:
    """A term of an order form in force."""

    source: str
    value: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Resolved:
    """The answer, with how it was found.

    Shapes: `value` is None where nothing answers, and where `undecided` says why nothing may.
    """

    term: str
    value: str | None
    trace: tuple[str, ...]
    clause: str | None = None
    source: str | None = None
    undecided: str | None = None
    flags: tuple[str, ...] = field(default=())


def rider_of(clause: str) -> str | None:
    """Return the rider of section 10 a clause belongs to, or None for the body's own."""
    for rider in (*PREVAILING_RIDERS, *BODY_RIDERS):
        if _is_within(clause, rider):
            return rider
    return None


def decide(term: str, candidates: Iterable[Candidate], notes: Sequence[str] = ()) -> Resolved:
    """Pick the answer; two prevailing riders that disagree leave it undecided."""
    found = sorted(candidates, key=lambda one: (one.rank, -one.order[0], -one.order[1], one.source, one.clause))
    trace = [f"rank {one.rank}: {one.source} {one.clause} says {one.value}" for one in found]
    flags: list[str] = []
    if any(one.rank == ORDER_FORM_RANK for one in found):
        stepping_back = [one for one in found if one.yields]
        found = [one for one in found if not one.yields]
        trace += [f"{one.source} {one.clause} steps back for an order form" for one in stepping_back]
    trace += notes
    if not found:
        return Resolved(term, None, (*trace, "nothing answers"))
    first = found[0]
    equals = [one for one in found if one.rank == first.rank and one.value != first.value]
    if equals and first.rank == 0:
        why = f"{first.clause} and {equals[0].clause} both prevail and disagree"
        return Resolved(term, None, (*trace, why), undecided=why)
    if equals and first.rank == ORDER_FORM_RANK:
        flags.append("order_forms_in_conflict")
        trace.append(f"the later signature is that of {first.source}")
    trace.append(f"{first.source} {first.clause} wins")
    return Resolved(term, first.value, tuple(trace), first.clause, first.source, None, tuple(flags))


def survives(clause: str, riders: Iterable[str] = ()) -> bool:
    """Tell whether a clause lives on after the end of the contract."""
    return any(_is_within(clause, kept) for kept in (*SURVIVING, *riders))


def effective_clauses(ids: Iterable[str], riders: Iterable[str], *, terminated: bool) -> list[str]:
    """Return which of a text's clauses have effect for a customer, in their order."""
    on = set(riders)
    applying = [one for one in ids if (rider := rider_of(one)) is None or rider in on]
    return [one for one in applying if survives(one, on)] if terminated else applying


def _is_within(clause: str, outer: str) -> bool:
    """Tell whether a clause is another or stands under it: 5.5 and `5.5 beta` are within 5.5, and 5.51 is not."""
    if not clause.startswith(outer):
        return False
    rest = clause[len(outer) :]
    return not rest or rest[0] in ".( "


def by_source(papers: Iterable[Mapping[str, str]]) -> list[str]:
    """Say of each paper beside the contract that it is not read."""
    return [f"{paper['kind']} {paper['reference']} is no part of the contract (9.11)" for paper in papers]
