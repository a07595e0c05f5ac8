"""Write the environment that makes unmodified clients use the doors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

# What an application calls on its own machine must not go through the proxy.
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def exports(
    *,
    proxy_port: int,
    ca: Path,
    bundle: Path,
    proxy_host: str = "127.0.0.1",
    no_proxy: Iterable[str] = LOCAL_HOSTS,
    account_sid: str | None = None,
    auth_token: str | None = None,
) -> dict[str, str]:
    """Build the variables that send a client's requests for our hosts to the proxy door and let it trust the answer.

    `ca` is added to Node's trust; `bundle` replaces the trust of OpenSSL, requests and curl, so it holds the public
    authorities too.
    """
    # The scheme is that of the proxy itself, and clients speak plain HTTP to it, for https targets too.
    host = f"[{proxy_host}]" if ":" in proxy_host else proxy_host
    proxy = f"http://{host}:{proxy_port}"
    direct = ",".join(no_proxy)
    values = {
        "HTTPS_PROXY": proxy,
        # twilio-node 6 takes the agent for its https requests from HTTP_PROXY, not from HTTPS_PROXY.
        "HTTP_PROXY": proxy,
        "NO_PROXY": direct,
        # Python's urllib and requests prefer the lower-case names, and curl reads http_proxy in lower case only;
        # without these a proxy that was set before would win over ours.
        "https_proxy": proxy,
        "http_proxy": proxy,
        "no_proxy": direct,
        "REQUESTS_CA_BUNDLE": str(bundle),
        "SSL_CERT_FILE": str(bundle),
        "CURL_CA_BUNDLE": str(bundle),
        "NODE_EXTRA_CA_CERTS": str(ca),
    }
    if account_sid is not None:
        values["TWILIO_ACCOUNT_SID"] = account_sid
    if auth_token is not None:
        values["TWILIO_AUTH_TOKEN"] = auth_token
    return values


def shell(variables: Mapping[str, str]) -> str:
    """Write one POSIX `export NAME=value` line per variable, quoted so that `eval` reads each value back unchanged.

    Raises: ValueError for a name that is no shell name, and for a value that no environment can hold.
    """
    lines = []
    for name, value in variables.items():
        if _NAME.match(name) is None:
            raise ValueError(f"not a shell variable name: {name!r}")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a NUL byte")
        lines.append(f"export {name}={shlex.quote(value)}\n")
    return "".join(lines)
