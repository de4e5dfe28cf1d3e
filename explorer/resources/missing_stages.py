"""Why a pair has no explanation, or was not removed, and what fills the place: HTML, escaped."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from explorer.core.store import Store

_NOT_STUDIED = (
    "this head is not studied for the neuron (active in 25–75 % of its train prompts), and only "
    "studied heads are"
)


def job_command(manifest: Mapping[str, Any], options: Sequence[str] = ()) -> str:
    """The job's call that reads the same text with the same model, with `options`."""
    call = ["python", "-m", "precompute", "--model", str(manifest["model"]),
            "--corpus", str(manifest["corpus"])]  # fmt: skip
    if manifest.get("test_corpus"):
        call += ["--test-corpus", str(manifest["test_corpus"])]
    return shlex.join([*call, *options])


def _code(command: str) -> str:
    return f'<code class="nt-command">{html.escape(command)}</code>'


def why_unexplained(store: Store, studied: bool, active_somewhere: bool) -> str:
    """Why nobody said when the head is active."""
    if not store.has_rows("explanations"):
        command = job_command(store.manifest, ["--explainer", "contrast"])
        return (
            "This run was made without an explainer. The contrast explainer needs no key: "
            f"{_code(command)}"
        )
    if not studied:
        never = "" if active_somewhere else " It is active in none of these prompts."
        return f"No explanation: {_NOT_STUDIED} explained.{never}"
    return "The explainer failed for this pair. The contrast explainer needs no key."


def why_untested(store: Store, studied: bool) -> str:
    """Why the model was not re-run without the head."""
    if not store.has_rows("ablations"):
        command = job_command(store.manifest, ["--force"])
        return f"This run holds no removals. A new one does: {_code(command)}"
    if not studied:
        return f"Not tested: {_NOT_STUDIED} removed."
    return "Not tested: no kept prompt of this neuron was run without the head."
