"""Numbers: the operator's stock, the numbers that customers hold, and applications."""

from onterms.products.numbers.api import bindings
from onterms.products.numbers.model import Application, Capabilities, OwnedNumber, Webhook
from onterms.products.numbers.service import (
    Fees,
    OwnedCache,
    application,
    ensure_first_number,
    fill_sandbox_inventory,
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
    "Webhook",
    "application",
    "bindings",
    "ensure_first_number",
    "fill_sandbox_inventory",
    "held",
    "numbers_of",
    "owned",
    "owner_of",
    "register",
    "release_all",
    "senders",
]
