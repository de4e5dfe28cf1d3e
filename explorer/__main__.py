"""The command line of the explorer: find a port, start the server on this machine alone, say where.

Streamlit runs in this process with the settings of `.streamlit/config.toml`, given as flags, so that
the explorer looks and behaves the same from any working directory.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from explorer.core.plain_text import one_line

HOST = "127.0.0.1"
FIRST_PORT = 8501
N_PORTS = 50
_HERE = Path(__file__).resolve().parent
_SETTINGS = (_HERE / "settings.toml", _HERE.parent / ".streamlit" / "config.toml")
"""Where the settings lie: in an installed package, and in a checkout."""
_EXAMPLES = """examples:
  python -m explorer                          the runs of runs/, newest first
  python -m explorer --store /data/runs       another folder of runs
  python -m explorer --port 8600 --no-browser on a server
  python -m explorer --model models/gpt2      Live takes the model from here (it has moved since the run)
  python -m explorer --load-models            these runs are my own: load the models they name unasked

A run is made with: python -m precompute --model MODEL --corpus CORPUS
"""


class _Parser(argparse.ArgumentParser):
    """Its messages repeat what was typed, which may hold escape codes: they are named, not obeyed."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _mistake(option: str, named: str, wanted: str, must_exist: bool) -> str | None:
    """What is wrong with a folder that the call names; None where nothing is."""
    if not named.strip():
        return f"{option} expects {wanted}, got nothing"
    try:
        named.encode("utf-8")
        path = Path(named)
        is_there, is_folder = path.exists(), path.is_dir()
    except UnicodeEncodeError:  # pages could not show it
        return f"{option} expects a name in UTF-8, {named} is none; link to it under another name"
    except (OSError, ValueError) as error:  # too long, not to be read, NUL
        reason = getattr(error, "strerror", None) or str(error)
        return f"{option} expects {wanted}, {named[:200]} is none ({reason})"
    if is_there and not is_folder:
        return f"{option} expects {wanted}, {named} is a file"
    return f"{option} expects {wanted}, there is none at {named}" if must_exist > is_there else None


def parse_call(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the call; a mistake in it ends the program with status 2."""
    parser = _Parser(
        prog="python -m explorer",
        description="See why a model said a word: its neurons, and the heads that switch them on.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", metavar="DIR", default="runs",
                        help="folder of published runs (default: runs)")  # fmt: skip
    parser.add_argument("--model", metavar="DIR",
                        help="model folder for Live, where it is not where the run found it")  # fmt: skip
    parser.add_argument("--load-models", action="store_true",
                        help="agree beforehand that the model folders and hub names of all runs of the "
                        "folder are loaded (default: a page asks first; the bundled model and "
                        "--model are never asked for)")  # fmt: skip
    parser.add_argument("--port", metavar="N", type=_port,
                        help=f"port to serve on (default: the first free one from {FIRST_PORT})")  # fmt: skip
    parser.add_argument("--no-browser", action="store_true", help="open no browser window")
    call = parser.parse_args(arguments)
    mistake = _mistake("--store", call.store, "a folder of runs", must_exist=False)
    if mistake is None and call.model is not None:
        mistake = _mistake("--model", call.model, "a folder", must_exist=True)
    if mistake is not None:
        parser.error(mistake)
    return call


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of this machine now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_port(wanted: int | None) -> int | None:
    """The wanted port if it is free, else none; without a wish, the first free one."""
    choices = range(FIRST_PORT, FIRST_PORT + N_PORTS) if wanted is None else (wanted,)
    return next((port for port in choices if is_free(port)), None)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def server_options(port: int, browser: bool) -> dict[str, Any]:
    """Streamlit's options by dotted name: the settings file, then what the call says."""
    found = next((path for path in _SETTINGS if path.is_file()), None)
    options = {} if found is None else _flat(tomllib.loads(found.read_text(encoding="utf-8")))
    return options | {
        "server.address": HOST,
        "server.port": port,
        "server.headless": not browser,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
        "global.developmentMode": False,
    }


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.settimeout(1)
        return caller.connect_ex((HOST, port)) == 0


def _warm(port: int) -> None:
    while not _answers(port):  # the server comes first
        time.sleep(0.02)
    try:
        import_module("explorer.components.warm_up").warm_up()
    finally:
        # What is loaded now stays for good: the collector, which Streamlit calls after every run of a
        # page, need not walk it each time.
        gc.freeze()
        gc.enable()


def serve(options: Mapping[str, Any]) -> None:
    """Run the server until it is stopped."""
    from streamlit.web import bootstrap

    gc.disable()  # until all is imported: it would only walk what stays
    bootstrap.load_config_options(dict(options))
    port = options["server.port"]
    threading.Thread(target=_warm, args=(port,), name="warm", daemon=True).start()
    bootstrap.run(str(_HERE / "app.py"), False, [], dict(options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the explorer; 1 if no port can be had, 2 for a mistake in the call."""
    call = parse_call(arguments)
    port = find_port(call.port)
    if port is None:
        where = (
            f"port {call.port} is"
            if call.port
            else f"ports {FIRST_PORT}–{FIRST_PORT + N_PORTS - 1} are"
        )
        sys.stderr.write(f"explorer: {where} in use; choose another one with --port N\n")
        return 1
    os.environ["EXPLORER_STORE"] = str(Path(call.store).absolute())
    if call.model is not None:
        os.environ["EXPLORER_MODEL"] = str(Path(call.model).absolute())
    os.environ["EXPLORER_LOAD_MODELS"] = "1" if call.load_models else "0"
    where = one_line(f"Explorer at http://{HOST}:{port} (runs in {call.store}). Ctrl+C stops it.")
    sys.stdout.write(where + "\n")
    sys.stdout.flush()
    serve(server_options(port, browser=not call.no_browser))
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Stores are open read-only and nothing is left to write: end at once, without taking apart
    # libraries that other threads may still be using.
    os._exit(status)
