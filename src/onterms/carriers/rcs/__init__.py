"""RCS Business Messaging: messages over the operator's agents at Google's platform, and what users say to these."""

from onterms.carriers.rcs.api import RcsApi
from onterms.carriers.rcs.carrier import NAME, RcsCarrier, Sandbox
from onterms.carriers.rcs.client import NoAnswer, NotAsked, Transport
from onterms.carriers.rcs.content import TYPES
from onterms.carriers.rcs.model import FALLS_BACK
from onterms.carriers.rcs.webhook import RcsWebhook, webhook_routes

__all__ = [
    "FALLS_BACK",
    "NAME",
    "TYPES",
    "NoAnswer",
    "NotAsked",
    "RcsApi",
    "RcsCarrier",
    "RcsWebhook",
    "Sandbox",
    "Transport",
    "webhook_routes",
]
