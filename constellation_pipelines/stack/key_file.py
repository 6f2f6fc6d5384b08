"""The key that commands on this machine send: named in the settings, else kept in a file."""

import os
import stat
from pathlib import Path

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.settings import Settings

NAME = "api_key"
LONGEST = 10_000


def key_of(settings: Settings) -> str | None:
    """The key to send, None where there is none.

    The file belongs to the stack of its data directory: no other API is sent its key. Raises
    InvalidInput where others than its owner may read it.
    """
    if settings.api_key is not None:
        return settings.api_key.get_secret_value().strip() or None
    if settings.api_url is not None:
        return None
    path = settings.data_dir / NAME
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise InvalidInput(f"others may read the key in {path}: run chmod 600 {path}")
            return file.read(LONGEST).strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the key in {path} cannot be read") from error


def keep(data_dir: Path, key: str) -> Path:
    """Write the file, for its owner only; the one that was there is replaced."""
    path = data_dir / NAME
    fresh = path.with_name(f".{NAME}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(f"{key}\n")
    fresh.replace(path)
    return path
