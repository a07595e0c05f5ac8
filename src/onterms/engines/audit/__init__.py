"""The audit trail: who changed what, why and on what evidence, in a chain of hashes that shows tampering.

Theory of operation
-------------------

Each scope (a customer, or the operator) has one chain. An event's hash covers its fields as canonical JSON (sorted
keys, no spaces, UTF-8) and the hash of the event before it, so a row that is changed, taken out or put in breaks every
row after it. `audit_heads` keeps where each chain ends, so that rows cut off the end are missed too. Events are written
with the transaction of what they tell; an advisory lock per scope lasts until it ends, so a chain never forks.
"""

from onterms.engines.audit.model import AuditEvent, Broken, Recorded
from onterms.engines.audit.store import history, record, verify

__all__ = ["AuditEvent", "Broken", "Recorded", "history", "record", "verify"]
