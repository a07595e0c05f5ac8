"""Secrets at rest."""

import asyncio
import stat
from pathlib import Path

import pytest

from onterms.core.errors import ConfigError
from onterms.core.ids import new_token
from onterms.core.vault import Vault, open_secret_file


class TestVault:
    def test_what_is_sealed_for_one_row_opens_for_that_row_only(self) -> None:
        vault = Vault(bytes(32))
        sealed = vault.seal("secret", "AC1")
        assert vault.unseal(sealed, "AC1") == "secret"
        assert b"secret" not in sealed
        with pytest.raises(ConfigError):
            vault.unseal(sealed, "AC2")
        with pytest.raises(ConfigError):
            Vault(bytes([1]) * 32).unseal(sealed, "AC1")

    def test_key_file_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "data" / "vault.key"
        sealed = Vault.open(path).seal("secret", "AC1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert Vault.open(path).unseal(sealed, "AC1") == "secret"
        assert [entry.name for entry in path.parent.iterdir()] == ["vault.key"]

    def test_key_file_others_may_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "vault.key"
        Vault.open(path)
        path.chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600"):
            Vault.open(path)

    def test_key_file_of_another_length_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "vault.key"
        open_secret_file(path, lambda: b"short")
        with pytest.raises(ConfigError):
            Vault.open(path)

    async def test_processes_that_start_at_once_read_the_same_secret(self, tmp_path: Path) -> None:
        path = tmp_path / "operator.key"

        def read() -> bytes:
            return open_secret_file(path, lambda: new_token().encode())

        secrets = await asyncio.gather(*(asyncio.to_thread(read) for _ in range(8)))
        assert len(set(secrets)) == 1
