"""SMPP: messages over the operator's own carriers, and what these bring."""

from onterms.carriers.smpp.api import SmppApi
from onterms.carriers.smpp.carrier import Networks, SmppCarrier
from onterms.carriers.smpp.model import NO_ROUTE, Network

__all__ = ["NO_ROUTE", "Network", "Networks", "SmppApi", "SmppCarrier"]
