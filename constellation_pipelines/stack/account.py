"""The unprivileged system account the embedded servers run under when the caller is root."""

import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFERRED = ("postgres", "nobody")
PRIVATE_PARENT = Path("/var/tmp")
PREFIX = "constellation-"


@dataclass(frozen=True)
class Account:
    """A user of this system, by number."""

    name: str
    uid: int
    gid: int

    @property
    def popen_options(self) -> dict[str, Any]:
        """Options of subprocess.Popen that make a child run under this account, no other groups."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def service_account() -> Account:
    """The caller, or an unprivileged account where the caller is root."""
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid())
    for name in PREFERRED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    return Account("65534", 65534, 65534)


def can_enter(account: Account, folder: Path) -> bool:
    """Whether the account may pass through every folder down to this one."""
    if account.uid == os.geteuid():
        return os.access(folder, os.X_OK)
    return all(_may_pass(account, part) for part in (folder, *folder.parents))


def _may_pass(account: Account, folder: Path) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def own_folder(account: Account, folder: Path) -> Path:
    """Make the folder if missing; only the account (and root) may look into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(folder, account.uid, account.gid)
    return folder


def reachable_folder(account: Account, folder: Path, name: str) -> Path:
    """A private folder `name` for the account: inside `folder`, or where it cannot go, elsewhere.

    Elsewhere is a new folder below /var/tmp; the file `folder/<name>.path` remembers it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if can_enter(account, folder.resolve()):
        return own_folder(account, folder.resolve() / name)
    return remembered_folder(account, folder / f"{name}.path")


def remembered_folder(account: Account, note: Path) -> Path:
    """The private folder below /var/tmp that the note names; a new one where it names none."""
    if note.exists():
        known = Path(note.read_text().strip())
        if _is_ours(account, known):
            return known
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PRIVATE_PARENT))
    own_folder(account, made)
    note.write_text(f"{made}\n")
    return made


def forget_folder(note: Path) -> None:
    """Delete the private folder the note names, and the note."""
    if not note.exists():
        return
    known = Path(note.read_text().strip())
    if known.parent == PRIVATE_PARENT and known.name.startswith(PREFIX):
        shutil.rmtree(known, ignore_errors=True)
    note.unlink()


def forget_folders(data_dir: Path) -> None:
    """Delete the private folders of a data directory whose stack is down and not wanted again."""
    for note in data_dir.glob("*/*.path"):
        forget_folder(note)


def _is_ours(account: Account, folder: Path) -> bool:
    """In a place where everyone may write, only a private folder of the account is trusted."""
    if folder.parent != PRIVATE_PARENT or not folder.name.startswith(PREFIX):
        return False
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    private = not status.st_mode & 0o077
    return stat.S_ISDIR(status.st_mode) and private and status.st_uid == account.uid
