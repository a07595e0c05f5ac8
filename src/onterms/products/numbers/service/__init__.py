"""Use cases: search the stock, hold numbers, keep applications, look numbers up for other rooms."""

from onterms.products.numbers.service.applications import (
    application,
    create_application,
    delete_application,
    fetch_application,
    list_applications,
    update_application,
)
from onterms.products.numbers.service.fees import RENEW_TASK, Fees
from onterms.products.numbers.service.holding import (
    QUARANTINE_TASK,
    FindAccount,
    OwnsResource,
    buy_in_area,
    buy_number,
    end_quarantine,
    ensure_first_number,
    fetch_number,
    list_numbers,
    pretend_to_buy,
    release_all,
    release_number,
    update_number,
)
from onterms.products.numbers.service.owned import OwnedCache, held, numbers_of, owned, owner_of, senders
from onterms.products.numbers.service.stock import (
    fill_sandbox_inventory,
    list_countries,
    require_country,
    search_numbers,
)

__all__ = [
    "QUARANTINE_TASK",
    "RENEW_TASK",
    "Fees",
    "FindAccount",
    "OwnedCache",
    "OwnsResource",
    "application",
    "buy_in_area",
    "buy_number",
    "create_application",
    "delete_application",
    "end_quarantine",
    "ensure_first_number",
    "fetch_application",
    "fetch_number",
    "fill_sandbox_inventory",
    "held",
    "list_applications",
    "list_countries",
    "list_numbers",
    "numbers_of",
    "owned",
    "owner_of",
    "pretend_to_buy",
    "release_all",
    "release_number",
    "require_country",
    "search_numbers",
    "senders",
    "update_application",
    "update_number",
]
