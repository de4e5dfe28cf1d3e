"""`python -m explorer`: what the call takes, what it says, and that it serves from anywhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import psutil
import pytest

from explorer import __main__ as cli
from explorer.charts.style import DARK, LIGHT
from tests.explorer.seeded import write_seeded_store

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())


@pytest.fixture()
def busy_port():
    with socket.socket() as held:
        held.bind((cli.HOST, 0))
        held.listen()
        yield held.getsockname()[1]


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for part in ("--store", "--model", "--port", "--no-browser", "examples:", "default: runs"):
        assert part in shown


@pytest.mark.parametrize(
    "call",
    [["--port", "0"], ["--port", "70000"], ["--port", "x"], ["--model", "/no/such"], ["--x"]],
)
def test_a_mistake_in_the_call_ends_with_2(call: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(call)
    assert ended.value.code == 2


def test_a_store_that_is_a_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "run.duckdb").write_text("")
    with pytest.raises(SystemExit) as ended:
        cli.main(["--store", str(tmp_path / "run.duckdb")])
    assert ended.value.code == 2


def test_a_busy_port_is_one_clear_line(
    busy_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "serve", lambda options: pytest.fail("it must not start"))
    assert cli.main(["--port", str(busy_port)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert str(busy_port) in said.err
    assert "--port" in said.err


def test_without_a_wish_the_next_free_port_is_taken(
    busy_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "FIRST_PORT", busy_port)
    port = cli.find_port(None)
    assert port is not None
    assert port > busy_port
    monkeypatch.setattr(cli, "N_PORTS", 1)
    assert cli.find_port(None) is None


def test_the_server_is_told_folder_model_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(cli, "serve", seen.update)
    monkeypatch.setenv("EXPLORER_STORE", "x")
    monkeypatch.setenv("EXPLORER_MODEL", "x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert cli.main(["--store", "here", "--model", "model", "--no-browser"]) == 0
    assert os.environ["EXPLORER_STORE"] == str(tmp_path / "here")
    assert os.environ["EXPLORER_MODEL"] == str(tmp_path / "model")
    assert seen["server.address"] == "127.0.0.1"
    assert seen["server.headless"] is True
    assert seen["browser.gatherUsageStats"] is False
    for theme in ("light", "dark"):
        for name, value in SETTINGS["theme"][theme].items():
            assert seen[f"theme.{theme}.{name}"] == value


def test_it_serves_from_another_folder(tmp_path: Path) -> None:
    write_seeded_store(tmp_path / "runs")
    port = cli.find_port(None)
    call = [sys.executable, "-m", "explorer", "--no-browser", "--port", str(port)]
    server = subprocess.Popen(
        call, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        end = time.monotonic() + 60
        while not cli._answers(port or 0):
            assert server.poll() is None, server.stderr and server.stderr.read()
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            assert answer.status == 200
        heard = [
            c.laddr for c in psutil.Process(server.pid).net_connections() if c.status == "LISTEN"
        ]
        assert [(where.ip, where.port) for where in heard] == [("127.0.0.1", port)]
    finally:
        server.terminate()
        server.communicate(timeout=30)


# --- the settings file -------------------------------------------------------------------------


def test_the_server_is_for_this_machine_and_tells_nobody() -> None:
    assert SETTINGS["server"]["address"] == "127.0.0.1"
    assert SETTINGS["browser"]["gatherUsageStats"] is False


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("name", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_both_themes_are_the_palette_and_can_be_read(name: str, colours) -> None:
    theme = SETTINGS["theme"][name]
    assert theme["backgroundColor"] == colours.page
    assert theme["secondaryBackgroundColor"] == colours.panel
    assert theme["textColor"] == colours.ink
    assert theme["grayColor"] == colours.muted
    assert theme["chartSequentialColors"] == list(colours.amounts)
    assert theme["chartDivergingColors"] == list(colours.signed)
    for ground in (colours.page, colours.panel):
        for text in (colours.ink, colours.muted, colours.teal, colours.lowers, colours.raises):
            assert _contrast(text, ground) >= 4.5
    assert _contrast("#777777", "#ffffff") < 4.5, "the measure can fail"


# --- warming up --------------------------------------------------------------------------------


def test_warming_up_does_what_the_first_page_waits_for_and_loads_no_model(tmp_path: Path) -> None:
    write_seeded_store(tmp_path)
    code = (
        "import sys; from explorer.components.warm_up import warm_up; warm_up();"
        "wanted = {'explorer.views.tokens', 'streamlit.emojis', 'altair', 'duckdb'};"
        "sys.exit(len(wanted - set(sys.modules)) + 10 * ('torch' in sys.modules))"
    )
    env = os.environ | {"EXPLORER_STORE": str(tmp_path)}
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, timeout=120).returncode == 0
    )
