"""The operations this room serves."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Tx
from onterms.engines.api import Binding, Call, Page, serve
from onterms.products.content import service, wire


async def _create(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.content_of(await service.create(tx, call.account.sid, call.params, call.at))


async def _fetch(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.content_of(await service.fetch(tx, call.account.sid, call.path["Sid"]))


async def _update(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.content_of(await service.update(tx, call.account.sid, call.path["Sid"], call.params, call.at))


async def _delete(tx: Tx, call: Call) -> None:
    await service.delete(tx, call.account.sid, call.path["Sid"])


async def _list(tx: Tx, call: Call) -> Page:
    rows = await service.page(tx, call.account.sid, call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.content_of)


async def _list_with_approvals(tx: Tx, call: Call) -> Page:
    rows = await service.page(tx, call.account.sid, call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.with_approval)


async def _list_legacy(tx: Tx, call: Call) -> Page:
    rows = await service.search(tx, call.account.sid, {}, [])
    named = [wire.legacy(row) for row in rows if row["name"]]
    return Page.slice(call.paging, named, key="sid")


async def _search(tx: Tx, call: Call) -> Page:
    rows = await service.search(tx, call.account.sid, *wire.search(call.params))
    return Page.slice(call.paging, [wire.content_of(row) for row in rows], key="sid")


async def _search_with_approvals(tx: Tx, call: Call) -> Page:
    rows = await service.search(tx, call.account.sid, *wire.search(call.params))
    return Page.slice(call.paging, [wire.with_approval(row) for row in rows], key="sid")


async def _submit(tx: Tx, call: Call) -> Mapping[str, Any]:
    given = (call.path["ContentSid"], call.params["name"], call.params["category"])
    return wire.approval(await service.submit(tx, call.account.sid, *given, call.at))


async def _fetch_approval(tx: Tx, call: Call) -> Mapping[str, Any]:
    account_sid, sid = call.account.sid, call.path["Sid"]
    return wire.approval_fetch(account_sid, sid, await service.approval(tx, account_sid, sid))


def bindings() -> list[Binding]:
    """Join the operations to their use cases."""
    refused = {"types": (92001, "types is required"), "language": (92003, "language is required")}
    return [
        serve("content_v1:CreateContent", _create, refusals=refused),
        serve("content_v1:FetchContent", _fetch),
        serve("content_v1:UpdateContent", _update, refusals=refused),
        serve("content_v1:DeleteContent", _delete),
        serve("content_v1:ListContent", _list),
        serve("content_v1:ListContentAndApprovals", _list_with_approvals),
        serve("content_v1:ListLegacyContent", _list_legacy),
        serve("content_v2:ListContent", _search),
        serve("content_v2:ListContentAndApprovals", _search_with_approvals),
        serve("content_v1:CreateApprovalCreate", _submit),
        serve("content_v1:FetchApprovalFetch", _fetch_approval),
    ]
