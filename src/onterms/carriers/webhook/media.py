"""Fetching the files that customers name by URL, guarded as their webhooks are."""

import ssl

import aiohttp
from yarl import URL

from onterms.carriers.webhook.client import USER_AGENT
from onterms.carriers.webhook.guard import AddressPolicy, Dial, current_dial, guarded_socket_factory
from onterms.carriers.webhook.resolver import ThreadedResolver
from onterms.carriers.webhook.target import BadUrl, parse_target, redirected
from onterms.ports.media import Fetched, FetchFailed
from onterms.protocols.mime import sniff

# Twilio's time for a webhook's answer; a file may take as long. Ours, for its documentation names none.
FETCH_TIMEOUT_S = 15.0
REDIRECTS_MAX = 5
# Twilio's codes: HTTP retrieval failure, connection failure, media over the limit, an empty file.
RETRIEVAL_FAILED = 11200
CONNECTION_FAILED = 11205
TOO_MANY_REDIRECTS = 11215
TOO_LARGE = 11751
EMPTY = 63019


class WebMediaFetcher:
    """Fetch over http(s). `start` and `close` inside the running loop."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._session: aiohttp.ClientSession | None = None
        self._resolver: ThreadedResolver | None = None

    async def start(self) -> None:
        """Open the session."""
        self._resolver = ThreadedResolver()
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            socket_factory=guarded_socket_factory(self._policy),
            ssl=ssl.create_default_context(),
            limit=64,
            limit_per_host=16,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None

    async def fetch(self, url: str, *, bytes_max: int) -> Fetched | FetchFailed:
        """Fetch one file."""
        assert self._session is not None, "not started"
        dial = Dial()
        current_dial.set(dial)
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        try:
            target = parse_target(url)
            for _ in range(REDIRECTS_MAX + 1):
                dial.host_is_named = self._policy.names_host(target.host)
                async with self._session.get(
                    URL(target.url, encoded=True), allow_redirects=False, timeout=timeout
                ) as response:
                    location = response.headers.get("Location")
                    if response.status in (301, 302, 303, 307, 308) and location is not None:
                        target = redirected(target, location)
                        continue
                    if response.status != 200:
                        return FetchFailed(RETRIEVAL_FAILED, f"the server answered with status {response.status}")
                    return await _read(response, bytes_max)
            return FetchFailed(TOO_MANY_REDIRECTS, f"more than {REDIRECTS_MAX} redirects")
        except BadUrl as bad:
            return FetchFailed(RETRIEVAL_FAILED, str(bad))
        except TimeoutError:
            return FetchFailed(CONNECTION_FAILED, f"nothing came within {FETCH_TIMEOUT_S:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError):
            # The reason may name an address inside our network, so it stays inside.
            reason = "the address is not public" if dial.refused else "the connection failed"
            return FetchFailed(CONNECTION_FAILED, reason)


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> Fetched | FetchFailed:
    data = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        data += chunk
        if len(data) > bytes_max:
            return FetchFailed(TOO_LARGE, f"the file has more than {bytes_max} bytes")
    if not data:
        return FetchFailed(EMPTY, "the file is empty")
    return Fetched(sniff(bytes(data), response.content_type), bytes(data))
