"""What people want of an account's senders, told through the API; words of opting out; numbers out of service."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from onterms.core import e164
from onterms.core.calendar import day_of
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.products import numbers
from onterms.products.messaging import errors
from onterms.products.messaging.service import pool
from onterms.products.messaging.store import consent as store
from onterms.products.messaging.store import pools

# Twilio docs, Bulk Upsert Consents and Bulk Upsert Contacts: objects in one request.
ITEMS_MAX: Final = 25
# Twilio docs, errors 30646 and 30647, with the words that go with them.
CONSENT_FAILED: Final = 30646
CONTACT_FAILED: Final = 30647
SOURCES: Final = frozenset({"website", "offline", "opt-in-message", "opt-out-message", "others"})
_CORRELATION_CHARS: Final = 32
# No postal code anywhere has more.
_ZIP_CHARS_MAX: Final = 12


def _items(given: Sequence[Any]) -> list[Mapping[str, Any]]:
    # One object a parameter, or one parameter that holds the whole list: official clients differ.
    items = [each for value in given for each in (value if isinstance(value, list) else [value])]
    if not 1 <= len(items) <= ITEMS_MAX or not all(isinstance(each, Mapping) for each in items):
        raise InvalidParameter(f"Items must be 1 to {ITEMS_MAX} objects")
    return items


def _result(item: Mapping[str, Any], code: int, problems: list[str]) -> dict[str, Any]:
    return {
        "correlation_id": str(item.get("correlation_id", ""))[:64],
        "error_code": code if problems else 0,
        "error_messages": problems,
    }


def _common_problems(item: Mapping[str, Any], seen: set[str]) -> list[str]:
    problems = []
    correlation = item.get("correlation_id")
    if (
        not isinstance(correlation, str)
        or len(correlation.replace("-", "")) < _CORRELATION_CHARS
        or correlation in seen
    ) or len(correlation) > 2 * _CORRELATION_CHARS:
        problems.append("INVALID_CORRELATION_ID")
    else:
        seen.add(correlation)
    contact = item.get("contact_id")
    if not isinstance(contact, str) or not e164.is_e164(contact):
        problems.append("INVALID_CONTACT_ID")
    return problems


async def put_consents(tx: Tx, account_sid: str, given: Sequence[Any], at: datetime) -> list[dict[str, Any]]:
    """Record consents; each answers for itself, and those that are wrong change nothing. Raises: InvalidParameter."""
    items = _items(given)
    senders = await _senders_named(tx, account_sid, items)
    results: list[dict[str, Any]] = []
    # The last word on a pair counts.
    consents: dict[tuple[str, str], store.Consent] = {}
    seen: set[str] = set()
    for item in items:
        problems = _common_problems(item, seen)
        names = senders.get(str(item.get("sender_id", "")), ())
        if not names:
            problems.append("INVALID_SENDER_ID")
        if item.get("status") not in ("opt-in", "opt-out"):
            problems.append("INVALID_STATUS")
        if item.get("source") not in SOURCES:
            problems.append("INVALID_SOURCE")
        try:
            consented_at = _moment(item.get("date_of_consent"), at)
        except ValueError:
            problems.append("INVALID_DATE_OF_CONSENT")
        results.append(_result(item, CONSENT_FAILED, problems))
        if problems:
            continue
        is_out = item["status"] == "opt-out"
        for name in names:
            key = (name, item["contact_id"])
            consents[key] = store.Consent(*key, is_out, item["source"], consented_at)
    if consents:
        await store.set_consents(tx, account_sid, list(consents.values()), at)
    return results


async def _senders_named(tx: Tx, account_sid: str, items: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return under which names the senders of items are kept: a service's own with those of its pool, or a number."""
    named = {str(item.get("sender_id", ""))[:64] for item in items}
    services = [(account_sid, name) for name in named if name.startswith("MG")]
    found: dict[str, tuple[str, ...]] = {}
    if services:
        known = await pools.fetch_services(tx, services)
        rows = await pools.senders_of(tx, list(known)) if known else []
        for _, service_sid in known:
            of_service = [row for row in rows if row["service_sid"] == service_sid]
            found[service_sid] = tuple(pool.opt_out_senders(of_service, service_sid))
    rest = [name for name in named if not name.startswith("MG")]
    found |= {number: (number,) for number in await numbers.owned(tx, account_sid, rest)}
    return found


def _moment(value: Any, at: datetime) -> datetime | None:
    """Read a date of consent. Raises: ValueError for what is none, or lies ahead."""
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise ValueError(value)
    moment = datetime.fromisoformat(value)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # The bounds of what can be stored and converted.
    if not datetime(1990, 1, 1, tzinfo=UTC) <= moment <= at:
        raise ValueError(value)
    return moment


async def put_contacts(tx: Tx, account_sid: str, given: Sequence[Any], at: datetime) -> list[dict[str, Any]]:
    """Write down where contacts live, for quiet hours by their own time. Raises: InvalidParameter."""
    results: list[dict[str, Any]] = []
    contacts: dict[str, tuple[str, str, str]] = {}
    seen: set[str] = set()
    known = frozenset(e164.countries())
    for item in _items(given):
        problems = _common_problems(item, seen)
        country, zip_code = item.get("country_iso_code"), item.get("zip_code")
        if not isinstance(country, str) or country.upper() not in known:
            problems.append("INVALID_COUNTRY_ISO_CODE")
        if not isinstance(zip_code, str) or not 1 <= len(zip_code.strip()) <= _ZIP_CHARS_MAX or "\0" in zip_code:
            problems.append("INVALID_ZIP_CODE")
        results.append(_result(item, CONTACT_FAILED, problems))
        if not problems:
            contacts[item["contact_id"]] = (item["contact_id"], str(country).upper(), str(zip_code).strip())
    if contacts:
        await store.set_contacts(tx, account_sid, list(contacts.values()), at)
    return results


async def opt_outs(tx: Tx, account_sid: str, peer: str, after: str, limit: int) -> Sequence[Row]:
    """List what peers want of an account's senders. Shapes: `after` is `sender|peer` of the last one."""
    sender, _, last = after.partition("|")
    return await store.page(tx, account_sid, peer, (sender, last), limit)


# ---- words of a number


async def words_of_number(tx: Tx, account_sid: str, number_sid: str) -> Mapping[str, Any] | None:
    """Return the words of a number of the account, None where the default ones hold. Raises: NotFound."""
    await _require_number(tx, account_sid, number_sid)
    return (await store.words_of(tx, [(account_sid, number_sid)])).get((account_sid, number_sid))


async def set_words_of_number(
    tx: Tx, account_sid: str, number_sid: str, settings: Mapping[str, Any] | None, at: datetime
) -> None:
    """Give a number or short code words and replies of its own, or the default ones back. Raises: NotFound."""
    await _require_number(tx, account_sid, number_sid)
    await store.set_words(tx, account_sid, number_sid, settings, at)


async def _require_number(tx: Tx, account_sid: str, number_sid: str) -> None:
    if await numbers.held(tx, account_sid, number_sid) is None:
        raise NotFound(f"The account holds no number {number_sid[:40]}")


# ---- numbers out of service


async def deactivate(tx: Tx, day: date, given: Sequence[str], at: datetime) -> int:
    """Write down which numbers carriers took out of service on a day; return how many were new.

    Raises: InvalidParameter, which names the first that is no number of the US.
    """
    if day > day_of(at):
        raise InvalidParameter("'date' must not lie ahead")
    for number in given:
        # Twilio docs, Deactivations resource: United States phone numbers.
        if not e164.is_e164(number) or e164.country_of(number) != "US":
            raise InvalidParameter(f"'numbers': {number[:64]} is no number of the United States")
    return await store.deactivate(tx, day, sorted(set(given)))


def require_report(day: date, at: datetime) -> None:
    """Make sure that there can be a report of a day. Raises: ReportNotThere."""
    if day > day_of(at):
        raise errors.ReportNotThere(f"There is no report of {day.isoformat()} yet")


async def report(tx: Tx, day: date) -> bytes:
    """Return the report of a day as a file: a number a line."""
    return "".join(f"{number}\n" for number in await store.deactivated_on(tx, day)).encode()


class DeactivationBook:
    """Tells by the carriers' reports which numbers changed hands (a `ReassignedNumbers`)."""

    async def since(self, tx: Tx, asked: Sequence[tuple[str, date]]) -> set[tuple[str, date]]:
        """Return those of the pairs where the number was taken out of service after the day it was last known."""
        return await store.deactivated_after(tx, asked)
