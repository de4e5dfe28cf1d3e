"""The flow of a prompt against one bare forward pass of the plain model."""

from __future__ import annotations

import random
from pathlib import Path

from explorer.core.flow_analysis import analyse_flow
from explorer.core.model import load_model
from tests.benchmarks.measure import Row, in_turn
from tests.benchmarks.model_speed import DEMO, _forward, bare, gpt2_small_folder


def flow_row(folder: Path, name: str, at_most: str, repeats: int) -> Row:
    """20 neurons with all their heads, for a prompt of 24 tokens; the token is found first."""
    model, plain = load_model(folder, "cpu"), bare(folder)
    rng = random.Random(0)
    ids = [rng.randrange(1, 8192) for _ in range(24)]
    prompt, _ = model.batch([ids])
    seconds, base = in_turn(
        lambda: analyse_flow(model, ids), lambda: _forward(plain, prompt), repeats
    )
    return Row(f"flow of a 24-token prompt, {name}", "one bare forward of that prompt",
               seconds, base, at_most)  # fmt: skip


def rows(scratch: Path) -> list[Row]:
    # In a model as small as the demo's, the model library's own calls take half as long again as the
    # bare forward pass.
    return [
        flow_row(DEMO / "model", "demo model", "2.0", 25),
        flow_row(gpt2_small_folder(scratch), "GPT-2 small's shape", "1.5", 9),
    ]
