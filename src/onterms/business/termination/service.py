"""Ending agreements and closing them in order."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from typing import Any

from onterms.business import accounts, customers, notices
from onterms.business.cases import SYSTEM, Book, Case, Notices
from onterms.business.termination import store
from onterms.business.termination.model import (
    CLAUSES,
    CURE_DAYS,
    FORCE_MAJEURE,
    STEPS,
    TERMINATION,
    Hindrance,
    cure_end,
    ends_at,
    hindrance,
    last_day,
)
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import Refusal

# Does one step of closing for (customer, kind of end) and says what it did.
Closing = Callable[[Tx, str, str, datetime], Awaitable[str]]
# Returns the last day of a customer's last order form that runs.
LastOrderForm = Callable[[Tx, str, datetime], Awaitable[date | None]]
# Returns what a customer has paid in and not used, as decimal text by currency.
UnusedFunds = Callable[[Tx, str], Awaitable[Mapping[str, str]]]
# Is told that a party of a customer's agreement was excused, or that it is over (9.8).
Hindered = Callable[[Tx, str, datetime], Awaitable[None]]

_NOTICE_KIND = "termination_"


class Terminations:
    """The books of ends and of force majeure.

    Shapes: `closing` does each step of STEPS but close_accounts, which is this room's own.
    """

    def __init__(
        self,
        notices: Notices,
        last_order_form: LastOrderForm,
        closing: Mapping[str, Closing],
        *,
        unused_funds: UnusedFunds | None = None,
        hindered: Hindered | None = None,
    ) -> None:
        missing = set(STEPS) - {"close_accounts"} - closing.keys()
        if missing or closing.keys() - set(STEPS):
            raise ValueError(f"closing must do exactly {', '.join(STEPS)}")
        self._notices = notices
        self._last_order_form = last_order_form
        self._closing = {"close_accounts": _close_accounts, **closing}
        self._unused_funds = unused_funds
        self._hindered = hindered
        self.book = Book(
            TERMINATION,
            {
                "send_notice": self._send_notice,
                "require_given": self._require_given,
                "receive": self._receive,
                "fix_end": self._fix_end,
                "close_down": self._close_down,
            },
        )
        self.hindrances = Book(FORCE_MAJEURE, {"tell": self._tell_hindrance})

    async def ended_at(self, tx: Tx, customer_sid: str) -> datetime | None:
        """Return when a customer's agreement ended, or None while it is in force."""
        return await store.ended_at(tx, customer_sid)

    async def cure_end(self, tx: Tx, customer_sid: str, start: date, days: int, party: str, duty: str) -> date | None:
        """Return the last day of a period of cure, longer by the days on which the party was excused (9.8)."""
        return cure_end(start, days, await self._hindrances(tx, customer_sid), party, duty)

    async def follow_notice(self, tx: Tx, type_: str, notice: notices.Notice, at: datetime) -> None:
        """Let a notice that was given start its clock, and one that was voided stop it; a follower of Delivery."""
        event = {notices.NOTICE_GIVEN: "given", notices.NOTICE_VOIDED: "void"}.get(type_)
        if event is None or not notice.kind.startswith(_NOTICE_KIND):
            return
        states = ["noticed"] if event == "given" else ["noticed", "notice_given"]
        for case in await self.book.list(tx, notice.customer_sid, states):
            if case.facts.get("notice_sid") == notice.sid:
                await self.book.fire(tx, notice.customer_sid, case.sid, event, {}, SYSTEM, at)

    async def is_ending(self, tx: Tx, customer_sid: str) -> bool:
        """Tell whether the agreement is over, or its end waits for order forms: none of them renews itself any more."""
        # The end and a form's own end may come at the same instant, in any order.
        found = await self.book.list(tx, customer_sid, ["notice_given", "terminated"])
        return any(case.state == "terminated" or case.facts["kind_of_end"] == "convenience" for case in found)

    async def look_again(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        """Fix the days of ends under way anew, because order forms or hindrances changed."""
        for case in await self.book.list(tx, customer_sid, ["notice_given"]):
            if case.facts["kind_of_end"] in ("convenience", "breach"):
                await self.book.fire(tx, customer_sid, case.sid, "reschedule", {}, SYSTEM, at)

    async def outlook(self, tx: Tx, customer_sid: str, at: datetime) -> Mapping[str, Any]:
        """Return what notice for convenience would mean today: when it would end, and what is not paid back."""
        last_form = await self._last_order_form(tx, customer_sid, at)
        ends = ends_at("convenience", at, day_of(at), last_form, None)
        return {
            "last_day": last_day("convenience", ends).isoformat(),
            "ends_at": ends.isoformat(),
            "last_order_form_ends_on": None if last_form is None else last_form.isoformat(),
            **await self._funds(tx, customer_sid),
        }

    async def _funds(self, tx: Tx, customer_sid: str) -> Mapping[str, Any]:
        if self._unused_funds is None:
            return {}
        return {"unused_funds": dict(await self._unused_funds(tx, customer_sid))}

    async def _tell_hindrance(self, tx: Tx, case: Case, at: datetime) -> None:
        await self.look_again(tx, case.customer_sid, at)
        if self._hindered is not None:
            await self._hindered(tx, case.customer_sid, at)

    async def _hindrances(self, tx: Tx, customer_sid: str) -> list[Hindrance]:
        return [hindrance(case) for case in await self.hindrances.list(tx, customer_sid, ["accepted", "ended"])]

    async def _send_notice(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        kind = case.facts["kind_of_end"]
        subject = "Notice of breach" if kind == "breach" else "Notice of termination"
        body = f"Under clause {CLAUSES[kind]}: {case.facts['reason']}"
        if kind == "breach":
            body += f"\nThe agreement can be terminated if this is not cured within {CURE_DAYS} days of this notice."
        sid = await self._notices.send(tx, case.customer_sid, f"{_NOTICE_KIND}{kind}", subject, body, "legal", at)
        return {"notice_sid": sid, "party": "operator"}

    async def _require_given(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        given_on = await self._notices.given_on(tx, case.customer_sid, case.facts["notice_sid"])
        if given_on is None:
            details = {"clause": "9.5", "reason": "notice_not_given"}
            raise Refusal("The notice is not given yet", code=20409, status=409, details=details)
        return {"given_on": given_on.isoformat(), "given_at": at.isoformat()}

    async def _receive(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"given_on": day_of(at).isoformat(), "given_at": at.isoformat(), "party": "customer"}

    async def _fix_end(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        kind = case.facts["kind_of_end"]
        last_form = await self._last_order_form(tx, case.customer_sid, at) if kind == "convenience" else None
        cured_by = None
        if kind == "breach":
            breaching = "customer" if case.facts["party"] == "operator" else "operator"
            duty = case.facts.get("duty", "")
            cured_by = cure_end(
                case.day("given_on"), CURE_DAYS, await self._hindrances(tx, case.customer_sid), breaching, duty
            )
        ends = ends_at(kind, case.instant("given_at"), case.day("given_on"), last_form, cured_by)
        found = {"ends_at": ends.isoformat(), "last_day": last_day(kind, ends).isoformat()}
        return {**found, **await self._funds(tx, case.customer_sid)}

    async def _close_down(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        kind = case.facts["kind_of_end"]
        if not await store.insert_end(tx, case.customer_sid, case.sid, kind, at):
            # Both parties may have given notice: what ended is not closed, billed and offered for export again.
            return {"closing": []}
        done = []
        for step in STEPS:
            done.append({"step": step, "outcome": await self._closing[step](tx, case.customer_sid, kind, at)})
        return {"closing": done}


async def _close_accounts(tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
    closed = 0
    for account_sid in await customers.accounts_of(tx, customer_sid):
        if await accounts.own_status(tx, account_sid) != "closed":
            await accounts.change_status(tx, account_sid, "closed", at)
            closed += 1
    return f"{closed} closed"
