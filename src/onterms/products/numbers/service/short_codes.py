"""Short codes: given to accounts by the operator, who leases them from a registry, and set up by their holders."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines import log
from onterms.engines.api import PageRequest
from onterms.products.numbers import store
from onterms.products.numbers.errors import ShortCodeTaken
from onterms.products.numbers.events import number_bought, number_released
from onterms.products.numbers.model import NUMBER_DEFAULTS, Kind, merge_settings, partial_number
from onterms.products.numbers.service.fees import Fees

_KIND: Final[Kind] = "shortcode"


async def give_short_code(
    tx: Tx, account_sid: str, code: str, country: str, mms: bool, friendly_name: str, fees: Fees | None, at: datetime
) -> Row:
    """Give an account a short code and charge its first month.

    Raises: InvalidParameter, ShortCodeTaken, StandingRefusal; NoAgreement, NotOnSale, InsufficientFunds.
    """
    if country not in e164.countries():
        raise InvalidParameter("'country' is no country with a numbering plan")
    if await store.held_numbers(tx, None, [code]):
        raise ShortCodeTaken(code)
    sid = new_sid("SC", at)
    facts = {
        "phone_number": code,
        "country": country,
        "kind": _KIND,
        "voice": False,
        "sms": True,
        "mms": mms,
        "fax": False,
        "address_requirements": "none",
        "beta": False,
        "price_ref": f"number.{country.lower()}.{_KIND}",
    }
    settings = {**NUMBER_DEFAULTS, "friendly_name": friendly_name or code}
    row = await store.insert_number(tx, account_sid, sid, facts, settings, at)
    if fees is not None:
        await fees.begin(tx, row, at)
    await log.append(tx, [number_bought(account_sid, sid, code, row["price_ref"])], at)
    await store.announce(tx, [account_sid])
    return row


async def held_short_codes(tx: Tx, after: str, limit: int) -> Sequence[Row]:
    """List the short codes that anybody holds."""
    return await store.short_codes(tx, "", after, limit)


async def take_short_code(tx: Tx, sid: str, at: datetime) -> None:
    """Take a short code back. Raises: NotFound."""
    for row in await store.short_codes(tx, sid, "", 1):
        await store.release_number(tx, row["account_sid"], sid, at)
        await log.append(tx, [number_released(row["account_sid"], sid, row["phone_number"], row["price_ref"])], at)
        await store.announce(tx, [row["account_sid"]])
        return
    raise _not_found(sid)


async def list_short_codes(tx: Tx, account_sid: str, params: Mapping[str, Any], request: PageRequest) -> list[Row]:
    """Return one page of the short codes that an account holds, newest first."""
    wanted = params.get("ShortCode")
    return await store.list_numbers(
        tx,
        account_sid,
        request,
        kind=_KIND,
        pattern=partial_number(wanted) if wanted else None,
        friendly_name=params.get("FriendlyName") or None,
        beta=None,
        origin=None,
    )


async def fetch_short_code(tx: Tx, account_sid: str, sid: str, *, lock: bool = False) -> Row:
    """Return a short code that an account holds. Raises: NotFound."""
    row = await store.fetch_number(tx, account_sid, sid, lock=lock)
    if row is None or row["kind"] != _KIND:
        raise _not_found(sid)
    return row


async def update_short_code(tx: Tx, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime) -> Row:
    """Change what an account may set of a short code. Raises: NotFound and what settings raise."""
    current = await fetch_short_code(tx, account_sid, sid, lock=True)
    settings = merge_settings(current, changes, NUMBER_DEFAULTS)
    # Twilio docs, ShortCode resource: the name is the code where none is given.
    settings["friendly_name"] = settings["friendly_name"] or current["phone_number"]
    row = await store.save_number(tx, account_sid, sid, settings, account_sid, at)
    await store.announce(tx, [account_sid])
    return row


def _not_found(sid: str) -> NotFound:
    return NotFound(f"Short code {sid} was not found")
