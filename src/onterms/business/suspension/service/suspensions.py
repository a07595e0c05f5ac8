"""Suspending on notice and lifting again."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from onterms.business import accounts, customers
from onterms.business.cases import OPERATOR, SYSTEM, Actor, Book, Case, Notices
from onterms.business.suspension import store
from onterms.business.suspension.model import GROUNDS, REVIEW, SUSPENSION, in_force
from onterms.core.db import Tx
from onterms.core.errors import Refusal

RevokeKeys = Callable[[Tx, str], Awaitable[int]]
# The effect follows the notice and never shares its instant.
EFFECT_AFTER = timedelta(seconds=1)
NOTICE_SUBJECT = "Suspension of services"
_OPEN = ("noticed", "active", "converted")


def notice_body(facts: Mapping[str, Any]) -> str:
    """Write the notice of a suspension from its facts."""
    body = (
        f"We determined in good faith: {facts['determination']}\n"
        f"The services are suspended under clause {GROUNDS[facts['ground']]} (scope: {facts['scope']}). "
        "Fees go on while they are."
    )
    if facts.get("lift_conditions"):
        body += f"\nIt is lifted when: {facts['lift_conditions']}"
    return body


class Suspensions:
    """The books of suspensions and of the reviews that lead to them.

    Shapes: `automatic` names the grounds on which a confirmed review suspends at once; for others it proposes.
    """

    def __init__(
        self, notices: Notices, revoke_keys: RevokeKeys, automatic: frozenset[str] = frozenset({"law", "security"})
    ) -> None:
        self._notices = notices
        self._revoke_keys = revoke_keys
        self._automatic = automatic
        self.book = Book(
            SUSPENSION,
            {
                "check_account": self._check_account,
                "check_notice": self._check_notice,
                "send_notice": self._send_notice,
                "suspend": self._suspend,
                "restore": self._restore,
            },
        )
        self.reviews = Book(REVIEW, {"suspend": self._suspend_reviewed})

    async def suspend(
        self,
        tx: Tx,
        customer_sid: str,
        given: Mapping[str, Any],
        by: str,
        at: datetime,
        *,
        begins_at: datetime | None = None,
    ) -> Case:
        """Determine, approve and give notice in one go; the effect follows a second later or at `begins_at`."""
        case = await self.book.open(tx, customer_sid, given, SYSTEM, at, event="propose")
        case = await self.book.fire(tx, customer_sid, case.sid, "approve", {"approved_by": by}, SYSTEM, at)
        begins = {} if begins_at is None else {"begins_at": begins_at.isoformat()}
        return await self.book.fire(tx, customer_sid, case.sid, "notice", begins, SYSTEM, at)

    async def lift(self, tx: Tx, customer_sid: str, sid: str, reason: str, actor: Actor, at: datetime) -> Case:
        """Lift a suspension; what others still cover stays suspended."""
        return await self.book.fire(tx, customer_sid, sid, "lift", {"reason": reason}, actor, at)

    async def blocks_new_accounts(self, tx: Tx, customer_sid: str, at: datetime) -> bool:
        """Tell whether a suspension of the whole customer is in force."""
        found = await self.book.list(tx, customer_sid, _OPEN)
        return any(case.facts["scope"] == "customer" and in_force(case, at) for case in found)

    async def _check_account(self, tx: Tx, case: Case, at: datetime) -> None:
        # Looked at before anything is noticed: the timer that takes effect has nobody to refuse to.
        account_sid = case.facts.get("account_sid")
        if account_sid:
            owner = await customers.customer_of(tx, str(account_sid))
            if owner is None or owner.sid != case.customer_sid:
                details = {"clause": "2.3", "reason": "foreign_account"}
                raise Refusal("The account is not the customer's", status=422, details=details)

    async def _check_notice(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        if await self._notices.given_on(tx, case.customer_sid, case.facts["notice_sid"]) is None:
            raise Refusal(
                "The notice was not given", status=422, details={"clause": "2.3", "reason": "notice_not_given"}
            )
        return {"noticed_at": at.isoformat(), "effective_at": (at + EFFECT_AFTER).isoformat()}

    async def _send_notice(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        facts = case.facts
        contact = {"security": "security", "aup": "abuse", "spike": "abuse", "payment": "billing"}
        sid = await self._notices.send(
            tx,
            case.customer_sid,
            "suspension",
            NOTICE_SUBJECT,
            notice_body(facts),
            contact.get(facts["ground"], "legal"),
            at,
        )
        begins_at = case.instant("begins_at") if "begins_at" in facts else at
        effective_at = max(begins_at, at + EFFECT_AFTER)
        return {"notice_sid": sid, "noticed_at": at.isoformat(), "effective_at": effective_at.isoformat()}

    async def _suspend(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any] | None:
        found = await self._accounts(tx, case)
        revoked = 0
        for account_sid in found:
            before = await accounts.own_status(tx, account_sid)
            if before is None or before == "closed":
                continue
            await store.take_account(tx, case.customer_sid, account_sid, case.sid, before, at)
            if before == "active":
                await accounts.change_status(tx, account_sid, "suspended", at)
            if case.facts["ground"] == "security":
                for each in await accounts.family(tx, account_sid):
                    revoked += await self._revoke_keys(tx, each)
        return {"keys_revoked": revoked} if case.facts["ground"] == "security" else None

    async def _accounts(self, tx: Tx, case: Case) -> list[str]:
        if case.facts["scope"] == "customer":
            return await customers.accounts_of(tx, case.customer_sid)
        if case.facts["scope"] != "account":
            return []
        return [str(case.facts["account_sid"])]

    async def _restore(self, tx: Tx, case: Case, at: datetime) -> None:
        free = await store.release_accounts(tx, case.customer_sid, case.sid, at)
        for account_sid, before in free.items():
            # Not blindly active: what was suspended before stays so, and a closed account stays closed.
            if before == "active" and await accounts.own_status(tx, account_sid) == "suspended":
                await accounts.change_status(tx, account_sid, "active", at)

    async def _suspend_reviewed(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any] | None:
        facts = case.facts
        ground = facts["ground"]
        if ground not in GROUNDS:
            return None
        scope = facts.get("scope") or ("account" if facts.get("account_sid") else "customer")
        names = ("account_sid", "service", "country", "target", "evidence")
        given = {
            "scope": scope,
            "ground": ground,
            "determination": facts["determination"],
            "case_sid": case.sid,
            **{name: facts[name] for name in names if facts.get(name)},
        }
        if ground in self._automatic:
            made = await self.suspend(tx, case.customer_sid, given, OPERATOR.name, at)
        else:
            made = await self.book.open(tx, case.customer_sid, given, SYSTEM, at, event="propose")
        return {"suspension_sid": made.sid}
