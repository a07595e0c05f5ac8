"""The networks that a sandbox has of its own: who simulates them, and how a fresh install is joined to them."""

from datetime import datetime

from onterms.carriers.simulator import SimulatorCarrier, WhatsAppNetwork
from onterms.carriers.whatsapp import DOOR, Account, save_account
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.vault import Vault
from onterms.ports.media import MediaFetcher
from onterms.products import messaging

# Business accounts of the simulated WhatsApp: one of the first account, one for everybody else's numbers.
OWN_WABA = "100000000000001"
COMMON_WABA = "100000000000002"
# As Meta's own addresses have it.
VERSION = "v23.0"


class SimulatedNetworks:
    """The simulated networks with the credentials that they and we share."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        simulator: SimulatorCarrier,
        fetcher: MediaFetcher,
    ) -> None:
        self._vault = vault
        # Made of this install's key, so that nobody else can say what the network says.
        self._token = vault.mac("simulated whatsapp token", b"1").hex()
        self._app_secret = vault.mac("simulated whatsapp secret", b"1").hex()
        self.whatsapp = WhatsAppNetwork(
            database,
            clock,
            simulator,
            token=self._token,
            app_secret=self._app_secret,
            trusted=(OWN_WABA,),
            media_fetcher=fetcher,
        )

    def join(self, base_url: str) -> None:
        """Say where this install is."""
        self.whatsapp.base_url = base_url
        self.whatsapp.callback_url = base_url + DOOR

    async def ensure(self, tx: Tx, base_url: str, account_sid: str, number: str, at: datetime) -> None:
        """Join this install to its networks, whose address may be another one today, and give it a first sender."""
        self.join(base_url)
        for waba_id, owner in ((OWN_WABA, account_sid), (COMMON_WABA, None)):
            account = Account(
                waba_id,
                "Simulated WhatsApp",
                f"{base_url}/simulator/whatsapp/{VERSION}",
                self._token,
                self._app_secret,
                self._vault.mac("simulated whatsapp verify", b"1").hex(),
                owner,
            )
            await save_account(tx, self._vault, account, at)
        if number:
            await messaging.ensure_sender(tx, account_sid, f"whatsapp:{number}", {"waba_id": OWN_WABA}, at)
