"""The job on a circuit planted by hand: it finds the neuron, its prompts and its heads, and no others.

The controls take the heads' output away, or the words they answer to, and leave the rest as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.precompute import planted

STORM, FEAST = planted.HEAD_OF
# Each twice in a row, so that train (even) and test (odd) have the same: 12 on, 3 off.
CONTEXTS = [
    words for words in ("storm", "feast", "storm storm", "feast feast", "") * 3 for _ in range(2)
]
OPTIONS = ("--layers", 2, "--neurons-per-layer", 1, "--random-neurons-per-layer", 0)

Publish = Callable[..., duckdb.DuckDBPyConnection]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.write_folder(tmp_path_factory.mktemp("planted") / "planted-gpt2")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return planted.documents(CONTEXTS, seed=3)


@pytest.fixture(scope="module")
def store(
    folder: Path, texts: list[str], publish: Publish, write_corpus: Write
) -> duckdb.DuckDBPyConnection:
    return publish("--model", folder, "--corpus", write_corpus(texts), *OPTIONS)


def prompts_of(store: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The kept prompts, with their words, active heads, attributions and curve."""
    found = store.sql(
        """
        SELECT p.*, h.heads, c.starts, c.activations,
               (SELECT list((head_layer, head)) FROM active_heads a
                WHERE a.prompt_id = p.prompt_id) AS active
        FROM prompts p JOIN head_attributions h USING (prompt_id)
        JOIN truncation_curves c USING (prompt_id) ORDER BY prompt_id
        """
    )
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        row["words"] = [planted.WORDS[i] for i in row["token_ids"]]
    return rows


def context_of(words: list[str]) -> str:
    """The one word of a prompt that switches a head on."""
    (word,) = set(words) & set(planted.HEAD_OF)
    return word


def test_the_planted_neuron_is_the_next_token_neuron(store: duckdb.DuckDBPyConnection) -> None:
    token_id = planted.WORDS.index(planted.TOKEN)
    studied = store.sql("SELECT layer, neuron, token_id, kind FROM studied_neurons").fetchall()
    assert studied == [(*planted.NEURON, token_id, "next-token")]
    best = store.sql(
        "SELECT layer, neuron, token_id FROM neuron_tokens ORDER BY congruence DESC LIMIT 1"
    ).fetchall()
    assert best == [(*planted.NEURON, token_id)]
    assert store.sql(
        f"SELECT layer, neuron FROM token_neurons WHERE token_id = {token_id} AND rank = 1"
    ).fetchall() == [planted.NEURON]


def test_its_prompts_are_the_planted_contexts_up_to_the_cue(
    store: duckdb.DuckDBPyConnection, texts: list[str]
) -> None:
    found = prompts_of(store)
    expected = {
        (("train", "test")[doc_id % 2], doc_id, texts[doc_id].split(planted.CUE)[0] + planted.CUE)
        for doc_id, context in enumerate(CONTEXTS)
        if context
    }
    assert {(row["split"], row["doc_id"], "".join(row["words"])) for row in found} == expected
    assert len(found) == len(expected) == 24
    # The cue alone, though in every document, gave no prompt: candidates ran out in both splits.
    ((warnings,),) = store.sql("SELECT value FROM manifest WHERE key = 'warnings'").fetchall()
    assert [n for kind, n in json.loads(warnings).items() if "fewer prompts" in kind] == [2]


def test_the_active_heads_are_those_of_the_context(store: duckdb.DuckDBPyConnection) -> None:
    found = prompts_of(store)
    for row in found:
        assert row["active"] == [planted.HEAD_OF[context_of(row["words"])]]
    assert {row["active"][0] for row in found} == set(planted.HEAD_OF.values())


def test_an_active_head_contributes_far_more_than_all_noise(
    store: duckdb.DuckDBPyConnection,
) -> None:
    for row in prompts_of(store):
        layer, head = row["active"][0]
        flat = layer * planted.N_HEADS + head
        others = [abs(value) for i, value in enumerate(row["heads"]) if i != flat]
        assert row["heads"][flat] > 4 * sum(others)
        assert len(others) == 17 and sum(value > 0 for value in others) == 17


def test_exactly_the_planted_heads_are_studied(store: duckdb.DuckDBPyConnection) -> None:
    rows = store.sql(
        """SELECT head_layer, head, split, n_active, n_prompts FROM head_activity
           WHERE studied ORDER BY ALL"""
    ).fetchall()
    expected = [
        (*head, split, 6, 12)
        for head in sorted(planted.HEAD_OF.values())
        for split in ("test", "train")
    ]
    assert rows == expected
    others = "SELECT count(*), sum(n_active) FROM head_activity WHERE NOT studied"
    assert store.sql(others).fetchall() == [(16 * 2, 0)]


def test_truncation_keeps_just_back_to_the_context_word(store: duckdb.DuckDBPyConnection) -> None:
    found = prompts_of(store)
    for row in found:
        words, start = row["words"], row["start"]
        context = context_of(words)
        last = max(i for i, word in enumerate(words) if word == context)
        assert start == last
        # Without the context word the neuron is off; the whole prompt keeps it on.
        curve = dict(zip(row["starts"], row["activations"], strict=True))
        assert all(curve[s] < 0 for s in range(last + 1, len(words)))
        assert curve[0] == pytest.approx(row["activation"])
        assert row["truncated_activation"] > 0.9 * row["activation"] > 2
    assert {row["words"].count(context_of(row["words"])) for row in found} == {1, 2}
    assert min(row["start"] for row in found) >= 1


def test_the_model_then_says_the_planted_token(store: duckdb.DuckDBPyConnection) -> None:
    for row in prompts_of(store):
        assert row["token_rank"] == 1
        assert row["probability"] > 0.99


def test_heads_attend_to_their_word_or_rest_on_bos(store: duckdb.DuckDBPyConnection) -> None:
    attention = store.sql(
        "SELECT prompt_id, head_layer, head, weights FROM head_attention"
    ).fetchall()
    words = {row["prompt_id"]: row["words"][row["start"] :] for row in prompts_of(store)}
    assert len(attention) == 2 * len(words)
    for prompt_id, layer, head, weights in attention:
        assert len(weights) == 1 + len(words[prompt_id])
        # The kept text begins with the context word: position 1, after BOS.
        is_own = planted.HEAD_OF[words[prompt_id][0]] == (layer, head)
        assert weights[1 if is_own else 0] > 0.95


def test_control_without_the_heads_output_nothing_is_found(
    texts: list[str], tmp_path: Path, publish: Publish, write_corpus: Write
) -> None:
    folder = planted.write_folder(tmp_path / "silent-gpt2", with_heads=False)
    store = publish("--model", folder, "--corpus", write_corpus(texts), *OPTIONS)
    # The neuron still points at its token, and nothing switches it on.
    assert store.sql("SELECT layer, neuron FROM studied_neurons").fetchall() == [planted.NEURON]
    assert store.sql("SELECT count(*) FROM prompts").fetchall() == [(0,)]
    assert store.sql(
        "SELECT count(*), sum(n_active), sum(n_prompts), count(mean_attribution), "
        "count(*) FILTER (studied) FROM head_activity"
    ).fetchall() == [(18 * 2, 0, 0, 0, 0)]
    assert store.sql("SELECT count(*) FROM head_attention").fetchall() == [(0,)]


def test_control_without_the_context_words_nothing_is_found(
    folder: Path, publish: Publish, write_corpus: Write
) -> None:
    corpus = write_corpus(planted.documents([""] * 32, seed=3))
    store = publish("--model", folder, "--corpus", corpus, *OPTIONS)
    assert store.sql("SELECT count(*) FROM prompts").fetchall() == [(0,)]
    assert store.sql("SELECT count(*) FROM active_heads").fetchall() == [(0,)]


def test_control_a_head_that_is_always_active_is_not_studied(
    folder: Path, publish: Publish, write_corpus: Write
) -> None:
    corpus = write_corpus(planted.documents(["storm"] * 16, seed=3))
    store = publish("--model", folder, "--corpus", corpus, *OPTIONS)
    active = "SELECT DISTINCT head_layer, head FROM active_heads"
    assert store.sql(active).fetchall() == [planted.HEAD_OF[STORM]]
    assert (
        store.sql("SELECT n_active, n_prompts FROM head_activity WHERE n_active > 0").fetchall()
        == [(8, 8)] * 2
    )
    assert store.sql("SELECT count(*) FROM head_activity WHERE studied").fetchall() == [(0,)]
