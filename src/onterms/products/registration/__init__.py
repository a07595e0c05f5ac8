"""Registration: brands, campaigns and toll-free numbers made known to registries, and what senders may do by it."""

from onterms.products.registration.api import Api
from onterms.products.registration.model.rates import (
    CAPPED_NETWORK,
    INTERNATIONAL,
    LONG_CODE,
    SHORT_CODE,
    TOLLFREE,
    Rate,
)
from onterms.products.registration.service.brands import bundle_decided, used_by
from onterms.products.registration.service.campaigns import Pools, number_added, numbers_removed, service_deleted
from onterms.products.registration.service.fees import Fees
from onterms.products.registration.service.standing import CAP_REACHED, SenderStanding, spend, standings
from onterms.products.registration.store import services_registered
from onterms.products.registration.tasks import Tasks, register_months

# Told of each change with the account's SID.
CHANNEL = "onterms_registration"

__all__ = [
    "CAPPED_NETWORK",
    "CAP_REACHED",
    "CHANNEL",
    "INTERNATIONAL",
    "LONG_CODE",
    "SHORT_CODE",
    "TOLLFREE",
    "Api",
    "Fees",
    "Pools",
    "Rate",
    "SenderStanding",
    "Tasks",
    "bundle_decided",
    "number_added",
    "numbers_removed",
    "register_months",
    "service_deleted",
    "services_registered",
    "spend",
    "standings",
    "used_by",
]
