"""twilio-node, unmodified, with the exports: each script of node/ is one program that asserts for itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "node"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="NODE.JS IS MISSING: twilio-node is not tested"),
    pytest.mark.skipif(
        not (SCRIPTS / "node_modules" / "twilio").is_dir(),
        reason="TWILIO-NODE IS NOT INSTALLED: run ./check, or npm ci in tests/wire/node",
    ),
]


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.mjs")))
def test_script_ends_without_a_failed_assertion(server, fresh_account, handset, script):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "TWILIO_ACCOUNT_SID": fresh_account.sid,
        "TWILIO_AUTH_TOKEN": fresh_account.token,
        "TEST_SID": fresh_account.test_sid,
        "TEST_TOKEN": fresh_account.test_token,
        "NUMBER_SID": fresh_account.number_sid,
        "FROM": fresh_account.number,
        "TO": handset.number,
    }
    ended = subprocess.run(
        ["node", script], cwd=SCRIPTS, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "ok\n"), ended.stderr
