"""A server of the year's own: its clock goes through twelve months, so it is shared with no other test."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# The tests are no package; the stories are modules of this folder.
sys.path.append(str(HERE))
pytest.register_assert_rewrite("year_world", "year_american", "year_german", "year_japanese")
_spec = importlib.util.spec_from_file_location("onterms_wire", HERE.parent / "conftest.py")
assert _spec is not None and _spec.loader is not None
_wire = importlib.util.module_from_spec(_spec)
sys.modules["onterms_wire"] = _wire
_spec.loader.exec_module(_wire)


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """The year's server, in place of the one that the other tests share."""
    with _wire._running({}) as running:
        yield running
