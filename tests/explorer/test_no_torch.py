"""Stored pages stand without torch, and the shared core without Streamlit: in fresh interpreters."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import explorer.core
import explorer.views

ROOT = Path(__file__).resolve().parents[2]


def _modules(package) -> list[str]:
    return [f"{package.__name__}.{found.name}" for found in pkgutil.iter_modules(package.__path__)]


def _loaded(modules: list[str], wanted: str) -> bool:
    """Whether importing the modules in a fresh interpreter also imports `wanted`."""
    code = f"import sys, {', '.join(modules)}; sys.exit(3 if {wanted!r} in sys.modules else 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode == 3


def test_views_and_store_need_no_torch() -> None:
    core = [f"explorer.core.{name}" for name in ("types", "errors", "schema", "store", "runs")]
    frame = ["explorer.components.frame", "explorer.selection", "explorer.resources.stores"]
    assert not _loaded([*_modules(explorer.views), *core, *frame], "torch")


def test_the_core_needs_no_streamlit() -> None:
    assert not _loaded(_modules(explorer.core), "streamlit")


def test_charts_need_neither() -> None:
    import explorer.charts

    assert not _loaded(_modules(explorer.charts), "streamlit")
    assert not _loaded(_modules(explorer.charts), "torch")


def test_the_check_can_fail() -> None:
    assert _loaded(["torch"], "torch")
    assert _loaded(["explorer.components.frame"], "streamlit")
