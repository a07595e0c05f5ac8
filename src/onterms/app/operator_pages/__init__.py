"""The operator's pages, under `/operator/`: customers, invoices, disputes, cases, agreements, timers.

Rendered on the server and usable without JavaScript. What a page shows comes from the same use cases as our own API
(`desk`), or from read-only queries over all customers (`reading`); what a form does is a call of that API. Whoever
wants in shows the operator key, also on the machine itself: these pages move money and contracts.
"""

from onterms.app.operator_pages.pages import OperatorPages

__all__ = ["OperatorPages"]
