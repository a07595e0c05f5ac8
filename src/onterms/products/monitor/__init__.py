"""Monitor: what went wrong for a customer, kept for the debugger.

Rooms record alerts; the 2010 API shows them as Notifications, the monitor API as Alerts.
"""

from onterms.products.monitor.api import bindings
from onterms.products.monitor.model import NewAlert
from onterms.products.monitor.service import record

__all__ = ["NewAlert", "bindings", "record"]
