"""Timers: what the contract's clocks will do and when, the sandbox's clock, and a rehearsal of what comes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import Shown, base_of, given, sid_of
from onterms.business import rehearsal
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api import OwnRequest

_CLOCK = "/simulator/v1/clock"
_SIMULATIONS = "/commercial/v1/Simulations"
_LIST_MAX = 200
_DAYS_MAX = 3660
_EVENTS_MAX = 500
REHEARSAL_DAYS = 90

# Where a payload names what it is about: its name in the payload, and the page of it.
_SUBJECTS = (("invoice_sid", "invoices"), ("dispute_sid", "disputes"), ("notice_sid", "notices"))


async def described(tx: Tx, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Say in words what timers do, and for whom."""
    sids = {str(row["customer_sid"]) for row in rows if row["customer_sid"]}
    names = await reading.names(tx, sorted(sids))
    found = {str(row["payload"]["version_sid"]) for row in rows if row["payload"].get("version_sid")}
    labels = await reading.versions(tx, sorted(found))
    return [_described(row, names, labels) for row in rows]


def _described(row: Row, names: Any, labels: Any) -> dict[str, Any]:
    payload = row["payload"]
    customer_sid = row["customer_sid"]
    base = base_of(customer_sid) if customer_sid else ""
    link = None
    if base:
        link = next((f"{base}/{noun}/{payload[name]}" for name, noun in _SUBJECTS if payload.get(name)), None)
        if row["task"] == "cases.deadline" and payload.get("sid"):
            link = f"{base}/cases/{payload['sid']}"
    about = labels.get(str(payload.get("version_sid"))) or payload.get("phone_number")
    if row["task"] == "cases.deadline" and payload.get("kind"):
        about = f"{payload['kind']}: {payload.get('event', '')}".replace("_", " ")
    return {
        "task": row["task"],
        "words": rehearsal.TIMERS.get(row["task"], row["task"].replace(".", ": ").replace("_", " ")),
        "due_at": row["due_at"],
        "customer_sid": customer_sid,
        "customer_name": names.get(customer_sid, customer_sid),
        "link": link,
        "about": about,
    }


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List pending timers by due date."""
    rows = await reading.timers(tx, _LIST_MAX)
    clock = None
    if desk.serves("POST", _CLOCK):
        clock = await desk.read(tx, request, _CLOCK)
    days: dict[str, list[dict[str, Any]]] = {}
    for one in await described(tx, rows):
        days.setdefault(one["due_at"].astimezone(UTC).date().isoformat(), []).append(one)
    lines = [Line("GET", "/commercial/v1/Timers")]
    if clock is not None:
        lines += [Line("GET", _CLOCK), Line("POST", _CLOCK, body={"advance_s": 86400})]
    can_rehearse = desk.serves("POST", _SIMULATIONS)
    if can_rehearse:
        lines.append(Line("POST", _SIMULATIONS, body={"days": REHEARSAL_DAYS}))
    data = {
        "days": days,
        "shown": len(rows),
        "count": await reading.timer_counts(tx),
        "clock": clock,
        "can_rehearse": can_rehearse,
        "rehearsal_days": REHEARSAL_DAYS,
    }
    return Shown("timers.html", "Timers", data, lines)


async def move_clock(desk: Desk, request: OwnRequest) -> str:
    """Move the sandbox's clock by days or hours, or to a time."""
    body: dict[str, Any]
    fields = given(request, "by", "to")
    if "to" in fields:
        try:
            to = datetime.fromisoformat(fields["to"]).replace(tzinfo=UTC)
        except ValueError:
            raise InvalidParameter("The time must be such as 2030-01-31T12:00") from None
        body = {"to": to.isoformat()}
    else:
        count, _, unit = fields.get("by", "").partition(" ")
        size = {"h": 3600, "d": 86_400}.get(unit)
        if size is None or not (count.isascii() and count.isdigit() and int(count) <= _DAYS_MAX):
            raise InvalidParameter("Say how far the clock moves")
        body = {"advance_s": int(count) * size}
    moved = await desk.act(request, _CLOCK, body)
    return f"/operator/timers?done={'clock_short' if moved['stopped_by'] else 'clock'}"


async def rehearse(desk: Desk, request: OwnRequest) -> str:
    """Ask for a rehearsal of the next days on a copy."""
    text = given(request, "days").get("days", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise InvalidParameter("'days' must be a whole number")
    made = await desk.act(request, _SIMULATIONS, {"days": int(text)})
    return f"/operator/timers/rehearsals/{made['sid']}"


async def rehearsed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show what a rehearsal found, or that it is still on its way."""
    path = f"{_SIMULATIONS}/{sid_of(request, 'sid')}"
    found = await desk.read(tx, request, path)
    result = found.get("result") or {}
    events = result.get("events", [])
    changed = result.get("diff", [])
    sids = {one["customer_sid"] for one in (*events, *changed) if one["customer_sid"]}
    data = {
        "rehearsal": found,
        "result": result,
        "events": events[:_EVENTS_MAX],
        "event_count": len(events),
        "changes": changed,
        "names": await reading.names(tx, sorted(sids)),
        "is_ended": found["status"] in rehearsal.ENDED,
    }
    return Shown("timers_rehearsal.html", f"Rehearsal of {found['days']} days", data, [Line("GET", path)])
