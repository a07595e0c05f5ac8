"""What binds the account that the page shows, and what it has left to spend."""

from dataclasses import dataclass
from datetime import UTC, datetime

from onterms.business import agreements, customers
from onterms.core.db import Tx
from onterms.core.money import decimal_text, minor_digits
from onterms.engines import ledger

_WAYS = {"click": "by click", "signature": "by signature", "continued_use": "by continued use"}


@dataclass(frozen=True, slots=True)
class Contract:
    """The agreement in force.

    Shapes: `way` says how it was accepted; `credit` is one amount a currency, as people write them.
    """

    document: str
    version_sid: str
    label: str
    published_on: str
    accepted_at: datetime | None
    way: str
    actor: str
    credit: tuple[str, ...]

    @property
    def accepted(self) -> str:
        """The instant of the acceptance as people write it."""
        if self.accepted_at is None:
            return ""
        at = self.accepted_at.astimezone(UTC)
        return f"{at.day} {at:%b %Y, %H:%M} UTC"


async def contract_of(tx: Tx, account_sid: str, at: datetime) -> Contract | None:
    """Return what binds an account's customer, or None where nothing does."""
    customer = await customers.customer_of(tx, account_sid)
    if customer is None:
        return None
    version = await agreements.version_in_force(tx, customer.sid, at)
    if version is None:
        return None
    found = [one for one in await agreements.acceptances(tx, customer.sid) if one.version_sid == version.sid]
    balances = await ledger.balances(tx, customer.sid)
    return Contract(
        document=version.document,
        version_sid=version.sid,
        label=version.label,
        published_on="" if version.published_on is None else version.published_on.isoformat(),
        accepted_at=found[0].accepted_at if found else None,
        # Whom a law or a carrier binds accepted nothing.
        way=_WAYS[found[0].mode] if found else "without acceptance: a law or a carrier asks for it",
        actor=found[0].actor if found else "",
        credit=tuple(_amount(each.available, each.currency) for each in balances),
    )


def _amount(micros: int | None, currency: str) -> str:
    if micros is None:
        return f"no limit in {currency}"
    whole, _, part = decimal_text(micros).partition(".")
    digits = minor_digits(currency)
    part = part.rstrip("0").ljust(digits, "0")
    return f"{int(whole):,}{'.' + part if part else ''} {currency}"
