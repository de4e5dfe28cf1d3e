"""Components against plain float64 products of whole matrices, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from explorer.core.attribution import attribute, neuron_reader
from explorer.core.components import (
    Components,
    attribute_components,
    component_activations,
    component_neurons,
    components,
    ov_components,
    qk_components,
)
from explorer.core.types import NeuronId
from tests.core.conftest import Pair

N_HEADS, D_MODEL, D_HEAD = 3, 40, 8


def random_weights(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(N_HEADS, D_MODEL, D_HEAD, generator=generator, dtype=torch.float64)
    right = torch.randn(N_HEADS, D_HEAD, D_MODEL, generator=generator, dtype=torch.float64)
    return left, right


def product(found: Components) -> Tensor:
    return torch.einsum("hcd,hc,hce->hde", found.reads, found.singular_values, found.writes)


@pytest.fixture
def weights() -> tuple[Tensor, Tensor]:
    return random_weights(0)


@pytest.fixture
def found(weights: tuple[Tensor, Tensor]) -> Components:
    return components(*weights)


def test_equals_the_svd_of_the_whole_product_up_to_sign(
    weights: tuple[Tensor, Tensor], found: Components
) -> None:
    for head in range(N_HEADS):
        u, s, vh = np.linalg.svd((weights[0][head] @ weights[1][head]).numpy())
        assert np.allclose(s[D_HEAD:], 0, atol=1e-10)
        assert np.allclose(found.singular_values[head], s[:D_HEAD], rtol=1e-12)
        for i in range(D_HEAD):
            sign = np.sign(vh[i] @ found.writes[head, i].numpy())
            assert np.allclose(sign * vh[i], found.writes[head, i], atol=1e-10)
            assert np.allclose(sign * u[:, i], found.reads[head, i], atol=1e-10)


def test_sums_to_the_product_and_not_without_the_last(
    weights: tuple[Tensor, Tensor], found: Components
) -> None:
    whole = weights[0] @ weights[1]
    assert torch.allclose(product(found), whole, atol=1e-10)
    last = torch.einsum(
        "hd,h,he->hde", found.reads[:, -1], found.singular_values[:, -1], found.writes[:, -1]
    )
    assert not torch.allclose(product(found) - last, whole, atol=1e-3)


def test_components_descend_and_are_orthonormal(found: Components) -> None:
    assert bool((found.singular_values.diff(dim=1) <= 0).all())
    for directions in (found.reads, found.writes):
        assert torch.allclose(directions @ directions.mT, torch.eye(D_HEAD).double(), atol=1e-12)


def test_the_largest_entry_written_is_positive_whatever_the_weights_sign(
    weights: tuple[Tensor, Tensor], found: Components
) -> None:
    turned = components(-weights[0], weights[1])
    for one in (found, turned):
        largest = one.writes.abs().argmax(-1, keepdim=True)
        assert bool((one.writes.gather(-1, largest) > 0).all())
    # Turning the product round turns what is read, as what is written has its sign by the rule.
    assert torch.allclose(turned.writes, found.writes, atol=1e-10)
    assert torch.allclose(turned.reads, -found.reads, atol=1e-10)
    largest = found.reads.abs().argmax(-1, keepdim=True)
    assert not bool((found.reads.gather(-1, largest) > 0).all())


def test_rescaling_and_rotating_inside_the_head_change_nothing(
    weights: tuple[Tensor, Tensor], found: Components
) -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(N_HEADS, D_HEAD, D_HEAD, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(noise).Q
    left, right = weights
    for same in (
        components(1e3 * left, right / 1e3),
        components(left @ rotation, rotation.mT @ right),
        components(left @ noise, torch.linalg.inv(noise) @ right),
    ):
        assert torch.allclose(same.singular_values, found.singular_values, rtol=1e-8)
        assert torch.allclose(same.writes, found.writes, atol=1e-7)
        assert torch.allclose(same.reads, found.reads, atol=1e-7)
    other = components(left @ rotation, right)
    assert not torch.allclose(other.singular_values, found.singular_values, rtol=1e-2)


def test_a_head_of_lower_rank_keeps_orthonormal_directions() -> None:
    left, right = random_weights(2)
    left[:, :, D_HEAD // 2 :] = left[:, :, : D_HEAD // 2]
    left[2] = 0.0
    found = components(left, right)
    assert torch.allclose(product(found), left @ right, atol=1e-10)
    assert torch.allclose(found.writes @ found.writes.mT, torch.eye(D_HEAD).double(), atol=1e-12)
    assert bool((found.singular_values[:2, : D_HEAD // 2] > 1).all())
    assert bool((found.singular_values[:2, D_HEAD // 2 :] < 1e-10).all())


def test_weights_that_are_not_finite_are_refused() -> None:
    left, right = random_weights(3)
    good = components(left, right)
    bad = good.singular_values.clone()
    bad[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite components, got others in singular_values"):
        Components(good.reads, bad, good.writes)


def test_activation_is_the_coefficient_written_and_what_is_read(
    weights: tuple[Tensor, Tensor], found: Components
) -> None:
    """`z = x W_V`: the coefficient of `v_i` in `z W_O` is `x . s_i u_i`."""
    x = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for head in range(N_HEADS):
        w_v, w_o = weights[0][head], weights[1][head]
        activations = component_activations(x @ w_v, w_o, found.writes[head])
        read = (x @ found.reads[head].T) * found.singular_values[head]
        assert torch.allclose(activations, read, atol=1e-9)
        assert torch.allclose(activations @ found.writes[head], x @ w_v @ w_o, atol=1e-9)


# --- on models --------------------------------------------------------------------------------


def raw_qkv(pair: Pair, layer: int) -> list[Tensor]:
    """W_Q, W_K, W_V `[head d_model d_head]` by hand: norm gain folded in, centred over d_model."""
    raw = pair.raw
    block = raw.blocks[layer]
    shape = (raw.n_heads, -1, raw.d_model)
    if raw.is_gpt2:
        rows = block.attn.c_attn.weight.detach().T * block.ln_1.weight.detach()
        parts = [part.reshape(shape) for part in rows.chunk(3)]
    else:
        rows = block.attention.query_key_value.weight.detach()
        rows = rows * block.input_layernorm.weight.detach()
        by_head = rows.view(raw.n_heads, 3, -1, raw.d_model)
        parts = [by_head[:, i] for i in range(3)]
    return [(part - part.mean(-1, keepdim=True)).mT for part in parts]


def test_a_models_components_are_those_of_its_folded_weights(pair: Pair) -> None:
    model = pair.model
    for layer in range(model.shape.n_layers):
        w_q, w_k, w_v = raw_qkv(pair, layer)
        w_o = pair.raw.w_o(layer)
        w_o = w_o - w_o.mean(-1, keepdim=True)
        for found, left, right in (
            (ov_components(model.w_v[layer], model.w_o[layer]), w_v, w_o),
            (qk_components(model.w_q[layer], model.w_k[layer]), w_q, w_k.mT),
        ):
            assert torch.allclose(product(found), left @ right, atol=1e-4)
            whole = np.linalg.svd((left @ right).numpy(), compute_uv=False)
            assert np.allclose(
                found.singular_values, whole[:, : model.shape.d_head], atol=1e-5 * whole.max()
            )


def test_the_embedding_is_the_raw_one_centred(pair: Pair) -> None:
    rows = pair.raw.hf.get_input_embeddings().weight.detach()
    centred = rows - rows.mean(1, keepdim=True)
    assert torch.allclose(pair.model.w_e.double(), centred, atol=1e-6)
    assert not torch.allclose(pair.model.w_e.double(), rows, atol=1e-3)


def test_components_sum_to_the_heads_attribution(pair: Pair) -> None:
    model = pair.model
    neuron = NeuronId(model.shape.n_layers - 1, 5)
    prompts = [model.encode(text) for text in ("The ship went out to the sea", "And so he said")]
    tokens, last = model.batch(prompts)
    trace = model.trace(tokens, last, [neuron] * len(prompts))
    reader = model.reader(neuron)
    heads = trace.attribute(slice(0, len(prompts)), reader, neuron.layer).heads
    n_layers = model.shape.n_reaching_layers(neuron.layer)
    largest = 0.0
    for layer in range(n_layers):
        found = ov_components(model.w_v[layer], model.w_o[layer])
        for head in range(model.shape.n_heads):
            parts = attribute_components(
                trace.z[:, layer, head], model.w_o[layer, head], found.writes[head],
                reader.w_in, trace.ln_scale,
            )  # fmt: skip
            assert torch.allclose(parts.sum(1), heads[:, layer, head], atol=1e-4)
            largest = max(largest, float(parts[:, -1].abs().max()))
    assert largest > 1e-3, "leaving the last component out would not be seen"


def test_a_components_part_is_its_read_through_attention_by_hand(gpt2_pair: Pair) -> None:
    """Attention-weighted normalised residual along `s_i u_i`, times `v_i . w_in`, over the scale."""
    model, raw = gpt2_pair.model, gpt2_pair.raw
    neuron, layer, head = NeuronId(2, 9), 1, 2
    prompt = model.encode("He put the bread on the table")
    run = raw.run(gpt2_pair.with_bos(prompt))
    block = raw.blocks[layer]
    resid = run.embedding + sum(
        run.mlp_out[n] + raw.attention_out(n)(run.z[n].flatten(1)).detach() for n in range(layer)
    )
    centred = resid - resid.mean(-1, keepdim=True)
    read = centred / (centred.square().mean(-1, keepdim=True) + block.ln_1.eps).sqrt()
    mean_read = run.attention[layer, head, -1] @ read
    w_v = raw_qkv(gpt2_pair, layer)[2][head]
    w_o = raw.w_o(layer)[head]
    u, s, vh = torch.linalg.svd(w_v @ (w_o - w_o.mean(-1, keepdim=True)))
    w_in = raw.w_in(2)[:, 9] * raw.mlp_norm(2).weight.detach()
    w_in = w_in - w_in.mean()
    scale = (run.mlp_in[2, -1].var(correction=0) + raw.mlp_norm(2).eps).sqrt()
    by_hand = (mean_read @ u * s @ torch.eye(len(s)).double()) * (vh @ w_in) / scale
    tokens, last = model.batch([prompt])
    trace = model.trace(tokens, last, [neuron])
    found = attribute_components(
        trace.z[:, layer, head],
        model.w_o[layer, head],
        ov_components(model.w_v[layer], model.w_o[layer]).writes[head],
        model.w_in(2)[:, 9],
        trace.ln_scale,
    )[0]
    d_head = model.shape.d_head
    assert torch.allclose(found, by_hand[:d_head], atol=1e-4)
    assert float(found.abs().max()) > 0.05


def test_component_neurons_predict_what_writing_a_direction_adds(pair: Pair) -> None:
    """`v_i . w_in` is what a neuron's reader gives for a head whose output is `v_i`."""
    model = pair.model
    found = ov_components(model.w_v[0], model.w_o[0])
    w_in = model.w_in(2)[:, :6]
    values = component_neurons(found.writes, w_in)
    assert values.shape == (model.shape.n_heads, model.shape.d_head, 6)
    for head, i, n in ((0, 0, 0), (1, 3, 2), (3, 7, 5)):
        by_hand = float(found.writes[head, i].numpy() @ w_in[:, n].double().numpy())
        assert float(values[head, i, n]) == pytest.approx(by_hand, abs=1e-9)
    writer = found.writes.float()[None]  # a "W_O" that writes component i for coordinate i
    reader = neuron_reader(w_in[:, 4], 0.0, writer, torch.zeros(1, model.shape.d_model))
    z = torch.zeros(1, 1, model.shape.n_heads, model.shape.d_head)
    z[0, 0, 2, 1] = 1.0
    empty = torch.zeros(1, 0, model.shape.d_model)
    parts = attribute(z, empty, torch.zeros(1, model.shape.d_model), torch.ones(1), reader)
    assert float(parts.heads[0, 0, 2]) == pytest.approx(float(values[2, 1, 4]), abs=1e-5)
