"""Our own route for how an account's files are kept."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from onterms.core.db import Tx
from onterms.core.errors import AuthenticationFailed
from onterms.engines.api import OwnRequest, OwnRoute
from onterms.engines.api.shapes import Shape
from onterms.products.messaging.service import keeping
from onterms.products.messaging.service.keeping import Keeping

_PATH = "/commercial/v1/MediaSettings"


class MediaSettings(Shape):
    """How files are kept: null keeps them until they are deleted."""

    requires_auth: bool
    retention_days: int | None


class MediaSettingsChange(Shape):
    """What is set; what is left out stays."""

    requires_auth: bool | UnsetType = UNSET
    retention_days: Annotated[int, Meta(ge=1, le=3650)] | UnsetType | None = UNSET


def media_routes() -> list[OwnRoute]:
    """Return the routes."""
    return [
        OwnRoute("GET", _PATH, "account", _fetch, summary="Show how the account's files are kept"),
        OwnRoute("POST", _PATH, "account", _change, summary="Say who may fetch files, and how long they are kept"),
    ]


async def _fetch(tx: Tx, request: OwnRequest) -> MediaSettings:
    return _shown(await keeping.keeping_of(tx, _account_of(request)))


async def _change(tx: Tx, request: OwnRequest, body: MediaSettingsChange) -> MediaSettings:
    account_sid = _account_of(request)
    now = await keeping.keeping_of(tx, account_sid)
    wanted = Keeping(
        now.requires_auth if body.requires_auth is UNSET else body.requires_auth,
        now.retention_days if body.retention_days is UNSET else body.retention_days,
    )
    await keeping.keep(tx, account_sid, wanted, request.at)
    return _shown(wanted)


def _shown(kept: Keeping) -> MediaSettings:
    return MediaSettings(requires_auth=kept.requires_auth, retention_days=kept.retention_days)


def _account_of(request: OwnRequest) -> str:
    if request.caller is None:
        raise AuthenticationFailed("This needs an account's credentials")
    return request.caller.account.sid
