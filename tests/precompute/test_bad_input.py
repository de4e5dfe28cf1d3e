"""What the outside world can do to a run: each failure is one line with what to do, publishes nothing
and leaves earlier stores as they were; what is merely odd is read, counted and published."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from precompute import publish
from tests.conftest import END_OF_TEXT
from tests.precompute.calling import (
    Outcome,
    assert_refused,
    call,
    manifest,
    stores,
    tables,
    write_jsonl,
)

Call = tuple[object, ...]


@pytest.fixture
def out(quick_run: Outcome, tmp_path: Path) -> Iterator[Path]:
    """A folder with an earlier store, which must come out of every failure as it went in."""
    folder = tmp_path / "out"
    folder.mkdir()
    earlier = folder / "earlier.duckdb"
    shutil.copy(quick_run.store, earlier)
    before = earlier.read_bytes()
    yield folder
    assert earlier.read_bytes() == before


def assert_nothing_published(out: Path) -> None:
    assert stores(out) == ["earlier.duckdb"]
    assert all(path.suffix in (".duckdb", ".partial") for path in out.iterdir())


# --- corpora --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "empty.txt", "empty.jsonl"])
def test_a_corpus_without_text(quick_call: Call, out: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(
        {"empty.txt": b"\n  \n\n\t\n", "empty.jsonl": b'{"text": ""}\n' * 3}.get(name, b"")
    )
    if name == "a.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    outcome = call(*quick_call, "--corpus", path, "--out", out)
    assert_refused(outcome, 1, name, "no text", "--corpus")
    assert_nothing_published(out)


def test_a_broken_line_is_named(quick_call: Call, out: Path, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["fine", "fine"])
    path.write_text(path.read_text() + '{"text": "bro\n')
    assert_refused(call(*quick_call, "--test-corpus", path, "--out", out), 1, "a.jsonl, line 3")
    assert_nothing_published(out)


# --- models ---------------------------------------------------------------------------------


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _unknown_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "unheard-of"}))


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [_no_weights, _half_the_weights, _unknown_family, _no_tokenizer, _no_configuration]
)
def test_a_model_that_cannot_be_used(
    quick_call: Call, quick_model: Path, out: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(quick_model, model)
    damage(model)
    assert_refused(call(*quick_call, "--model", model, "--out", out), 1, str(model))
    assert_nothing_published(out)


# --- disks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file", "file/inside", "file/inside/deep"])
def test_a_folder_that_cannot_be_made(quick_call: Call, tmp_path: Path, name: str) -> None:
    """A plain file in the way stops every user, root too."""
    (tmp_path / "file").write_text("here first")
    outcome = call(*quick_call, "--out", tmp_path / name)
    assert_refused(outcome, 1, "cannot write into", name, "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "here first"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written(
    quick_call: Call, out: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(path: Path, *args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    outcome = call(*quick_call, "--out", out)
    assert_refused(outcome, 1, "cannot write into", os.strerror(code), "--out")
    assert_nothing_published(out)


def _fails_after(n_good: int, real: Callable[..., object]) -> Callable[..., object]:
    calls = [0]

    def run(*args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] > n_good:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    return run


@pytest.mark.parametrize("n_good", [0, 6, 20])
def test_a_disk_that_fills_up_while_shards_are_written(
    quick_call: Call, quick_run: Outcome, out: Path, monkeypatch: pytest.MonkeyPatch, n_good: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _fails_after(n_good, os.fsync))
        outcome = call(*quick_call, "--out", out)
    assert_refused(outcome, 1, "disk is full", "free some space", "same command continues")
    assert_nothing_published(out)
    again = call(*quick_call, "--out", out)
    assert tables(again.store) == tables(quick_run.store)
    assert stores(out) == ["earlier.duckdb", again.store.name]


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """A disk, as far as one process can make one, on which no file grows beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [60_000, 400_000])
def test_a_store_that_cannot_be_written_whole(
    quick_call: Call, quick_run: Outcome, out: Path, n_bytes: int
) -> None:
    """The database itself meets the limit: in its log, and in the file at the last checkpoint."""
    with largest_file(n_bytes):
        outcome = call(*quick_call, "--out", out)
    assert_refused(outcome, 1, "File too large", "same command continues")
    assert_nothing_published(out)
    again = call(*quick_call, "--out", out)
    assert tables(again.store) == tables(quick_run.store)
    assert sorted(path.name for path in out.iterdir()) == ["earlier.duckdb", again.store.name]


def test_a_full_disk_is_called_one_where_the_database_finds_it(
    quick_call: Call, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    def full(path: Path, tables: object) -> dict[str, int]:
        path.write_bytes(b"half a store")
        raise duckdb.IOException('IO Error: Could not write file "x": No space left on device')

    monkeypatch.setattr(publish, "write_store", full)
    assert_refused(call(*quick_call, "--out", out), 1, "disk is full", "free some space")
    assert_nothing_published(out)


# --- odd, but good --------------------------------------------------------------------------

ODD = {
    "empty": "", "one token": "q", "special": END_OF_TEXT * 2, "spaces": " " * 9, "nul": "a\0b\0c",
    "html": "<script>alert('x')</script><b>bold</b>", "emoji": "🙂👩‍👩‍👧 so 🎉", "control": "\x1b[31m\x07",
    "right to left": "\u202eשלום עולם", "half a pair": "half \ud83d here", "long": "long word " * 20_000,
}  # fmt: skip


def test_odd_documents_are_read_as_plain_text(quick_call: Call, out: Path, tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "odd.jsonl", ODD.values())
    test = write_jsonl(tmp_path / "test.jsonl", ["A plain text."])
    more = ("--random-neurons-per-layer", "40", "--prompts", "20", "--candidates", "20")
    outcome = call(*quick_call, *more, "--corpus", corpus, "--test-corpus", test, "--out", out)
    facts, found = manifest(outcome.store), tables(outcome.store)
    assert facts["documents"] == {"train": len(ODD), "test": 1}
    assert facts["warnings"]["documents with bytes that are not UTF-8 (replaced)"] == 1
    texts = [text for _, text in found["tokens"]]
    prompts = [row for row in found["prompts"] if row[3] == "train"]
    assert {list(ODD)[row[5]] for row in prompts} == set(ODD) - {"empty"}
    for row in prompts:
        assert 0 not in row[6]  # the BOS token never comes from a text
        assert len(row[6]) <= 11  # the context of 12 less BOS, wherever the window starts
        name, whole = list(ODD)[row[5]], "".join(texts[i] for i in row[6])
        if not re.search("<0x|\ufffd", whole):  # a window may begin or end inside a character
            assert whole in ODD[name], name
    assert any("<|" in "".join(texts[i] for i in row[6]) for row in prompts)


def test_a_split_without_text_is_a_warning(quick_call: Call, out: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_bytes(b"One document that is not \xff UTF-8, and no second one.")
    outcome = call(*quick_call, "--corpus", path, "--out", out)
    warnings = manifest(outcome.store)["warnings"]
    assert warnings["no text in the test split"] == 1
    assert warnings["documents with bytes that are not UTF-8 (replaced)"] == 1
    assert {row[3] for row in tables(outcome.store)["prompts"]} == {"train"}
    assert all(f"warning: {kind}: {count}" in outcome.stderr for kind, count in warnings.items())


def test_a_neuron_that_no_text_excites(
    quick_call: Call, quick_model: Path, quick_run: Outcome, out: Path, tmp_path: Path
) -> None:
    """The same neuron has prompts in the model as it is; held far below zero, it has none."""
    silent = 57
    assert [row for row in tables(quick_run.store)["prompts"] if row[2] == silent]
    model = tmp_path / "silent"
    shutil.copytree(quick_model, model)
    weights = load_file(model / "model.safetensors")
    weights["transformer.h.2.mlp.c_fc.bias"][silent] = -1000.0
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    call_ = (*quick_call, "--model", model, "--neurons", f"L2N{silent}")
    found = tables((outcome := call(*call_, "--out", out)).store)
    assert silent in [row[1] for row in found["studied_neurons"]]
    assert [row for row in found["prompts"] if row[2] != silent]
    assert not [row for row in found["prompts"] if row[2] == silent]
    activity = [row for row in found["head_activity"] if row[1] == silent]
    assert len(activity) == 12 * 2  # every head that reaches, both splits
    assert {row[5:] for row in activity} == {(0, 0, None, False)}
    short = "neuron splits with fewer prompts than asked for (candidates ran out)"
    assert manifest(outcome.store)["warnings"][short] >= 2


def test_no_neuron_asked_for_is_still_a_store(quick_call: Call, out: Path) -> None:
    none = ("--neurons-per-layer", "0", "--random-neurons-per-layer", "0")
    outcome = call(*quick_call, *none, "--out", out)
    found = {name for name, rows in tables(outcome.store).items() if rows}
    of_weights = {"head_components", "component_tokens", "composition", "component_composition"}
    assert found - {"task_results"} == {"tokens", "token_neurons", "neuron_tokens", *of_weights}
    facts = manifest(outcome.store)
    assert facts["warnings"]["no neuron is studied"] == 1
    assert facts["documents"] == {"train": 8, "test": 8}


def test_a_vocabulary_without_words_has_no_next_token_neurons(
    quick_call: Call, quick_model: Path, out: Path, tmp_path: Path
) -> None:
    """Every token is one byte: none starts a word. The random neurons are studied all the same."""
    model = tmp_path / "bytes"
    shutil.copytree(quick_model, model)
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    parts = tokenizer["model"]
    parts["merges"] = []
    parts["vocab"] = {t: i for t, i in parts["vocab"].items() if len(t) == 1 or t == END_OF_TEXT}
    path.write_text(json.dumps(tokenizer))
    outcome = call(*quick_call, "--model", model, "--out", out)
    assert [row[4] for row in tables(outcome.store)["studied_neurons"]] == ["random"]
    assert manifest(outcome.store)["warnings"]["next-token neurons fewer than asked for"] == 3
