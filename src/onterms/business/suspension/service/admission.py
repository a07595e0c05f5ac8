"""Deciding whether something may be sent, and who may sign in from where. Before anything is held or charged."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from onterms.business import customers
from onterms.business.cases import SYSTEM, Book, Case
from onterms.business.suspension import events, store
from onterms.business.suspension.errors import EndUserListed, PlaceBlocked, PolicyRefuses, Suspended
from onterms.business.suspension.model import (
    ALLOWED,
    GROUNDS,
    LICENCE,
    Decision,
    Sending,
    Use,
    covers,
    decayed_score,
    decide,
    family_of,
    in_force,
)
from onterms.business.suspension.model.policy import HALF_LIFE_DAYS, Rule
from onterms.business.suspension.service.board import MARKS, Board, Posted, read
from onterms.business.suspension.service.suspensions import Suspensions
from onterms.core.db import Row, Tx
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.engines import audit, jobs

# Tells where an address is: (country, subdivision), or None where the data does not know.
Geo = Callable[[str], tuple[str, str] | None]
HasConsent = Callable[[Tx, str, str, str, datetime], Awaitable[bool]]
# Clause 2.2(c): the opt-out rule holds on every install.
OPT_OUT = Rule("built-in", "", "", {"kind": "opt_out"}, "block", 0, "AUP: opt-out")
WEIGH_TASK = "suspension.weigh"
_REMEMBERED = timedelta(days=HALF_LIFE_DAYS * 8)
_NO_MARKS: frozenset[str] = frozenset()


class Wish(NamedTuple):
    """What a customer is about to do."""

    customer_sid: str
    use: Use
    sending: Sending


class Verdict(NamedTuple):
    """What is decided on a wish: why it is refused, or the rules' decision on what may go."""

    refusal: Refusal | None
    decision: Decision


_GRANTED = Verdict(None, ALLOWED)


async def _no_consent(tx: Tx, customer_sid: str, identity: str, channel: str, at: datetime) -> bool:
    return False


class Admission:
    """Places, listed end users, suspensions and the use policy, in this order.

    Shapes: a customer whose decayed score reaches `review_from` gets a review, never a suspension by itself. Without
    `keep_posted` everything is read from the database each time.
    """

    def __init__(
        self, suspensions: Suspensions, *, has_consent: HasConsent = _no_consent, review_from: int = 100
    ) -> None:
        self._suspensions = suspensions
        self._has_consent = has_consent
        self._review_from = review_from
        self.licences = Book(LICENCE, {"remind": self._remind})
        self._board: Board | None = None

    def keep_posted(self, board: Board) -> None:
        """Answer from a board from now on."""
        self._board = board

    def changed(self, tx: Tx) -> None:
        """Note that this transaction changes rules or places."""
        if self._board is not None:
            tx.after_commit(self._board.heard)

    async def posted(self, tx: Tx) -> Posted:
        """Return what is in force."""
        if self._board is not None:
            return await self._board.posted(tx)
        return await read(tx, self._suspensions.book, self.licences)

    async def admit(self, tx: Tx, customer_sid: str, use: Use, sending: Sending, at: datetime) -> Decision:
        """Let a sending pass, or say that it is to be queued.

        Raises: PlaceBlocked, Suspended, PolicyRefuses. Nothing is charged then.
        """
        [verdict] = await self.judge(tx, await self.posted(tx), [Wish(customer_sid, use, sending)], at)
        if verdict.refusal is not None:
            raise verdict.refusal
        return verdict.decision

    async def judge(self, tx: Tx, posted: Posted, wishes: Sequence[Wish], at: datetime) -> list[Verdict]:
        """Decide on wishes, in order; storage is asked only for whose end users have marks, and for consents."""
        pairs = [(wish.customer_sid, wish.sending.to) for wish in wishes if wish.customer_sid in posted.marked]
        marks = await self._marks(tx, pairs) if pairs else {}
        return [await self._judge(tx, posted, wish, marks, at) for wish in wishes]

    async def turned_away(self, tx: Tx, posted: Posted, wishes: Sequence[Wish], at: datetime) -> list[bool]:
        """Tell for each use whether it has to end although it was let in: a suspension, or a listed end user.

        Shapes: for what waits to be sent, and for what comes in. Rules and places are for what begins.
        """
        pairs = [(wish.customer_sid, wish.sending.to) for wish in wishes if wish.customer_sid in posted.marked]
        marks = await self._marks(tx, pairs) if pairs else {}
        return [
            "sanctions" in marks.get((wish.customer_sid, wish.sending.to), _NO_MARKS)
            or _suspended(posted, wish, at) is not None
            for wish in wishes
        ]

    async def _marks(self, tx: Tx, pairs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], set[str]]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for mark in await customers.marks_of(tx, sorted(set(pairs)), MARKS):
            if _counts(mark):
                found[mark.customer_sid, mark.identity].add(mark.kind)
        return found

    async def _judge(
        self,
        tx: Tx,
        posted: Posted,
        wish: Wish,
        marks: Mapping[tuple[str, str], set[str]],
        at: datetime,
    ) -> Verdict:
        customer_sid, _, sending = wish
        refusal: Refusal | None = _place_refusal(posted, customer_sid, sending, at)
        if refusal is not None:
            return Verdict(refusal, ALLOWED)
        known_of = marks.get((customer_sid, sending.to), _NO_MARKS)
        if "sanctions" in known_of:
            return Verdict(EndUserListed(), ALLOWED)
        refusal = _suspended(posted, wish, at)
        if refusal is not None:
            return Verdict(refusal, ALLOWED)
        rules = posted.rules_for(sending.service, sending.country, at)
        opted_out = sending.opted_out or "opt_out" in known_of
        if not rules and not opted_out:
            return _GRANTED
        known = replace(sending, opted_out=opted_out)
        if not known.consented and any(rule.condition["kind"] == "consent" for rule in rules):
            known = replace(known, consented=await self._consented(tx, customer_sid, sending, at))
        decision = decide([OPT_OUT, *rules], known, at)
        if decision.action == "block" and decision.code is not None:
            strictest = next(rule for rule in decision.hits if rule.action == "block")
            clause = "5.3" if strictest.condition["kind"] == "consent" else "2.2(c)"
            words = "The use policy does not allow this"
            return Verdict(PolicyRefuses(decision.code, words, clause, strictest.text_ref), decision)
        return Verdict(None, decision)

    async def _consented(self, tx: Tx, customer_sid: str, sending: Sending, at: datetime) -> bool:
        for channel in dict.fromkeys((sending.service, family_of(sending.service))):
            if await self._has_consent(tx, customer_sid, sending.to, channel, at):
                return True
        return False

    async def record_hits(self, tx: Tx, wishes: Sequence[Wish], verdicts: Sequence[Verdict], at: datetime) -> None:
        """Write down which rules were hit, with the transaction that decides, and let the scores be looked at after it.

        Shapes: a refusal that is a value leaves its transaction to the others of the batch, and this with it.
        """
        hits = [
            store.Hit(wish.customer_sid, new_sid("PH", at), rule.sid, wish.sending.to, rule.weight)
            for wish, verdict in zip(wishes, verdicts, strict=True)
            for rule in verdict.decision.hits
            if rule is not OPT_OUT
        ]
        if not hits:
            return
        await store.insert_hits(tx, hits, at)
        weighed = sorted({hit.customer_sid for hit in hits if hit.weight})
        await jobs.enqueue(
            tx, [jobs.NewJob(WEIGH_TASK, {"customer_sid": customer_sid}) for customer_sid in weighed], at
        )

    async def weigh(self, tx: Tx, customer_sid: str, at: datetime) -> int:
        """Return a customer's score; a high one opens a review unless one is open."""
        score = await self.score(tx, customer_sid, at)
        if score >= self._review_from and not any(
            case.facts["ground"] == "aup" for case in await self._suspensions.reviews.list(tx, customer_sid, ["open"])
        ):
            given = {"ground": "aup", "summary": f"The use policy's score reached {score}"}
            await self._suspensions.reviews.open(tx, customer_sid, given, SYSTEM, at)
        return score

    async def hits(self, tx: Tx, customer_sid: str, after: str, limit: int) -> list[Row]:
        """List which rules a customer hit, newest first."""
        return await store.hits_page(tx, customer_sid, after, limit)

    async def score(self, tx: Tx, customer_sid: str, at: datetime) -> int:
        """Return the sum of a customer's violations, older ones weighing less."""
        return decayed_score(await store.hits(tx, customer_sid, at - _REMEMBERED), at)

    async def require_available(self, tx: Tx, service: str, country: str, at: datetime) -> None:
        """Refuse a service where law forbids to provide it.

        Raises: PlaceBlocked.
        """
        refusal = _unavailable(await self.posted(tx), service, country, at)
        if refusal is not None:
            raise refusal

    async def _remind(self, tx: Tx, case: Case, at: datetime) -> None:
        until = case.day("valid_until")
        subject = f"The export licence for {case.facts['country']} ends on {until.isoformat()}"
        await customers.open_task(tx, case.customer_sid, f"licence_{case.sid}", "5.2", subject, until, at)


def _unavailable(posted: Posted, service: str, country: str, at: datetime) -> PlaceBlocked | None:
    block = posted.block_of("service", service, country, at)
    if block is None:
        return None
    return PlaceBlocked(f"{service} is not provided in {country}", "2.1(d)", block.reason)


def _place_refusal(posted: Posted, customer_sid: str, sending: Sending, at: datetime) -> PlaceBlocked | None:
    if not posted.places:
        return None
    refusal = _unavailable(posted, sending.service, sending.country, at)
    if refusal is not None:
        return refusal
    embargo = posted.block_of("embargo", sending.service, sending.country, at)
    if embargo is None or (customer_sid, sending.country) in posted.licences:
        return None
    return PlaceBlocked(f"Nothing is sent to {sending.country} without a licence", "5.2", embargo.reason)


def _suspended(posted: Posted, wish: Wish, at: datetime) -> Suspended | None:
    for case in posted.suspensions.get(wish.customer_sid, ()):
        if in_force(case, at) and covers(case, wish.use):
            return Suspended(GROUNDS[case.facts["ground"]], case.sid)
    return None


def _counts(mark: customers.Mark) -> bool:
    return mark.kind != "sanctions" or mark.confirmed_at is not None


@dataclass(frozen=True, slots=True)
class RegionNotice:
    """What is shown instead of a session, as status 403."""

    country: str
    subdivision: str
    text: str


class SignInGate:
    """Sign-ins and API calls from blocked regions (5.2, sign-in)."""

    def __init__(self, geo: Geo) -> None:
        self._geo = geo

    def is_open(self, posted: Posted, ip: str, at: datetime) -> bool:
        """Tell from memory that nothing is blocked where an address is."""
        if not posted.regions:
            return True
        place = self._geo(ip)
        return place is None or not any(
            block.country == place[0]
            and block.subdivision in ("", place[1])
            and block.from_at <= at
            and (block.until_at is None or at < block.until_at)
            for block in posted.regions
        )

    async def check(self, tx: Tx, ip: str, who: str, at: datetime) -> RegionNotice | None:
        """Return the notice to show where the region is blocked, having recorded the attempt; None lets in.

        Shapes: a value and no refusal, so that the record is committed.
        """
        place = self._geo(ip)
        if place is None:
            return None
        country, subdivision = place
        found = await store.places(tx, at, "region", country, subdivision)
        if not found:
            return None
        evidence = {"ip": ip, "country": country, "subdivision": subdivision, "block_sid": found[0]["sid"]}
        entry = audit.AuditEvent(
            "operator", who, "sign_in", who, None, "refused", f"5.2 {events.SIGN_IN_REFUSED}", evidence
        )
        await audit.record(tx, [entry], at)
        text = f"The services cannot be used from {country}: {found[0]['reason']}"
        return RegionNotice(country, subdivision, text)
