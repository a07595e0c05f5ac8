"""The invariants of the commercial rooms, and that each has tests of its own.

A test says in its name what it holds: `test_invariant_<n>_<what>`, or `test_invariants_<n>_<m>_<what>` for several.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

INVARIANTS = {
    1: "the entries of a transaction sum to zero in each currency",
    2: "a prepaid balance covers what is held of it at every commit",
    3: "open holds and leases sum to what is held",
    4: "a hold ends exactly once",
    5: "events again, or any prefix of them, leave the balances equal",
    6: "an invoice has its rated usage exactly, and each rated row is on one invoice or waits",
    7: "what rounding adds or takes is posted as rounding",
    8: "an invoice is the sum of its lines, and numbers have no gaps",
    9: "receivables are the open invoices, in all and by customer",
    10: "a period rated in two parts costs the same, and tiers add up to their closed form",
    11: "a late fee stays within both bounds, grows with time, and is zero in the cure and on what is disputed",
    12: "the order of a day's events does not change where they end",
    13: "a late fee assessed daily is the fee assessed once",
    14: "no suspension takes effect without a notice before it",
    15: "a lift gives back the status there was before",
    16: "one version is in force at an instant, later instants never have an older one, and past answers stay",
    17: "a material change waits 30 days after its notice unless it is exempt",
    18: "resolve always answers the same, and rank 0 beats all",
    19: "every country has exactly one domicile group",
    20: "the audit chain verifies until it is touched, and a state is the fold of its events",
    21: "a rehearsal leaves the live tables as they were",
    22: "what was asked as of a past instant never changes",
    23: "refunds and credits are at most what was paid and billed",
    24: "nothing is exempt from tax before the exemption is approved",
    25: "a dispute credits at most what was disputed",
    26: "exactly the listed clauses survive",
    27: "what leases have left and holds have taken never exceeds the balance",
}


@cache
def _held() -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            match = re.match(r"test_invariants?_((?:\d+_(?:and_)?)+)", node.name)
            for number in re.findall(r"\d+", match[1]) if match else ():
                found[int(number)].append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


@pytest.mark.parametrize("number", INVARIANTS)
def test_every_invariant_has_a_test_that_names_it(number: int) -> None:
    assert _held()[number], f"no test holds invariant {number}: {INVARIANTS[number]}"


def test_no_test_names_an_invariant_that_is_none() -> None:
    assert _held().keys() <= INVARIANTS.keys()
