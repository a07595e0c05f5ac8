"""Calling customers' URLs over HTTP: signed, guarded against private addresses, bounded in time and size."""

from onterms.carriers.webhook.client import USER_AGENT, WebhookClient
from onterms.carriers.webhook.guard import AddressPolicy
from onterms.carriers.webhook.media import WebMediaFetcher

__all__ = ["USER_AGENT", "AddressPolicy", "WebMediaFetcher", "WebhookClient"]
