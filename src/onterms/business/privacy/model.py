"""Data classes, confidentiality and requests for information: pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from onterms.business.cases import Case, Machine, Move, Violation
from onterms.core.money import divide

# Clause 1.13: a group smaller than this tells of single customers.
K_DEFAULT = 20
# Clause 4.2: processing under the data protection addendum is for these.
PURPOSES = frozenset(("provide_services", "billing", "security", "legal_obligation", "support"))
# Clause 4.3.1: what is confidential unless somebody says otherwise, and who needs to know it.
NEEDS_TO_KNOW: Mapping[str, frozenset[str]] = {
    "order_form": frozenset(("sales", "billing", "legal")),
    "price": frozenset(("sales", "billing", "legal")),
    "customer_data": frozenset(("support", "privacy")),
    "message_body": frozenset(("abuse",)),
    "report": frozenset(("security", "legal")),
}
# Clause 4.3.1: the four exceptions.
EXCEPTIONS = frozenset(("public", "known_before", "from_third_party", "independently_developed"))

# Tables that say whose a row is belong to customers, but for these: they are ours or the law asks to keep them, and
# cases hold reviews and requests under a gag, which no export may tell of; a customer's own have routes.
OPERATOR_TABLES = frozenset(
    ("agreement_ends", "audit_events", "audit_heads", "cases", "confidential_looks", "jobs", "report_downloads")
)

# Clause 4.1 and DPA.8: what a deletion takes, in an order that foreign keys allow. Content, what identifies end users,
# and the log of what became of it all, in which calls of webhooks stand with their bodies.
CONTENT = (
    *("smpp_handovers", "smpp_parts", "smpp_submit_parts", "smpp_deliveries", "smpp_messages", "mms_sent"),
    *("rcs_messages", "whatsapp_messages", "whatsapp_windows", "channel_messages", "messaging_fallbacks"),
    *("message_media", "media_contents", "message_feedback", "messages", "message_cookies", "end_user_marks"),
    *("end_users", "consents"),
    *("messaging_scheduled", "messaging_links", "messaging_sticky_senders", "messaging_contacts"),
    *("aup_hits", "usage_quarantine", "alerts", "events"),
)
# Settings and credentials, without which an account that is still open could not work.
OF_CLOSED = (
    *("message_opt_outs", "message_blocked_countries", "usage_triggers", "applications", "incoming_numbers"),
    *("messaging_number_words", "messaging_compliance", "messaging_sender_rates", "messaging_insight_marks"),
    *("messaging_insights", "messaging_sender_insights"),
    *("whatsapp_numbers", "whatsapp_templates", "channel_senders"),
    *("messaging_service_senders", "messaging_services", "messaging_domains", "content_approvals", "content_templates"),
    *("oauth_access_tokens", "oauth_apps", "api_keys", "endpoint_uses", "jobs"),
    *("smpp_sessions", "smpp_numbers", "smpp_users", "messaging_media_settings", "rcs_agents"),
    *("registration_caps", "registration_numbers", "registration_campaigns", "registration_vettings"),
    *("registration_tollfree", "registration_brands", "registrar_texts"),
    *("trust_evaluations", "trust_endpoints", "trust_entities", "trust_bundles", "trust_documents", "trust_end_users"),
)
DELETED = (*CONTENT, *OF_CLOSED)
# Beginnings of the names of tables that a deletion leaves, each with its reason; the certificate says so.
KEPT: Mapping[str, str] = {
    **dict.fromkeys(("ledger_", "payment", "invoice", "invoicing_", "billing_", "credit_notes"), "books"),
    **dict.fromkeys(("rated_usage", "usage_closed", "usage_sources", "usage_windows", "tier_counts"), "books"),
    **dict.fromkeys(("order_forms", "pass_through_charges", "tax_", "vat_", "withholding_", "claim_credits"), "books"),
    **dict.fromkeys(("dunning", "late_", "collection_", "dispute", "money_", "top_up_", "fx_"), "books"),
    **dict.fromkeys(("customer", "assignment_", "bindings", "acceptances", "agreement", "attachments"), "contract"),
    **dict.fromkeys(("legal_tasks", "operator_tasks", "service_", "services_", "public_records"), "contract"),
    **dict.fromkeys(("notice", "standing_", "suspended_", "cases"), "evidence"),
    **dict.fromkeys(("audit_", "confidential_looks", "report_downloads"), "evidence"),
    "accounts": "accounts and their status",
}


def kept_because(table: str) -> str | None:
    """Return why a deletion leaves a table's rows, or None where it may not."""
    return next((reason for name, reason in KEPT.items() if table.startswith(name)), None)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalogue shows it, with the column that says whose a row is."""

    name: str
    columns: tuple[str, ...]

    @property
    def owner(self) -> str | None:
        """The column by which rows belong to a customer or its accounts."""
        for column in ("customer_sid", "account_sid"):
            if column in self.columns:
                return column
        return None

    @property
    def data_class(self) -> str:
        """`customer` for what is exported and deleted, else `operator`."""
        return "customer" if self.owner is not None and self.name not in OPERATOR_TABLES else "operator"


def untagged(tables: Sequence[Table], tags: Mapping[str, str]) -> list[str]:
    """List the tables that have no data class in a register (1.3)."""
    return sorted(table.name for table in tables if tags.get(table.name) not in ("customer", "operator"))


def may_process(purpose: str, data_class: str) -> bool:
    """Tell whether a job may read data of a class (4.2); what is customers' needs a purpose of the addendum."""
    return data_class == "operator" or purpose in PURPOSES


def may_see(role: str, kind: str, *, exception: str = "") -> bool:
    """Tell whether somebody in a role needs to know a kind of thing (4.3.1, 4.3.2)."""
    return exception in EXCEPTIONS or role in NEEDS_TO_KNOW.get(kind, frozenset())


def aggregate(values: Mapping[str, int], k: int = K_DEFAULT) -> tuple[int, int] | None:
    """Return (customers, mean) of a value per customer, or None where the group is too small (1.13)."""
    if len(values) < k:
        return None
    return len(values), divide(sum(values.values()), len(values), "half_up")


def watermark(customer_name: str, actor: str, at: datetime) -> str:
    """Return the line that every page of a report carries."""
    return f"Confidential, for {customer_name} ({actor}), {at.isoformat()}"


def marks_allowed(consents: Collection[str], use: str, *, is_government: bool) -> bool:
    """Tell whether name and logo may be used: by default yes, for US government by consent only (4.4, 10.1.5)."""
    if f"deny:{use}" in consents or "deny:*" in consents:
        return False
    return not is_government or f"allow:{use}" in consents or "allow:*" in consents


def _withheld_with_basis(case: Case, at: datetime) -> Violation | None:
    facts = case.facts
    if not facts.get("gag") and not facts.get("investigation"):
        return Violation("notice_due", "Without gag or investigation the customer is told first", 409, "4.3.3")
    if not facts.get("order_file"):
        return Violation("no_basis", "To withhold the notice takes the order as a file", 422, "4.3.3")
    return None


def _no_gag(case: Case, at: datetime) -> Violation | None:
    if case.facts.get("gag"):
        return Violation("gag", "An order forbids to tell the customer", 409, "4.3.3")
    return None


def _cost_allowed(case: Case, at: datetime) -> Violation | None:
    if case.facts.get("law_limit"):
        return Violation("law_limit", "Law does not allow to charge this cooperation", 409, "10.1.3")
    return None


_COSTS = {
    (state, "cost"): Move(state, "cost_allowed", ("book_cost",), needs=("hours", "hourly"))
    for state in ("validated", "customer_noticed", "notice_withheld", "data_collected", "disclosed")
}

INFORMATION_REQUEST = Machine(
    kind="information_request",
    prefix="IR",
    clause="2.2(f)",
    moves={
        ("", "open"): Move(
            "received",
            needs=("requester", "basis", "scope"),
            takes=("due_at", "gag", "investigation", "order_file", "law_limit", "ask_customer"),
        ),
        ("received", "validate"): Move("validated", None, ("ask_customer",)),
        ("received", "reject"): Move("rejected", needs=("reason",)),
        ("validated", "notice"): Move("customer_noticed", "no_gag", ("tell_customer",)),
        ("validated", "withhold"): Move("notice_withheld", "withheld_with_basis", takes=("order_file",)),
        ("customer_noticed", "answer"): Move("data_collected", by=("customer", "operator"), needs=("answer",)),
        ("customer_noticed", "collect"): Move("data_collected"),
        ("notice_withheld", "collect"): Move("data_collected"),
        ("customer_noticed", "escalate"): Move("customer_noticed", None, ("escalate",), by=("system", "operator")),
        ("data_collected", "disclose"): Move("disclosed", needs=("disclosed",)),
        ("data_collected", "refuse"): Move("refused", needs=("reason",)),
        ("disclosed", "close"): Move("closed"),
        ("refused", "close"): Move("closed"),
        ("rejected", "close"): Move("closed"),
        **_COSTS,
    },
    fields={
        "requester": "text",
        "basis": "text",
        "scope": "prose",
        "due_at": "instant",
        "gag": "flag",
        "investigation": "flag",
        "order_file": "text",
        "law_limit": "flag",
        "ask_customer": "flag",
        "reason": "prose",
        "answer": "prose",
        "disclosed": "prose",
        "hours": "int",
        "hourly": "amount",
    },
    guards={"withheld_with_basis": _withheld_with_basis, "no_gag": _no_gag, "cost_allowed": _cost_allowed},
    deadline=lambda case: (
        ("escalate", case.instant("due_at"))
        if case.state == "customer_noticed" and "due_at" in case.facts and not case.facts.get("escalated_at")
        else None
    ),
    # A customer under a gag must not learn of it by looking, so the whole kind is the operator's; its task shows the
    # request that it is to answer.
    secret=True,
)


MARKS_CONSENT = Machine(
    kind="marks_consent",
    prefix="MC",
    clause="4.4",
    moves={
        ("", "open"): Move("in_force", by=("customer", "operator"), needs=("allowed", "uses"), takes=("guidelines",)),
        ("in_force", "withdraw"): Move("withdrawn", by=("customer",)),
    },
    fields={"allowed": "flag", "uses": "texts", "guidelines": "text"},
)
MARKS_USE = Machine(
    kind="marks_use",
    prefix="MU",
    clause="4.4",
    moves={
        ("", "open"): Move("recorded", None, ("check_consent",), needs=("use", "where")),
        ("recorded", "end"): Move("ended", by=("operator", "customer")),
    },
    fields={"use": "text", "where": "text"},
)

DELETION = Machine(
    kind="data_deletion",
    prefix="DD",
    clause="4.1",
    moves={
        ("", "open"): Move("scheduled", needs=("due_at",)),
        ("scheduled", "cancel"): Move("cancelled", needs=("reason",)),
        ("scheduled", "delete"): Move("deleted", None, ("delete",), by=("system", "operator")),
    },
    fields={"due_at": "instant", "reason": "prose"},
    deadline=lambda case: ("delete", case.instant("due_at")) if case.state == "scheduled" else None,
)
