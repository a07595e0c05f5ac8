"""Customer data: export, deletion, consent, confidentiality, requests for information. The door."""

from onterms.business.privacy.api import Api
from onterms.business.privacy.model import (
    Table,
    aggregate,
    may_process,
    may_see,
    untagged,
)
from onterms.business.privacy.service import Privacy, has_consent

__all__ = ["Api", "Privacy", "Table", "aggregate", "has_consent", "may_process", "may_see", "untagged"]
