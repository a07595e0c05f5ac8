"""Use cases: keep templates, have them approved, fill them in."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.engines.api import PageRequest
from onterms.engines.api.parameters import decode_json
from onterms.ports.channels import Review, SubmittedTemplate
from onterms.products.content import errors, model, store
from onterms.products.content.model import Rendered, Template

REVIEW = "content.review"


def _checked(given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a body says of a template; what it leaves out stays as it was.

    Raises: TypesRequired, UnsupportedType, InvalidLanguage, TooManyVariables, InvalidParameter.
    """
    template = {name: given.get(name, before.get(name)) for name in ("friendly_name", "language", "variables", "types")}
    types = {name: shown for name, shown in (template["types"] or {}).items() if shown is not None}
    if not types:
        raise errors.TypesRequired("types must hold at least one type")
    unknown = sorted(types.keys() - model.TYPES)
    if unknown:
        raise errors.UnsupportedType(f"There is no content type {unknown[0][:64]}")
    if not model.LANGUAGE.fullmatch(template["language"]):
        raise errors.InvalidLanguage(f"'{template['language'][:16]}' is no language code")
    variables = template["variables"] or {}
    if len(variables) > model.VARIABLES_MAX:
        raise errors.TooManyVariables(f"A template has at most {model.VARIABLES_MAX} variables")
    return {**template, "friendly_name": template["friendly_name"] or "", "variables": variables, "types": types}


async def create(tx: Tx, account_sid: str, given: Mapping[str, Any], at: datetime) -> Row:
    """Store a template. Raises: as `_checked`."""
    return await store.insert(tx, account_sid, new_sid("HX", at), _checked(given, {}), at)


async def update(tx: Tx, account_sid: str, sid: str, given: Mapping[str, Any], at: datetime) -> Row:
    """Write a template anew, as long as nobody was asked to approve it.

    Raises: NotFound, AlreadySubmitted, and as `_checked`.
    """
    before = await fetch(tx, account_sid, sid)
    if await store.fetch_approval(tx, account_sid, sid) is not None:
        raise errors.AlreadySubmitted(f"The template {sid} was submitted for approval and cannot change any more")
    row = await store.update(tx, account_sid, sid, _checked(given, before), at)
    assert row is not None
    return row


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a template. Raises: NotFound."""
    row = await store.fetch(tx, account_sid, sid)
    if row is None:
        raise NotFound(f"The requested resource /v1/Content/{sid} was not found")
    return row


async def page(tx: Tx, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of templates with their approvals."""
    return await store.page(tx, account_sid, request)


async def search(tx: Tx, account_sid: str, wanted: Mapping[str, Any], order: Sequence[tuple[str, bool]]) -> list[Row]:
    """Return every template that a filter asks for.

    Shapes: `wanted` as `model.matches` has it; `order` holds (column, descending), the most important last.
    """
    rows = [row for row in await store.all_of(tx, account_sid) if model.matches(row, wanted)]
    for column, descending in order:
        rows.sort(key=lambda row: row[column], reverse=descending)
    return rows


async def delete(tx: Tx, account_sid: str, sid: str) -> None:
    """Remove a template. Raises: NotFound."""
    if not await store.delete(tx, account_sid, sid):
        raise NotFound(f"The requested resource /v1/Content/{sid} was not found")


async def submit(tx: Tx, account_sid: str, sid: str, name: str, category: str, at: datetime) -> Row:
    """Ask for a template's approval. Raises: NotFound, AlreadySubmitted, InvalidParameter."""
    template = await fetch(tx, account_sid, sid)
    if await store.fetch_approval(tx, account_sid, sid) is not None:
        raise errors.AlreadySubmitted(f"The template {sid} was submitted before")
    if not name or len(name) > 512 or len(category) > 64:
        raise InvalidParameter("name and category are required")
    row = await store.insert_approval(tx, account_sid, sid, name, category, model.kind_of(template["types"]), at)
    await _ask(tx, account_sid, sid, at)
    return row


async def approval(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return a template's approval, or None where nobody asked for it. Raises: NotFound."""
    await fetch(tx, account_sid, sid)
    return await store.fetch_approval(tx, account_sid, sid)


async def take_up(tx: Tx, account_sid: str, sid: str, at: datetime) -> SubmittedTemplate | None:
    """Turn an approval down by the published rules, or return the template for the channel's reviewers."""
    row = await store.fetch_approval(tx, account_sid, sid)
    found = await templates(tx, [(account_sid, sid)])
    if row is None or not found or row["status"] not in ("received", "pending"):
        return None
    template = found[0]
    if row["status"] == "received":
        await store.move_approval(tx, account_sid, sid, "pending", "", at)
    reason = model.verdict(template, row["name"], row["category"])
    if reason:
        await store.move_approval(tx, account_sid, sid, "rejected", reason, at)
        return None
    return SubmittedTemplate(
        account_sid, sid, row["name"], row["category"], template.language, template.types, template.variables
    )


async def reviewed(tx: Tx, account_sid: str, sid: str, review: Review, at: datetime) -> None:
    """Record what the reviewers said; what does not follow from the approval's state changes nothing."""
    row = await store.fetch_approval(tx, account_sid, sid)
    if row is not None and review.status in model.MOVES[row["status"]]:
        await store.move_approval(tx, account_sid, sid, review.status, review.reason, at)


async def _ask(tx: Tx, account_sid: str, sid: str, at: datetime) -> None:
    await jobs.enqueue(tx, [jobs.NewJob(REVIEW, {"sid": sid}, account_sid=account_sid)], at)


async def templates(tx: Tx, keys: Sequence[tuple[str, str]]) -> list[Template]:
    """Return templates by (account_sid, sid); what an account does not have is absent."""
    wanted = set(keys)
    return [
        Template(
            row["account_sid"],
            row["sid"],
            row["variables"],
            row["types"],
            row["language"],
            row["approved_name"] or "",
            row["approved_category"] or "",
        )
        for row in await store.fetch_many(tx, keys)
        if (row["account_sid"], row["sid"]) in wanted
    ]


def render(template: Template, variables: str) -> Rendered:
    """Fill a template in for SMS or MMS with the JSON text of its variables.

    Raises: InvalidVariables, TypeNotOnChannel.
    """
    return model.rendered(template, _read(variables))


def render_for_channel(template: Template, variables: str) -> Rendered:
    """Fill a template in for a channel with the JSON text of its variables. Raises: InvalidVariables."""
    return model.rendered_for_channel(template, _read(variables))


def _read(variables: str) -> Mapping[str, str]:
    try:
        given = decode_json(variables) if variables else {}
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise errors.InvalidVariables("ContentVariables must be a JSON object whose values are texts")
    if any("\0" in value for value in given.values()):
        raise errors.InvalidVariables("ContentVariables must not hold the character NUL")
    return given
