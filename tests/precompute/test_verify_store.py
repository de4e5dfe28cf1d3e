"""`verify`: a published store passes; for every rule, one deliberate fault makes exactly its check fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import pytest

from explorer.core import verify_rules, verify_store
from explorer.core.verify_report import Check
from explorer.core.verify_results import maths
from explorer.core.verify_store import N_CHECKS, check_store, checks
from tests.explorer.seeded import write_seeded_store
from tests.precompute.calling import Outcome
from tests.sizes import SOAK
from tests.spoiled import seal, spoiled

OPTIONS = ("--layers", "last:2", "--neurons-per-layer", 4, "--random-neurons-per-layer", 2,
           "--prompts", 4, "--candidates", 9)  # fmt: skip


def path_of(con: duckdb.DuckDBPyConnection) -> Path:
    with con:
        ((found,),) = con.sql(
            "SELECT path FROM duckdb_databases() WHERE path IS NOT NULL"
        ).fetchall()
    return Path(found)


@pytest.fixture(scope="module")
def top_k_store(
    neox_folder: Path, small_corpus: Path, publish: Callable[..., duckdb.DuckDBPyConnection]
) -> Path:
    """Parallel blocks, and three active heads a prompt: every table but the tasks' has rows."""
    call = ("--model", neox_folder, "--corpus", small_corpus, *OPTIONS, "--active-rule", "top:3")
    return path_of(publish(*call))


@pytest.fixture(scope="module")
def two_sd_store(quick_run: Outcome) -> Path:
    return quick_run.store


def failed(found: Iterable[Check]) -> dict[str, str]:
    return {check.name: check.reason for check in found if check.state == "failed"}


def test_published_stores_pass(top_k_store: Path, two_sd_store: Path, tmp_path: Path) -> None:
    for path in (top_k_store, two_sd_store):
        report = check_store(path)
        assert failed(report.checks) == {}
        assert report.passed
        assert [c.name for c in report.checks if c.state == "left out"] == ["tasks"]
        assert len({c.name for c in report.checks}) == len(report.checks) == N_CHECKS
    # A copy that is written and sealed again, with nothing wrong, passes too: what follows fails for
    # its fault and for nothing else.
    assert check_store(spoiled(top_k_store, tmp_path, ["CHECKPOINT"])).passed


def test_a_store_from_before_the_checksums_has_them_left_out(tmp_path: Path) -> None:
    report = check_store(write_seeded_store(tmp_path))
    assert failed(report.checks) == {}
    left_out = {c.name: c.reason for c in report.checks if c.state == "left out"}
    assert set(left_out) == {"row counts", "checksums", "tasks"}
    assert "before stores kept a record" in left_out["checksums"]
    path = tmp_path / "seeded.duckdb"
    with duckdb.connect(str(path)) as con:
        seal(con)
    assert {c.name for c in check_store(path).checks if c.state == "left out"} == {"tasks"}


# What is set or deleted by hand names one row; `first` is the one that comes first.
def first(table: str, where: str = "true") -> str:
    return f"rowid = (SELECT min(rowid) FROM {table} WHERE {where})"


def change(table: str, values: str, where: str = "true") -> str:
    return f"UPDATE {table} SET {values} WHERE {first(table, where)}"


def drop(table: str, where: str = "true") -> str:
    return f"DELETE FROM {table} WHERE {first(table, where)}"


LONG = "len(token_ids) - start > 1"
_TP = "score IS NOT NULL AND tp > 0"
FAULTS: list[tuple[str, str, list[str]]] = [
    ("tables", "comment", ["COMMENT ON COLUMN prompts.rank IS NULL"]),
    ("tables", "comment", ["COMMENT ON TABLE tokens IS ''"]),
    ("tables", "views or macros", ["CREATE VIEW more AS SELECT 1 AS x"]),
    ("manifest", "it lacks 'start'", ["DELETE FROM manifest WHERE key = 'start'"]),
    ("manifest", "before it started",
     ["UPDATE manifest SET value = '\"2001-01-01T00:00:00+00:00\"' WHERE key = 'end'"]),
    ("manifest", "no checksum", ["UPDATE manifest SET value = '\"x\"' WHERE key = 'weights_sha256'"]),
    ("values", "head_attributions", [change("head_attributions", "bias = NULL")]),
    ("values", "component_neurons", [change("component_neurons", "value = 'nan'")]),
    ("values", "rows of prompts",
     [change("prompts", "kept_activations = ['inf'::FLOAT] || kept_activations[2:]", LONG)]),
    ("values", "rows of prompts", [change("prompts", "token_ids = [NULL] || token_ids[2:]", LONG)]),
    ("keys", "task_results", ["INSERT INTO task_results VALUES ('t', 'a', 'c', 2, 0, 4, 2, 0.5)"] * 2),
    ("keys", "failures", ["INSERT INTO failures VALUES ('a', 'b', 'c')"] * 2),
    ("prompts named", "truncation_curves", [drop("truncation_curves")]),
    ("prompts named", "neuron_ablations", [change("neuron_ablations", "prompt_id = 9999"),
                                           "INSERT INTO neuron_ablations VALUES (0, 0)"]),
    ("prompts named", "of a split", [
        "INSERT INTO prompts SELECT 9999, layer, neuron, 'other', 1, doc_id, token_ids, start, "
        "activation, truncated_activation, kept_activations, probability, token_rank FROM prompts "
        "WHERE prompt_id = 0",
        *(f"INSERT INTO {t} SELECT * REPLACE (9999 AS prompt_id) FROM {t} WHERE prompt_id = 0"
          for t in verify_rules.OF_PROMPTS if t != "classifications")]),
    ("neurons named", "that the model lacks", [change("token_neurons", "neuron = 64")]),
    ("neurons named", "have no best tokens", ["DELETE FROM neuron_tokens WHERE (layer, neuron) = (0, 3)"]),
    ("neurons named", "of a kind", [change("studied_neurons", "kind = 'other'")]),
    ("neurons named", "not studied", [change("component_neurons", "neuron = 63 - neuron")]),
    ("heads named", "that the model lacks", [change("component_neurons", "head = 4")]),
    ("heads named", "cannot reach", [
        "INSERT INTO component_neurons SELECT 2, 0, 0, layer, neuron, 1 FROM studied_neurons "
        "WHERE layer = 2 LIMIT 1"]),
    ("tokens named", "ids are missing", ["DELETE FROM tokens WHERE token_id = 504"]),
    ("tokens named", "without text", [change("studied_neurons", "token_id = 503")]),
    ("tokens named", "prompts hold an id", [change("prompts", "token_ids = [504] || token_ids[2:]")]),
    ("list lengths", "kept activations",
     [change("prompts", "kept_activations = [0.0] || kept_activations")]),
    ("list lengths", "longer than the context", ["UPDATE manifest SET value = '5' WHERE key = 'n_ctx'"]),
    ("list lengths", "heads or MLPs", [change("head_attributions", "mlps = mlps || [0.0]")]),
    ("list lengths", "head_attention", [change("head_attention", "weights = weights || [0.0]")]),
    ("list lengths", "component_attributions",
     [change("component_attributions", "components = components || [0.0]")]),
    ("list lengths", "components than the model's",
     ["DELETE FROM head_components WHERE (layer, head, matrix, component) = (0, 0, 'OV', 7)"]),
    ("list lengths", "another number of starts",
     [change("truncation_curves", "activations = activations || [0.0]")]),
    ("parts", "do not sum", [change("head_attributions", "embedding = embedding + 0.002")]),
    ("parts", "cannot reach",
     [change("head_attributions", "heads = heads[:-2] || [1e-6::FLOAT]")]),
    ("parts", "divides by nothing", [change("head_attributions", "ln_scale = 0")]),
    ("components", "do not sum",
     [change("component_attributions", "components = [components[1] + 0.001] || components[2:]")]),
    ("active heads", "those of the rule", [
        "UPDATE manifest SET value = '\"top:4\"' WHERE key = 'active_rule'"]),
    ("activity", "one row for each split", [drop("head_activity", "NOT studied AND split = 'test'")]),
    ("activity", "other active prompts",
     [change("head_activity", "n_active = n_active + 1", "split = 'test'")]),
    ("activity", "other prompts", [change("head_activity", "n_prompts = n_prompts + 1", "split = 'test'")]),
    ("activity", "another mean", [change("head_activity", "mean_attribution = mean_attribution + 0.001")]),
    ("studied heads", "against the share",
     [change("head_activity", "studied = false", "studied AND split = 'test'")]),
    ("studied pairs", "lack their attention", [drop("head_attention")]),
    ("studied pairs", "lack their removals",
     [f"DELETE FROM ablations WHERE (prompt_id, head_layer, head) = (SELECT (prompt_id, head_layer, "
      f"head) FROM ablations WHERE {first('ablations')})"]),
    ("studied pairs", "components of a head that is not studied", [
        "INSERT INTO component_attributions SELECT prompt_id, 0, x.head, list_transform(range(8), "
        "lambda i: CASE i WHEN 0 THEN heads[x.head + 1] ELSE 0 END) FROM head_attributions, "
        "(SELECT head FROM head_activity a JOIN prompts p USING (layer, neuron) WHERE p.prompt_id = 0 "
        "AND head_layer = 0 AND NOT studied LIMIT 1) x WHERE prompt_id = 0"]),
    ("studied pairs", "explanations", [
        "INSERT INTO explanations SELECT layer, neuron, head_layer, head, 'me', 'text', NULL, NULL, "
        "NULL FROM head_activity WHERE NOT studied LIMIT 1"]),
    ("kept texts", "do not ascend",
     [change("truncation_curves", "starts = [starts[2], starts[1]] || starts[3:]",
             "len(starts) > 3")]),
    ("kept texts", "lack the kept text or a shorter one", [
        "UPDATE truncation_curves SET starts = starts[:-2], activations = activations[:-2] WHERE "
        f"prompt_id = (SELECT min(prompt_id) FROM prompts WHERE {LONG})"]),
    ("kept texts", "longer than was allowed",
     ["UPDATE manifest SET value = '1' WHERE key = 'max_prompt_tokens'"]),
    ("kept texts", "another activation",
     [change("prompts", "truncated_activation = truncated_activation + 0.01")]),
    ("kept texts", "too little", ["UPDATE manifest SET value = '1' WHERE key = 'keep_ratio'"]),
    ("kept texts", "shorter text", ["UPDATE manifest SET value = '0.05' WHERE key = 'keep_ratio'"]),
    ("ranks", "token_neurons do not count", [drop("token_neurons")]),
    ("ranks", "neuron_tokens do not follow", [change("neuron_tokens", "congruence = -99", "rank = 2")]),
    ("ranks", "prompts do not count", ["UPDATE prompts SET rank = rank + 1"]),
    ("ranks", "component_tokens do not follow", [change("component_tokens", "value = 99", "rank = 2")]),
    ("probabilities", "outside 0 to 1", [change("prompts", "probability = 1.5"),
                                         "UPDATE ablations SET delta_probability = -1",
                                         "UPDATE joint_ablations SET delta_probability = -1",
                                         "UPDATE neuron_ablations SET delta_probability = -1"]),
    ("probabilities", "token rank", [change("prompts", "token_rank = 0")]),
    ("probabilities", "token rank", [change("prompts", "token_rank = 506")]),
    ("probabilities", "head_attention",
     [change("head_attention", "weights = [weights[1] + 0.01] || weights[2:]")]),
    ("probabilities", "joint_ablations", [change("joint_ablations", "delta_probability = 1.1")]),
    ("removals", "of a kind", [change("ablations", "kind = 'other'", "kind = 'mean-all'")]),
    ("removals", "in all ways", [drop("ablations")]),
    ("removals", "do not remove the active heads", [change("joint_ablations", "n_heads = 9")]),
    ("removals", "lack their joint", ["DELETE FROM joint_ablations WHERE prompt_id = 0"]),
    ("removals", "lack the removal of their neuron", [drop("neuron_ablations")]),
    ("scores", "another activity",
     [change("classifications", "active = NOT active"),
      # counted as it now stands, so that only the activity is wrong
      "UPDATE head_scores s SET tp = v.tp, fp = v.fp, tn = v.tn, fn = v.fn FROM (SELECT layer, neuron, "
      "head_layer, head, count(*) FILTER (active AND predicted) AS tp, count(*) FILTER (NOT active "
      "AND predicted) AS fp, count(*) FILTER (NOT active AND NOT predicted) AS tn, count(*) FILTER "
      "(active AND NOT predicted) AS fn FROM classifications GROUP BY ALL) v WHERE (s.layer, s.neuron, "
      "s.head_layer, s.head) = (v.layer, v.neuron, v.head_layer, v.head)"]),
    ("scores", "no test prompt", ["UPDATE classifications SET prompt_id = (SELECT min(prompt_id) FROM "
                                  "prompts WHERE split = 'train'), active = true WHERE "
                                  + first("classifications", "active")]),
    ("scores", "other verdicts", [drop("classifications")]),
    ("scores", "balanced accuracy", [change("head_scores", "score = score / 2, ci_low = 0", _TP)]),
    ("scores", "balanced accuracy",
     [change("head_scores", "score = NULL, ci_low = NULL, ci_high = NULL", _TP)]),
    ("scores", "intervals", [change("head_scores", "ci_high = 1.2", _TP)]),
    ("scores", "nulls", [change("score_nulls", "score = 1.5")]),
    ("channels", "backwards", [change("composition", "src_layer = dst_layer, dst_head = 9 - dst_head")]),
    ("channels", "outside 0 to 1", [change("component_composition", "score = 1.5")]),
    ("channels", "descend", [change("head_components", "singular_value = 99", "component = 2")]),
    ("tasks", "cannot be", ["INSERT INTO task_results VALUES ('t', 'a', 'c', 2, 0, 4, 5, 0.5)"]),
]  # fmt: skip


FIRST_OF_EACH = list({name: fault for fault in reversed(FAULTS) for name in fault[:1]}.values())
TRIED = FAULTS if SOAK else FIRST_OF_EACH
"""Every rule's fault, or in the quick tests one for each check."""


@pytest.mark.parametrize(
    ("name", "words", "statements"),
    TRIED,
    ids=[f"{name}-{number}" for number, (name, *_) in enumerate(TRIED)],
)
def test_one_fault_fails_its_own_check_alone(
    name: str, words: str, statements: list[str], top_k_store: Path, tmp_path: Path
) -> None:
    path = spoiled(top_k_store, tmp_path, statements)
    found = failed(checks(path))
    assert set(found) == {name}, found
    assert words in found[name]


def test_every_check_has_a_fault() -> None:
    by_hand = {"opens", "row counts", "checksums"}  # each with a test of its own
    named = {rules.name for rules in (*verify_rules.REFERENCES, *maths(None))}
    assert {name for name, *_ in FAULTS} | by_hand == named | by_hand | {"tables", "manifest"}


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        (drop("failures"), set()),  # nothing to delete: the control
        ("UPDATE tokens SET text = text || 'x' WHERE token_id = 7", {"checksums"}),
        ("UPDATE manifest SET value = '\"x\"' WHERE key = 'corpus_name'", {"checksums"}),
        ("INSERT INTO failures VALUES ('a', 'b', 'c')", {"row counts", "checksums"}),
        ("UPDATE manifest SET value = 'null' WHERE key = 'table_sha256'", set()),
    ],
)
def test_what_was_changed_after_publishing_is_seen(
    statement: str, broken: set[str], top_k_store: Path, tmp_path: Path
) -> None:
    """The numbers agree with each other all the same; only the record of what was written differs."""
    path = spoiled(top_k_store, tmp_path, [statement], sealed=False)
    assert set(failed(checks(path))) == broken


def test_mean_and_two_standard_deviations_are_found_wrong(
    two_sd_store: Path, tmp_path: Path
) -> None:
    """The rule of most runs: a head taken from the list, one put there, one moved."""
    first_row = first("active_heads")
    for statement in (
        f"DELETE FROM active_heads WHERE {first_row}",
        "INSERT INTO active_heads SELECT prompt_id, 0, h FROM (SELECT prompt_id, unnest(range(4)) AS h "
        "FROM prompts) x ANTI JOIN active_heads a ON (a.prompt_id, a.head_layer, a.head) = "
        "(x.prompt_id, 0, h) LIMIT 1",
    ):
        found = failed(checks(spoiled(two_sd_store, tmp_path, [statement])))
        assert "active heads" in found
        assert set(found) <= {"active heads", "activity", "removals", "scores"}


def test_a_file_that_is_no_store_fails_the_first_check(tmp_path: Path, top_k_store: Path) -> None:
    junk = tmp_path / "junk.duckdb"
    junk.write_text("junk")
    assert list(failed(checks(junk))) == ["opens"]
    assert "rebuild it" in failed(checks(junk))["opens"]
    missing = spoiled(top_k_store, tmp_path, ["DROP TABLE composition"], sealed=False)
    assert list(failed(checks(missing))) == ["opens"]


def test_a_macro_of_the_stores_own_is_refused(top_k_store: Path, tmp_path: Path) -> None:
    """It could stand in for a function that the checks themselves use."""
    for macro in ("more(x) AS x + 1", "abs(x) AS 0"):
        path = spoiled(top_k_store, tmp_path, [f"CREATE MACRO {macro}"], sealed=False)
        assert len(failed(checks(path)).keys() & {"opens", "tables"}) == 1


def test_too_little_memory_is_no_fault_of_the_store(
    top_k_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    monkeypatch.setattr(verify_store, "seal_in_store", full)
    found = {check.name: check for check in checks(top_k_store)}
    assert found["checksums"].state == "left out"
    assert "memory" in found["checksums"].reason


def test_damaged_bytes_are_a_failed_check_and_no_traceback(
    top_k_store: Path, tmp_path: Path
) -> None:
    raw = top_k_store.read_bytes()
    seen: set[str] = set()
    for ninth in range(1, 9):
        at = ninth * len(raw) // 9
        path = tmp_path / f"damaged-{at}.duckdb"
        path.write_bytes(raw[:at] + bytes(b ^ 0xFF for b in raw[at : at + 4096]) + raw[at + 4096 :])
        seen |= set(failed(checks(path)))
        if seen and not SOAK:
            break
    assert seen  # some of the damage lies in blocks that hold rows
