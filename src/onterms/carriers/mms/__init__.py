"""MMS: messages with files over the operator's own MMSCs, and what these bring."""

from onterms.carriers.mms.api import MmsApi
from onterms.carriers.mms.carrier import MmsCarrier
from onterms.carriers.mms.door import MmsDoor
from onterms.carriers.mms.mail_door import MmsMailDoor
from onterms.carriers.mms.model import NAME, NO_ROUTE

__all__ = ["NAME", "NO_ROUTE", "MmsApi", "MmsCarrier", "MmsDoor", "MmsMailDoor"]
