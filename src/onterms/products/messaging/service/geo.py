"""Where an account may send messages to: a permission for each country, open unless it was closed."""

from collections.abc import Mapping, Sequence
from typing import Any

from onterms.core import e164
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.products.messaging import store

# Twilio docs, error 30649: what an entry carries that could not be carried out.
FAILED_TO_UPDATE = 30649


async def permissions(tx: Tx, account_sid: str, country: str | None) -> list[dict[str, Any]]:
    """Return an account's permissions, or the one of a country. Raises: NotFound for what is no country."""
    known = e164.countries()
    if country is not None:
        if country.upper() not in known:
            raise NotFound(f"There is no country {country[:16]}")
        known = [country.upper()]
    blocked = await store.blocked_countries(tx, [account_sid])
    return [_entry(code, enabled=(account_sid, code) not in blocked) for code in known]


async def update_permissions(tx: Tx, account_sid: str, wanted: Sequence[Any]) -> list[dict[str, Any]]:
    """Open and close countries; each entry answers for itself, and those that are wrong change nothing.

    Shapes: an entry is {"country_code", "type": "country", "enabled"}.

    Raises: InvalidParameter where the list itself is not one of objects.
    """
    known = frozenset(e164.countries())
    opened: list[str] = []
    blocked: list[str] = []
    results: list[dict[str, Any]] = []
    for entry in wanted:
        if not isinstance(entry, Mapping):
            raise InvalidParameter("Permissions must be a list of objects")
        code, enabled = str(entry.get("country_code", "")).upper(), entry.get("enabled")
        problems = []
        if code not in known:
            problems.append("country_code is not a country")
        if entry.get("type", "country") != "country":
            problems.append("type must be country")
        if not isinstance(enabled, bool):
            problems.append("enabled must be true or false")
        results.append(_entry(code, enabled=enabled is True, problems=problems))
        if not problems:
            (opened if enabled else blocked).append(code)
    await store.set_countries(tx, account_sid, opened=opened, blocked=blocked)
    return results


def _entry(code: str, *, enabled: bool, problems: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "country_code": code,
        "type": "country",
        "enabled": enabled,
        "error_code": FAILED_TO_UPDATE if problems else 0,
        "error_messages": list(problems),
    }
