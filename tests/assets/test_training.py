"""The training of demo models: what a model learns, from which rows, and how it is tried."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

# The script runs from its own folder, with its modules beside it, and is no package.
sys.path.insert(0, str(Path(__file__).parents[2] / "assets" / "demo" / "training"))

import batches
import corpus
import evaluate
import model_folder
import optimise
from settings import Settings, TrainingError
from task_sentences import load_words, name_sentence

CPU = torch.device("cpu")
WORDS = load_words()
TINY = Settings(
    layers=1, heads=2, width=32, context=32, vocab=320, rows=8, task_rows=2, steps=30,
    precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(day_text: str):
    return corpus.train_tokenizer([day_text], TINY.vocab)


@pytest.fixture(scope="module")
def tokens(day_text: str, tokenizer) -> corpus.Corpus:
    return corpus.encode([day_text], tokenizer, TINY)


def trained(tokens: corpus.Corpus, tokenizer, settings: Settings) -> optimise.GPT2LMHeadModel:
    model = optimise.build_model(settings)
    rows = batches.batches(tokens.train, tokenizer, WORDS, settings)
    optimise.train(model, rows, settings, CPU)
    return model


def differences(a: torch.nn.Module, b: torch.nn.Module) -> int:
    """How many of the two models' tensors are not equal, bit for bit."""
    other = b.state_dict()
    return sum(not torch.equal(value, other[name]) for name, value in a.state_dict().items())


# Learning


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_held_out_loss_falls_and_does_not_at_rate_zero(tokens, tokenizer, precision) -> None:
    settings = replace(TINY, precision=precision)
    still = replace(settings, muon_lr=0.0, adamw_lr=0.0)
    before = evaluate.held_out_loss(optimise.build_model(TINY), tokens.held_out, TINY)

    after = evaluate.held_out_loss(trained(tokens, tokenizer, settings), tokens.held_out, TINY)
    control = evaluate.held_out_loss(trained(tokens, tokenizer, still), tokens.held_out, TINY)

    assert after < before - 0.5
    assert control == before


def test_same_seed_same_weights_and_another_seed_others(tokens, tokenizer) -> None:
    settings = replace(TINY, steps=4, precision="bfloat16")
    first = trained(tokens, tokenizer, settings)
    torch.rand(1)  # what else the process drew must not matter

    assert differences(first, trained(tokens, tokenizer, settings)) == 0
    assert differences(first, trained(tokens, tokenizer, replace(settings, seed=1))) > 0


def test_building_a_model_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    optimise.build_model(TINY)
    assert torch.equal(torch.rand(3), expected)


def test_muon_turns_each_matrix_by_the_rate_of_its_true_shape() -> None:
    """GPT-2 stores (d_in, d_out); the step's spectral norm is to be lr * sqrt(max(1, out/in))."""
    model = optimise.build_model(TINY)
    mlp = model.transformer.h[0].mlp
    before = {part: part.weight.detach().clone() for part in (mlp.c_fc, mlp.c_proj)}
    muon, _ = optimise.build_optimisers(model, replace(TINY, muon_lr=0.1))
    for part in before:
        part.weight.grad = torch.randn(part.weight.shape, generator=torch.manual_seed(0))
    muon.step()

    moved = [torch.linalg.matrix_norm(p.weight - old, 2).item() for p, old in before.items()]

    assert moved == pytest.approx([0.1 * 2, 0.1], rel=0.3)


def test_every_parameter_has_one_optimiser() -> None:
    model = optimise.build_model(TINY)
    muon, adamw = optimise.build_optimisers(model, TINY)
    ids = [[id(p) for g in o.param_groups for p in g["params"]] for o in (muon, adamw)]
    blocks = model.transformer.h
    assert sorted(ids[0]) == sorted(id(p) for p in blocks.parameters() if p.ndim == 2)
    assert sorted(ids[0] + ids[1]) == sorted(id(p) for p in model.parameters())


def test_rate_is_constant_then_falls_linearly_to_zero() -> None:
    factors = [optimise.rate_factor(step, 10, 0.4) for step in range(11)]
    assert factors == pytest.approx([1] * 7 + [0.75, 0.5, 0.25, 0])
    assert optimise.rate_factor(9, 10, 0.0) == 1


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    model = optimise.build_model(TINY)
    model.lm_head.weight.data[0] = torch.nan
    rows = torch.zeros(2, TINY.context, dtype=torch.long)
    with pytest.raises(TrainingError, match="became nan at step 1: try a smaller --muon-lr"):
        optimise.train(model, [rows], TINY, CPU)


def test_weights_too_large_for_float16_are_not_stored() -> None:
    model = optimise.build_model(TINY)
    model_folder.round_to_float16(model)
    model.lm_head.weight.data[0] = 1e6
    with pytest.raises(TrainingError, match="outgrew float16"):
        model_folder.round_to_float16(model)


# Rows


def test_each_pass_over_the_windows_covers_the_text_once() -> None:
    n_tokens, context = 1003, 10
    starts = batches.window_starts(n_tokens, context, Random(0))
    first = [next(starts) for _ in range(99)]
    covered = [position for start in first for position in range(start, start + context)]
    assert len(set(covered)) == len(covered) == 990
    assert max(covered) < n_tokens
    assert first != sorted(first)


def test_half_the_book_rows_are_opened_and_the_rest_are_plain(tokens, tokenizer) -> None:
    settings = replace(TINY, task_rows=0, rows=50, steps=8)
    rows = torch.cat(list(batches.batches(tokens.train, tokenizer, WORDS, settings)))
    stream = tokenizer.decode(tokens.train.tolist(), skip_special_tokens=False)

    is_opened = rows[:, 0] == corpus.END_OF_TEXT_ID

    assert 0.4 < is_opened.float().mean() < 0.6
    assert all(tokenizer.decode(row[1:].tolist()) in stream for row in rows[:20])


def test_task_rows_begin_on_time_and_open_with_a_whole_sentence(tokens, tokenizer) -> None:
    settings = replace(TINY, steps=9, context=400, task_start=1 / 3)
    patterns = [re.sub(r"[{]\w+[}]", ".+", t) for t in WORDS.name_inhibition + WORDS.list]

    def are_task_rows(rows: torch.Tensor) -> list[bool]:
        lines = [tokenizer.decode(row.tolist()).split("\n")[0] for row in rows]
        return [any(re.fullmatch(pattern, line) for pattern in patterns) for line in lines]

    steps = list(batches.batches(tokens.train, tokenizer, WORDS, settings))

    assert [are_task_rows(step) for step in steps[:3]] == [[False] * 8] * 3
    assert [are_task_rows(step) for step in steps[3:]] == [[False] * 6 + [True] * 2] * 6
    assert all((step[-2:, 0] == corpus.END_OF_TEXT_ID).all() for step in steps[3:])


# Trying a model on the tasks


def test_task_top1_counts_the_answers_that_come_first(tokenizer, monkeypatch) -> None:
    rng = Random(0)
    sentences = [name_sentence(WORDS, rng) for _ in range(5)]
    model = optimise.build_model(replace(TINY, context=128))

    def answers(shift: int):
        def logits_of(_model, rows: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(rows.roll(-shift, 1), TINY.vocab).float()

        return logits_of

    monkeypatch.setattr(evaluate, "logits_of", answers(shift=1))
    assert evaluate.task_top1(model, tokenizer, sentences) == 1
    monkeypatch.setattr(evaluate, "logits_of", answers(shift=0))
    assert evaluate.task_top1(model, tokenizer, sentences) == 0
    model.config.n_positions = 8
    assert evaluate.task_top1(model, tokenizer, sentences) is None
