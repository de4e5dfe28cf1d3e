"""What a run or a call names as its model, before anything of it is opened: folder, hub name or neither.

A store may come from a stranger, and so may the path in it. Nothing of a path is touched here but to
see whether there is a folder. A network path is not even looked at: on some systems a look sends the
user's credentials to its host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_ROOT = Path(__file__).resolve().parents[2]
BUNDLED_MODEL = (_ROOT / "assets" / "demo" / "model").resolve()
"""The model that comes with the program: nobody has to be asked before it is loaded."""
_NETWORK = re.compile(r"[\\/]{2}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.A)


@dataclass(frozen=True)
class NamedModel:
    """What a run, or the command line, names as the model, before anything of it is opened."""

    kind: Literal["folder", "hub", "network", "missing"]
    source: str
    """The folder, absolute and with links followed; a hub name; else the words of the run."""
    given: bool
    """Whether the command line named it."""


def _folder(path: Path) -> Path | None:
    """The folder there, links followed; None where there is none or its path is no path."""
    try:
        # NUL, half a character, a name too long, a folder that must not be read, a loop of links
        return path.resolve() if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _home(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError:  # a user that is not there
        return Path(named)


def find_model(named: str, given: bool = False) -> NamedModel:
    """Folder or hub name of a model. A relative folder is looked for where the server runs, then
    beside the program."""
    if _NETWORK.match(named) and not given:
        return NamedModel("network", named, given)
    path = _home(named)
    folder = _folder(path) if named.strip() else None
    if folder is None and named.strip() and not path.is_absolute():
        folder = _folder(_ROOT / path)
    if folder is not None:
        return NamedModel("folder", str(folder), given)
    is_name = _HUB_NAME.fullmatch(named) and ".." not in named and "--" not in named
    return NamedModel("hub" if is_name else "missing", named, given)
