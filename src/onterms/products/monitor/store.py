"""All SQL of the alerts table."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest
from onterms.products.monitor.model import AlertFilter

_SUMMARY = (
    "account_sid, sid, error_code, level, text, resource_sid, service_sid, request_method, request_url, "
    "generated_at, created_at"
)
_DETAIL = _SUMMARY + ", request_variables, request_headers, response_headers, response_body"

_INSERT = """
INSERT INTO alerts (account_sid, sid, error_code, level, text, resource_sid, service_sid, request_method, request_url,
                    request_variables, request_headers, response_headers, response_body, generated_at, created_at)
SELECT *, $15::timestamptz FROM unnest($1::text[], $2::text[], $3::int[], $4::smallint[], $5::text[], $6::text[],
                      $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
                      $14::timestamptz[])
"""


async def insert(tx: Tx, account_sids: Sequence[str], rows: Sequence[tuple[Any, ...]], at: datetime) -> None:
    """Keep alerts of any accounts.

    Shapes: each row is (sid, error_code, level, text, resource_sid, service_sid, request_method, request_url,
    request_variables, request_headers, response_headers, response_body, generated_at).
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    await tx.execute(_INSERT, list(account_sids), *columns, at)


async def list_page(tx: Tx, account_sid: str, wanted: AlertFilter, request: PageRequest) -> list[Row]:
    """Return one page of an account's alerts, newest first, and one row more when another page follows."""
    condition, tail = request.keyset("sid", 7)
    return await tx.fetch(
        f"""
        SELECT {_SUMMARY} FROM alerts
        WHERE account_sid = $1
          AND ($2::smallint IS NULL OR level = $2)
          AND ($3::timestamptz IS NULL OR generated_at >= $3)
          AND ($4::timestamptz IS NULL OR generated_at <= $4)
          AND ($5::timestamptz IS NULL OR generated_at < $5)
          AND ($6::text IS NULL OR resource_sid = $6)
          AND {condition}
        {tail}
        """,
        account_sid,
        wanted.level,
        wanted.since,
        wanted.until,
        wanted.before,
        wanted.resource_sid,
        request.key,
    )


async def fetch(tx: Tx, account_sid: str, sid: str, resource_sid: str | None = None) -> Row | None:
    """Return one alert of an account with the request and response it is about."""
    return await tx.fetchrow(
        f"SELECT {_DETAIL} FROM alerts WHERE account_sid = $1 AND sid = $2 AND ($3::text IS NULL OR resource_sid = $3)",
        account_sid,
        sid,
        resource_sid,
    )
