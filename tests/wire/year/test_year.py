"""A year in the life of three customers on the virtual clock, through the public API of a running server.

Every figure is worked out by hand, as plain decimals, beside where it is asserted.
"""

import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import flask
import onterms_wire
import pytest
import year_american
import year_german
import year_japanese
from werkzeug.serving import make_server
from year_world import World


@pytest.fixture
def webhook() -> Iterator[Any]:
    """A web application of the customers, which refuses what is not signed."""
    hook = onterms_wire.Webhook()
    app = flask.Flask("year")

    @app.route("/<path:path>", methods=["GET", "POST"])
    def everything(path: str) -> Any:
        return hook.handle(flask.request)

    web = make_server("127.0.0.1", 0, app, threaded=True)
    hook.base = f"http://127.0.0.1:{web.port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hook
    web.shutdown()
    thread.join(10)
    web.server_close()
    assert not hook.refused


def test_year_of_three_customers_comes_out_to_the_cent_and_to_the_yen(server, webhook):
    world = World(server, webhook)
    world.move_to("2027-01-01")
    year_american.sets_up(world)
    year_german.sets_up(world)
    year_japanese.sets_up(world)
    hudson = year_american.American(world)
    spree = year_german.German(world)
    sakura = year_japanese.Japanese(world)
    world.live(until="2028-01-02T09:00")
    hudson.is_gone()
    spree.is_done()
    sakura.is_done()
    for books in ("ledger", "audit"):
        checked = subprocess.run(
            [*onterms_wire.ONTERMS, books, "verify"], env=server.environment, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
