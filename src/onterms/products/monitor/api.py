"""The operations this room serves."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Tx
from onterms.engines.api import Binding, Call, Page, serve
from onterms.products.monitor import service, wire


async def _list_notifications(tx: Tx, call: Call) -> Page:
    wanted = wire.notification_filter(call.params, call.path.get("CallSid"))
    rows = await service.list_alerts(tx, call.account.sid, wanted, call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.notification)


async def _fetch_notification(tx: Tx, call: Call) -> Mapping[str, Any]:
    row = await service.fetch_alert(tx, call.account.sid, call.path["Sid"], call.path.get("CallSid"))
    return wire.notification(row)


async def _list_alerts(tx: Tx, call: Call) -> Page:
    rows = await service.list_alerts(tx, call.account.sid, wire.alert_filter(call.params), call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.alert)


async def _fetch_alert(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.alert(await service.fetch_alert(tx, call.account.sid, call.path["Sid"]))


def bindings() -> list[Binding]:
    """Join the debugger's operations to their use cases."""
    return [
        serve("api_v2010:ListNotification", _list_notifications),
        serve("api_v2010:FetchNotification", _fetch_notification),
        serve("api_v2010:ListCallNotification", _list_notifications),
        serve("api_v2010:FetchCallNotification", _fetch_notification),
        serve("monitor_v1:ListAlert", _list_alerts),
        serve("monitor_v1:FetchAlert", _fetch_alert),
    ]
