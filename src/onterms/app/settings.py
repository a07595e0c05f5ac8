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
ONTERMS_STRIPE_KEY  Stripe's secret key: cards are charged there; with it
ONTERMS_STRIPE_WEBHOOK_SECRET  the signing secret of the webhook endpoint /commercial/v1/PaymentWebhooks/stripe
ONTERMS_SMTP_URL    mail server for notices and invoices: smtp://USER:PASSWORD@HOST:PORT (STARTTLS is required;
                    ?starttls=no does without, for a server on this machine) or smtps://...; without it a sandbox keeps
                    mail in mailboxes of its own
ONTERMS_MAIL_FROM   who the mail is from, as NAME <ADDRESS> or ADDRESS
ONTERMS_MAIL_LEGAL  the address that takes notices to the operator, that of ONTERMS_MAIL_FROM
ONTERMS_MAIL_HELO   our own name towards the mail server, the domain of ONTERMS_MAIL_FROM
ONTERMS_DKIM_KEY    file with a private key (PEM) that signs mail, with ONTERMS_DKIM_SELECTOR
ONTERMS_OPERATOR_NAME     who bills, until its companies are named by /commercial/v1/ContractingEntities
ONTERMS_OPERATOR_ADDRESS  its address on invoices, lines separated by ;
ONTERMS_CLAMD       clamd that looks through media: the path of its socket or HOST:PORT; without it only the
                    EICAR test file is known. While it cannot be asked, media waits; nothing passes unseen.
ONTERMS_SMPP_PORT   port of the SMPP server (2775), with ONTERMS_SMPP_TLS_PORT (3550)
ONTERMS_SMPP_TLS_CERT  the certificate that its TLS port shows (PEM), with ONTERMS_SMPP_TLS_KEY; else the local CA's
ONTERMS_MM4_PORT    port for mail of MMS peers (MM4); without it none listens
ONTERMS_SENDER_REGISTRATION  1: US traffic of unregistered senders ends as carriers end it (30032 to 30035); 0: it goes
                    out. 0 in a sandbox, else 1
ONTERMS_GEO         a CSV of networks with country and subdivision, for who may not sign in or call from where
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import onterms
from onterms.carriers.smtp import SmtpSettings
from onterms.core import e164
from onterms.core.errors import ConfigError
from onterms.protocols.mail import DkimKey

ROLES = ("api", "worker")
# Alaska's fictional range, which the sandbox inventory does not sell.
HANDSET = "+19075550123"


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The operator's account at Stripe."""

    secret_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How mail leaves, and whom it is from."""

    server: SmtpSettings
    sender: str
    sender_name: str
    legal_address: str
    dkim: DkimKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    # None: the next port, or any free one where that is taken.
    proxy_port: int | None = None
    tls_port: int | None = None
    # None: the usual ports of SMPP, or any free ones where those are taken.
    smpp_port: int | None = None
    smpp_tls_port: int | None = None
    # None: no peer sends MMS by mail.
    mm4_port: int | None = None
    # Files of a certificate and its key; without them the local authority certifies.
    smpp_certificate: tuple[Path, Path] | None = None
    dsn: str | None = None
    sandbox: bool = True
    public_url: str | None = None
    webhook_allow: str = "loopback"
    handset: str = HANDSET
    node: str = "onterms"
    roles: frozenset[str] = frozenset(ROLES)
    concurrent_max: int = 1000
    sender_registration: bool = False
    clamd: str | None = None
    geo: Path | None = None
    stripe: StripeSettings | None = None
    mail: MailSettings | None = None
    operator_name: str = ""
    operator_address: tuple[str, ...] = ()

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
    sandbox, stripe, mail = _flag(env, "ONTERMS_SANDBOX", default=True), _stripe(env), _mail(env)
    if not sandbox and mail is None:
        raise ConfigError("ONTERMS_SANDBOX=0 needs ONTERMS_SMTP_URL: notices are given by mail")
    return Settings(
        data=Path(env.get("ONTERMS_DATA") or default_data()).expanduser().absolute(),
        host=host,
        port=8080 if (port := _port(env, "ONTERMS_PORT")) is None else port,
        proxy_port=_port(env, "ONTERMS_PROXY_PORT"),
        tls_port=_port(env, "ONTERMS_TLS_PORT"),
        smpp_port=_port(env, "ONTERMS_SMPP_PORT"),
        smpp_tls_port=_port(env, "ONTERMS_SMPP_TLS_PORT"),
        smpp_certificate=_smpp_certificate(env),
        mm4_port=_port(env, "ONTERMS_MM4_PORT"),
        dsn=env.get("ONTERMS_DSN") or None,
        sandbox=sandbox,
        public_url=env.get("ONTERMS_PUBLIC_URL") or None,
        # Who listens beyond this machine has tenants beyond it, and its own services are none of theirs.
        webhook_allow=env.get("ONTERMS_WEBHOOK_ALLOW", "loopback" if _is_loopback(host) else "none"),
        handset=handset,
        node=env.get("ONTERMS_NODE") or "onterms",
        roles=roles or frozenset(ROLES),
        concurrent_max=_whole(env, "ONTERMS_CONCURRENT_MAX", 1000, least=1),
        sender_registration=_flag(env, "ONTERMS_SENDER_REGISTRATION", default=not sandbox),
        clamd=env.get("ONTERMS_CLAMD") or None,
        stripe=stripe,
        mail=mail,
        operator_name=env.get("ONTERMS_OPERATOR_NAME", "").strip(),
        operator_address=tuple(
            line.strip() for line in env.get("ONTERMS_OPERATOR_ADDRESS", "").split(";") if line.strip()
        ),
        geo=Path(env["ONTERMS_GEO"]).expanduser().absolute() if env.get("ONTERMS_GEO") else None,
    )


def _smpp_certificate(env: Mapping[str, str]) -> tuple[Path, Path] | None:
    certificate, key = env.get("ONTERMS_SMPP_TLS_CERT"), env.get("ONTERMS_SMPP_TLS_KEY")
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise ConfigError("ONTERMS_SMPP_TLS_CERT and ONTERMS_SMPP_TLS_KEY go together")
    return Path(certificate).expanduser().absolute(), Path(key).expanduser().absolute()


def _stripe(env: Mapping[str, str]) -> StripeSettings | None:
    key, secret = env.get("ONTERMS_STRIPE_KEY", "").strip(), env.get("ONTERMS_STRIPE_WEBHOOK_SECRET", "").strip()
    if not key and not secret:
        return None
    # Values are never repeated: what is wrong may still be a secret.
    if not key.startswith(("sk_", "rk_")):
        raise ConfigError("ONTERMS_STRIPE_KEY must be a secret key of Stripe, sk_... or rk_...")
    if not secret.startswith("whsec_"):
        raise ConfigError("ONTERMS_STRIPE_WEBHOOK_SECRET must be the signing secret of a webhook endpoint, whsec_...")
    return StripeSettings(key, secret)


def _mail(env: Mapping[str, str]) -> MailSettings | None:
    text = env.get("ONTERMS_SMTP_URL", "").strip()
    if not text:
        for name in ("ONTERMS_MAIL_FROM", "ONTERMS_MAIL_LEGAL", "ONTERMS_MAIL_HELO", "ONTERMS_DKIM_KEY"):
            if env.get(name):
                raise ConfigError(f"{name} needs ONTERMS_SMTP_URL")
        return None
    name, sender = _address(env, "ONTERMS_MAIL_FROM", "")
    if not sender:
        raise ConfigError("ONTERMS_SMTP_URL needs ONTERMS_MAIL_FROM, the address that mail is from")
    domain = sender.rpartition("@")[2]
    return MailSettings(
        _mail_server(text, env.get("ONTERMS_MAIL_HELO") or domain),
        sender,
        name or env.get("ONTERMS_OPERATOR_NAME", "").strip() or "The operator",
        _address(env, "ONTERMS_MAIL_LEGAL", sender)[1],
        _dkim(env, domain),
    )


def _mail_server(text: str, helo: str) -> SmtpSettings:
    # The URL is never repeated: it holds a password.
    shape = "ONTERMS_SMTP_URL must be smtp://USER:PASSWORD@HOST:PORT or smtps://..."
    try:
        url: SplitResult = urlsplit(text)
        port = url.port
    except ValueError:
        raise ConfigError(shape) from None
    options = dict(parse_qsl(url.query))
    if url.scheme not in ("smtp", "smtps") or not url.hostname or url.path.strip("/") or url.fragment:
        raise ConfigError(shape)
    if options.keys() - {"starttls"} or options.get("starttls", "yes") not in ("yes", "no"):
        raise ConfigError("ONTERMS_SMTP_URL knows the option starttls alone, yes or no")
    if url.scheme == "smtps" and options:
        raise ConfigError("ONTERMS_SMTP_URL: smtps:// speaks TLS from the start and has no starttls")
    is_plain = options.get("starttls") == "no"
    # RFC 8314 3.3, RFC 6409 3.1: the ports of submission.
    return SmtpSettings(
        url.hostname,
        port or (465 if url.scheme == "smtps" else 587),
        helo,
        "tls" if url.scheme == "smtps" else "none" if is_plain else "starttls",
        unquote(url.username or ""),
        unquote(url.password or ""),
    )


def _address(env: Mapping[str, str], name: str, default: str) -> tuple[str, str]:
    text = env.get(name, "").strip() or default
    shown, address = parseaddr(text)
    local, _, domain = address.rpartition("@")
    if text and (not local or not domain or not address.isascii() or not address.isprintable() or " " in address):
        raise ConfigError(f"{name} must be a mail address, not '{text}'")
    return shown, address


def _dkim(env: Mapping[str, str], domain: str) -> DkimKey | None:
    path, selector = env.get("ONTERMS_DKIM_KEY"), env.get("ONTERMS_DKIM_SELECTOR", "").strip()
    if not path:
        return None
    if not selector:
        raise ConfigError("ONTERMS_DKIM_KEY needs ONTERMS_DKIM_SELECTOR, under which its public half is found")
    try:
        return DkimKey.from_pem(domain, selector, Path(path).expanduser().read_bytes())
    except OSError as error:
        raise ConfigError(f"ONTERMS_DKIM_KEY cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError("ONTERMS_DKIM_KEY must be an unencrypted private key in PEM, RSA or Ed25519") from None


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
