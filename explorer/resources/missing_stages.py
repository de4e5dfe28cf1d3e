"""Why a pair has no explanation, or was not removed, and what fills the place: HTML, escaped."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from explorer.core.plain_text import one_line
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId

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
    return one_line(shlex.join([*call, *options]))


def _code(command: str) -> str:
    return f'<code class="nt-command">{html.escape(command)}</code>'


def failed(store: Store, neuron: NeuronId, head: HeadId) -> str:
    """Which explainers failed for a pair, and why; empty where none did."""
    rows = store.failed_explanations(neuron, head)
    return " ".join(
        html.escape(f"{explainer} failed for this pair: {str(reason).rstrip('.')}.")
        for explainer, reason in zip(rows["explainer"], rows["reason"], strict=True)
    )


def why_unexplained(store: Store, neuron: NeuronId, head: HeadId, studied: bool) -> str:
    """Why nobody said when the head is active."""
    if not store.has_rows("explanations"):
        command = job_command(store.manifest, ["--explainer", "contrast"])
        return (
            "This run was made without an explainer. The contrast explainer needs no key: "
            f"{_code(command)}"
        )
    if not studied:
        return f"No explanation: {_NOT_STUDIED} explained."
    reasons = failed(store, neuron, head) or "No explanation of this pair is stored."
    return f"{reasons} The contrast explainer needs no key."


def why_untested(store: Store, studied: bool) -> str:
    """Why the model was not re-run without the head."""
    if not store.has_rows("ablations"):
        command = job_command(store.manifest, ["--force"])
        return f"This run holds no removals. A new one does: {_code(command)}"
    if not studied:
        return f"Not tested: {_NOT_STUDIED} removed."
    return "Not tested: no kept prompt of this neuron was run without the head."
