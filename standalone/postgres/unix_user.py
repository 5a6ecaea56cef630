"""The unprivileged user that PostgreSQL runs as when we are root.

PostgreSQL refuses to run as root, and initdb needs a user with a name. No directory's permissions
are changed for that user: where it cannot enter our folders, other ones are used.
"""

import os
import pwd
import shutil
import sys
from pathlib import Path

from standalone.failures import NotSupported
from standalone.processes.child_process import UnixUser, guarded
from standalone.processes.tool import run_tool

OWN_USER = "photo-archive"
KNOWN_USERS = (OWN_USER, "postgres")


def unprivileged_user(data: Path) -> UnixUser | None:
    """Return the user that PostgreSQL runs as; None when we are not root.

    It is the owner of existing data; else `photo-archive` or `postgres`, if there is one; else
    `photo-archive`, which is created as a system user without home or shell.

    Raises:
        NotSupported: there is no such user and none can be made.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return UnixUser(owner.st_uid, owner.st_gid)
    return _known_user() or _made_user()


def _known_user() -> UnixUser | None:
    for name in KNOWN_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return UnixUser(entry.pw_uid, entry.pw_gid)
    return None


def _made_user() -> UnixUser:
    hint = f"make one (useradd --system --user-group {OWN_USER}) or start as an ordinary user"
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        raise NotSupported(f"PostgreSQL cannot run as root and there is no other user: {hint}")
    argv = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false"]
    done = run_tool("useradd", [*argv, OWN_USER], directory=Path("/"))
    user = _known_user()
    if user is None:
        raise NotSupported(
            f"PostgreSQL cannot run as root and no user could be made for it "
            f"({done.stderr.strip() or f'exit code {done.returncode}'}): {hint}"
        )
    print(f"made the system user {OWN_USER}: PostgreSQL does not run as root", file=sys.stderr)
    return user


def can_reach(user: UnixUser | None, path: Path) -> bool:
    """Return whether the user can enter this folder or run this file, by trying it."""
    argv = guarded(["/bin/sh", "-c", 'test -x "$0"', str(path)], user=user)
    return run_tool("test", argv, directory=Path("/")).returncode == 0
