"""Deciding whether something may be sent, and who may sign in from where. Before anything is held or charged."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from onterms.business import customers
from onterms.business.cases import SYSTEM, Book, Case
from onterms.business.suspension import events, store
from onterms.business.suspension.errors import PlaceBlocked, PolicyRefuses
from onterms.business.suspension.model import LICENCE, Decision, Sending, Use, decayed_score, decide
from onterms.business.suspension.model.policy import HALF_LIFE_DAYS, Rule
from onterms.business.suspension.service.suspensions import Suspensions
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.engines import audit

# Tells where an address is: (country, subdivision), or None where the data does not know.
Geo = Callable[[str], tuple[str, str] | None]
HasConsent = Callable[[Tx, str, str, str, datetime], Awaitable[bool]]
# Clause 2.2(c): the opt-out rule holds on every install.
OPT_OUT = Rule("built-in", "", "", {"kind": "opt_out"}, "block", 0, "AUP: opt-out")
_REMEMBERED = timedelta(days=HALF_LIFE_DAYS * 8)


async def _no_consent(tx: Tx, customer_sid: str, identity: str, channel: str, at: datetime) -> bool:
    return False


class Admission:
    """Places, listed end users, suspensions and the use policy, in this order.

    Shapes: a customer whose decayed score reaches `review_from` gets a review, never a suspension by itself.
    """

    def __init__(
        self, suspensions: Suspensions, *, has_consent: HasConsent = _no_consent, review_from: int = 100
    ) -> None:
        self._suspensions = suspensions
        self._has_consent = has_consent
        self._review_from = review_from
        self.licences = Book(LICENCE, {"remind": self._remind})

    async def admit(self, tx: Tx, customer_sid: str, use: Use, sending: Sending, at: datetime) -> Decision:
        """Let a sending pass, or say that it is to be queued.

        Raises: PlaceBlocked, Suspended, PolicyRefuses. Nothing is charged then.
        """
        await self._require_place(tx, customer_sid, sending, at)
        marks = {mark.kind for mark in await customers.marks(tx, customer_sid, sending.to) if _counts(mark)}
        if "sanctions" in marks:
            raise PlaceBlocked("The recipient is on a list of sanctions", "5.2(ii)", "listed end user")
        await self._suspensions.require_service(tx, customer_sid, use, at)
        known = replace(
            sending,
            opted_out=sending.opted_out or "opt_out" in marks,
            consented=sending.consented or await self._has_consent(tx, customer_sid, sending.to, sending.service, at),
        )
        decision = decide([OPT_OUT, *await store.rules(tx, at, sending.service)], known, at)
        if decision.action == "block" and decision.code is not None:
            strictest = next(rule for rule in decision.hits if rule.action == "block")
            clause = "5.3" if strictest.condition["kind"] == "consent" else "2.2(c)"
            raise PolicyRefuses(decision.code, "The use policy does not allow this", clause, strictest.text_ref)
        return decision

    async def record_hits(self, tx: Tx, customer_sid: str, decision: Decision, end_user: str, at: datetime) -> int:
        """Write down the rules that were hit and return the score; a high one opens a review.

        Shapes: for the caller's own transaction after a refusal, whose transaction is gone.
        """
        for rule in decision.hits:
            if rule.weight:
                await store.insert_hit(tx, customer_sid, new_sid("PH", at), rule.sid, end_user, rule.weight, at)
        score = await self.score(tx, customer_sid, at)
        if score >= self._review_from and not any(
            case.facts["ground"] == "aup" for case in await self._suspensions.reviews.list(tx, customer_sid, ["open"])
        ):
            given = {"ground": "aup", "summary": f"The use policy's score reached {score}"}
            await self._suspensions.reviews.open(tx, customer_sid, given, SYSTEM, at)
        return score

    async def score(self, tx: Tx, customer_sid: str, at: datetime) -> int:
        """Return the sum of a customer's violations, older ones weighing less."""
        return decayed_score(await store.hits(tx, customer_sid, at - _REMEMBERED), at)

    async def require_available(self, tx: Tx, service: str, country: str, at: datetime) -> None:
        """Refuse a service where law forbids to provide it.

        Raises: PlaceBlocked.
        """
        for row in await store.places(tx, at, "service", country):
            if row["service"] in ("", service):
                raise PlaceBlocked(f"{service} is not provided in {country}", "2.1(d)", row["reason"])

    async def _require_place(self, tx: Tx, customer_sid: str, sending: Sending, at: datetime) -> None:
        await self.require_available(tx, sending.service, sending.country, at)
        found = await store.places(tx, at, "embargo", sending.country)
        if not found:
            return
        for licence in await self.licences.list(tx, customer_sid, ["on_file", "reminded"]):
            if licence.facts["country"] == sending.country:
                return
        raise PlaceBlocked(f"Nothing is sent to {sending.country} without a licence", "5.2", found[0]["reason"])

    async def _remind(self, tx: Tx, case: Case, at: datetime) -> None:
        until = case.day("valid_until")
        subject = f"The export licence for {case.facts['country']} ends on {until.isoformat()}"
        await customers.open_task(tx, case.customer_sid, f"licence_{case.sid}", "5.2", subject, until, at)


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
