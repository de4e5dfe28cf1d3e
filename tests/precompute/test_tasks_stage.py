"""The stage that tries tasks: its rows are those of a plain loop over the raw model, balanced, resumable;
a model without whole words has none and says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from explorer.core import task_material
from explorer.core.model import load_model
from explorer.core.task_seen import SEEN_FILE, Condition, read_seen
from explorer.core.tasks import LAUNDRY_LIST, NAME_INHIBITION, TaskMaker
from explorer.core.types import ModelShape
from precompute.checkpoint import ShardFolder
from precompute.stages import tasks
from tests.conftest import randomise
from tests.precompute.calling import QUICK, Outcome, call, manifest

NAMES, NOUNS, PLACES = task_material.NAMES[:6], task_material.NOUNS[:9], task_material.PLACES[:2]
UNSEEN = task_material.NOUNS[20:27]
SMALL = tasks.Plan((2, 3), (4, 20), 2, 2, 2)
CONTEXT = 64
SEEN_TEMPLATE = task_material.LIST_TEMPLATES[0]


def word_tokenizer(words: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """Every word with the space before it is one token; the first one is BOS, and what is unknown."""
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+"), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=words[0], eos_token=words[0], unk_token=words[0]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 whose tokens are the words of the tasks; its folder says what it has seen."""
    texts = [*task_material.NAME_TEMPLATES, *task_material.LIST_TEMPLATES]
    fixed = {p for t in texts for p in re.findall(r" ?[\w]+|[.,;]", re.sub(r"\{\w+\}", "", t))}
    pool = [*NAMES, *NOUNS, *UNSEEN, *PLACES]
    words = {f" {w}" for w in [*pool, "a", "the", "and", "of"]} | set(NAMES) | fixed | {"."}
    words = ("<|endoftext|>", *sorted(words - {"<|endoftext|>"}))
    path = tmp_path_factory.mktemp("tasks") / "gpt2"
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(words), n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=2,
                   n_inner=32, bos_token_id=0, eos_token_id=0)
    )  # fmt: skip
    randomise(model, 3)
    model.save_pretrained(path)
    word_tokenizer(words).save_pretrained(path)
    seen = {"templates": [SEEN_TEMPLATE, task_material.NAME_TEMPLATES[0]], "names": NAMES[:3],
            "nouns": NOUNS, "places": PLACES[:1], "list_lengths": [2]}  # fmt: skip
    (path / SEEN_FILE).write_text(json.dumps(seen))
    return path


@pytest.fixture(scope="module")
def corpus(write_corpus: Callable[..., Path]) -> Path:
    return write_corpus([" book cup ball box bag hat coat key"] * 6 + [" hat ball cup book"] * 6)


@pytest.fixture()
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "FULL", SMALL)


def rows_of(store: Path) -> list[tuple]:
    with duckdb.connect(str(store), read_only=True) as con:
        return con.execute("FROM task_results").fetchall()


@pytest.fixture(scope="module")
def rows(folder: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "FULL", SMALL)
        done = call("--model", folder, "--corpus", corpus, *QUICK, "--out",
                    tmp_path_factory.mktemp("runs"))  # fmt: skip
    return rows_of(done.store)


def test_every_row_is_what_the_raw_model_answers_one_prompt_at_a_time(
    rows: list[tuple], folder: Path
) -> None:
    raw = AutoModelForCausalLM.from_pretrained(folder).eval()
    model = load_model(folder, device="cpu")
    maker = TaskMaker(model.tokenizer.encode_all, model.max_prompt_tokens, read_seen(folder))
    right: Counter[tuple] = Counter()
    top1: Counter[tuple] = Counter()
    n_prompts: Counter[tuple] = Counter()
    for task, template in {(row[0].removesuffix(" top-1"), row[1]) for row in rows}:
        for words in (True, False):
            if task == NAME_INHIBITION:
                made = maker.names(template, 2, words=words, seed=0)
            else:
                ns = {row[3] for row in rows if row[:2] == (task, template)
                      and Condition.parse(row[2]).words == words}  # fmt: skip
                made = [p for n in ns
                        for p in maker.lists(template, n, 1, words=words, seed=0)]  # fmt: skip
            for p in made:
                with torch.no_grad():
                    logits = raw(torch.tensor([[0, *p.token_ids]])).logits[0, -1]
                own = [float(logits[token]) for token in p.candidates]
                cell = (task, template, str(p.condition), p.n, p.position)
                n_prompts[cell] += 1
                right[cell] += max(own) == own[p.position]
                top1[cell] += int(logits.argmax()) == p.answer
    expected = set()
    for cell, n in n_prompts.items():
        task, *rest = cell
        expected.add((task, *rest, n, right[cell]))
        expected.add((f"{task} top-1", *rest, n, top1[cell]))
    d_vocab = model.shape.d_vocab
    assert len(rows) == len(expected) and {r[:7] for r in rows} == expected
    for row in rows:
        chance = 1 / d_vocab if row[0].endswith("top-1") else 1 / row[3]
        assert row[7] == pytest.approx(chance, rel=1e-6)
    assert 0 < sum(right.values()) < sum(n_prompts.values())  # neither all nor none


def test_positions_are_balanced_and_conditions_apart(rows: list[tuple]) -> None:
    plain = [row for row in rows if not row[0].endswith("top-1")]
    cells: dict[tuple, dict[int, int]] = {}
    for row in plain:
        cells.setdefault(row[:4], {})[row[4]] = row[5]
    for (_, _, _, n), places in cells.items():
        assert set(places) == set(range(n)) and len(set(places.values())) == 1
    found = {Condition.parse(row[2]) for row in plain if row[0] == LAUNDRY_LIST}
    assert {c.template for c in found} == {c.words for c in found} == {True, False}
    for row in plain:
        known = Condition.parse(row[2])
        if row[0] == LAUNDRY_LIST:
            assert known.length == (row[3] == 2) and known.template == (row[1] == SEEN_TEMPLATE)
    # The longest list of the first templates: as far as the seven unseen nouns go.
    unseen = {*UNSEEN, "saw"}  # which a template of names has as well
    assert max(row[3] for row in plain if Condition.parse(row[2]).words is False) == len(unseen)


def test_a_killed_stage_goes_on_where_it_was(
    folder: Path, corpus: Path, tmp_path: Path, small: None, rows: list[tuple],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real, saved = ShardFolder.save, []

    def save(self: ShardFolder, name: str, tables: dict) -> None:
        real(self, name, tables)
        if self.path.name.startswith("tasks-"):
            saved.append(name)
            if len(saved) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(ShardFolder, "save", save)
    argv = ("--model", folder, "--corpus", corpus, *QUICK, "--out", tmp_path)
    assert call(*argv).status == 1
    done = call(*argv)
    assert rows_of(done.store) == rows
    assert len(saved) == len(set(saved)) == len({row[:2] for row in rows}) / 2


def test_tasks_can_be_left_out_or_chosen(
    folder: Path, corpus: Path, tmp_path: Path, small: None
) -> None:
    argv = ("--model", folder, "--corpus", corpus, *QUICK, "--out", tmp_path)
    none = call(*argv, "--tasks", "none")
    assert rows_of(none.store) == [] and manifest(none.store)["tasks"] == "none"
    one = call(*argv, "--tasks", "name-inhibition")
    assert {row[0] for row in rows_of(one.store)} == {"name-inhibition", "name-inhibition top-1"}
    wrong = call(*argv, "--tasks", "sorting")
    assert wrong.status == 2 and "--tasks must be none or a list" in wrong.stderr


def test_a_model_without_whole_words_has_no_rows_and_says_so(quick_run: Outcome) -> None:
    assert rows_of(quick_run.store) == []
    warnings = manifest(quick_run.store)["warnings"]
    assert sum(n for name, n in warnings.items() if "task templates left out" in name) > 0


def test_large_models_are_asked_less() -> None:
    sizes = dict(n_heads=12, d_vocab=50257, n_ctx=1024, parallel_blocks=False, rotary=False)
    small = ModelShape(n_layers=12, d_model=768, d_head=64, d_mlp=3072, **sizes)
    medium = ModelShape(n_layers=24, d_model=1024, d_head=85, d_mlp=4096, **sizes)
    assert tasks.plan_for(small) is tasks.FULL
    assert tasks.plan_for(medium) is tasks.BOUNDED
    assert tasks.lengths(tasks.FULL, 18, True) == [2, 3, 4, 5, 6, 7, 8, 10, 14, 18]
    assert tasks.lengths(tasks.FULL, 20, True) == [2, 3, 4, 5, 6, 7, 8, 10, 14, 20]
    assert tasks.lengths(tasks.FULL, 18, False) == [2, 3, 4, 5, 6, 7, 8]
    assert tasks.lengths(tasks.FULL, 5, True) == [2, 3, 4, 5]
    assert tasks.lengths(tasks.FULL, 0, True) == []
