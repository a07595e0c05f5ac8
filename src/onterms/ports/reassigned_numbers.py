"""The port to whoever knows that a number has another subscriber now than somebody knew."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from onterms.core.db import Tx


class ReassignedNumbers(Protocol):
    """Tell which numbers changed hands."""

    async def since(self, tx: Tx, asked: Sequence[tuple[str, date]]) -> set[tuple[str, date]]:
        """Return those of the pairs where the subscriber ended after the day on which the number was last known.

        Shapes: pairs of an E.164 number and that day. What is not known to have changed is absent.
        """
        ...
