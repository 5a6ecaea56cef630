"""Who may talk to the embedded broker: two logins, kept in a file that only its owner can read."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from standalone.files import write_private

FILE_NAME = "passwords.json"
CLIENT_USER, CONTROLLER_USER = "photo-archive", "controller"


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the broker and its password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Logins:
    """The logins of a broker.

    Attributes:
        client: of everyone who reads and writes records.
        controller: of the broker itself at its controller, and of us when we set the other one.
    """

    client: Login
    controller: Login


def load_logins(folder: Path) -> Logins:
    """Return the logins that this folder keeps; make them when there are none.

    They may be made anew at any time: each start tells the broker the client's password.
    """
    path = folder / FILE_NAME
    if not path.exists():
        made = Logins(
            Login(CLIENT_USER, secrets.token_hex(16)), Login(CONTROLLER_USER, secrets.token_hex(16))
        )
        write_private(path, json.dumps(asdict(made)))
    kept = json.loads(path.read_text())
    return Logins(Login(**kept["client"]), Login(**kept["controller"]))
