"""Cases: suspensions first, and everything else that takes several steps between operator and customer.

What may be done with a case is read from its machine's table, so each kind of case has its forms here the day it is
mounted.
"""

from typing import Any

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import Shown, after_of, base_of, choice_of, given, page_of, sid_of
from onterms.business import cases, suspension
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines.api import OwnRequest

_OWN = "/commercial/v1"
SCOPES = ("customer", "account", "service", "number", "end_user")
GROUND_WORDS = {
    "aup": "breach of the use policy",
    "spike": "unusual traffic with signs of fraud",
    "law": "law requires it",
    "security": "threat to security",
    "info": "wrong or missing account information",
    "payment": "non-payment",
    "reseller": "non-payment of the reseller",
}
_SCOPE_FACTS = ("account_sid", "service", "country", "target")
_CHOICES = ("open", "ended")
_DONE = ("approve", "notice", "lift", "withdraw")


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List cases of every kind."""
    counts = await reading.case_counts(tx)
    kinds = sorted({row["kind"] for row in counts})
    kind = choice_of(request, "kind", kinds)
    chosen = choice_of(request, "state", _CHOICES)
    machines = desk.machines()
    ended = sorted({name for machine, _ in machines.values() for name in _final(machine)})
    states: list[str] | None = None
    if chosen is not None:
        every = {row["state"] for row in counts}
        states = sorted(every & set(ended)) if chosen == "ended" else sorted(every - set(ended))
    found = await reading.cases(tx, kind=kind, states=states, after=after_of(request), limit=reading.PAGE_SIZE + 1)
    rows, following = page_of(found, reading.PAGE_SIZE)
    data = {
        "rows": rows,
        "following": following,
        "kinds": kinds,
        "kind": kind,
        "state": chosen,
        "choices": _CHOICES,
        "grounds": suspension.GROUNDS,
    }
    return Shown("cases.html", "Cases", data, [Line("GET", f"{_OWN}/Cases", {"kind": kind} if kind else None)])


async def show(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show a case with its facts, its notice and what may be done with it."""
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    row = await reading.case(tx, customer_sid, sid)
    if row is None:
        raise NotFound("There is no such case")
    about = {"customer_sid": customer_sid}
    facts = dict(row["facts"])
    machine, noun = desk.machines().get(row["kind"], (None, None))
    notice = preview = None
    if facts.get("notice_sid"):
        notice = await desk.read(tx, request, f"{_OWN}/Notices/{facts['notice_sid']}", **about)
    elif row["kind"] == "suspension" and row["state"] in ("proposed", "approved"):
        preview = {"subject": suspension.NOTICE_SUBJECT, "body": suspension.notice_body(facts)}
    shown_apart = {"determination", "notice_sid", "effective_at", "noticed_at", "lift_conditions"}
    lines = []
    if noun is not None:
        lines = [
            Line("GET", f"{_OWN}/{noun}/{sid}", about),
            Line("POST", f"{_OWN}/{noun}/{sid}/Events", body={"event": "...", **about}),
        ]
    data = {
        "case": row,
        "facts": {name: value for name, value in facts.items() if name not in shown_apart},
        "all": facts,
        "notice": notice,
        "preview": preview,
        "clause": machine.clause if machine else None,
        "ground_words": GROUND_WORDS.get(str(facts.get("ground")), ""),
        "ground_clause": suspension.GROUNDS.get(str(facts.get("ground"))) if row["kind"] == "suspension" else None,
        "moves": _moves(machine, row["state"]) if machine else [],
        "base": base_of(customer_sid),
        "customer_name": (await reading.names(tx, [customer_sid])).get(customer_sid, customer_sid),
        "chosen": request.path.get("event"),
    }
    return Shown("cases_one.html", _title(row["kind"]), data, lines)


async def move(desk: Desk, request: OwnRequest) -> str:
    """Move a case by an event of its table."""
    customer_sid, sid, event = sid_of(request, "customer"), sid_of(request, "sid"), request.path["event"]
    found = await desk.find_case(customer_sid, sid)
    machine, noun = desk.machines().get(found["kind"] if found else "", (None, None))
    chosen = machine.moves.get((found["state"], event)) if machine is not None and found is not None else None
    if machine is None or chosen is None:
        raise NotFound("This is not possible now: the case may have moved on meanwhile")
    body = {
        name: _fact(machine.fields[name], name, request.body)
        for name in (*chosen.needs, *chosen.takes)
        if machine.fields[name] == "flag" or str(request.body.get(name, "")).strip()
    }
    await desk.act(request, f"{_OWN}/{noun}/{sid}/Events", {**body, "event": event, "customer_sid": customer_sid})
    done = event if event in _DONE and machine.kind == "suspension" else "moved"
    return f"{base_of(customer_sid)}/cases/{sid}?done={done}"


async def propose_form(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show the form that proposes a suspension."""
    customer_sid = sid_of(request, "customer")
    customer = await desk.read(tx, request, f"{_OWN}/Customers/{customer_sid}")
    example = {
        "customer_sid": customer_sid,
        "event": "propose",
        "scope": "customer",
        "ground": "aup",
        "determination": "...",
    }
    data = {
        "customer": customer,
        "base": base_of(customer_sid),
        "accounts": await reading.accounts(tx, customer_sid),
        "grounds": suspension.GROUNDS,
        "ground_words": GROUND_WORDS,
        "scopes": SCOPES,
    }
    return Shown(
        "cases_propose.html", "Propose a suspension", data, [Line("POST", f"{_OWN}/Suspensions", body=example)]
    )


async def propose(desk: Desk, request: OwnRequest) -> str:
    """Propose a suspension; nothing happens to the customer by that."""
    customer_sid = sid_of(request, "customer")
    body: dict[str, Any] = given(request, "scope", "ground", "determination", "lift_conditions", *_SCOPE_FACTS)
    evidence = [line.strip() for line in str(request.body.get("evidence", "")).splitlines() if line.strip()]
    if evidence:
        body["evidence"] = evidence
    made = await desk.act(request, f"{_OWN}/Suspensions", {**body, "event": "propose", "customer_sid": customer_sid})
    return f"{base_of(customer_sid)}/cases/{made['sid']}?done=proposed"


def _title(kind: str) -> str:
    return kind.replace("_", " ").capitalize()


def _final(machine: cases.Machine) -> set[str]:
    left = {state for state, _ in machine.moves}
    return {move.next for move in machine.moves.values()} - left


def _moves(machine: cases.Machine, state: str) -> list[dict[str, Any]]:
    """List what the operator may do with a case in a state, with the fields of each form."""
    return [
        {
            "event": event,
            "next": found.next,
            "is_dangerous": event in ("notice", "post", "take_effect", "convert", "confirm"),
            "fields": [
                {"name": name, "kind": machine.fields[name], "required": name in found.needs}
                for name in (*found.needs, *found.takes)
                if machine.fields[name] != "object"
            ],
        }
        for (at, event), found in machine.moves.items()
        # What a timer does when its time has come is not for a button.
        if at == state and "operator" in found.by and not (event == "take_effect" and "system" in found.by)
    ]


def _fact(kind: str, name: str, body: Any) -> Any:
    text = str(body.get(name, "")).strip()
    if kind == "flag":
        return name in body
    if kind == "int":
        if not (text.isascii() and text.isdigit()):
            raise InvalidParameter(f"'{name}' must be a whole number")
        return int(text)
    if kind == "texts":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if kind == "instant" and len(text) == len("2026-01-31T12:00"):
        # What a browser's field for a time gives; these pages speak of UTC only.
        return f"{text}:00+00:00"
    return text
