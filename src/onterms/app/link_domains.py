"""Customers' own short domains at the doors: their names, their certificates, and where their names lead."""

import asyncio
import logging
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from onterms.app.hosts import hostname
from onterms.core.db import Database
from onterms.core.errors import ConfigError
from onterms.core.following import Follower
from onterms.core.vault import Vault
from onterms.products import messaging

_log = logging.getLogger("onterms")
# Ours: a resolver that takes longer has no answer.
_LOOKUP_S = 5.0


class LinkDomains:
    """The short domains of all customers, as the doors ask for them."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._contexts: Mapping[str, ssl.SSLContext] = {}
        self._follower = Follower(database, messaging.DOMAINS_CHANNEL, self._reload)

    async def start(self) -> None:
        """Read the domains and follow their changes."""
        await self._follower.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follower.close()

    def context_for(self, name: str) -> ssl.SSLContext | None:
        """Return what the TLS door shows under a name, None where it is no customer's."""
        return self._contexts.get(name.lower())

    def is_one(self, host: str) -> bool:
        """Tell whether a Host header names a customer's short domain."""
        return hostname(host) in self._contexts

    async def _reload(self) -> None:
        async with self._database.snapshot() as tx:
            sealed = await messaging.sealed_certificates(tx)
        contexts: dict[str, ssl.SSLContext] = {}
        for name, certificate_sid, certificate in sealed:
            try:
                contexts[name] = _context(self._vault.unseal(certificate, certificate_sid))
            except (ConfigError, ssl.SSLError) as error:
                _log.error("the certificate of %s cannot be used: %s", name, type(error).__name__)
        self._contexts = contexts


def _context(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # The ssl module reads files only. The folder is ours alone, and gone at once.
    with tempfile.TemporaryDirectory(prefix="onterms-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_text(pem)
        context.load_cert_chain(path)
    return context


class SystemNames:
    """The machine's resolver: a name leads here where it has an address of this install's own (a `DomainNames`)."""

    def __init__(self, public_url: str) -> None:
        self._host = urlsplit(public_url).hostname or "localhost"

    async def leads_here(self, name: str) -> str:
        """Return why requests for a name do not come to this install, or "" where they do."""
        wanted, found = await asyncio.gather(self._addresses(self._host), self._addresses(name))
        if not found:
            return f"{name} has no address"
        if not wanted & found:
            return f"{name} does not lead to {self._host}"
        return ""

    async def _addresses(self, name: str) -> set[str]:
        try:
            async with asyncio.timeout(_LOOKUP_S):
                found = await asyncio.get_running_loop().getaddrinfo(name, 443)
        except (OSError, TimeoutError, UnicodeError):
            return set()
        return {str(each[4][0]) for each in found}


class SandboxNames:
    """What a sandbox answers instead: every name leads here, but for those that begin with `nowhere.`."""

    async def leads_here(self, name: str) -> str:
        """Return why requests for a name do not come to this install, or "" where they do."""
        return f"{name} has no address" if name.startswith("nowhere.") else ""
