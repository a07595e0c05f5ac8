"""Secrets at rest: a key file, authenticated encryption, digests.

A secret we must use again (an auth token signs webhooks, a key's secret signs JWTs) is sealed with AES-256-GCM under a
key that lives outside the database, bound to its owner so that a row's ciphertext opens nowhere else. A secret we only
check is kept as a SHA-256 digest: all of ours are random, so there is nothing to guess offline.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from onterms.core.errors import ConfigError

_KEY_BYTES = 32
# NIST SP 800-38D 8.2.2: 96 random bits of nonce are safe for 2**32 messages under one key.
_NONCE_BYTES = 12
# The first byte names the format, so that a later key or algorithm can live beside this one.
_FORMAT = b"\x01"
_FILE_BYTES_MAX = 4096


class Vault:
    """Seal and open secrets under one key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ConfigError(f"the vault's key must have {_KEY_BYTES} bytes")
        self._aead = AESGCM(key)
        # The key that encrypts never signs: each use has a key of its own.
        self._mac_key = hmac.digest(key, b"onterms vault mac", "sha256")

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """Open the vault of a key file, making the file when there is none.

        Raises: ConfigError when others may read the file or it holds no key.
        """
        return cls(open_secret_file(path, lambda: secrets.token_bytes(_KEY_BYTES)))

    def seal(self, plaintext: str, aad: str) -> bytes:
        """Encrypt a secret for the row named by `aad`."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._aead.encrypt(nonce, plaintext.encode(), aad.encode())

    def unseal(self, sealed: bytes, aad: str) -> str:
        """Decrypt what `seal` made for the same row.

        Raises: ConfigError when it was sealed under another key or for another row.
        """
        if sealed[:1] != _FORMAT:
            raise ConfigError("a sealed secret has an unknown format")
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, body, aad.encode()).decode()
        except InvalidTag:
            # Nearly always a data folder beside another installation's database.
            raise ConfigError(f"the secret of {aad} was not sealed with this installation's vault key") from None

    def mac(self, purpose: str, message: bytes) -> bytes:
        """Return 32 bytes that only the holder of the key can make."""
        return hmac.digest(self._mac_key, purpose.encode() + b"\0" + message, "sha256")


def digest(secret: str) -> bytes:
    """Return what is stored of a random secret that only needs checking."""
    return hashlib.sha256(secret.encode()).digest()


def open_secret_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a secret from a 0600 file, making the file when there is none; of two processes at once, one makes it.

    Raises: ConfigError when the group or others may read the file.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            os.write(descriptor, make())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            # A link never replaces a file, so whoever comes second reads the first one's secret, and nobody half of it.
            os.link(draft, path)
        except FileExistsError:
            return _read(path)
    finally:
        os.unlink(draft)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return _read(path)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ConfigError(f"{path} holds a secret and must be a file only its owner may read (chmod 600)")
        return os.read(descriptor, _FILE_BYTES_MAX)
    finally:
        os.close(descriptor)


__all__ = ["Vault", "digest", "open_secret_file"]
