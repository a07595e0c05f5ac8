"""End users and supporting documents: what profiles are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.engines.api import PageRequest
from onterms.products.trust import errors, store
from onterms.products.trust.model import UNDER_REVIEW, policies

# Ours: what a type's fields hold are names, numbers and addresses.
_ATTRIBUTES_CHARS_MAX = 4096
_FIELDS_MAX = 64


@dataclass(frozen=True, slots=True)
class Noun:
    """One of the two kinds of things."""

    table: str
    prefix: str
    path: str
    types: Mapping[str, policies.Type]
    unknown_type: type[Refusal]
    in_use: type[Refusal]
    # Columns that a new one has beside what was given.
    first: Mapping[str, Any]


END_USERS = Noun(
    "trust_end_users", "IT", "EndUsers", policies.END_USER_TYPES, errors.UnknownEndUserType, errors.EndUserInUse, {}
)
DOCUMENTS = Noun(
    "trust_documents",
    "RD",
    "SupportingDocuments",
    policies.DOCUMENT_TYPES,
    errors.UnknownDocumentType,
    errors.DocumentInUse,
    {"status": "DRAFT"},
)


def _attributes(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > _FIELDS_MAX:
        raise errors.InvalidAttributes(f"Attributes must be a JSON object of at most {_FIELDS_MAX} fields")
    for value in given.values():
        if len(str(value)) > _ATTRIBUTES_CHARS_MAX:
            raise errors.InvalidAttributes(f"An attribute has at most {_ATTRIBUTES_CHARS_MAX} characters")
    return given


def _named(name: str) -> str:
    if not 1 <= len(name) <= 255:
        raise InvalidParameter("FriendlyName must have 1 to 255 characters")
    return name


async def create(tx: Tx, noun: Noun, account_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Store a thing. Raises: UnknownEndUserType or UnknownDocumentType, InvalidAttributes, InvalidParameter."""
    if params["Type"] not in noun.types:
        raise noun.unknown_type(f"There is no type '{params['Type'][:64]}'; there are {', '.join(noun.types)}")
    given = {
        "friendly_name": _named(params["FriendlyName"]),
        "type": params["Type"],
        "attributes": _attributes(params.get("Attributes")),
        **noun.first,
    }
    return await store.insert_thing(tx, noun.table, account_sid, new_sid(noun.prefix, at), given, at)


async def fetch(tx: Tx, noun: Noun, account_sid: str, sid: str) -> Row:
    """Return a thing. Raises: NotFound."""
    row = await store.fetch_thing(tx, noun.table, account_sid, sid)
    if row is None:
        raise NotFound(f"The requested resource /v1/{noun.path}/{sid} was not found")
    return row


async def page(tx: Tx, noun: Noun, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of things."""
    return await store.page_things(tx, noun.table, account_sid, request)


async def update(tx: Tx, noun: Noun, account_sid: str, sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Change a thing, as long as no reviewer has it.

    Raises: NotFound, NotAllowedNow, InvalidAttributes, InvalidParameter.
    """
    await fetch(tx, noun, account_sid, sid)
    used_in = await store.bundles_of_object(tx, account_sid, sid)
    for bundle in await store.bundles(tx, [(account_sid, each) for each in used_in]):
        if bundle["status"] in UNDER_REVIEW:
            raise errors.NotAllowedNow(f"{sid} is part of {bundle['sid']}, which is under review")
    changes: dict[str, Any] = {}
    if params.get("FriendlyName"):
        changes["friendly_name"] = _named(params["FriendlyName"])
    if params.get("Attributes") is not None:
        changes["attributes"] = _attributes(params["Attributes"])
    row = await store.update_thing(tx, noun.table, account_sid, sid, changes, at)
    assert row is not None
    return row


async def delete(tx: Tx, noun: Noun, account_sid: str, sid: str) -> None:
    """Remove a thing that no bundle has. Raises: NotFound, EndUserInUse or DocumentInUse."""
    await fetch(tx, noun, account_sid, sid)
    used_in = await store.bundles_of_object(tx, account_sid, sid)
    if used_in:
        raise noun.in_use(f"{sid} is assigned to {used_in[0]}")
    await store.delete_thing(tx, noun.table, account_sid, sid)
