"""Reading a carrier with its secrets."""

from onterms.carriers.mms import store
from onterms.carriers.mms.model import CarrierRow
from onterms.core.db import Row
from onterms.core.vault import Vault


def carrier_of(vault: Vault, row: Row) -> CarrierRow:
    """Return a carrier with its secrets.

    Raises: ConfigError, ValidationError.
    """

    def opened(name: str) -> str:
        return vault.unseal(row[name], f"{row['sid']} {name}") if row[name] else ""

    return CarrierRow(
        row["sid"],
        row["name"],
        store.settings_of(row),
        opened("password"),
        opened("inbound_password"),
        opened("tls_key"),
    )
