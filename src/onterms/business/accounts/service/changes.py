"""Tell every cache, here and in other processes, that an account or its credentials changed."""

from collections.abc import Callable
from functools import partial
from weakref import WeakMethod

from onterms.business.accounts import store
from onterms.core.db import Tx

Listener = Callable[[str, int], None]

# Caches of this process. They also hear the notification, but a client that changed a credential and tries it at once
# must not be faster than the notification.
_listeners: list[WeakMethod[Listener]] = []


def listen(listener: Listener) -> None:
    """Have a bound method called with (account_sid, version) after each change this process commits; held weakly."""
    _listeners.append(WeakMethod(listener))


async def record_change(tx: Tx, account_sid: str) -> None:
    """Bump the account's version and have caches forget it once the change is durable."""
    version = await store.bump_version(tx, account_sid)
    tx.after_commit(partial(_tell, account_sid, version))


def _tell(account_sid: str, version: int) -> None:
    for reference in list(_listeners):
        listener = reference()
        if listener is None:
            _listeners.remove(reference)
        else:
            listener(account_sid, version)
