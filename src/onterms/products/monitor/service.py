"""Use cases of the debugger."""

from collections.abc import Sequence
from datetime import datetime

from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.engines.api import PageRequest, catalogue
from onterms.products.monitor import store
from onterms.products.monitor.errors import AlertNotFound
from onterms.products.monitor.model import AlertFilter, NewAlert, level_number, storable


async def record(tx: Tx, alerts: Sequence[NewAlert], at: datetime) -> list[str]:
    """Keep what went wrong, for any accounts, and return the new SIDs in order."""
    if not alerts:
        return []
    sids = [new_sid("NO", at) for _ in alerts]
    rows = [
        (
            sid,
            alert.error_code,
            level_number(alert.level or catalogue.level(alert.error_code)),
            storable(alert.text) or catalogue.meaning(alert.error_code),
            alert.resource_sid,
            alert.service_sid,
            alert.request_method,
            storable(alert.request_url),
            storable(alert.request_variables),
            storable(alert.request_headers),
            storable(alert.response_headers),
            storable(alert.response_body),
            alert.generated_at or at,
        )
        for sid, alert in zip(sids, alerts, strict=True)
    ]
    await store.insert(tx, [alert.account_sid for alert in alerts], rows, at)
    return sids


async def list_alerts(tx: Tx, account_sid: str, wanted: AlertFilter, request: PageRequest) -> list[Row]:
    """Return one page of an account's alerts, newest first."""
    return await store.list_page(tx, account_sid, wanted, request)


async def fetch_alert(tx: Tx, account_sid: str, sid: str, resource_sid: str | None = None) -> Row:
    """Return one alert in full.

    Raises: AlertNotFound, also when it is about another resource than the one named.
    """
    row = await store.fetch(tx, account_sid, sid, resource_sid)
    if row is None:
        raise AlertNotFound(sid)
    return row
