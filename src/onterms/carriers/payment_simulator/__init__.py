"""The payment simulator: a payment provider with cards that behave by their numbers, webhooks and disputes on demand.

Theory of operation. Everything is in the database and on the injected clock, so it survives a restart and follows a
clock that is moved. Each command stores its answer under its idempotency key with its effects; a repeat gets the stored
answer, and a key with another body is refused, as real providers do. What changes a charge, a refund or a dispute also
writes a webhook and a job for each of its deliveries; a delivery is signed when it is made and goes to the sink like a
request from outside. Held webhooks wait until somebody delivers them, in any order and as often as wanted.
"""

from onterms.carriers.payment_simulator.api import PaymentSimulatorApi
from onterms.carriers.payment_simulator.gateway import NAME, PaymentSimulator, WebhookSink
from onterms.carriers.payment_simulator.model import CARDS

__all__ = ["CARDS", "NAME", "PaymentSimulator", "PaymentSimulatorApi", "WebhookSink"]
