"""RCS joined to the house: the carrier, its webhook, and in a sandbox the platform on the other side."""

from collections.abc import Callable
from datetime import datetime

from onterms.carriers.rcs import RcsApi, RcsCarrier, RcsWebhook, Sandbox, webhook_routes
from onterms.carriers.rcs_simulator import RcsSimulator, RcsSimulatorApi
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.vault import Vault
from onterms.engines.api import OwnRoute
from onterms.engines.jobs import Worker
from onterms.ports.media import MediaFetcher
from onterms.ports.message_carrier import MessageSink
from onterms.products import messaging
from onterms.protocols import rbm

SANDBOX = "sandbox"
FIRST_SENDER = "rcs:onterms"


class Rcs:
    """The RCS carrier with what belongs to it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        sink: MessageSink,
        media: MediaFetcher,
        *,
        is_sandbox: bool,
    ) -> None:
        self._platform: RcsSimulator | None = None
        sandbox: Sandbox | None = None
        if is_sandbox:
            # The same in every process of an install, any of which may push.
            token = vault.mac("rcs sandbox client token", b"").hex()
            platform = self._platform = RcsSimulator(database, clock, client_token=token)
            platform.push = self._push

            async def ask(request: rbm.Request, sent: Callable[[], None]) -> rbm.Answer:
                sent()
                return await platform.ask(request)

            sandbox = Sandbox(ask, platform.account, token)
        self.carrier = RcsCarrier(database, clock, vault, sink, sandbox=sandbox)
        self.webhook = RcsWebhook(database, clock, self.carrier, sink, media)

    async def ensure(self, tx: Tx, account_sid: str, at: datetime) -> None:
        """Give a sandbox's first account an agent, so that there is one to send from."""
        if self._platform is not None:
            await messaging.ensure_sender(tx, account_sid, FIRST_SENDER, {}, at)

    def register(self, worker: Worker) -> None:
        """Serve the jobs; before the worker runs."""
        self.carrier.register(worker)
        if self._platform is not None:
            self._platform.register(worker)

    def routes(self) -> list[OwnRoute]:
        """Return the webhook's door and the API of handsets."""
        simulated = RcsSimulatorApi(self._platform).routes() if self._platform is not None else []
        return [*webhook_routes(self.webhook), *simulated]

    async def _push(self, signature: str, body: bytes) -> int:
        # No network between the two sides of a sandbox; everything else is as it is outside.
        try:
            await self.webhook.take(SANDBOX, signature, body)
        except Refusal as refusal:
            return refusal.status
        return 200


def operator_routes(vault: Vault) -> list[OwnRoute]:
    """Return the operator's API of connections and agents."""
    return RcsApi(vault).routes()
