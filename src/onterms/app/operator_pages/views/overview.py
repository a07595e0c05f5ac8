"""How the installation stands."""

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import Shown
from onterms.app.operator_pages.views.timers import described
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.engines.api import OwnRequest

_DISPUTES_OPEN = ("open", "late", "awaiting_customer", "uncooperative")
_CASES_ENDED = ("lifted", "withdrawn", "closed", "dismissed", "refused", "expired", "revoked", "ended", "resolved")


async def show(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show customers by standing, exposure, what waits for somebody, and what the clocks do next."""
    today = day_of(request.at)
    counts = await reading.by_standing(tx, today)
    cases = [row for row in await reading.case_counts(tx) if row["state"] not in _CASES_ENDED]
    proposals = await desk.everything(tx, request, "/commercial/v1/Collections/Proposals")
    tasks = await desk.everything(tx, request, "/commercial/v1/Tasks")
    disputes = await reading.disputes(tx, states=_DISPUTES_OPEN, limit=reading.PAGE_SIZE + 1)
    timers = await reading.timers(tx, 8)
    named = [str(one["customer_sid"]) for one in (*proposals, *tasks) if one["customer_sid"]]
    proposals = [one for one in proposals if one["state"] == "open"]
    # A proposal has its task, too; it is shown once, where it can be decided.
    said = {one["evidence"].get("task_sid") for one in proposals}
    data = {
        "standings": [(name, counts.get(name, 0)) for name in reading.STANDINGS],
        "customers": sum(counts.values()),
        "exposure": await reading.exposure(tx, today),
        "disputes": disputes[: reading.PAGE_SIZE],
        "disputes_more": len(disputes) > reading.PAGE_SIZE,
        "cases": cases,
        "proposals": proposals,
        "tasks": [one for one in tasks if one["sid"] not in said],
        "names": await reading.names(tx, named),
        "timers": await described(tx, timers),
        "timer_count": await reading.timer_counts(tx),
        "has_clock": desk.serves("POST", "/simulator/v1/clock"),
    }
    return Shown(
        "overview.html",
        "Overview",
        data,
        [
            Line("GET", "/commercial/v1/Customers"),
            Line("GET", "/commercial/v1/Collections/Proposals"),
            Line("GET", "/commercial/v1/Cases"),
            Line("GET", "/commercial/v1/Tasks"),
        ],
    )
