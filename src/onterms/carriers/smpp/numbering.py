"""The operator's numbering table: at home in which network a number is, by the longest prefix of its digits."""

from collections.abc import Iterable

from onterms.carriers.smpp.model import Network


class Numbering:
    """The table in memory. Shapes: entries are (prefix, mcc, mnc), prefixes without the plus."""

    def __init__(self, entries: Iterable[tuple[str, str, str]] = ()) -> None:
        self._by_prefix = {prefix: Network(mcc, mnc) for prefix, mcc, mnc in entries}
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix}, reverse=True)

    def network_of(self, number: str) -> Network | None:
        """Return a number's network, or None where the table says nothing of it."""
        digits = number.removeprefix("+")
        for length in self._lengths:
            found = self._by_prefix.get(digits[:length])
            if found is not None:
                return found
        return None
