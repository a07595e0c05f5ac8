"""Messaging: SMS and MMS accepted, sent, received, reported and kept."""

from onterms.products.messaging.api import Api
from onterms.products.messaging.api.domains import DomainApi
from onterms.products.messaging.api.insights import insight_routes
from onterms.products.messaging.api.keeping import media_routes
from onterms.products.messaging.api.opt_out import OptOutApi
from onterms.products.messaging.api.queues import QueueApi
from onterms.products.messaging.api.services import link_routes
from onterms.products.messaging.api.smpp import SmppApi
from onterms.products.messaging.model import moves_of
from onterms.products.messaging.service.channels import ensure_sender
from onterms.products.messaging.service.closing import refuse_waiting, settle_now
from onterms.products.messaging.service.compliance import Compliance
from onterms.products.messaging.service.consent import DeactivationBook, deactivate
from onterms.products.messaging.service.consent import report as deactivation_report
from onterms.products.messaging.service.history import MediaLinks
from onterms.products.messaging.service.insights import sum_up_read
from onterms.products.messaging.service.inspecting import Guard
from onterms.products.messaging.service.keeping import Keeping, keeping_of
from onterms.products.messaging.service.money import Till, note_costs, still_due
from onterms.products.messaging.service.pool import has_service, long_codes_in
from onterms.products.messaging.service.queues import SenderQueues
from onterms.products.messaging.service.receive import Lines
from onterms.products.messaging.service.registration import Registrations
from onterms.products.messaging.service.send import Senders
from onterms.products.messaging.service.smpp import Access, Answer, Desk, Given
from onterms.products.messaging.service.smpp_book import SmppBook
from onterms.products.messaging.service.traffic import spells
from onterms.products.messaging.store import fetch_media, files_of
from onterms.products.messaging.store.domains import CHANNEL as DOMAINS_CHANNEL
from onterms.products.messaging.store.domains import sealed_certificates
from onterms.products.messaging.tasks import Accounts, Sink, Surroundings, Tasks

__all__ = [
    "DOMAINS_CHANNEL",
    "Access",
    "Accounts",
    "Answer",
    "Api",
    "Compliance",
    "DeactivationBook",
    "Desk",
    "DomainApi",
    "Given",
    "Guard",
    "Keeping",
    "Lines",
    "MediaLinks",
    "OptOutApi",
    "QueueApi",
    "Registrations",
    "SenderQueues",
    "Senders",
    "Sink",
    "SmppApi",
    "SmppBook",
    "Surroundings",
    "Tasks",
    "Till",
    "deactivate",
    "deactivation_report",
    "ensure_sender",
    "fetch_media",
    "files_of",
    "has_service",
    "insight_routes",
    "keeping_of",
    "link_routes",
    "long_codes_in",
    "media_routes",
    "moves_of",
    "note_costs",
    "refuse_waiting",
    "sealed_certificates",
    "settle_now",
    "spells",
    "still_due",
    "sum_up_read",
]
