"""What this room refuses. Each refusal names the clause of the terms it stands on."""

from onterms.business.customers import Conflict, TermsForbid, Unprocessable

__all__ = ["Conflict", "TermsForbid", "Unprocessable"]
