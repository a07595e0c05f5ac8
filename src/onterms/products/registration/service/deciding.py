"""What the operator decides about registrations that no machine decides: at its desk, or on a carrier's word."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines.api import catalogue
from onterms.ports.registrar import Answer, Granted, Reason, Rejected, Waiting
from onterms.products import trust
from onterms.products.registration import errors, store
from onterms.products.registration.model import UNDECIDED
from onterms.products.registration.service import brands, campaigns, moving, tollfree
from onterms.products.registration.service.campaigns import Pools
from onterms.products.registration.service.fees import Fees

KINDS = {"BN": "brand", "QE": "campaign", "HH": "tollfree"}


@dataclass(frozen=True, slots=True)
class Word:
    """What the operator says."""

    event: str
    reason: str = ""
    codes: Sequence[int] = ()
    external_id: str = ""
    score: int | None = None


async def waiting(tx: Tx, limit: int) -> list[tuple[str, Row, str]]:
    """Return what waits for a decision: (kind, row, name), each kind the oldest first."""
    found = [("bundle", row, row["friendly_name"]) for row in await trust.waiting(tx, limit)]
    for kind, table in moving.TABLES.items():
        for row in await store.undecided(tx, table, sorted(UNDECIDED[kind]), limit):
            name = {"brand": "brand_type", "campaign": "usecase", "tollfree": "number"}[kind]
            found.append((kind, row, row[name]))
    return found[:limit]


async def decide(
    tx: Tx, pools: Pools, fees: Fees, around: trust.Surroundings, sid: str, word: Word, at: datetime
) -> str:
    """Do as the operator says and return the new status. Raises: NotFound, InvalidParameter, Conflict."""
    reasons = tuple(Reason(code, word.reason or catalogue.meaning(code)) for code in word.codes)
    if word.event in ("fail", "revoke") and not reasons:
        raise InvalidParameter("'codes' must name at least one code of the catalogue")
    if sid.startswith("BU"):
        return await _bundle(tx, around, sid, word, reasons, at)
    kind = KINDS.get(sid[:2])
    account_sid = await store.account_of(tx, moving.TABLES[kind], sid) if kind is not None else None
    if kind is None or account_sid is None:
        raise NotFound(f"There is no registration {sid}")
    before = await store.lock(tx, moving.TABLES[kind], account_sid, sid)
    assert before is not None
    if word.event == "vetted" and kind == "brand":
        return await _vetted(tx, account_sid, before, word, at)
    if word.event in ("suspend", "lift"):
        moved = await moving.move(tx, kind, before, word.event, {}, at, reasons)
        if moved is None:
            raise errors.Conflict(f"{sid} is {before['status']}, to which '{word.event}' does not apply")
        return str(moved["status"])
    answers: dict[str, Answer] = {
        "take_up": Waiting(None, is_taken_up=True),
        "approve": Granted(word.external_id, word.score),
        "fail": Rejected(reasons),
    }
    answer = answers.get(word.event)
    if answer is None:
        raise InvalidParameter(f"'event' does not apply to {kind}: '{word.event[:40]}'")
    if kind == "brand":
        await brands.decide(tx, fees, account_sid, sid, answer, at)
    elif kind == "campaign":
        await campaigns.decide(tx, pools, fees, account_sid, sid, answer, at)
    else:
        await tollfree.decide(tx, account_sid, sid, answer, at)
    row = await store.fetch(tx, moving.TABLES[kind], account_sid, sid)
    assert row is not None
    if row["status"] == before["status"]:
        raise errors.Conflict(f"{sid} is {before['status']}, to which '{word.event}' does not apply")
    return str(row["status"])


async def _vetted(tx: Tx, account_sid: str, brand: Row, word: Word, at: datetime) -> str:
    for row in await store.vettings(tx, account_sid, brand["sid"]):
        if row["status"] in UNDECIDED["vetting"]:
            answer = Granted(word.external_id, word.score)
            await brands.decide_vetting(tx, account_sid, brand["sid"], row["sid"], answer, at)
            return str(brand["status"])
    raise errors.Conflict(f"{brand['sid']} waits for no vetting")


async def _bundle(
    tx: Tx, around: trust.Surroundings, sid: str, word: Word, reasons: Sequence[Reason], at: datetime
) -> str:
    account_sid = await trust.account_of(tx, sid)
    if account_sid is None:
        raise NotFound(f"There is no registration {sid}")
    event = {"fail": "reject"}.get(word.event, word.event)
    if event not in ("take_up", "approve", "reject", "revoke"):
        raise InvalidParameter(f"'event' does not apply to bundles: '{word.event[:40]}'")
    moved = await trust.fire(tx, account_sid, sid, event, reasons, at, around.followers)
    return str(moved["status"])
