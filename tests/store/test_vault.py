"""Secrets lie in the database sealed; what opens them is a file of this installation."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable
from constellation_pipelines.domain.webhook import new_secret
from constellation_pipelines.store import webhooks
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.vault import Vault


def test_a_sealed_secret_is_opened_by_the_same_key_only(tmp_path: Path) -> None:
    secret = new_secret()
    kept = Vault(tmp_path / "key").sealed(secret)
    assert secret not in kept
    assert Vault(tmp_path / "key").opened(kept) == secret
    assert Vault(tmp_path / "key").sealed(secret) != kept
    Vault(tmp_path / "other").sealed("x")
    with pytest.raises(InvalidInput, match="another key"):
        Vault(tmp_path / "other").opened(kept)


@pytest.mark.parametrize(
    "kept", ["sealed1:", "sealed1:x", "sealed1:\xff", "sealed1:gAAAA" + "A" * 90]
)
def test_what_was_changed_is_not_opened(tmp_path: Path, kept: str) -> None:
    vault = Vault(tmp_path / "key")
    vault.sealed("x")
    with pytest.raises(InvalidInput):
        vault.opened(kept)


def test_the_key_is_its_owners_alone_and_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    kept = Vault(path).sealed("x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ServiceUnavailable, match="chmod 600"):
        Vault(path).opened(kept)


def test_a_key_that_is_lost_or_broken_is_not_made_anew_to_open_with(tmp_path: Path) -> None:
    path = tmp_path / "key"
    kept = Vault(path).sealed("x")
    path.write_bytes(b"half")
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="cannot be read"):
            Vault(path).opened(kept)
        path.unlink(missing_ok=True)
    assert not path.exists()


def test_processes_that_begin_together_have_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        kept = list(pool.map(lambda n: Vault(tmp_path / "key").sealed(str(n)), range(64)))
    assert [Vault(tmp_path / "key").opened(one) for one in kept] == [str(n) for n in range(64)]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_secrets_of_before_are_opened_and_then_sealed(database: Database, tmp_path: Path) -> None:
    secret, vault = new_secret(), Vault(tmp_path / "key")
    assert vault.opened(secret) == secret
    with database.transaction() as connection:
        webhooks.add(connection, "ann", "https://hooks.example.org/x", None, secret)
    for _ in range(2):  # what is sealed stays as it is
        with database.transaction() as connection:
            webhooks.seal_all(connection, vault)
    row = database.fetch_one("select secret from constellation.webhooks")
    assert row is not None
    assert secret not in row["secret"]
    assert vault.opened(row["secret"]) == secret
