"""Rules of the house that a look at the files can check."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "onterms"
MODULES = sorted(SOURCE.rglob("*.py"))
LINES_MAX = 800

# Where time is taken from elsewhere than the injected clock, and why.
CLOCKS: dict[tuple[str, str], str] = {
    ("core/clock.py", "datetime.now"): "the clock itself",
    ("core/clock.py", "time.monotonic"): "the clock itself",
    (
        "app/certificates.py",
        "datetime.now",
    ): "TLS clients judge certificates by the machine's time",
    ("app/postgres.py", "time.monotonic"): "waits for processes of the machine",
    ("engines/api/engine.py", "time.perf_counter"): "Twilio-Request-Duration tells real time also in a sandbox",
    ("engines/jobs/store.py", "clock_timestamp()"): "a lease must not run out because a sandbox's clock was moved",
    (
        "products/messaging/store/smpp.py",
        "clock_timestamp()",
    ): "a node's lease must not run out because a sandbox's clock was moved",
    ("app/migrate.py", "clock_timestamp()"): "says when the machine applied a migration, before there is a clock",
}
_PYTHON_CLOCKS = {
    *(
        f"time.{name}"
        for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "localtime", "gmtime")
    ),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"),
}
_SQL_CLOCK = re.compile(
    r"\b(?:(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\(\)"
    r"|CURRENT_TIMESTAMP|CURRENT_DATE|CURRENT_TIME|LOCALTIMESTAMP)",
    re.I,
)


def clocks_of(source: str) -> set[str]:
    """Return which clocks but the injected one a module reads: calls, names imported from `time`, and SQL."""
    found: set[str] = set()
    tree = ast.parse(source)
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _PYTHON_CLOCKS:
            found.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found |= {f"time.{name.name}" for name in node.names} & _PYTHON_CLOCKS
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            found |= clocks_of_sql(node.value)
    return found


def clocks_of_sql(text: str) -> set[str]:
    return {match.lower() for match in _SQL_CLOCK.findall(re.sub(r"--[^\n]*", "", text))}


@pytest.mark.parametrize(
    ("source", "clock"),
    [
        ("import time\ntime.time()", "time.time"),
        ("import time\nwhen = time.monotonic", "time.monotonic"),
        ("from time import time", "time.time"),
        ("from datetime import datetime\ndatetime.now(UTC)", "datetime.now"),
        ("import datetime\ndatetime.datetime.now()", "datetime.datetime.now"),
        ("from datetime import date\ndate.today()", "date.today"),
        ('tx.fetch("SELECT now()")', "now()"),
        ('tx.fetch(f"UPDATE {table} SET at = CURRENT_TIMESTAMP")', "current_timestamp"),
    ],
)
def test_every_way_to_another_clock_is_seen(source: str, clock: str) -> None:
    assert clocks_of(source) == {clock}


def test_the_injected_clock_and_words_about_time_are_no_other_clock() -> None:
    assert clocks_of('"""As now() does."""\nself.clock.now()\nself._clock.monotonic()\nloop.time()') == set()
    assert clocks_of_sql("-- Compared with clock_timestamp() only.\nSELECT 1") == set()


def test_time_comes_from_the_injected_clock_only() -> None:
    found = {(inside(path), clock) for path in MODULES for clock in clocks_of(path.read_text())}
    found |= {(inside(path), clock) for path in SOURCE.rglob("*.sql") for clock in clocks_of_sql(path.read_text())}
    assert found == CLOCKS.keys()


def test_no_file_is_longer_than_a_file_may_be() -> None:
    lengths = {inside(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}


def prints(source: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        for node in ast.walk(ast.parse(source))
    )


def test_a_print_is_seen() -> None:
    assert prints("def f():\n    print(1)")
    assert not prints('text = "print(1)"\nself.print(2)')


def test_only_the_command_line_prints() -> None:
    assert {inside(path) for path in MODULES if prints(path.read_text())} <= {"app/cli.py"}


def test_migrations_are_numbered_without_gaps_and_named_for_a_room() -> None:
    names = sorted(path.name for path in (SOURCE / "app" / "migrations").glob("*.sql"))
    matches = [re.fullmatch(r"(\d{4})_([a-z]+)(_[a-z_]+)?\.sql", name) for name in names]
    assert all(matches), names
    assert [int(match[1]) for match in matches if match] == list(range(1, len(names) + 1))
    rooms = {
        path.name for floor in ("products", "business", "carriers", "engines") for path in (SOURCE / floor).iterdir()
    }
    # The oldest engines share the first one.
    assert {match[2] for match in matches if match} <= rooms | {"engines"}


# ---- what must not stand in the tree

# Put together here, so that this file does not hold them itself.
_FORBIDDEN = re.compile(
    "|".join(
        (
            r"(?<![\w.}])/(?:work|root|home/\w+|Users/\w+)/",
            r"\b(?:[\w-]+\.)*(?:artifactory|nexus|devpi|verdaccio)\.[\w.-]+",
            r"\bindex-url\s*=",
            r"\bregistry\s*=\s*http",
            r"\bhttps?://(?:10\.|192\.168\.)[\d.]+:\d+/(?:simple|npm|pypi|root)",
        )
    )
)
_TEXT = {"", ".py", ".md", ".sql", ".toml", ".json", ".tsv", ".html", ".css", ".js", ".mjs", ".sh", ".lua", ".txt"}
_FOREIGN = {".git", ".venv", "node_modules", "__pycache__", ".data", "data.new", "build", "dist"}


def tree() -> Iterator[Path]:
    """Yield every text file that people wrote or that ships, without what tools leave behind."""
    for start in ("src", "tests", "docs", "bench", ".ci"):
        for path in sorted((ROOT / start).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.is_file() and path.suffix in _TEXT and not _FOREIGN & set(parts[:-1]):
                yield path
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in _TEXT)


@pytest.mark.parametrize(
    "text",
    ["see /" + "work/main", "'/" + "home/somebody/x'", "index-url " + "= https://x", "http://nexus" + ".example/npm"],
)
def test_a_path_of_a_machine_or_a_private_registry_is_seen(text: str) -> None:
    assert _FORBIDDEN.search(text)


def test_no_paths_of_machines_and_no_private_registries_are_in_the_tree() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tree()
        if path != Path(__file__)
        for match in _FORBIDDEN.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


# ---- what the wheel holds


def test_the_wheel_holds_all_that_the_program_needs(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        entry_points = archive.read(next(name for name in held if name.endswith("entry_points.txt"))).decode()
    assert "onterms = onterms.app.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in held)
    needed = {
        f"onterms/{inside(path)}"
        for path in SOURCE.rglob("*")
        # What tools leave behind begins with a dot or is Python's cache.
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(SOURCE).parts)
    }
    assert needed - held == set()
    kinds = {
        kind: sum(name.endswith(kind) for name in held) for kind in (".json", ".sql", ".tsv", ".html", ".css", ".js")
    }
    assert all(kinds.values()), kinds
    # One document for each API of the contract.
    assert sum(name.startswith("onterms/engines/api/data/twilio/") for name in held) >= 55
    assert not any(name.startswith(("tests/", "docs/", "bench/")) or "__pycache__" in name for name in held)


def inside(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()
