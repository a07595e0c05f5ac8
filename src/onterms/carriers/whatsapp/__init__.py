"""WhatsApp: messages over Meta's Cloud API, with the operator's own accounts there."""

from onterms.carriers.whatsapp.api import DOOR, WhatsAppApi
from onterms.carriers.whatsapp.carrier import NAME, Files, WhatsAppCarrier
from onterms.carriers.whatsapp.store import Account, save_account
from onterms.carriers.whatsapp.templates import WhatsAppReviewer

__all__ = ["DOOR", "NAME", "Account", "Files", "WhatsAppApi", "WhatsAppCarrier", "WhatsAppReviewer", "save_account"]
