"""Importing lists of sanctions and comparing customers with them (5.2)."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial
from typing import Any

import msgspec

from onterms.business import customers
from onterms.business.cases import OPERATOR, SYSTEM, Book, Case
from onterms.business.suspension import store
from onterms.business.suspension.model import SCREENING, Entry, Roster
from onterms.business.suspension.service.suspensions import Suspensions
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.ids import new_sid
from onterms.engines import jobs

RESCREEN_TASK = "suspension.rescreen"
_ENTRIES_MAX = 50_000
# So many customers are compared with a new list in one transaction.
_BATCH = 200


class ListedName(msgspec.Struct, forbid_unknown_fields=True):
    """One entry as an operator hands it in."""

    id: str
    names: list[str]
    countries: list[str] = []
    listed_on: str | None = None
    delisted_on: str | None = None


class Screening:
    """Lists, their comparison with organizations, contacts, owners and end users, and what follows a decision."""

    def __init__(self, suspensions: Suspensions) -> None:
        self._suspensions = suspensions
        # The lists in use as they were when they were last prepared, by their SIDs.
        # Called in this process once an end user's mark is committed.
        self.marked: list[Callable[[str], None]] = []
        self._roster: tuple[frozenset[str], Roster] = (frozenset(), Roster([]))
        self.book = Book(SCREENING, {"cut_off": self._cut_off})

    async def import_list(self, tx: Tx, name: str, given: Any, at: datetime) -> tuple[str, list[Case]]:
        """Put a list in place of the one of its name and compare every customer with it, the first of them at once.

        Raises: InvalidParameter.
        """
        try:
            read = msgspec.convert(given, list[ListedName])
            entries = [
                Entry(
                    "",
                    name,
                    one.id,
                    tuple(one.names),
                    tuple(one.countries),
                    None if one.listed_on is None else msgspec.convert(one.listed_on, type=date),
                    None if one.delisted_on is None else msgspec.convert(one.delisted_on, type=date),
                )
                for one in read
            ]
        except msgspec.ValidationError as error:
            raise InvalidParameter(f"'entries': {error}") from None
        if len(entries) > _ENTRIES_MAX or len({entry.entry_id for entry in entries}) != len(entries):
            raise InvalidParameter(f"'entries' must have at most {_ENTRIES_MAX} entries, each with its own id")
        sid = new_sid("SL", at)
        digest = hashlib.sha256(msgspec.json.encode(read)).digest()
        await store.replace_list(tx, sid, name, digest, entries, at)
        return sid, await self.screen_after(tx, "", at)

    async def screen_after(self, tx: Tx, after: str, at: datetime) -> list[Case]:
        """Compare the next customers with every list in use and leave those behind them to a job."""
        page = await customers.list_customers(tx, after, _BATCH)
        found: list[Case] = []
        for customer in page:
            found += await self.screen(tx, customer.sid, at)
        if len(page) == _BATCH:
            await jobs.enqueue(tx, [jobs.NewJob(RESCREEN_TASK, {"after": page[-1].sid})], at)
        return found

    async def _prepared(self, tx: Tx) -> Roster:
        in_use = frozenset(str(row["sid"]) for row in await store.lists(tx))
        if in_use != self._roster[0]:
            entries = await store.entries(tx)
            # Preparing 50,000 names takes a second, in which others want to be answered.
            roster = await asyncio.to_thread(Roster, entries)
            self._roster = (in_use, roster)
        return self._roster[1]

    async def screen(self, tx: Tx, customer_sid: str, at: datetime) -> list[Case]:
        """Compare a customer, its contacts and owners with every list in use; after sign-up and each change of them."""
        roster = await self._prepared(tx)
        if not roster:
            return []
        customer = await customers.require(tx, customer_sid)
        subjects = [("organization", customer.sid, customer.name, customer.country)]
        for contact in await customers.contacts(tx, customer_sid):
            if contact.name:
                subjects.append(("contact", contact.sid, contact.name, ""))
        for name, country in await customers.owners(tx, customer_sid, day_of(at)):
            subjects.append(("owner", name, name, country))
        found: list[Case] = []
        for kind, ref, name, country in subjects:
            found += await self._compare(tx, customer_sid, kind, ref, name, country, roster, at)
        return found

    async def screen_end_user(
        self, tx: Tx, customer_sid: str, identity: str, name: str, country: str, at: datetime
    ) -> list[Case]:
        """Compare an end user's name with every list in use."""
        roster = await self._prepared(tx)
        return await self._compare(tx, customer_sid, "end_user", identity, name, country, roster, at)

    async def _compare(
        self,
        tx: Tx,
        customer_sid: str,
        kind: str,
        ref: str,
        name: str,
        country: str,
        roster: Roster,
        at: datetime,
    ) -> list[Case]:
        matches = roster.match(name, country, day_of(at))
        if not matches:
            return []
        # Whatever was decided for this subject and entry stays decided, also when the list is imported again.
        decided = {
            (case.facts["subject"], case.facts["name"], case.facts["list_name"], case.facts["entry_id"])
            for case in await self.book.list(tx, customer_sid)
        }
        made = []
        for entry, score in matches:
            if (ref, name, entry.list_name, entry.entry_id) in decided:
                continue
            given = {
                "subject_kind": kind,
                "subject": ref,
                "name": name,
                "list_name": entry.list_name,
                "list_sid": entry.list_sid,
                "entry_id": entry.entry_id,
                "score_ppm": score,
                **({"country": country} if country else {}),
            }
            made.append(await self.book.open(tx, customer_sid, given, SYSTEM, at, event="hit"))
        return made

    async def _cut_off(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        facts = case.facts
        note = f"{facts['list_name']} {facts['entry_id']}"
        if facts["subject_kind"] == "end_user":
            mark = await customers.mark_end_user(
                tx, case.customer_sid, facts["subject"], "sanctions", note, at, confirmed=True
            )
            for follower in self.marked:
                tx.after_commit(partial(follower, case.customer_sid))
            return {"mark_sid": mark.sid}
        given = {
            "scope": "customer",
            "ground": "law",
            "determination": f"{facts['determination']} (listed: {note})",
            "case_sid": case.sid,
        }
        made = await self._suspensions.suspend(tx, case.customer_sid, given, OPERATOR.name, at)
        return {"suspension_sid": made.sid}
