"""Which network a number is on, in a sandbox: told by its last digits."""

from collections.abc import Mapping, Sequence

# The two last digits below which a number is on a network; the rest are small carriers'.
_BELOW = ((33, "att"), (66, "tmobile"), (99, "verizon"))


class SimulatedNetworks:
    """Numbers that end with 00 to 32 are AT&T's, 33 to 65 T-Mobile's, 66 to 98 Verizon's."""

    def networks_of(self, numbers: Sequence[str]) -> Mapping[str, str]:
        """Return the network of each number."""
        found: dict[str, str] = {}
        for number in numbers:
            ending = number[-2:]
            if ending.isdigit():
                found[number] = next((name for below, name in _BELOW if int(ending) < below), "other")
        return found
