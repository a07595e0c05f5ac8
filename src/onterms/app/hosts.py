"""Name the hosts that onterms answers for, and map every spelling of a host to its canonical one."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final

DEFAULT_HOST: Final = "api.twilio.com"

# Source: the `servers` of Twilio's OpenAPI documents; `memory` is in none of them but in twilio-python 9.13.
# fmt: off
TWILIO_PRODUCTS: Final = frozenset(
    {
        "accounts", "api", "assistants", "bulkexports", "chat", "content", "conversations", "events",
        "flex-api", "frontline-api", "iam", "insights", "intelligence", "ip-messaging", "knowledge", "lookups",
        "marketplace", "memory", "messaging", "monitor", "notify", "numbers", "oauth", "preview", "preview-iam",
        "pricing", "proxy", "routes", "serverless", "studio", "supersim", "sync", "taskrouter", "trunking",
        "trusthub", "verify", "video", "voice", "wireless",
    }
)
# fmt: on
# Source: sendgrid-python (global and EU residency), analytics-python, public-api-sdk-python.
OTHER_HOSTS: Final = frozenset({"api.sendgrid.com", "api.eu.sendgrid.com", "api.segment.io", "api.segmentapis.com"})

# The registrable names under which every host above lies; a local authority is constrained to them.
DOMAINS: Final = ("twilio.com", "sendgrid.com", "segment.io", "segmentapis.com")

# Names by which a machine, a container or its neighbour reaches the doors without any DNS of ours.
_LOCAL_NAMES: Final = frozenset({"localhost", "host.docker.internal", "host.containers.internal"})

# What `https://{product}.{region}.twilio.com/path` becomes when the region is `host:port/`: the rest is in the path.
_REGION_DOOR_PREFIX: Final = "/.twilio.com"


def hostname(host: str) -> str:
    """Reduce a Host header or an authority to its lower-case name or address: no port, no brackets, no final dot."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") > 1:  # an IPv6 address without brackets has no port
        return host
    return host.partition(":")[0].removesuffix(".")


def is_ours(host: str) -> bool:
    """Say whether a proxy client that asks for `host` is answered by onterms itself instead of being passed through.

    Local names are not: an application's own services on localhost stay its own.
    """
    return _public_canonical(hostname(host)) is not None


def is_local(host: str) -> bool:
    """Say whether `host` is an address, a name of this machine, or a name without a dot as container networks give."""
    name = hostname(host)
    return name in _LOCAL_NAMES or _is_address(name) or (name != "" and "." not in name)


def canonical(host: str | None, own_domains: Iterable[str] = ()) -> str | None:
    """Map a Host header to the canonical API host that it means, or None when it means none.

    `{product}[.{edge}][.{region}].twilio.com` is `{product}.twilio.com`. A local name, an address, one of `own_domains`
    and an absent header are the default host; a product before one of those (`verify.localhost`, which is what an SDK
    builds when its region is `localhost:8443/`) is that product's host.
    """
    if not host:
        return DEFAULT_HOST
    name = hostname(host)
    known = _public_canonical(name)
    if known is not None:
        return known
    if is_local(name):
        return DEFAULT_HOST
    for domain in (*_LOCAL_NAMES, *own_domains):
        domain = domain.lower()
        if name == domain:
            return DEFAULT_HOST
        if name.endswith("." + domain):
            product = _product(name.removesuffix("." + domain).split("."))
            if product is not None:
                return f"{product}.twilio.com"
    return None


def may_certify(host: str, own_domains: Collection[str] = ()) -> bool:
    """Say whether the doors may show a certificate for `host`: ours, local, or a product below an own domain."""
    return host != "" and canonical(host, own_domains) is not None


def strip_region_door(path: str) -> str:
    """Remove the `/.twilio.com` that an SDK leaves at the head of a path when its region is `host:port/`."""
    if path == _REGION_DOOR_PREFIX:
        return "/"
    return path.removeprefix(_REGION_DOOR_PREFIX) if path.startswith(_REGION_DOOR_PREFIX + "/") else path


def _public_canonical(name: str) -> str | None:
    if name in OTHER_HOSTS:
        return name
    if not name.endswith(".twilio.com"):
        return None
    product = _product(name.removesuffix(".twilio.com").split("."))
    return None if product is None else f"{product}.twilio.com"


def _product(labels: list[str]) -> str | None:
    # product, product.region or product.edge.region: the SDKs build no more (twilio-python client_base.get_hostname).
    if len(labels) > 3 or not all(_is_label(label) for label in labels):
        return None
    return labels[0] if labels[0] in TWILIO_PRODUCTS else None


def _is_label(label: str) -> bool:
    # RFC 1035 2.3.1 and 2.3.4. It also keeps anything that is not a name out of certificates.
    return 0 < len(label) <= 63 and label.isascii() and label.replace("-", "").isalnum()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
