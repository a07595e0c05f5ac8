"""Customer data: export, deletion, consent, confidentiality, requests for information. The door."""

from onterms.business.privacy.api import Api
from onterms.business.privacy.errors import DataDeleted
from onterms.business.privacy.model import (
    DELETED,
    Table,
    aggregate,
    kept_because,
    may_process,
    may_see,
    untagged,
)
from onterms.business.privacy.service import Privacy, has_consent

__all__ = [
    "DELETED",
    "Api",
    "DataDeleted",
    "Privacy",
    "Table",
    "aggregate",
    "has_consent",
    "kept_because",
    "may_process",
    "may_see",
    "untagged",
]
