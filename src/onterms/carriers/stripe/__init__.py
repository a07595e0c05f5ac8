"""Stripe behind the port of payment providers: its REST API with forms, and its signed webhooks."""

from onterms.carriers.stripe.gateway import NAME, StripeGateway

__all__ = ["NAME", "StripeGateway"]
