"""A CSV of networks: `network,country,subdivision`, as in `192.0.2.0/24,UA,43`; the subdivision may be missing.

The data is the operator's: free and paid tables come as CSV, and none is shipped. It is read once, at the start.
"""

import csv
import ipaddress
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

from onterms.core.errors import ConfigError

_Span = tuple[int, int, tuple[str, str]]


class GeoFile:
    """Answers (country, subdivision) of an address, None where the file has no network with it."""

    def __init__(self, path: Path) -> None:
        spans: dict[int, list[_Span]] = {4: [], 6: []}
        line = 0
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.reader(file):
                    line += 1
                    if not row or row[0].startswith("#") or row[0] == "network":
                        continue
                    network = ipaddress.ip_network(row[0].strip())
                    place = (row[1].strip(), row[2].strip() if len(row) > 2 else "")
                    first, last = int(network.network_address), int(network.broadcast_address)
                    spans[network.version].append((first, last, place))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"ONTERMS_GEO cannot be read: {error}") from None
        except (ValueError, IndexError) as error:
            raise ConfigError(f"ONTERMS_GEO, line {line}: {error}") from None
        self._spans = {version: sorted(found) for version, found in spans.items()}
        for found in self._spans.values():
            for earlier, later in pairwise(found):
                if later[0] <= earlier[1]:
                    raise ConfigError("ONTERMS_GEO has networks that overlap")

    def __call__(self, address: str) -> tuple[str, str] | None:
        """Return where an address is."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        spans = self._spans[parsed.version]
        number = int(parsed)
        place = bisect_right(spans, number, key=lambda span: span[0]) - 1
        return spans[place][2] if place >= 0 and number <= spans[place][1] else None
