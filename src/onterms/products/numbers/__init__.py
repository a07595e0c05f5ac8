"""Numbers: the operator's stock, the numbers that customers hold, and applications."""

from onterms.products.numbers.api import ShortCodeApi, bindings
from onterms.products.numbers.model import Application, Capabilities, OwnedNumber, Webhook, short_code_reach
from onterms.products.numbers.service import (
    Fees,
    OwnedCache,
    application,
    ensure_first_number,
    fetch_short_code,
    fill_sandbox_inventory,
    give_short_code,
    held,
    numbers_of,
    owned,
    owner_of,
    release_all,
    senders,
)
from onterms.products.numbers.tasks import register

__all__ = [
    "Application",
    "Capabilities",
    "Fees",
    "OwnedCache",
    "OwnedNumber",
    "ShortCodeApi",
    "Webhook",
    "application",
    "bindings",
    "ensure_first_number",
    "fetch_short_code",
    "fill_sandbox_inventory",
    "give_short_code",
    "held",
    "numbers_of",
    "owned",
    "owner_of",
    "register",
    "release_all",
    "senders",
    "short_code_reach",
]
