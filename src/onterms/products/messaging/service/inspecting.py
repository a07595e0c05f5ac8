"""Files are looked through for malicious code before anybody gets them, whichever way they go."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from onterms.business import customers
from onterms.business.support import MediaGate
from onterms.core.db import Tx
from onterms.ports.message_carrier import InboundMedia, InboundMessage
from onterms.products import monitor

# Twilio docs, error dictionary: the message was filtered.
INFECTED = 30007


class Guard:
    """The messaging room's part of the media gate."""

    def __init__(self, gate: MediaGate) -> None:
        self._gate = gate

    async def look(self, files: Sequence[bytes]) -> str:
        """Return the name of the first malicious code found in files, or "".

        Raises: Unavailable where the scanner is down and nothing passes unscanned.
        """
        for data in files:
            found = await self._gate.look(data)
            if found is not None:
                return found
        return ""

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        """Note on inbound files what is in them, before a transaction waits for it.

        Raises: Unavailable, as `look`.
        """
        return [await self._looked_through(message) if message.media else message for message in messages]

    async def _looked_through(self, message: InboundMessage) -> InboundMessage:
        media = [replace(file, found=await self.look([file.data])) for file in message.media]
        return replace(message, media=tuple(media))

    async def record(
        self, tx: Tx, account_sid: str, message_sid: str, found: str, content: bytes, at: datetime
    ) -> None:
        """Write down that a message's file was rejected, for the audit and for the account's debugger."""
        customer = await customers.customer_of(tx, account_sid)
        await self._gate.record(tx, "operator" if customer is None else customer.sid, message_sid, found, content, at)
        text = f"a file was rejected: {found}"
        alert = monitor.NewAlert(account_sid=account_sid, error_code=INFECTED, text=text, resource_sid=message_sid)
        await monitor.record(tx, [alert], at)

    async def let_in(
        self, tx: Tx, account_sid: str, message_sid: str, media: Sequence[InboundMedia], at: datetime
    ) -> list[InboundMedia]:
        """Return the clean files of an inbound message; those that nobody looked through are looked through now.

        Raises: Unavailable, as `look`.
        """
        clean: list[InboundMedia] = []
        for file in media:
            found = await self.look([file.data]) if file.found is None else file.found
            if found:
                await self.record(tx, account_sid, message_sid, found, file.data, at)
            else:
                clean.append(file)
        return clean
