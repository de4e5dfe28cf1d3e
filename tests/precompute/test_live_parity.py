"""Live and stored numbers agree: what the job published for a prompt, `analyse_prompt` and
`suffix_curve` find again for its tokens, with the settings that the store's manifest names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from explorer.core.analysis import AnalysisSpec, PromptAnalysis, analyse_prompt, suffix_curve
from explorer.core.model import LanguageModel, load_model
from explorer.core.types import ActiveRule, HeadId, NeuronId
from tests.conftest import demo_documents

Publish = Callable[..., duckdb.DuckDBPyConnection]
DEMO_MODEL = Path(__file__).parents[2] / "assets" / "demo" / "model"
FEW = ("--neurons-per-layer", 3, "--random-neurons-per-layer", 1, "--prompts", 3, "--candidates", 9)
OPTIONS: dict[str, tuple[object, ...]] = {
    "gpt2": ("--layers", "all", "--max-prompt-tokens", 11, "--keep-ratio", 0.7, *FEW),
    "neox": ("--layers", "last:2", "--max-prompt-tokens", 8, "--active-rule", "top:2", *FEW),
    "demo": ("--layers", "3,5", "--max-prompt-tokens", 12, *FEW),
}


@dataclass(frozen=True)
class Stored:
    """A published store, its model loaded as Live loads it, and the settings of its manifest."""

    model: LanguageModel
    spec: AnalysisSpec
    prompts: list[dict[str, Any]]
    """Everything stored about each prompt, by column."""

    def live(
        self, row: dict[str, Any], ids: list[int], spec: AnalysisSpec | None = None
    ) -> PromptAnalysis:
        """At the last of these tokens, with the store's own settings unless others are given."""
        spec = self.spec if spec is None else spec
        return analyse_prompt(self.model, ids, row["id"], row["token_id"], None, spec)

    @cached_property
    def pairs(self) -> list[tuple[dict[str, Any], PromptAnalysis]]:
        """Each stored prompt with the live analysis of what is kept of it."""
        return [(row, self.live(row, row["kept"])) for row in self.prompts]


QUERY = """
    SELECT p.*, s.token_id, h.* EXCLUDE (prompt_id), c.starts, c.activations,
           (SELECT list((head_layer, head)) FROM active_heads a
            WHERE a.prompt_id = p.prompt_id) AS active
    FROM prompts p JOIN studied_neurons s USING (layer, neuron)
    JOIN head_attributions h USING (prompt_id) JOIN truncation_curves c USING (prompt_id)
    ORDER BY prompt_id
"""


@pytest.fixture(scope="module", params=["gpt2", "neox", "demo"])
def stored(
    request: pytest.FixtureRequest, publish: Publish, write_corpus: Callable[..., Path]
) -> Iterator[Stored]:
    kind = request.param
    folder = DEMO_MODEL if kind == "demo" else request.getfixturevalue(f"{kind}_folder")
    corpus = write_corpus(text[:240] for text in demo_documents("train", 40))
    with publish("--model", folder, "--corpus", corpus, *OPTIONS[kind]) as store:
        facts = store.sql("SELECT key, value FROM manifest").fetchall()
        found = store.sql(QUERY)
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        row["id"] = NeuronId(row["layer"], row["neuron"])
        row["kept"] = row["token_ids"][row["start"] :]
    spec = AnalysisSpec.from_manifest({key: json.loads(value) for key, value in facts})
    yield Stored(load_model(folder, "cpu"), spec, rows)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_there_is_something_to_compare(stored: Stored) -> None:
    assert len(stored.prompts) >= 16
    assert {row["split"] for row in stored.prompts} == {"train", "test"}
    assert any(row["start"] > 0 for row in stored.prompts)
    assert any(len(row["kept"]) > 2 for row in stored.prompts)
    assert any(row["active"] for row in stored.prompts)


def test_the_settings_are_those_of_the_call(stored: Stored, request: pytest.FixtureRequest) -> None:
    (kind,) = (name for name in OPTIONS if f"[{name}]" in request.node.name)
    words = [str(word) for word in OPTIONS[kind]]
    asked = dict(zip(words[::2], words[1::2], strict=True))
    assert stored.spec == AnalysisSpec(
        keep_ratio=float(asked.get("--keep-ratio", "0.8")),
        active_rule=ActiveRule.parse(asked.get("--active-rule", "mean+2sd")),
        max_prompt_tokens=int(asked["--max-prompt-tokens"]),
    )


def test_contributions(stored: Stored) -> None:
    for row, live in stored.pairs:
        assert live.token_ids == tuple(row["kept"]) and live.n_cut == 0
        close(live.heads.flatten(), row["heads"])
        close(live.mlps, row["mlps"])
        parts = (live.embedding, live.bias, live.pre_activation, live.ln_scale)
        close(parts, [row[n] for n in ("embedding", "bias", "pre_activation", "ln_scale")])
        total = live.heads.sum() + live.mlps.sum() + live.embedding + live.bias
        assert abs(total - live.pre_activation) <= 1e-4 * max(1.0, abs(live.pre_activation))


def test_activations_along_the_prompt(stored: Stored) -> None:
    for row, live in stored.pairs:
        close(live.activations, row["kept_activations"])
        close(live.activation, row["truncated_activation"])
        # Of the whole prompt, as the corpus scan found it.
        close(stored.live(row, row["token_ids"]).activation, row["activation"])


def test_the_neurons_token_after_the_kept_text(stored: Stored) -> None:
    for row, live in stored.pairs:
        assert live.target.token_id == row["token_id"]
        # Among thousands of tokens two may be closer than rounding.
        assert abs(live.target.rank - row["token_rank"]) <= row["token_rank"] // 1000
        assert live.target.probability == pytest.approx(row["probability"], rel=1e-3, abs=1e-7)
        same = [token for token in live.next_tokens if token.token_id == row["token_id"]]
        assert same == ([live.target] if live.target.rank <= stored.spec.n_next_tokens else [])


def test_active_heads(stored: Stored) -> None:
    for row, live in stored.pairs:
        assert sorted(live.active) == sorted(HeadId(*head) for head in row["active"] or [])


def test_the_truncation_curve(stored: Stored) -> None:
    for row in stored.prompts:
        n = len(row["token_ids"])
        curve = suffix_curve(stored.model, row["token_ids"], row["id"], stored.spec)
        assert curve.kept == len(row["kept"])
        assert curve.keep_ratio == stored.spec.keep_ratio
        found = dict(zip(curve.lengths, curve.activations, strict=True))
        # Live evaluates every length that the store has, and more.
        close([found[n - start] for start in row["starts"]], row["activations"])
        assert curve.lengths[-1] == n and set(curve.lengths) >= {n - s for s in row["starts"]}
        assert set(range(1, min(n, stored.spec.max_prompt_tokens) + 1)) <= set(found)
        close(curve.whole_activation, row["activation"])


def test_control_other_settings_give_other_answers(stored: Stored) -> None:
    """The comparisons above are not true of just any numbers."""
    strict = replace(stored.spec, keep_ratio=1.0)
    top = replace(stored.spec, active_rule=ActiveRule(3))
    n_longer = n_other_heads = n_other_numbers = 0
    rows = stored.prompts[::3]
    for row in rows:
        kept = suffix_curve(stored.model, row["token_ids"], row["id"], strict).kept
        n_longer += kept is None or kept > len(row["kept"])
        active = stored.live(row, row["kept"], top).active
        n_other_heads += set(active) != {HeadId(*head) for head in row["active"] or []}
        whole = stored.live(row, row["token_ids"])
        n_other_numbers += abs(whole.pre_activation - row["pre_activation"]) > 1e-3
    assert min(n_longer, n_other_heads, n_other_numbers) > len(rows) // 3


def test_a_position_in_the_middle_is_the_prefix_that_ends_there(stored: Stored) -> None:
    """Live's position picker: what comes after a position changes nothing at it."""
    row = max(stored.prompts, key=lambda row: len(row["kept"]))
    longer = [*row["kept"], *row["kept"]][: stored.model.max_prompt_tokens]
    at = len(row["kept"]) - 1
    live = analyse_prompt(stored.model, longer, row["id"], row["token_id"], at, stored.spec)
    close(live.heads.flatten(), row["heads"])
    assert live.target.rank == row["token_rank"]
    last = stored.live(row, longer)
    assert abs(last.pre_activation - live.pre_activation) > 1e-3


def test_a_prompt_longer_than_the_context_keeps_its_end(stored: Stored) -> None:
    row, size = stored.prompts[0], stored.model.max_prompt_tokens
    end = (row["token_ids"] * size)[-size:]
    cut = stored.live(row, [5, 6, 7, *end])
    fits = stored.live(row, end)
    assert (cut.n_cut, fits.n_cut) == (3, 0)
    assert cut.token_ids == fits.token_ids == tuple(end)
    np.testing.assert_array_equal(cut.heads, fits.heads)
