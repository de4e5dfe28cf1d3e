"""What the model says is what Hugging Face says, whatever the batch it is asked in."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.core.model import LanguageModel, load_model
from explorer.core.model_trace import Trace
from explorer.core.types import NeuronId
from tests.conftest import MAKERS, N_PADDING_ROWS, N_TOKENS, SIZES, randomise
from tests.core.conftest import Pair
from tests.core.reference import RawModel

N_IDS = N_TOKENS + N_PADDING_ROWS
IDS = st.integers(0, N_IDS - 1)
PROMPTS = st.lists(IDS, min_size=1, max_size=SIZES["context"] - 1)
NEURONS = st.builds(NeuronId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["mlp"] - 1))
BATCHES = st.lists(st.tuples(PROMPTS, NEURONS), min_size=1, max_size=6)
FEW = settings(max_examples=25, deadline=None)
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def trace_of(model: LanguageModel, rows: list[tuple[list[int], NeuronId]], **wanted: bool) -> Trace:
    tokens, last = model.batch([prompt for prompt, _ in rows])
    return model.trace(tokens, last, [neuron for _, neuron in rows], **wanted)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), **CLOSE)


def test_sizes_are_read_from_the_folder(pair: Pair) -> None:
    shape, raw = pair.model.shape, pair.raw
    assert (shape.n_layers, shape.n_heads, shape.d_model) == (3, 4, 32)
    assert (shape.d_head, shape.d_mlp, shape.d_vocab, shape.n_ctx) == (8, 64, N_IDS, 48)
    assert shape.parallel_blocks == raw.is_parallel == (not raw.is_gpt2)
    assert shape.rotary == (not raw.is_gpt2)
    assert pair.model.max_prompt_tokens == 47


def test_a_batch_has_bos_in_front_and_padding_behind(gpt2_pair: Pair) -> None:
    tokens, last = gpt2_pair.model.batch([[5, 6, 7], [8]])
    bos = gpt2_pair.model.tokenizer.bos_id
    assert tokens[0].tolist() == [bos, 5, 6, 7]
    assert tokens[1, :2].tolist() == [bos, 8]
    assert last.tolist() == [3, 1]
    for bad, words in (([], "at least one"), ([[1], []], "at least one"), ([[1] * 48], "at most")):
        with pytest.raises(ValueError, match=words):
            gpt2_pair.model.batch(bad)
    assert gpt2_pair.model.batch([[1] * 47])[0].shape == (1, 48)


@FEW
@given(name=st.sampled_from(["gpt2", "neox", "neox-other"]), rows=BATCHES)
def test_a_mixed_batch_equals_one_prompt_at_a_time(
    zoo: dict[str, Pair], name: str, rows: list[tuple[list[int], NeuronId]]
) -> None:
    """Padding is never seen, and each row is read at its own last position and neuron."""
    model = zoo[name].model
    together = trace_of(model, rows, attention=True, logits=True)
    for i, row in enumerate(rows):
        alone = trace_of(model, [row], attention=True, logits=True)
        n_pos, n_layers = len(row[0]) + 1, alone.z.shape[1]
        assert_close(together.z[i, :n_layers], alone.z[0])
        assert_close(together.mlp_out[i, : row[1].layer], alone.mlp_out[0])
        assert_close(together.embedding[i], alone.embedding[0])
        assert_close(together.ln_scale[i], alone.ln_scale[0])
        assert_close(together.pre_activation[i], alone.pre_activation[0])
        assert_close(together.activations[i, :n_pos], alone.activations[0])
        assert together.attention is not None and alone.attention is not None
        assert_close(together.attention[i, :n_layers, :, :n_pos], alone.attention[0])
        assert together.logits is not None and alone.logits is not None
        assert_close(together.logits[i].log_softmax(-1), alone.logits[0].log_softmax(-1))


@FEW
@given(name=st.sampled_from(["gpt2", "neox", "gpt2-other"]), prompt=PROMPTS, neuron=NEURONS)
def test_a_trace_equals_what_hugging_face_computes(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId
) -> None:
    pair = zoo[name]
    found = trace_of(pair.model, [(prompt, neuron)], attention=True, logits=True)
    run, at, layer = pair.raw.run(pair.with_bos(prompt)), len(prompt), neuron.layer
    assert_close(found.pre_activation[0], run.pre[layer, at, neuron.index])
    assert_close(found.activations[0], run.post[layer, :, neuron.index])
    assert_close(found.ln_scale[0], torch.tensor(pair.raw.scale(run.mlp_in[layer, at], layer)))
    assert found.attention is not None and found.logits is not None
    assert_close(found.attention[0], run.attention[: found.attention.shape[1], :, at])
    gap = found.logits[0].log_softmax(-1).double() - run.logits[at].log_softmax(-1)
    assert float(gap.abs().max()) < 1e-4


def test_control_bos_and_the_last_position_matter(pair: Pair) -> None:
    """Without BOS, or one position earlier, the numbers are others."""
    prompt, neuron = [40, 41, 42, 43], NeuronId(1, 2)
    found = trace_of(pair.model, [(prompt, neuron)]).pre_activation[0]
    with_bos = pair.raw.run(pair.with_bos(prompt)).pre[1, :, 2]
    assert_close(found, with_bos[4])
    assert abs(float(found - with_bos[3])) > 1e-2
    assert abs(float(found - pair.raw.run(prompt).pre[1, -1, 2])) > 1e-2


def test_padding_ids_do_not_matter_only_where_nobody_looks(gpt2_pair: Pair) -> None:
    """Whatever stands right of a row's last position changes nothing; what stands left does."""
    model, neuron = gpt2_pair.model, NeuronId(2, 9)
    tokens, last = model.batch([[5, 6, 7, 8], [9, 10]])
    before = model.activation_at_last(tokens, last, [neuron] * 2)
    padded = tokens.clone()
    padded[1, 3:] = 77
    assert_close(model.activation_at_last(padded, last, [neuron] * 2), before)
    changed = tokens.clone()
    changed[1, 1] = 77
    assert float((model.activation_at_last(changed, last, [neuron] * 2) - before)[1].abs()) > 1e-4


@FEW
@given(name=st.sampled_from(["gpt2", "neox"]), rows=BATCHES, random=st.randoms())
def test_stopping_early_equals_the_full_pass(
    zoo: dict[str, Pair], name: str, rows: list[tuple[list[int], NeuronId]], random: random.Random
) -> None:
    pair = zoo[name]
    tokens, last = pair.model.batch([prompt for prompt, _ in rows])
    neurons = [neuron for _, neuron in rows]
    at_last = pair.model.activation_at_last(tokens, last, neurons)
    chosen = {
        layer: torch.tensor(random.sample(range(SIZES["mlp"]), 3))
        for layer in random.sample(range(SIZES["layers"]), random.randint(1, SIZES["layers"]))
    }
    everywhere = pair.model.activations(tokens, chosen)
    assert set(everywhere) == set(chosen)
    for i, (prompt, neuron) in enumerate(rows):
        post = pair.raw.run(pair.with_bos(prompt)).post
        assert_close(at_last[i], post[neuron.layer, len(prompt), neuron.index])
        for layer, columns in chosen.items():
            found = everywhere[layer][i, : len(prompt) + 1]
            assert_close(found, post[layer][:, columns])


def test_a_pass_stops_at_the_deepest_layer_asked_for(gpt2_pair: Pair) -> None:
    model = gpt2_pair.model
    tokens, last = model.batch([[1, 2, 3]])
    for deepest in range(SIZES["layers"]):
        n_run = [0] * SIZES["layers"]

        def count(layer: int, n_run: list[int] = n_run) -> Callable[..., None]:
            def hook(*_: object) -> None:
                n_run[layer] += 1

            return hook

        modules = [model._bridge.blocks[n].attn for n in range(SIZES["layers"])]
        handles = [m.register_forward_hook(count(n)) for n, m in enumerate(modules)]
        model.activation_at_last(tokens, last, [NeuronId(deepest, 0)])
        for handle in handles:
            handle.remove()
        assert n_run == [1] * (deepest + 1) + [0] * (SIZES["layers"] - deepest - 1)


def test_a_neox_without_parallel_residual_is_sequential(
    tiny_tokenizer: object, tmp_path: Path
) -> None:
    """The same library class with one flag changed: own-layer heads count, and parts still sum."""
    hf = MAKERS["neox"](SIZES["context"])
    config = hf.config
    config.use_parallel_residual = False
    hf = type(hf)(config)
    randomise(hf, 5)
    hf.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    model, raw = load_model(tmp_path, device="cpu"), RawModel(tmp_path)
    assert not model.shape.parallel_blocks
    assert model.shape.rotary
    prompt, neuron = [7, 300, 21, 9], NeuronId(1, 4)
    trace = trace_of(model, [(prompt, neuron)])
    parts = trace.attribute(slice(0, 1), model.reader(neuron), 1)
    hand = raw.parts(raw.run([model.tokenizer.bos_id, *prompt]), 4, 1, 4)
    assert parts.heads.shape[1] == 2
    assert_close(parts.heads[0], hand.heads)
    assert_close(parts.total, trace.pre_activation)
    assert float((parts.total - parts.heads[0, 1].sum() - trace.pre_activation).abs()) > 1e-3


def test_local_attention_windows_are_exact(tiny_tokenizer: object, tmp_path: Path) -> None:
    """GPT-Neo attends to a few tokens back in every other layer. A mask changes what heads see, not
    that parts sum; far tokens have no attention there."""
    from transformers import AutoModelForCausalLM, GPTNeoConfig, GPTNeoForCausalLM

    hf = GPTNeoForCausalLM(GPTNeoConfig(
        vocab_size=N_IDS, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64,
        max_position_embeddings=48, attention_types=[[["global", "local"], 1]], window_size=4,
        bos_token_id=0, eos_token_id=0,
    ))  # fmt: skip
    randomise(hf, 3)
    hf.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    model = load_model(tmp_path, device="cpu")
    prompt, neuron = list(range(5, 35)), NeuronId(1, 3)
    trace = trace_of(model, [(prompt, neuron)], attention=True, logits=True)
    parts = trace.attribute(slice(0, 1), model.reader(neuron), 1)
    assert_close(parts.total, trace.pre_activation)
    raw = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    with torch.no_grad():
        logits = raw(torch.tensor([[model.tokenizer.bos_id, *prompt]])).logits[0, -1]
    assert trace.logits is not None and trace.attention is not None
    gap = trace.logits[0].log_softmax(-1).double() - logits.log_softmax(-1)
    assert float(gap.abs().max()) < 1e-4
    assert bool((trace.attention[0, 1, :, :-4] == 0).all())
    assert bool((trace.attention[0, 0, :, :-4] > 0).all())


def test_a_context_of_five_positions_is_enough(tiny_folder: Callable[..., Path]) -> None:
    model = load_model(tiny_folder("gpt2", seed=4, context=5), device="cpu")
    trace = trace_of(model, [([1, 2, 3, 4], NeuronId(0, 0))], logits=True)
    assert trace.logits is not None
    assert model.max_prompt_tokens == 4
    assert torch.isfinite(trace.logits).all()
