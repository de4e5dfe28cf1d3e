"""The published store: its manifest says all that the contract demands and nothing secret; it is
written beside its place and appears there at once; it is never written again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import huggingface_hub
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer

from explorer.core.runs import list_runs
from explorer.core.schema import SCHEMA_VERSION
from explorer.core.store import Store
from precompute import cutting, publish
from precompute.config import JobConfig
from tests.precompute.calling import QUICK, Outcome, call, manifest, stores, tables

REVISION = "0123456789abcdef0123456789abcdef01234567"
SECRETS = {
    "OPENAI_API_KEY": "sk-first-secret",
    "HF_TOKEN": "hf_second_secret",
    "DB_PASSWORD": "third!",
}


@pytest.fixture(scope="module")
def facts(quick_run: Outcome) -> dict[str, Any]:
    return manifest(quick_run.store)


@pytest.fixture(scope="module")
def hub_run(
    tiny_folder: Callable[..., Path], quick_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """A GPT-NeoX fetched by a hub name (from a folder, as if it had been downloaded), in a shell
    whose environment holds secrets."""
    snapshot = tmp_path_factory.mktemp("hub") / REVISION
    shutil.copytree(tiny_folder("neox", seed=6, context=12), snapshot)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(snapshot))
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        out = tmp_path_factory.mktemp("hub-runs")
        return call("--model", "someone/tiny-neox", "--corpus", quick_corpus, *QUICK, "--out", out)


# --- the manifest ---------------------------------------------------------------------------


def test_every_option_stands_under_its_long_name(
    facts: dict[str, Any], quick_model: Path, quick_corpus: Path, quick_run: Outcome
) -> None:
    assert {name: facts[name] for name in JobConfig.__dataclass_fields__} == {
        "model": str(quick_model), "corpus": str(quick_corpus), "test_corpus": None,
        "out": str(quick_run.store.parent), "layers": "last:1", "neurons_per_layer": 3,
        "tokens": [], "neurons": [], "random_neurons_per_layer": 1, "prompts": 2, "candidates": 6,
        "max_prompt_tokens": 100, "keep_ratio": 0.8, "active_rule": "mean+2sd",
        "explainer": "contrast", "device": "auto", "seed": 0, "preset": None, "force": False,
        "openai_model": None, "openai_base_url": None, "openai_concurrency": 8,
        "openai_timeout": 300.0, "few_shot": 0, "price_in": None, "price_out": None,
        "max_tokens_spent": None, "tasks": "name-inhibition,laundry-list", "engine": "local",
        "ray_address": None, "workers": None, "dtype": "float32", "log_json": False,
        "keep_shards": False,
    }  # fmt: skip


def test_the_model_is_named_down_to_its_weights(
    facts: dict[str, Any], quick_model: Path, hub_run: Outcome
) -> None:
    weights = (quick_model / "model.safetensors").read_bytes()
    assert facts["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    sizes = ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "n_ctx")
    assert [facts[name] for name in sizes] == [3, 4, 32, 8, 64, 505, 12]
    assert "folded" in facts["weight_processing"]
    hub = manifest(hub_run.store)
    assert hub["weights_sha256"] != facts["weights_sha256"]
    for found, model_name, revision, blocks, rotary in (
        (facts, quick_model.name, None, "sequential", False),
        (hub, "tiny-neox", REVISION, "parallel", True),
    ):
        assert (found["model_name"], found["revision"]) == (model_name, revision)
        assert (found["blocks"], found["rotary"]) == (blocks, rotary)
        assert found["parallel_blocks"] is (blocks == "parallel")
    assert hub["model"] == "someone/tiny-neox"


def test_documents_and_tokens_are_counted_by_split(
    facts: dict[str, Any], quick_model: Path, quick_texts: list[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(quick_model / "tokenizer.json"))
    n_tokens = [len(tokenizer.encode(text).ids) for text in quick_texts]
    assert facts["documents"] == {"train": 8, "test": 8}
    assert facts["tokens_read"] == {"train": sum(n_tokens[::2]), "test": sum(n_tokens[1::2])}
    assert facts["corpus_name"] == "quick"


def test_the_manifest_says_when_with_what_and_how_long(
    facts: dict[str, Any], quick_run: Outcome
) -> None:
    start, end = (datetime.fromisoformat(facts[name]) for name in ("start", "end"))
    assert start.utcoffset() == end.utcoffset() == timedelta(0)
    assert set(facts["seconds"]) == {
        "survey", "load", "congruence", "scan", "prompts", "heads", "ablations", "explanations",
        "channels", "tasks", "publish",
    }  # fmt: skip
    assert 0 < sum(facts["seconds"].values()) <= (end - start).total_seconds()
    assert facts["schema_version"] == SCHEMA_VERSION
    assert facts["code_version"] == publish.code_version()
    assert set(facts["library_versions"]) == {"torch", "transformer-lens", "transformers"}
    assert facts["run_id"] == quick_run.store.stem
    assert facts["seconds_earlier"] == {}
    assert set(facts["machine"]) == {"cpu_count", "threads", "device", "device_name", "platform"}
    assert facts["machine"]["threads"] == torch.get_num_threads()
    assert all(count > 0 for count in facts["warnings"].values())


def everything(store: Path) -> str:
    """All text of a store: every row of every table."""
    with duckdb.connect(str(store), read_only=True) as con:
        names = [row[0] for row in con.execute("SHOW TABLES").fetchall()]
        return "\n".join(str(con.execute(f'FROM "{name}"').fetchall()) for name in names)


def test_nothing_of_the_environment_is_stored_or_shown(hub_run: Outcome) -> None:
    text = everything(hub_run.store) + hub_run.stderr + hub_run.stdout
    assert "someone/tiny-neox" in text  # the control: what is stored is found
    assert [value for value in SECRETS.values() if value in text] == []
    raw = hub_run.store.read_bytes()
    assert [value for value in SECRETS.values() if value.encode() in raw] == []


# --- publishing -----------------------------------------------------------------------------


def test_a_store_appears_whole_and_at_once(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[int] = []
    real = publish.write_store

    def watched(path: Path, rows: dict[str, pa.Table]) -> dict[str, int]:
        counts = real(path, rows)
        assert (path.suffix, path.parent.suffix) == (".partial", ".partial")
        assert list_runs(tmp_path) == list_runs(tmp_path / "nowhere")
        seen.append(path.stat().st_ino)
        return counts

    monkeypatch.setattr(publish, "write_store", watched)
    outcome = call(*quick_call, "--out", tmp_path)
    assert seen == [outcome.store.stat().st_ino]  # the very file, renamed
    assert [run.path for run in list_runs(tmp_path).runs] == [outcome.store]
    assert [path.name for path in tmp_path.iterdir()] == [quick_run.store.name]


def test_a_name_that_is_taken_is_never_written(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path
) -> None:
    """A file in the way that is no store of ours stays as it is; the run goes beside it."""
    name = quick_run.store.stem
    (tmp_path / f"{name}.duckdb").write_text("not ours")
    (tmp_path / f"{name}-2.duckdb").write_text("nor this")
    assert publish.free_path(tmp_path, "another") == tmp_path / "another.duckdb"
    outcome = call(*quick_call, "--out", tmp_path)
    assert outcome.store.name == f"{name}-3.duckdb"
    assert (tmp_path / f"{name}.duckdb").read_text() == "not ours"
    assert stores(tmp_path) == [f"{name}-2.duckdb", f"{name}-3.duckdb", f"{name}.duckdb"]
    assert call(*quick_call, "--out", tmp_path).store == outcome.store


def test_prompt_ids_hold_over_any_number_of_shards(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Four neurons in four shards: what hangs on a prompt still hangs on the same one."""
    monkeypatch.setattr(cutting, "NEURONS_A_SHARD", 1)
    found, whole = tables(call(*quick_call, "--out", tmp_path).store), tables(quick_run.store)
    assert [row[0] for row in found["prompts"]] == list(range(len(whole["prompts"])))
    for name in ("prompts", "truncation_curves", "head_attributions", "head_attention"):
        assert len(found[name]) == len(whole[name])
        for row, expected in zip(found[name], whole[name], strict=True):
            for value, wanted in zip(row, expected, strict=True):
                assert value == (
                    wanted if isinstance(wanted, str) else pytest.approx(wanted, rel=1e-3, abs=1e-5)
                )
    for name in ("active_heads", "explanations", "classifications", "head_scores", "score_nulls"):
        assert found[name] == whole[name]
    assert len({row[5] for row in whole["classifications"]}) > 1
    assert len({row[0] for row in whole["active_heads"]}) > 1  # they hang on several prompts


def test_the_explorer_opens_what_the_job_publishes(quick_run: Outcome, hub_run: Outcome) -> None:
    for outcome, rotary in ((quick_run, False), (hub_run, True)):
        with Store.open(outcome.store) as store:
            assert store.shape.rotary is rotary
            assert store.run_id == outcome.store.stem
            assert len(store.studied_neurons()) == 4
    assert [path.name for path in hub_run.store.parent.iterdir()] == [hub_run.store.name]
