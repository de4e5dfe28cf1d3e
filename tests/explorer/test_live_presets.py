"""Every claim of the bundled examples holds for the bundled model, and no number stands without one."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.presets import PRESETS_FILE, found_presets, presets, surprise

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo" / "model"
CONTENT = json.loads(PRESETS_FILE.read_text(encoding="utf-8"))
SHA = CONTENT["weights_sha256"]
ENTRIES: list[dict[str, Any]] = CONTENT["presets"]


@pytest.fixture(scope="module")
def demo() -> Iterator[Any]:
    """The bundled model with its blocks."""
    from explorer.core.model import load_model
    from explorer.core.model_blocks import Blocks

    yield Blocks(load_model(DEMO))


def _measured(blocks: Any, entry: dict[str, Any], claim: dict[str, Any]) -> dict[str, Any]:
    """What the core says of a claim's prompt, at its last token."""
    from explorer.core.analysis import AnalysisSpec, analyse_prompt
    from explorer.core.live_ablation import ablate_prompt

    model, neuron = blocks.model, NeuronId.parse(entry["neuron"])
    ids = model.encode(entry["text2" if claim.get("side") == "B" else "text"])
    token = model.token_texts.index(claim["token"])
    off = [HeadId.parse(head) for head in claim.get("off", [])]
    if off:
        found: Any = ablate_prompt(blocks, ids, neuron, token, None, off, "zero-last")
    else:
        found = analyse_prompt(model, ids, neuron, token, None, AnalysisSpec())
    heads = [HeadId.parse(head) for head in claim.get("contribution", {})]
    return {
        "probability": found.target.probability,
        "rank": found.target.rank,
        "pre_activation": found.pre_activation,
        "contribution": {str(h): float(found.heads[h.layer, h.index]) for h in heads},
    }


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["title"])
def test_what_an_example_claims_is_so(demo: Any, entry: dict[str, Any]) -> None:
    assert demo.model.weights_sha256 == SHA
    for claim in entry["claims"]:
        found = _measured(demo, entry, claim)
        if "probability" in claim:
            assert found["probability"] == pytest.approx(claim["probability"], abs=0.0006)
        if "pre_activation" in claim:
            assert found["pre_activation"] == pytest.approx(claim["pre_activation"], abs=0.011)
        assert found["contribution"] == pytest.approx(claim.get("contribution", {}), abs=0.011)
        assert found["rank"] == claim.get("rank", found["rank"])


def test_a_removal_that_is_not_the_claimed_one_fails_it(demo: Any) -> None:
    """The control: another head off does not give the claimed probability."""
    entry = next(e for e in ENTRIES if e["head"] == "L4H4")
    claim = next(c for c in entry["claims"] if c.get("off"))
    found = _measured(demo, entry, claim | {"off": ["L4H5"]})
    assert abs(found["probability"] - claim["probability"]) > 0.1


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["title"])
def test_every_percentage_in_words_is_a_claim(entry: dict[str, Any]) -> None:
    said = re.findall(r"([\d.]+) %", entry["see"])
    claimed = {f"{100 * claim.get('probability', -1):.1f}" for claim in entry["claims"]}
    assert set(said) <= claimed
    numbers = {float(n) for n in re.findall(r"(?<![\d.])\d+\.\d\d(?!\d)", entry["see"])}
    values = [claim.get("pre_activation", 0.0) for claim in entry["claims"]]
    values += [v for claim in entry["claims"] for v in claim.get("contribution", {}).values()]
    known = {round(abs(v), 2) for v in values}
    known |= {round(abs(a - b), 2) for a in values for b in values}
    assert all(any(abs(n - k) <= 0.011 for k in known) for n in numbers)


def test_examples_are_those_of_their_model_alone(store: Store) -> None:
    assert len(found_presets(SHA)) == len(ENTRIES)
    assert found_presets("0" * 64) == ()
    own = presets(store)
    assert own and all(preset.prompt is not None and preset.text is None for preset in own)
    assert len({preset.neuron for preset in own}) == len(own)


def test_a_surprise_is_a_strong_stored_prompt_and_never_the_last_one(store: Store) -> None:
    drawn = [surprise(store, None, random.Random(seed)) for seed in range(20)]
    assert len({preset.prompt for preset in drawn if preset}) > 3
    for preset in drawn:
        assert preset is not None and preset.head is not None
        rows = [store.attributions(preset.neuron, split) for split in ("train", "test")]
        row = next(r for t in rows for _, r in t.iterrows() if r["prompt_id"] == preset.prompt)
        flat = preset.head.flat(store.shape.n_heads)
        assert flat in list(row["active"])
        assert row["heads"][flat] >= 0.3 * row["pre_activation"]
        again = [surprise(store, preset.prompt, random.Random(seed)) for seed in range(20)]
        assert all(other and other.prompt != preset.prompt for other in again)
