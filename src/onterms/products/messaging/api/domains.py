"""Which operations about customers' own short domains this room serves."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Tx
from onterms.core.vault import Vault
from onterms.engines.api import Binding, Call, serve
from onterms.ports.domain_names import DomainNames
from onterms.products.messaging.service import domains, pool
from onterms.products.messaging.wire import services as wire


class DomainApi:
    """The operations."""

    def __init__(self, vault: Vault, names: DomainNames) -> None:
        self._vault = vault
        self._names = names

    def bindings(self) -> list[Binding]:
        """Return each operation bound to its use case."""
        refused = {"TlsCert": (30116, "TlsCert holds the certificate and its private key in PEM")}
        return [
            serve("messaging_v1:FetchDomainCertV4", self.fetch),
            serve("messaging_v1:UpdateDomainCertV4", self.put, refusals=refused),
            serve("messaging_v1:DeleteDomainCertV4", self.delete),
            serve("messaging_v2:FetchDomainCertV4", self.fetch),
            serve("messaging_v1:FetchDomainDnsValidation", self.validate),
        ]

    async def fetch(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Show a domain's certificate; the key never."""
        row = await domains.fetch_certificate(tx, call.account.sid, call.path["DomainSid"])
        return wire.certificate_of(row, call.operation.spec.rpartition("_")[2])

    async def put(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Upload a certificate with its key."""
        given = (call.account.sid, call.path["DomainSid"], call.params["TlsCert"], call.at)
        return wire.certificate_of(await domains.put_certificate(tx, self._vault, *given), "v1")

    async def delete(self, tx: Tx, call: Call) -> None:
        """Remove a certificate."""
        await domains.remove_certificate(tx, call.account.sid, call.path["DomainSid"], call.at)

    async def validate(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Look whether a domain leads here."""
        row = await pool.domain(tx, call.account.sid, call.path["DomainSid"])
        reason = "No certificate was uploaded that names the domain"
        if row["domain_name"]:
            reason = await self._names.leads_here(row["domain_name"])
        return wire.dns_validation_of(row, reason)
