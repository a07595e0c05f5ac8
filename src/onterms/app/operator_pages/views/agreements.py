"""Agreements: documents, their versions, words beside their summary, what changed, who is bound to what."""

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import Shown, sid_of
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.core.ids import SID
from onterms.engines.api import OwnRequest

_OWN = "/commercial/v1"
_BOUND_MAX = 200


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List the documents with their version of today."""
    documents = await desk.everything(tx, request, f"{_OWN}/Documents")
    rows = []
    counts = await reading.acceptance_counts(tx)
    for document in documents:
        versions = await desk.everything(tx, request, f"{_OWN}/Versions", document=document["name"])
        published = [one for one in versions if one["state"] == "published"]
        rows.append(
            {
                **document,
                "current": published[0] if published else None,
                "versions": len(versions),
                "acceptances": sum(counts.get(one["sid"], 0) for one in versions),
            }
        )
    rows.sort(key=lambda row: (row["rank"] is None, row["rank"] or 0, row["name"] != "tos", row["title"]))
    return Shown("agreements.html", "Agreements", {"rows": rows}, [Line("GET", f"{_OWN}/Documents")])


async def versions(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List a document's versions with their days."""
    document = await _document(desk, tx, request)
    found = await desk.everything(tx, request, f"{_OWN}/Versions", document=document["name"])
    data = {"document": document, "versions": found, "counts": await reading.acceptance_counts(tx)}
    return Shown(
        "agreements_document.html",
        document["title"],
        data,
        [Line("GET", f"{_OWN}/Versions", {"document": document["name"]})],
    )


async def show(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show a version: words beside summary, what changed since another, who is bound and by what evidence."""
    document, sid = await _document(desk, tx, request), sid_of(request, "sid")
    version = await desk.read(tx, request, f"{_OWN}/Versions/{sid}")
    if version["document"] != document["name"]:
        raise NotFound("There is no such version of this document")
    others = [
        one
        for one in await desk.everything(tx, request, f"{_OWN}/Versions", document=document["name"])
        if one["sid"] != sid
    ]
    against = request.query.get("against", "")
    changes = None
    if SID.match(against):
        changes = await desk.read(tx, request, f"{_OWN}/Versions/{sid}/Changes", against=against)
    clauses = await desk.everything(tx, request, f"{_OWN}/Versions/{sid}/Clauses")
    data = {
        "document": document,
        "version": version,
        "others": others,
        "changes": changes,
        "struck": [one for one in clauses if one["struck"]],
        "bound": await reading.bound(tx, sid, _BOUND_MAX),
        "bound_max": _BOUND_MAX,
    }
    lines = [Line("GET", f"{_OWN}/Versions/{sid}")]
    if changes is not None:
        lines.append(Line("GET", f"{_OWN}/Versions/{sid}/Changes", {"against": against}))
    return Shown("agreements_version.html", f"{document['title']}, {version['label']}", data, lines)


async def _document(desk: Desk, tx: Tx, request: OwnRequest) -> dict[str, str]:
    name = request.path["document"]
    for one in await desk.everything(tx, request, f"{_OWN}/Documents"):
        if one["name"] == name:
            return one
    raise NotFound("There is no such document")
