"""The vault: secrets that have to be had again lie in the database sealed, the key beside it.

Whoever gets a copy of the database has none of them without the installation's key, a file for its
owner only. It is made when the first secret is sealed.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from constellation_pipelines.domain.errors import InvalidInput, ServiceUnavailable

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SEALED = "sealed1:"  # what follows is Fernet's: AES-128-CBC and HMAC-SHA256
LONGEST = 1000


class Vault:
    """Seals and opens secrets with the key in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sealed(self, secret: str) -> str:
        """The secret as it is kept. Raises ServiceUnavailable where there is no key to be had."""
        return SEALED + self._key(make=True).encrypt(secret.encode()).decode()

    def opened(self, kept: str) -> str:
        """The secret; one that was kept before there was a key is kept as it is.

        Raises InvalidInput where another key has sealed it, ServiceUnavailable without a key.
        """
        from cryptography.fernet import InvalidToken

        if not kept.startswith(SEALED):
            return kept
        try:
            return self._key(make=False).decrypt(kept.removeprefix(SEALED)).decode()
        except (InvalidToken, ValueError) as error:
            raise InvalidInput(
                "its secret was sealed with another key than this installation's: remove it and "
                "add it anew"
            ) from error

    def _key(self, *, make: bool) -> "Fernet":
        from cryptography.fernet import Fernet

        try:
            if make and not self._path.exists():
                write_once(self._path, Fernet.generate_key())
            return Fernet(read(self._path))
        except (OSError, ValueError) as error:
            raise ServiceUnavailable(
                f"the key of this installation cannot be read from {self._path}"
            ) from error


def write_once(path: Path, key: bytes) -> None:
    """Write the file, whole and for its owner only, unless another process was quicker."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """The key. Raises ServiceUnavailable where others than its owner may read it, and OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ServiceUnavailable(f"others may read the key in {path}: run chmod 600 {path}")
        return file.read(LONGEST).strip()
