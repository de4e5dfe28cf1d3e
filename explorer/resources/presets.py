"""Prompts worth showing on Live: found for the bundled model, else taken from the run's own prompts.

The found ones are data (`assets/demo/presets.json`), keyed by the checksum of the weights that they
were found in: for any other model they would be claims about nothing. Nothing here imports torch.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from explorer.charts.style import signed
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.live_values import stored_prompt

PRESETS_FILE = Path(__file__).resolve().parents[2] / "assets" / "demo" / "presets.json"
_N_STORED = 6
"""How many of the run's own prompts stand in where nothing was found for its model."""
_STRONG_SHARE = 0.3
"""A strong head adds at least this share of the pre-activation."""
_TITLE_LENGTH = 46


@dataclass(frozen=True)
class Preset:
    """One view of Live and what to see in it; None leaves a field as it is on a first visit."""

    title: str
    see: str
    """One line: what to look at."""
    neuron: NeuronId
    token: str | None = None
    """Whose probability is watched; None is the neuron's own token."""
    text: str | None = None
    pos: int | None = None
    prompt: int | None = None
    head: HeadId | None = None
    off: tuple[HeadId, ...] | None = None
    kind: str | None = None
    text2: str | None = None
    pos2: int | None = None

    def fields(self) -> dict[str, Any]:
        """What the selection becomes; without a token the frame takes the neuron's own."""
        names = ("token", "neuron", "text", "pos", "prompt", "head", "off", "kind", "text2", "pos2")
        return {name: getattr(self, name) for name in names}


def _preset(entry: dict[str, Any]) -> Preset:
    known = {name: entry[name] for name in ("title", "see", "token", "text", "pos", "kind", "text2", "pos2")
             if name in entry}  # fmt: skip
    off = entry.get("off")
    return Preset(
        **known,
        neuron=NeuronId.parse(entry["neuron"]),
        head=HeadId.parse(entry["head"]) if "head" in entry else None,
        off=tuple(HeadId.parse(head) for head in off) if off else None,
    )


@lru_cache(maxsize=4)
def found_presets(weights_sha256: str, path: Path = PRESETS_FILE) -> tuple[Preset, ...]:
    """What was found for the model with these weights; empty for others, or where the file is not."""
    if not path.is_file():
        return ()
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["weights_sha256"] != weights_sha256:
        return ()
    return tuple(_preset(entry) for entry in content["presets"])


def _strong(store: Store) -> list[tuple[int, NeuronId, HeadId, float, float]]:
    """Stored prompts with an active head that adds much: `prompt_id`, neuron, head, contribution,
    pre-activation, the neuron's token likeliest first; no random neurons."""
    rows = store.sql(
        """
        SELECT p.prompt_id, p.layer, p.neuron, a.head_layer, a.head,
               h.heads[a.head_layer * $n_heads + a.head + 1] AS value, h.pre_activation AS pre
        FROM prompts p
        JOIN studied_neurons s USING (layer, neuron)
        JOIN active_heads a USING (prompt_id)
        JOIN head_attributions h USING (prompt_id)
        WHERE s.kind <> 'random' AND h.pre_activation > 0
          AND value >= $share * h.pre_activation
        ORDER BY p.probability DESC, p.prompt_id, value DESC
        """,
        {"n_heads": store.shape.n_heads, "share": _STRONG_SHARE},
    )
    return [
        (int(r[0]), NeuronId(int(r[1]), int(r[2])), HeadId(int(r[3]), int(r[4])), float(r[5]),
         float(r[6]))
        for r in rows.itertuples(index=False)
    ]  # fmt: skip


@lru_cache(maxsize=8)
def _strong_prompts(store: Store) -> tuple[Preset, ...]:
    found: dict[int, Preset] = {}
    for prompt_id, neuron, head, value, pre in _strong(store):
        stored = stored_prompt(store, neuron, prompt_id)
        if prompt_id in found or stored is None:
            continue
        text = visible(stored.text).replace("␣", " ").strip()
        title = text if len(text) <= _TITLE_LENGTH else "…" + text[-_TITLE_LENGTH:]
        see = f"{head.label} adds {signed(value)} of {pre:.2f} to {neuron.label}. Switch it off."
        found[prompt_id] = Preset(title, see, neuron, prompt=prompt_id, head=head)
    return tuple(found.values())


def presets(store: Store) -> tuple[Preset, ...]:
    """Examples for a run: those found for its model, else prompts of its own, one a neuron."""
    found = found_presets(str(store.manifest.get("weights_sha256")))
    if found:
        return found
    first: dict[NeuronId, Preset] = {}
    for preset in _strong_prompts(store):
        first.setdefault(preset.neuron, preset)
    return tuple(first.values())[:_N_STORED]


def surprise(store: Store, last: int | None, draw: random.Random) -> Preset | None:
    """A stored prompt drawn at random that has a strong active head; not the last one again, None
    where the run has none."""
    choices = [preset for preset in _strong_prompts(store) if preset.prompt != last]
    return draw.choice(choices) if choices else None
