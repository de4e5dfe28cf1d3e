"""The stage: every studied pair explained, tested and scored as the contract says, worked out again
from the stored verdicts in plain loops; failures where they belong; the same bits whatever the order."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from explorer.core.rules import parse, predict, sentence
from explorer.core.types import HeadId, NeuronId
from precompute.explainers.contrast import Contrast
from precompute.explainers.protocol import Example, ExplainerFailure, Explanation, Verdict
from precompute.stages import explanations
from tests.precompute import planted
from tests.precompute.calling import call, manifest, stores, tables
from tests.precompute.contract_case import Case
from tests.precompute.test_planted_circuit import CONTEXTS, OPTIONS

PAIR = "layer, neuron, head_layer, head"
WORDS_OF = {head: word.strip() for word, head in planted.HEAD_OF.items()}


@pytest.fixture(scope="module")
def planted_call(
    write_corpus: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[object, ...]:
    folder = planted.write_folder(tmp_path_factory.mktemp("planted") / "planted-gpt2")
    corpus = write_corpus(planted.documents(CONTEXTS, seed=3))
    return ("--model", folder, "--corpus", corpus, *OPTIONS)


@pytest.fixture(scope="module")
def store(
    planted_call: tuple[object, ...], publish: Callable[..., duckdb.DuckDBPyConnection]
) -> duckdb.DuckDBPyConnection:
    return publish(*planted_call)


# --- the planted circuit -------------------------------------------------------------------------


def test_the_planted_heads_are_explained_by_their_words(store: duckdb.DuckDBPyConnection) -> None:
    found = store.sql(
        "SELECT head_layer, head, explainer, text, rule FROM explanations ORDER BY ALL"
    ).fetchall()
    assert [row[:3] for row in found] == [(*head, "contrast") for head in sorted(WORDS_OF)]
    for layer, head, _, text, rule in found:
        own = WORDS_OF[layer, head]
        (other,) = set(WORDS_OF.values()) - {own}
        assert text == sentence(parse(rule))
        assert f"“{own}”" in text or f"“{other}”" in text
        assert predict(parse(rule), [f" {own}", " the", planted.CUE])
        assert not predict(parse(rule), [f" {other}", " the", planted.CUE])


def test_the_planted_heads_score_and_their_nulls_are_chance(
    store: duckdb.DuckDBPyConnection,
) -> None:
    scores = store.sql("SELECT score, ci_low, ci_high, n_missing FROM head_scores").fetchall()
    assert len(scores) == 2
    for score, low, high, n_missing in scores:
        assert score >= 0.95 and low <= score <= high and n_missing == 0
    nulls = store.sql("SELECT null_kind, score, p_value FROM score_nulls ORDER BY ALL").fetchall()
    assert [kind for kind, _, _ in nulls] == ["other-head", "other-head", "shuffle", "shuffle"]
    for kind, score, p_value in nulls:
        if kind == "shuffle":
            assert 0.45 <= score <= 0.55 and p_value < 0.01
        else:  # the other head's words say just when this head is not active
            assert score <= 0.05 and p_value is None


# --- against the contract, worked out again from the stored verdicts --------------------------------


def verdicts_of(case: Case) -> dict[tuple, dict[int, tuple[bool, bool]]]:
    """Prompt to activity and verdict, by pair."""
    found: dict[tuple, dict[int, tuple[bool, bool]]] = defaultdict(dict)
    for *pair, prompt_id, active, predicted in case.rows(
        f"SELECT {PAIR}, prompt_id, active, predicted FROM classifications"
    ):
        found[tuple(pair)][prompt_id] = (active, predicted)
    return found


def plain_score(rows: Sequence[tuple[bool, bool]]) -> float | None:
    shares = []
    for kind in (True, False):
        right = [predicted is kind for active, predicted in rows if active is kind]
        if not right:
            return None
        shares.append(sum(right) / len(right))
    return sum(shares) / 2


def test_every_studied_pair_is_explained_and_tested_on_its_test_prompts(case: Case) -> None:
    studied = set(case.rows(f"SELECT {PAIR} FROM head_activity WHERE studied AND split = 'train'"))
    assert len(studied) >= 4
    for table in ("explanations", "head_scores"):
        assert sorted(case.rows(f"SELECT {PAIR} FROM {table}")) == sorted(studied)
    kinds = case.rows(f"SELECT {PAIR}, null_kind FROM score_nulls ORDER BY ALL")
    assert kinds == sorted((*p, k) for p in studied for k in ("other-head", "shuffle"))
    expected = case.rows(
        """SELECT a.layer, a.neuron, a.head_layer, a.head, prompt_id,
             EXISTS (FROM active_heads h WHERE h.prompt_id = p.prompt_id
                     AND h.head_layer = a.head_layer AND h.head = a.head)
           FROM head_activity a JOIN prompts p USING (layer, neuron)
           WHERE a.studied AND a.split = 'train' AND p.split = 'test' ORDER BY ALL"""
    )
    stored = case.rows(f"SELECT {PAIR}, prompt_id, active FROM classifications ORDER BY ALL")
    assert stored == expected and {row[-1] for row in stored} == {True, False}
    assert case.rows("SELECT count(*) FROM failures") == [(0,)]


def test_verdicts_are_those_of_the_stored_rule(case: Case) -> None:
    texts = [text for (text,) in case.rows("SELECT text FROM tokens ORDER BY token_id")]
    rows = case.rows(
        f"""SELECT rule, token_ids[start + 1:], predicted FROM classifications
            JOIN explanations USING ({PAIR}, explainer) JOIN prompts USING (prompt_id)"""
    )
    for rule, kept, predicted in rows:
        assert predict(parse(rule), [texts[i] for i in kept]) is predicted
    assert len(rows) > 10


def test_scores_are_those_of_plain_loops_and_lie_in_their_interval(case: Case) -> None:
    verdicts = verdicts_of(case)
    n_without = 0
    for *pair, tp, fp, tn, fn, missing, score, low, high in case.rows(
        f"SELECT {PAIR}, tp, fp, tn, fn, n_missing, score, ci_low, ci_high FROM head_scores"
    ):
        rows = list(verdicts[tuple(pair)].values())
        counted = [
            rows.count(r) for r in ((True, True), (False, True), (False, False), (True, False))
        ]
        assert ([tp, fp, tn, fn], missing) == (counted, 0)
        plain = plain_score(rows)
        assert score == (None if plain is None else pytest.approx(plain))
        n_without += plain is None
        if plain is None:
            assert low is None and high is None
        else:
            assert 0 <= low <= plain + 1e-6 and plain - 1e-6 <= high <= 1
    warned = json.loads(case.rows("SELECT value FROM manifest WHERE key = 'warnings'")[0][0])
    assert sum(n for kind, n in warned.items() if "without a score" in kind) == n_without


def test_nulls_are_those_of_plain_loops(case: Case) -> None:
    verdicts, n_with_others = verdicts_of(case), 0
    for *key, kind, score, p_value in case.rows(
        f"SELECT {PAIR}, null_kind, score, p_value FROM score_nulls"
    ):
        pair, own = tuple(key), verdicts[tuple(key)]
        if kind == "other-head":
            others = [p for p in verdicts if p[:2] == pair[:2] and p != pair]
            scores = [plain_score([(own[i][0], verdicts[p][i][1]) for i in own]) for p in others]
            known = [s for s in scores if s is not None]
            assert score == (pytest.approx(np.mean(known)) if known else None)
            assert p_value is None
            n_with_others += bool(known)
        elif plain_score(list(own.values())) is None:
            assert score is None and p_value is None
        else:
            assert score == pytest.approx(0.5, abs=0.06) and 0 <= p_value <= 1
    assert n_with_others > 2 or case.options.top_k is None  # there, few heads are studied


# --- failures ------------------------------------------------------------------------------------


class Moody(Contrast):
    """`contrast`, but for one head nothing can be said, and of every other prompt no verdict."""

    def __init__(self, moods: dict[str, bool]) -> None:
        super().__init__()
        self.moods = moods
        self.asked: list[str] = []

    async def explain(
        self, token: str, active: Sequence[Example], inactive: Sequence[Example]
    ) -> Explanation:
        said = await super().explain(token, active, inactive)
        self.asked.append(said.text)
        if self.moods["bad"] and predict(parse(said.rule or ""), [" storm"]):
            raise ExplainerFailure("no idea\nof <this>")
        return said

    async def classify(
        self, token: str, explanation: Explanation, prompts: Sequence[Example]
    ) -> list[Verdict | ExplainerFailure]:
        found = await super().classify(token, explanation, prompts)
        bad = self.moods["bad"]
        return [
            ExplainerFailure("silence") if bad and i % 3 == 0 else v for i, v in enumerate(found)
        ]


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> Moody:
    explainer = Moody({"bad": True})
    monkeypatch.setattr(explanations, "explainers_of", lambda job: [explainer])
    return explainer


def test_a_failure_is_a_row_of_failures_and_of_nothing_else(
    moody: Moody, planted_call: tuple[object, ...], tmp_path: Path
) -> None:
    outcome = call(*planted_call, "--out", tmp_path)
    found = tables(outcome.store)
    neuron = NeuronId(*planted.NEURON)
    storm, feast = (HeadId(*planted.HEAD_OF[word]) for word in (" storm", " feast"))
    assert found["failures"] == [
        ("explanations", f"contrast {neuron} {feast} test prompt {rank}", "silence")
        for rank in (1, 10, 4, 7)
    ] + [("explanations", f"contrast {neuron} {storm}", "no idea of <this>")]
    for table in ("explanations", "head_scores"):
        assert [row[2:4] for row in found[table]] == [(feast.layer, feast.index)]
    assert len(found["classifications"]) == 8
    (row,) = found["head_scores"]
    assert row[9] == 4 and sum(row[5:9]) == 8 and row[10] == 1.0
    # No other head has verdicts; the shuffle null stands on the 8 prompts that have one.
    assert [(n[5], n[6] is None) for n in found["score_nulls"]] == [
        ("other-head", True), ("shuffle", False),
    ]  # fmt: skip
    warnings = manifest(outcome.store)["warnings"]
    assert [n for kind, n in warnings.items() if "failed" in kind] == [5]
    assert "--force" in outcome.stderr and "5 explanations or verdicts failed" in outcome.stderr
    assert list(tmp_path.glob("*.partial/explanations-*/*.json"))


def test_force_asks_for_what_failed_and_the_rest_is_kept(
    moody: Moody, planted_call: tuple[object, ...], store: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    first = call(*planted_call, "--out", tmp_path)
    assert (
        call(*planted_call, "--out", tmp_path).stdout == first.stdout
    )  # finished: nothing is asked
    assert len(moody.asked) == 2
    moody.moods["bad"] = False
    second = call(*planted_call, "--out", tmp_path, "--force")
    assert len(moody.asked) == 4 and len(stores(tmp_path)) == 2
    assert "shards were kept from before" in second.stderr  # scan, prompts, heads, not this stage
    names = [row[0] for row in store.execute("SHOW TABLES").fetchall() if row[0] != "manifest"]
    undisturbed = {name: store.execute(f'FROM "{name}"').fetchall() for name in names}
    assert tables(second.store) == undisturbed
    assert not list(tmp_path.glob("*.partial"))
    # The control: with no failures and nothing kept, --force does all of it again.
    third = call(*planted_call, "--out", tmp_path, "--force")
    assert len(moody.asked) == 6 and "kept from before" not in third.stderr


def test_a_run_that_dies_in_this_stage_goes_on_to_the_same_store(
    monkeypatch: pytest.MonkeyPatch, planted_call: tuple[object, ...],
    store: duckdb.DuckDBPyConnection, tmp_path: Path,
) -> None:  # fmt: skip
    class Deadly(Contrast):
        async def classify(self, *args: Any) -> Any:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(explanations, "explainers_of", lambda job: [Deadly()])
        assert call(*planted_call, "--out", tmp_path).status == 1
    outcome = call(*planted_call, "--out", tmp_path)
    assert "kept from before" in outcome.stderr
    found = tables(outcome.store)
    for table in explanations.TABLES:
        assert found[table] == store.execute(f'FROM "{table}"').fetchall(), table


def test_without_an_explainer_the_tables_are_there_and_empty(
    planted_call: tuple[object, ...], tmp_path: Path
) -> None:
    outcome = call(*planted_call, "--explainer", "none", "--out", tmp_path)
    found = tables(outcome.store)
    assert [len(found[table]) for table in explanations.TABLES] == [0] * 5
    assert manifest(outcome.store)["explainer"] == "none"
    assert found["head_activity"]


# --- seeds ---------------------------------------------------------------------------------------
