"""What the operator sets, read once from the environment.

ONTERMS_PORT        HTTP port, 8080; 0 is any free one, for the other two as well
ONTERMS_PROXY_PORT  CONNECT proxy port, ONTERMS_PORT + 1 or any free one
ONTERMS_TLS_PORT    TLS port, ONTERMS_PORT + 2 or any free one
ONTERMS_HOST        address to listen on, 127.0.0.1
ONTERMS_DATA        data folder
ONTERMS_DSN         PostgreSQL to use instead of the embedded one
ONTERMS_SANDBOX     1 (virtual clock, simulator, open to this machine) or 0
ONTERMS_PUBLIC_URL  where carriers and webhooks reach us, http://HOST:PORT
ONTERMS_WEBHOOK_ALLOW  private addresses webhooks may reach: loopback, or none where ONTERMS_HOST is another
                    address; see carriers.webhook.AddressPolicy
ONTERMS_HANDSET     the virtual handset of the first page, +19075550123
ONTERMS_NODE        this process's name among others on one database, its leases carry it
ONTERMS_CONCURRENT_MAX  requests one account may have under way, 1000
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onterms
from onterms.core import e164
from onterms.core.errors import ConfigError

ROLES = ("api", "worker")
# Alaska's fictional range, which the sandbox inventory does not sell.
HANDSET = "+19075550123"


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    # None: the next port, or any free one where that is taken.
    proxy_port: int | None = None
    tls_port: int | None = None
    dsn: str | None = None
    sandbox: bool = True
    public_url: str | None = None
    webhook_allow: str = "loopback"
    handset: str = HANDSET
    node: str = "onterms"
    roles: frozenset[str] = frozenset(ROLES)
    concurrent_max: int = 1000

    @property
    def env_file(self) -> Path:
        """Where a running install leaves what `onterms env` prints."""
        return self.data / "env.json"

    @property
    def dsn_file(self) -> Path:
        """Where a running install leaves the address of its embedded database, for commands beside it."""
        return self.data / "dsn"


def default_data() -> Path:
    """Return the data folder used where none is set: inside a checkout, else the user's own."""
    checkout = Path(onterms.__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").exists():
        return checkout / ".data"
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "onterms"


def from_environment(environment: Mapping[str, str] | None = None, *, roles: frozenset[str] | None = None) -> Settings:
    """Read the settings.

    Raises: ConfigError naming the variable that cannot work.
    """
    env = os.environ if environment is None else environment
    handset = env.get("ONTERMS_HANDSET") or HANDSET
    if not e164.is_e164(handset):
        raise ConfigError(f"ONTERMS_HANDSET must be a phone number like +19075550123, not '{handset}'")
    unknown = (roles or frozenset()) - frozenset(ROLES)
    if unknown:
        raise ConfigError(f"unknown role {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
    host = env.get("ONTERMS_HOST") or "127.0.0.1"
    return Settings(
        data=Path(env.get("ONTERMS_DATA") or default_data()).expanduser().absolute(),
        host=host,
        port=8080 if (port := _port(env, "ONTERMS_PORT")) is None else port,
        proxy_port=_port(env, "ONTERMS_PROXY_PORT"),
        tls_port=_port(env, "ONTERMS_TLS_PORT"),
        dsn=env.get("ONTERMS_DSN") or None,
        sandbox=_flag(env, "ONTERMS_SANDBOX", default=True),
        public_url=env.get("ONTERMS_PUBLIC_URL") or None,
        # Who listens beyond this machine has tenants beyond it, and its own services are none of theirs.
        webhook_allow=env.get("ONTERMS_WEBHOOK_ALLOW", "loopback" if _is_loopback(host) else "none"),
        handset=handset,
        node=env.get("ONTERMS_NODE") or "onterms",
        roles=roles or frozenset(ROLES),
        concurrent_max=_whole(env, "ONTERMS_CONCURRENT_MAX", 1000, least=1),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not text.isdigit() or int(text) > 65535:
        raise ConfigError(f"{name} must be a port number, not '{text}'")
    return int(text)


def _whole(env: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isdigit() or int(text) < least:
        raise ConfigError(f"{name} must be a whole number from {least}, not '{text}'")
    return int(text)


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "").lower()
    if not text:
        return default
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{name} must be 1 or 0, not '{text}'")
