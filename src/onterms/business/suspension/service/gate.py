"""What every edge asks before anything goes out, be it the API, SMPP, SIP or SMTP: conduct, standing, funds."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from onterms.business import usage
from onterms.business.standing import Standing
from onterms.business.suspension.model import Sending, Use
from onterms.business.suspension.service.admission import Admission, Wish
from onterms.business.suspension.service.watching import Watch
from onterms.core.db import Tx
from onterms.core.errors import Refusal


class Passage(NamedTuple):
    """Something about to go out, or that came in: its use, our side's address, and what it says.

    Shapes: `use.number` is the other party.
    """

    use: usage.Use
    own_number: str
    text: str = ""
    category: str = ""


class Passed(NamedTuple):
    """What became of passages: why some are refused, and until when some have to wait, by the id of their use."""

    refused: dict[str, Refusal]
    waiting: dict[str, datetime]


class Gate:
    """The one way out."""

    def __init__(self, admission: Admission, standing: Standing, meter: usage.Meter, watch: Watch) -> None:
        self.meter = meter
        self._admission = admission
        self._standing = standing
        self._watch = watch

    async def admit(self, tx: Tx, passages: Sequence[Passage], at: datetime) -> Passed:
        """Let passages out, in the transaction that stores them: the policy, the standing, then the hold of funds."""
        if not passages:
            return Passed({}, {})
        refused, waiting = await self._ask_policy(tx, passages, at)
        asked = [each.use for each in passages if each.use.id not in refused] if refused else [p.use for p in passages]
        refused.update(await self._standing.refusals(asked))
        allowed = [use for use in asked if use.id not in refused] if refused else asked
        if allowed:
            refused.update(await self.meter.hold(tx, allowed, at))
            await self._watch.note(tx, at)
        return Passed(refused, waiting)

    async def judge(self, tx: Tx, passages: Sequence[Passage], at: datetime) -> dict[str, Refusal]:
        """Return why what was let out, and waits, may not say something else; its funds are held already."""
        refused, _ = await self._ask_policy(tx, passages, at)
        refused.update(await self._standing.refusals([each.use for each in passages if each.use.id not in refused]))
        return refused

    async def turned_away(self, tx: Tx, passages: Iterable[Passage], at: datetime) -> set[str]:
        """Return the ids of what may not go on, though it was let out before or came in: suspended, or listed."""
        posted = await self._admission.posted(tx)
        if posted.is_empty:
            return set()
        known = await self._wishes(tx, list(passages))
        away = await self._admission.turned_away(tx, posted, list(known.values()), at)
        return {id_ for id_, is_away in zip(known, away, strict=True) if is_away}

    async def _ask_policy(
        self, tx: Tx, passages: Sequence[Passage], at: datetime
    ) -> tuple[dict[str, Refusal], dict[str, datetime]]:
        posted = await self._admission.posted(tx)
        if posted.is_empty:
            return {}, {}
        known = await self._wishes(tx, passages)
        wishes = list(known.values())
        verdicts = await self._admission.judge(tx, posted, wishes, at)
        await self._admission.record_hits(tx, wishes, verdicts, at)
        refused: dict[str, Refusal] = {}
        waiting: dict[str, datetime] = {}
        for id_, verdict in zip(known, verdicts, strict=True):
            if verdict.refusal is not None:
                refused[id_] = verdict.refusal
            elif verdict.decision.until is not None:
                waiting[id_] = verdict.decision.until
        return refused, waiting

    async def _wishes(self, tx: Tx, passages: Sequence[Passage]) -> Mapping[str, Wish]:
        """Make the wish that each passage is; an account without a customer is refused by the meter."""
        owners = await self.meter.owners(tx, [each.use.account_sid for each in passages])
        made: dict[str, Wish] = {}
        for use, own_number, text, category in passages:
            owner = owners.get(use.account_sid)
            if owner is None:
                continue
            sending = Sending(use.service, use.country, own_number, use.number, text, category)
            made[use.id] = Wish(
                owner.customer_sid,
                Use(use.account_sid, owner.main_sid, use.service, use.country, own_number, use.number),
                sending,
            )
        return made
