"""The outside shapes: Notifications of the 2010 API and Alerts of the monitor API."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from onterms.core.db import Row
from onterms.engines.api import catalogue
from onterms.products.monitor.errors import UnknownLevel
from onterms.products.monitor.model import LEVELS, AlertFilter, level_name

_API_VERSION = "2010-04-01"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def notification_filter(params: Mapping[str, Any], call_sid: str | None = None) -> AlertFilter:
    """Read the filters of a Notification list: `Log` and whole days of `MessageDate`.

    Twilio docs, Notification resource: `MessageDate<` means on or before that day, `MessageDate>` on or after it.
    """
    level = params.get("Log")
    if level is not None and not 0 <= level < len(LEVELS):
        raise UnknownLevel(level)
    first, last = params.get("MessageDate>"), params.get("MessageDate<")
    day = params.get("MessageDate")
    if day is not None:
        first = day if first is None else max(first, day)
        last = day if last is None else min(last, day)
    return AlertFilter(
        level=level,
        since=_midnight(first) if first is not None else None,
        # The last day of the calendar has no day after it, and nothing happens after it.
        before=_midnight(last + timedelta(days=1)) if last is not None and last < date.max else None,
        resource_sid=call_sid,
    )


def alert_filter(params: Mapping[str, Any]) -> AlertFilter:
    """Read the filters of an Alert list."""
    name = params.get("LogLevel")
    if name and str(name).lower() not in LEVELS:
        raise UnknownLevel(name)
    level = [index for index, known in enumerate(LEVELS) if name and known == str(name).lower()]
    return AlertFilter(level=level[0] if level else None, since=params.get("StartDate"), until=params.get("EndDate"))


def notification(row: Row) -> dict[str, Any]:
    """Render a Notification; the fields of the detailed form are there when the row has them."""
    resource = row["resource_sid"]
    return {
        "account_sid": row["account_sid"],
        "api_version": _API_VERSION,
        "call_sid": resource if resource is not None and resource.startswith("CA") else None,
        "date_created": row["created_at"],
        "date_updated": row["created_at"],
        "error_code": str(row["error_code"]),
        "log": str(row["level"]),
        "message_date": row["generated_at"],
        "message_text": row["text"],
        "more_info": catalogue.more_info(row["error_code"]),
        "request_method": row["request_method"],
        "request_url": row["request_url"],
        "request_variables": row.get("request_variables"),
        "response_headers": row.get("response_headers"),
        "response_body": row.get("response_body"),
        "sid": row["sid"],
        "uri": f"/2010-04-01/Accounts/{row['account_sid']}/Notifications/{row['sid']}.json",
    }


def alert(row: Row) -> dict[str, Any]:
    """Render an Alert; the fields of the detailed form are there when the row has them."""
    return {
        "account_sid": row["account_sid"],
        "alert_text": row["text"],
        "api_version": _API_VERSION,
        "date_created": row["created_at"],
        "date_generated": row["generated_at"],
        "date_updated": row["created_at"],
        "error_code": str(row["error_code"]),
        "log_level": level_name(row["level"]),
        "more_info": catalogue.more_info(row["error_code"]),
        "request_method": row["request_method"],
        "request_url": row["request_url"],
        "request_variables": row.get("request_variables"),
        "request_headers": row.get("request_headers"),
        "response_headers": row.get("response_headers"),
        "response_body": row.get("response_body"),
        "resource_sid": row["resource_sid"],
        "service_sid": row["service_sid"],
        "sid": row["sid"],
        "url": f"https://monitor.twilio.com/v1/Alerts/{row['sid']}",
    }
