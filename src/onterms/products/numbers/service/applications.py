"""Applications: sets of webhooks under one SID."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.engines.api import PageRequest
from onterms.products.numbers import store
from onterms.products.numbers.errors import ApplicationNotFound
from onterms.products.numbers.model import APPLICATION_DEFAULTS, Application, Webhook, merge_settings


async def create_application(tx: Tx, account_sid: str, changes: Mapping[str, Any], at: datetime) -> Row:
    """Make an application."""
    settings = merge_settings(APPLICATION_DEFAULTS, changes, APPLICATION_DEFAULTS)
    return await store.insert_application(tx, account_sid, new_sid("AP", at), settings, at)


async def fetch_application(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return an application.

    Raises: ApplicationNotFound.
    """
    row = await store.fetch_application(tx, account_sid, sid)
    if row is None:
        raise ApplicationNotFound(sid)
    return row


async def list_applications(tx: Tx, account_sid: str, params: Mapping[str, Any], request: PageRequest) -> list[Row]:
    """Return one page of an account's applications, newest first."""
    return await store.list_applications(tx, account_sid, request, friendly_name=params.get("FriendlyName") or None)


async def update_application(tx: Tx, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime) -> Row:
    """Change an application; numbers that name it follow.

    Raises: ApplicationNotFound.
    """
    current = await store.fetch_application(tx, account_sid, sid, lock=True)
    if current is None:
        raise ApplicationNotFound(sid)
    row = await store.save_application(tx, account_sid, sid, merge_settings(current, changes, APPLICATION_DEFAULTS), at)
    await store.announce(tx, [account_sid])
    return row


async def delete_application(tx: Tx, account_sid: str, sid: str, at: datetime) -> None:
    """Delete an application; numbers that named it return to their own URLs.

    Raises: ApplicationNotFound.
    """
    if not await store.delete_application(tx, account_sid, sid, at):
        raise ApplicationNotFound(sid)
    await store.announce(tx, [account_sid])


async def application(tx: Tx, account_sid: str, sid: str) -> Application | None:
    """Return an account's application, or None."""
    row = await store.fetch_application(tx, account_sid, sid)
    if row is None:
        return None
    return Application(
        account_sid=row["account_sid"],
        sid=row["sid"],
        friendly_name=row["friendly_name"],
        sms=Webhook(row["sms_url"], row["sms_method"], row["sms_fallback_url"], row["sms_fallback_method"]),
        voice=Webhook(row["voice_url"], row["voice_method"], row["voice_fallback_url"], row["voice_fallback_method"]),
        message_status_callback=row["message_status_callback"] or row["sms_status_callback"],
        status_callback=row["status_callback"],
        status_callback_method=row["status_callback_method"],
        voice_caller_id_lookup=row["voice_caller_id_lookup"],
        public_connect=row["public_application_connect_enabled"],
    )
