"""What the operator sets: rules, lists, blocked places. Each change is in the operator's audit chain."""

from datetime import datetime

from onterms.business.suspension import store
from onterms.business.suspension.model import Rule
from onterms.core.db import Row, Tx
from onterms.core.errors import NotFound
from onterms.core.ids import new_sid
from onterms.engines import audit


async def _record(
    tx: Tx, aggregate: str, sid: str, to: str, cause: str, evidence: dict[str, str], at: datetime
) -> None:
    entry = audit.AuditEvent("operator", "operator", aggregate, sid, None, to, cause, evidence)
    await audit.record(tx, [entry], at)


async def rules(tx: Tx, at: datetime) -> list[Rule]:
    """List the rules in force."""
    return await store.rules(tx, at)


async def add_rule(tx: Tx, rule: Rule, at: datetime) -> None:
    """Put a rule in force."""
    await store.insert_rule(tx, rule, at)
    await _record(tx, "aup_rule", rule.sid, "in_force", "1.12", {"action": rule.action, "text_ref": rule.text_ref}, at)


async def end_rule(tx: Tx, sid: str, at: datetime) -> None:
    """End a rule.

    Raises: NotFound.
    """
    if not await store.end_rule(tx, sid, at):
        raise NotFound(f"No rule {sid} is in force")
    await _record(tx, "aup_rule", sid, "ended", "1.12", {}, at)


async def lists(tx: Tx) -> list[Row]:
    """List the lists of sanctions in use."""
    return await store.lists(tx)


async def places(tx: Tx, at: datetime) -> list[Row]:
    """List the blocked places."""
    return await store.places(tx, at)


async def add_place(tx: Tx, kind: str, service: str, country: str, subdivision: str, reason: str, at: datetime) -> str:
    """Block a place and return the block's SID."""
    sid = new_sid("PB", at)
    await store.insert_place(tx, sid, kind, service, country, subdivision, reason, at)
    evidence = {"kind": kind, "service": service, "country": country, "subdivision": subdivision, "law": reason}
    await _record(tx, "place_block", sid, "in_force", "2.1(d)", evidence, at)
    return sid


async def end_place(tx: Tx, sid: str, at: datetime) -> None:
    """End a block.

    Raises: NotFound.
    """
    if not await store.end_place(tx, sid, at):
        raise NotFound(f"No block {sid} is in force")
    await _record(tx, "place_block", sid, "ended", "2.1(d)", {}, at)
