"""Agreements: texts and their versions, who is bound by which, and what the contract says. The door."""

from onterms.business.agreements.api import Api
from onterms.business.agreements.errors import Conflict, TermsForbid, Unprocessable
from onterms.business.agreements.events import (
    AGREEMENT_ACCEPTED,
    AGREEMENT_DECLINED,
    LEGAL_TASK_OPENED,
    VERSION_EFFECTIVE,
)
from onterms.business.agreements.model.binding import NOTICE_DAYS, Acceptance, Binding, Version
from onterms.business.agreements.model.parties import Case, Forum, PartyTables, shipped_rows, shipped_tables
from onterms.business.agreements.model.precedence import FormTerm, Resolved, survives
from onterms.business.agreements.model.texts import terms
from onterms.business.agreements.service.binding import (
    Bindings,
    Notify,
    acceptances,
    is_bound,
    pending,
    version_in_force,
)
from onterms.business.agreements.service.documents import add_document, draft, public_version, publish
from onterms.business.agreements.service.resolving import (
    Governing,
    OrderForms,
    Parties,
    effective_clauses,
    entity_of,
    forum_of,
    governing_agreement,
    parties_of,
    resolve,
    tables_of,
)
from onterms.business.agreements.service.template import ensure_first_customer, ensure_template
from onterms.business.agreements.store import agreements, end_agreement
from onterms.business.agreements.tasks import Tasks

__all__ = [
    "AGREEMENT_ACCEPTED",
    "AGREEMENT_DECLINED",
    "LEGAL_TASK_OPENED",
    "NOTICE_DAYS",
    "VERSION_EFFECTIVE",
    "Acceptance",
    "Api",
    "Binding",
    "Bindings",
    "Case",
    "Conflict",
    "FormTerm",
    "Forum",
    "Governing",
    "Notify",
    "OrderForms",
    "Parties",
    "PartyTables",
    "Resolved",
    "Tasks",
    "TermsForbid",
    "Unprocessable",
    "Version",
    "acceptances",
    "add_document",
    "agreements",
    "draft",
    "effective_clauses",
    "end_agreement",
    "ensure_first_customer",
    "ensure_template",
    "entity_of",
    "forum_of",
    "governing_agreement",
    "is_bound",
    "parties_of",
    "pending",
    "public_version",
    "publish",
    "resolve",
    "shipped_rows",
    "shipped_tables",
    "survives",
    "tables_of",
    "terms",
    "version_in_force",
]
