"""Registering senders, joined: profiles, brands, campaigns and toll-free numbers, with whoever decides about them."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from onterms.app.office import Office
from onterms.business import accounts
from onterms.core.db import Tx
from onterms.engines import jobs
from onterms.engines.api import Binding, OwnRoute
from onterms.ports.callback import CallbackClient
from onterms.products import messaging, monitor, numbers, registration, trust


async def _holds_number(tx: Tx, account_sid: str, sid: str) -> bool:
    return await numbers.held(tx, account_sid, sid) is not None


async def _main_of(tx: Tx, account_sid: str) -> str:
    return (await accounts.main_accounts(tx, [account_sid])).get(account_sid, account_sid)


async def _alert(tx: Tx, account_sid: str, sid: str, code: int, text: str, url: str, at: datetime) -> None:
    alert = monitor.NewAlert(account_sid, code, text, resource_sid=sid, request_method="POST", request_url=url)
    await monitor.record(tx, [alert], at)


def registration_fees(office: Office) -> registration.Fees:
    """Join the registration room to the till."""
    return registration.Fees(office.meter, office.standing, accounts.statuses)


class Registering:
    """The trust room and the registration room of one running process."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._around = trust.Surroundings(
            _holds_number, registration.used_by, _main_of, followers=(registration.bundle_decided,)
        )
        self._pools = registration.Pools(messaging.has_service, messaging.long_codes_in)
        self._fees = registration_fees(office)
        self._api = registration.Api(self._pools, self._fees, self._around, office.registrar)

    def bindings(self) -> list[Binding]:
        """Return the contract's operations that these rooms serve."""
        return [*trust.Api(self._around).bindings(), *self._api.bindings()]

    def routes(self) -> list[OwnRoute]:
        """Return the operator's routes."""
        return self._api.routes()

    def register(
        self, worker: jobs.Worker, callbacks: CallbackClient, signing_token: Callable[[str], Awaitable[str]]
    ) -> None:
        """Serve the rooms' jobs; before the worker runs."""
        letterhead = self._office.letterhead
        outside = trust.Outside(
            self._office.registrar,
            callbacks,
            signing_token,
            self._office.mail,
            letterhead.sender,
            letterhead.sender_name,
            _alert,
        )
        trust.Tasks(self._around, outside).register(worker)
        registration.Tasks(self._pools, self._fees, self._office.registrar).register(worker)
