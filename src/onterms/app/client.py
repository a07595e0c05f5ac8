"""A ready twilio client for the install on this machine, without exports, proxies or certificates."""

import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from onterms.app.settings import from_environment


def make_client(account_sid: str | None, auth_token: str | None) -> Any:
    """Make the client behind `onterms.client()`."""
    from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
    from twilio.rest import Client  # type: ignore[import-untyped]

    values = json.loads(from_environment().env_file.read_text())

    class LocalHttpClient(TwilioHttpClient):  # type: ignore[misc]
        """Send what is meant for a product host to the local door, which chooses by the Host header."""

        def request(self, method: str, url: str, **options: Any) -> Any:
            parts = urlsplit(url)
            door = urlsplit(values["ONTERMS_URL"])
            headers = {**(options.pop("headers", None) or {}), "Host": parts.netloc}
            local = urlunsplit((door.scheme, door.netloc, parts.path, parts.query, ""))
            return super().request(method, local, headers=headers, **options)

    sid = account_sid or values["TWILIO_ACCOUNT_SID"]
    return Client(sid, auth_token or values["TWILIO_AUTH_TOKEN"], http_client=LocalHttpClient())
