"""The shell's view of the job: what stands on each stream, exit statuses, mistakes in the call."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from precompute.__main__ import STAGES, main
from precompute.arguments import config_from
from precompute.config import JobConfig
from tests.precompute.calling import (
    QUICK,
    Outcome,
    assert_refused,
    call,
    manifest,
    stores,
    tables,
    write_jsonl,
)


def test_a_shell_reads_the_path_of_the_store_and_nothing_else(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path
) -> None:
    """A process of its own, so that what libraries print would show; stores go to `runs`."""
    words = [sys.executable, "-m", "precompute", *map(str, quick_call)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    name = quick_run.store.name
    assert done.stdout == f"runs/{name}\n"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [name]
    assert all(title in done.stderr for title in STAGES.values())
    assert tables(tmp_path / "runs" / name) == tables(quick_run.store)  # in any process, alike


def help_text() -> str:
    output = io.StringIO()
    with redirect_stdout(output), pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    return output.getvalue()


def test_help_names_every_flag_and_its_default() -> None:
    text = re.sub(r"\s+", " ", help_text())
    flags = {f"--{name.replace('_', '-')}" for name in JobConfig.__dataclass_fields__}
    assert flags | {"--help"} == set(re.findall(r"--[a-z-]+", text.split("examples:")[0]))
    for default in ("runs", "20", "10", "10 x prompts", "100", "0.8", "mean+2sd", "auto", "0"):
        assert f"(default: {default})" in text, default


def test_the_examples_of_help_are_good_calls() -> None:
    text = help_text().split("examples:")[1].replace("\\\n", " ")
    calls = re.findall(r"python -m precompute (--.*)", text)
    assert len(calls) == 6
    assert config_from(shlex.split(calls[0])).tokens == (" come", " go")
    assert config_from(shlex.split(calls[1])).layers == "9,10,11"
    assert [str(n) for n in config_from(shlex.split(calls[2])).neurons] == ["L9N2770", "L10N3041"]
    remote, local = (config_from(shlex.split(words)) for words in calls[3:5])
    assert (remote.explainer, remote.max_tokens_spent) == ("contrast,openai", 200_000)
    assert (local.explainer, local.openai_base_url) == ("openai", "http://localhost:11434/v1")
    on_cluster = config_from(shlex.split(calls[5]))
    assert (on_cluster.engine, on_cluster.ray_address, on_cluster.device) == ("ray", "auto", "cuda")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model", "m"], "--corpus"),
        (["--corpus", "c"], "--model"),
        (["--model", "m", "--corpus", "c", "--colour", "red"], "--colour"),
        (["--model", "m", "--corpus", "c", "--keep-ratio", "1.5"], "--keep-ratio"),
        (["--model", "./no-such-folder", "--corpus", "c.txt"], "no-such-folder"),
        (["--model", "~no-such-user/model", "--corpus", "c.txt"], "~no-such-user"),
        (["--model", "", "--corpus", "c.txt"], "(empty)"),
    ],
)
def test_mistakes_that_need_no_model(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(call(*words), 2, named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--layers", "3"], "layers 0 to 2"),
        (["--layers", "last:4"], "--layers last:4"),
        (["--neurons-per-layer", "65"], "64 neurons"),
        (["--random-neurons-per-layer", "65"], "64 neurons"),
        (["--neurons", "L2N64"], "L2N64"),
        (["--tokens", "impossible"], "'impossible' is"),
        (["--tokens", "<|endoftext|>"], "tokens in this model"),
    ],
)
def test_mistakes_that_the_model_shows(
    words: list[str], named: str, quick_call: tuple[object, ...], tmp_path: Path
) -> None:
    """The same call without the mistake is `quick_run`, which is published."""
    assert_refused(call(*quick_call, *words, "--out", tmp_path), 2, named)
    assert all(path.name.endswith(".partial") for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["missing.txt", "missing.jsonl.gz", "folder/missing.parquet", ""])
@pytest.mark.parametrize("flag", ["--corpus", "--test-corpus"])
def test_a_missing_corpus(
    flag: str, name: str, quick_call: tuple[object, ...], tmp_path: Path
) -> None:
    given = str(tmp_path / name) if name else ""
    assert_refused(call(*quick_call, flag, given, "--out", tmp_path), 2, name or "(empty)")
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_of_no_known_kind(quick_call: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nhello\n")
    assert_refused(
        call(*quick_call, "--corpus", tmp_path / "a.csv", "--out", tmp_path), 2, ".jsonl"
    )


def test_a_hub_model_that_cannot_be_had(
    quick_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: object, **options: object) -> str:
        raise LocalEntryNotFoundError("no network\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    outcome = call("--model", "gpt2-tiny", "--corpus", quick_corpus, "--out", tmp_path)
    assert_refused(outcome, 2, "gpt2-tiny", "no network", "--model")


def test_cuda_where_there_is_none(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(call(*quick_call, "--device", "cuda", "--out", tmp_path), 2, "--device cpu")


def test_an_error_about_a_name_with_a_line_end_is_one_line(tmp_path: Path) -> None:
    outcome = call("--model", tmp_path / "a\nb\rc", "--corpus", "c.txt")
    assert_refused(outcome, 2, "a b c")


def test_requested_tokens_and_neurons_are_studied_beside_the_rest(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path
) -> None:
    texts = dict(tables(quick_run.store)["tokens"])
    words = [i for i, text in texts.items() if re.fullmatch(" [a-z]{3,}", text)][:2]
    first, second = (texts[i] for i in words)
    more = ("--tokens", f"{first},␣{second.strip()}", "--neurons", "L0N7", "--out", tmp_path)
    outcome = call(*quick_call, *more)
    assert manifest(outcome.store)["tokens"] == [first, second]
    studied = tables(outcome.store)["studied_neurons"]
    before = tables(quick_run.store)["studied_neurons"]
    assert {row[:3] for row in studied if row[4] == "next-token"} == {
        row[:3] for row in before if row[4] == "next-token"
    }
    requested = [row for row in studied if row[4] == "requested"]
    assert {(row[0], row[1]) for row in requested if row[0] == 0} == {(0, 7)}
    assert {row[2] for row in requested if row[0] == 2} == set(words)
    assert not [row for row in before if row[4] == "requested"]


def test_spellings_of_one_call_are_one_run(
    quick_model: Path, quick_texts: list[str], quick_run: Outcome, tmp_path: Path
) -> None:
    """Other order, other file format, defaults written out: the finished run is found."""
    corpus = write_jsonl(tmp_path / "quick.jsonl", quick_texts)
    words = ("--seed=0", "--corpus", corpus, "--model", f"{quick_model}/", "--device", "cpu")
    folder = quick_run.store.parent
    outcome = call(*words, *QUICK, "--max-prompt-tokens", "100", "--out", folder)
    assert outcome.store == quick_run.store
    assert stores(folder) == [quick_run.store.name]
