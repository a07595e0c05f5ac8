"""Web addresses that customers give: pure."""

import re
from urllib.parse import urlsplit

_WEB_URL = re.compile(r"^https?://[^\s/?#]+[^\s]*$", re.IGNORECASE)


def is_web_url(text: str) -> bool:
    """Tell whether a text is an http(s) address with a host.

    Twilio docs: host names with an underscore are not called.
    """
    if len(text) > 4096 or not _WEB_URL.match(text):
        return False
    try:
        host = urlsplit(text).hostname
    except ValueError:
        return False
    return bool(host) and "_" not in str(host)
