"""The seven import contracts of pyproject.toml: that each one catches what it is for, and what they cannot say."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A house in small. Every file is empty but for what a test writes into it.
ROOMS = """
app/rooms products/messaging/__init__ products/messaging/api products/messaging/service products/messaging/store
products/messaging/model products/messaging/wire products/messaging/events products/numbers/__init__
products/numbers/service products/numbers/store products/verify/__init__ business/accounts/__init__
business/accounts/service business/accounts/store business/accounts/model carriers/simulator/__init__ carriers/smpp
engines/jobs ports/callback protocols/gsm protocols/mime core/ids
"""

VIOLATIONS = [
    ("1", "core/ids", "import onterms.engines.jobs"),
    ("1", "engines/jobs", "import onterms.business.accounts"),
    ("1", "protocols/gsm", "import onterms.core.ids"),
    ("1", "carriers/smpp", "import onterms.products.messaging"),
    ("2", "products/numbers/service", "import onterms.products.messaging"),
    ("2", "products/messaging/service", "import onterms.products.verify"),
    ("2", "products/undeclared/__init__", ""),
    ("3", "products/messaging/store", "import onterms.products.messaging.service"),
    ("3", "products/messaging/service", "import onterms.products.messaging.wire"),
    ("3", "business/accounts/model", "import onterms.business.accounts.store"),
    ("3", "products/messaging/helpers", ""),
    ("3", "business/accounts/utils", ""),
    ("4", "products/messaging/service", "from onterms.products.numbers.store import find"),
    ("4", "products/messaging/service", "from onterms.products.numbers import service"),
    ("4", "products/messaging/__init__", "import onterms.business.accounts.model"),
    ("4", "carriers/smpp", "import onterms.business.accounts.service"),
    ("5", "protocols/gsm", "import asyncio"),
    ("5", "protocols/gsm", "from os import urandom"),
    ("5", "protocols/gsm", "import http.client"),
    ("5", "protocols/gsm", "import aiohttp"),
    ("6", "carriers/smpp", "import onterms.carriers.simulator"),
    ("7", "protocols/gsm", "import onterms.protocols.mime"),
]

LAWFUL = {
    "app/rooms": "import onterms.products.messaging.api",
    "products/messaging/api": "import onterms.products.messaging.service, onterms.products.messaging.wire",
    "products/messaging/service": (
        "import onterms.products.messaging.store, onterms.products.messaging.model\n"
        "import onterms.products.numbers, onterms.business.accounts, onterms.engines.jobs"
    ),
    "products/messaging/__init__": "import onterms.products.messaging.model",
    "business/accounts/service": "import onterms.business.accounts.store",
    "carriers/simulator/__init__": "import onterms.ports.callback, onterms.business.accounts",
    "protocols/mime": "import re, urllib.parse, onterms.protocols.gsm",
    "core/ids": "import os, time",
}


def build_house(place: Path, extra: tuple[str, str] | None = None) -> None:
    files = dict.fromkeys(ROOMS.split(), "") | LAWFUL
    if extra is not None:
        name, line = extra
        files[name] = files.get(name, "") + "\n" + line
    for name, text in files.items():
        path = place / "onterms" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    for folder in [path for path in place.rglob("*") if path.is_dir()]:
        (folder / "__init__.py").touch()
    settings = (ROOT / "pyproject.toml").read_text()
    (place / "pyproject.toml").write_text(settings[settings.index("[tool.importlinter]") :])


def broken_contracts(place: Path) -> set[str]:
    program = "from importlinter.cli import lint_imports_command as run; run()"
    said = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    lines = [line.strip() for line in said.stdout.splitlines()]
    verdicts = {line.split(" ", 1)[0]: line for line in lines if line.endswith((" KEPT", " BROKEN"))}
    assert set(verdicts) == set("1234567"), said.stdout + said.stderr
    return {number for number, line in verdicts.items() if line.endswith("BROKEN")}


def test_a_lawful_house_breaks_no_contract(tmp_path: Path) -> None:
    build_house(tmp_path)
    assert broken_contracts(tmp_path) == set()


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS)
def test_a_violation_breaks_its_contract(tmp_path: Path, contract: str, file: str, line: str) -> None:
    build_house(tmp_path, (file, line))
    assert contract in broken_contracts(tmp_path)


def test_the_contracts_are_seven() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert len(settings["tool"]["importlinter"]["contracts"]) == 7


def opens_urls(source: str) -> bool:
    """Tell whether a module imports the part of urllib that does I/O; import-linter sees no further than `urllib`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(name.name.startswith("urllib.request") for name in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            named = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
            if any(name.startswith("urllib.request") for name in named):
                return True
    return False


@pytest.mark.parametrize(
    "line",
    [
        "import urllib.request",
        "import urllib.request as r",
        "from urllib import request",
        "from urllib.request import x",
    ],
)
def test_every_way_to_import_urllib_request_is_seen(line: str) -> None:
    assert opens_urls(line)
    assert not opens_urls("import urllib.parse\nfrom urllib import parse")


def test_protocols_open_no_urls() -> None:
    modules = sorted((ROOT / "src" / "onterms" / "protocols").rglob("*.py"))
    assert modules
    assert [path.name for path in modules if opens_urls(path.read_text())] == []
