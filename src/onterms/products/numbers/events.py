"""What this room says to the log."""

from typing import Any

from onterms.engines.log import Event

BOUGHT = "numbers.bought"
RELEASED = "numbers.released"
TRANSFERRED = "numbers.transferred"


def number_bought(account_sid: str, sid: str, phone_number: str, price_ref: str) -> Event:
    """An account holds a number from now on."""
    return _event(BOUGHT, account_sid, sid, {"phone_number": phone_number, "price_ref": price_ref})


def number_released(account_sid: str, sid: str, phone_number: str, price_ref: str) -> Event:
    """An account no longer holds a number."""
    return _event(RELEASED, account_sid, sid, {"phone_number": phone_number, "price_ref": price_ref})


def number_transferred(account_sid: str, sid: str, phone_number: str, from_account_sid: str) -> Event:
    """A number moved to an account from another of its family."""
    return _event(TRANSFERRED, account_sid, sid, {"phone_number": phone_number, "from_account_sid": from_account_sid})


def _event(type_: str, account_sid: str, sid: str, data: dict[str, Any]) -> Event:
    return Event(type=type_, account_sid=account_sid, subject_sid=sid, data=data)
