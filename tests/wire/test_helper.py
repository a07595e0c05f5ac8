"""The example of the README, and the helper that needs no exports, each in a program of its own."""

import os
import re
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest
from twilio.rest import Client

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def block_with(words):
    """The README's one block of Python that has these words."""
    [block] = [block for block in BLOCKS if words in block]
    return block


def run(code, environment, folder):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def shell(server):
    """The environment after `eval "$(onterms env)"`, without this checkout on the path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | server.env


@pytest.fixture
def first_handset(server):
    """The handset of the first page, emptied."""
    handset = type(server.make_handset())(server, server.handset)
    handset.send(server.number, "START")
    before = len(handset.bodies())

    def new_bodies():
        return handset.bodies()[before:]

    yield handset, new_bodies
    handset.send(server.number, "START")


class TestReadme:
    def test_first_example_sends_to_the_handset(self, server, shell, first_handset, tmp_path):
        _, new_bodies = first_handset
        ended = run(block_with("client.messages.create"), shell, tmp_path)
        assert ended.returncode == 0, ended.stderr
        sid = ended.stdout.split()[0]
        message = Client().messages(sid).fetch()
        assert (message.status, new_bodies()) == ("delivered", [message.body])

    def test_stop_brings_21610_back(self, server, shell, first_handset, tmp_path, refused):
        handset, _ = first_handset
        handset.send(server.number, "STOP")
        ended = run(block_with("client.messages.create"), shell, tmp_path)
        assert ended.returncode != 0
        assert "unsubscribed recipient" in ended.stderr
        with refused(21610):
            Client().messages.create(to=server.handset, from_=server.number, body="x")

    def test_flask_example_answers_the_handset(self, server, shell, first_handset, tmp_path):
        handset, new_bodies = first_handset
        with free_port() as port:
            pass
        code = block_with("RequestValidator").replace("5000", str(port))
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env=shell,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as application:
            try:
                said = []
                for line in application.stderr:
                    said.append(line)
                    if "Running on" in line:
                        break
                else:
                    raise AssertionError("".join(said))
                handset.send(server.number, "Is it me?")
                assert new_bodies() == ["You said: Is it me?"]
            finally:
                application.terminate()
                [number] = Client().incoming_phone_numbers.list(phone_number=server.number)
                number.update(sms_url="")


@contextmanager
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


class TestClientHelper:
    HELPER = """
        import onterms
        client = onterms.client({arguments})
        sent = client.messages.create(to={to!r}, from_={sender!r}, body="by the helper")
        assert client.messages(sent.sid).fetch().body == "by the helper"
        assert [row.sid for row in client.messages.list(to={to!r}, page_size=1)] == [sent.sid]
        assert isinstance(client.monitor.v1.alerts.list(limit=1), list)
        print(sent.account_sid)
    """

    def test_helper_needs_neither_exports_nor_proxy(self, server, handset, tmp_path):
        code = self.HELPER.format(arguments="", to=handset.number, sender=server.number)
        ended = run(code, server.environment, tmp_path)
        assert (ended.returncode, ended.stdout.strip()) == (0, server.account_sid), ended.stderr
        assert handset.bodies() == ["by the helper"]

    def test_helper_takes_another_accounts_credentials(self, server, fresh_account, handset, tmp_path):
        arguments = f"account_sid={fresh_account.sid!r}, auth_token={fresh_account.token!r}"
        code = self.HELPER.format(arguments=arguments, to=handset.number, sender=fresh_account.number)
        ended = run(code, server.environment, tmp_path)
        assert (ended.returncode, ended.stdout.strip()) == (0, fresh_account.sid), ended.stderr

    def test_helper_before_the_first_start_says_so(self, server, tmp_path):
        environment = server.environment | {"ONTERMS_DATA": str(tmp_path / "nothing")}
        ended = run("import onterms; onterms.client()", environment, tmp_path)
        assert ended.returncode != 0
        assert "FileNotFoundError" in ended.stderr
