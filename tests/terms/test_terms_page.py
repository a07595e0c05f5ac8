"""docs/terms.md says what the tests prove today."""

import importlib.util
from pathlib import Path

HERE = Path(__file__).parent


def test_the_page_of_the_terms_is_current() -> None:
    spec = importlib.util.spec_from_file_location("matrix", HERE / "matrix.py")
    assert spec is not None and spec.loader is not None
    matrix = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(matrix)
    page = (HERE.parents[1] / "docs" / "terms.md").read_text()
    assert page == matrix.page(), "run: python tests/terms/matrix.py > docs/terms.md"
    assert len(matrix.clauses()) == 205
