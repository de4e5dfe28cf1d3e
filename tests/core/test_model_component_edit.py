"""Runs with components' dials turned, against the library's own runs with hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from explorer.core.component_edit import ComponentEdit
from explorer.core.components import component_activations, components
from explorer.core.model_blocks import Blocks
from explorer.core.model_component_edit import ComponentDials, EditedRuns
from explorer.core.types import HeadId, NeuronId
from tests.core.conftest import Pair

TEXTS = ("The ship went out to the sea", "He said", "And they came back together at night")


@pytest.fixture(scope="module")
def dials_of(gpt2_pair: Pair, neox_pair: Pair) -> dict[int, ComponentDials]:
    return {id(p): ComponentDials(Blocks(p.model)) for p in (gpt2_pair, neox_pair)}


@pytest.fixture
def dials(pair: Pair, dials_of: dict[int, ComponentDials]) -> ComponentDials:
    return dials_of[id(pair)]


def prompts_of(pair: Pair) -> list[list[int]]:
    return [pair.model.encode(text) for text in TEXTS]


def library_run(
    pair: Pair,
    prompt: Sequence[int],
    layer: int,
    change: Callable[[Tensor], Tensor],
    receiver: HeadId,
    neuron: NeuronId,
    whole: bool = False,
) -> tuple[Tensor, Tensor, float]:
    """Logits, receiver's attention and pre-activation at the last position, by the library's own
    forward pass with a hook on `z` (at the last position, or at all) of one layer."""
    kept: dict[str, Tensor] = {}

    def on_z(z: Tensor, hook: Any) -> Tensor:
        shape = z.shape
        z = z.view(*shape[:2], pair.model.shape.n_heads, -1).clone()
        at = slice(None) if whole else slice(-1, None)
        z[:, at] = change(z[:, at])
        return z.view(shape)

    def keep(name: str) -> Callable[[Tensor, Any], None]:
        def act(value: Tensor, hook: Any) -> None:
            kept[name] = value

        return act

    tokens, _ = pair.model.batch([prompt])
    hooks = [
        (f"blocks.{layer}.attn.hook_z", on_z),
        (f"blocks.{receiver.layer}.attn.hook_pattern", keep("pattern")),
        (f"blocks.{neuron.layer}.mlp.hook_pre", keep("pre")),
    ]
    with torch.no_grad():
        logits = pair.model._bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    attention = kept["pattern"][0, receiver.index, -1]
    return logits[0, -1], attention, float(kept["pre"][0, -1, neuron.index])


def assert_same(found: EditedRuns, row: int, expected: tuple[Tensor, Tensor, float]) -> None:
    logits, attention, pre = expected
    assert found.attention is not None and found.pre_activation is not None
    assert torch.allclose(found.logits[row], logits, atol=2e-4)
    assert torch.allclose(found.attention[row, : len(attention)], attention, atol=1e-5)
    assert float(found.attention[row, len(attention) :].abs().sum()) == 0
    assert float(found.pre_activation[row]) == pytest.approx(pre, abs=1e-4)


RECEIVER, NEURON = HeadId(2, 1), NeuronId(2, 7)
READ = {"receiver": RECEIVER, "neuron": NEURON}


def test_without_a_change_it_is_the_clean_run(pair: Pair, dials: ComponentDials) -> None:
    prompts = prompts_of(pair)
    clean = dials.clean(prompts, 1)
    none = clean.edited([], **READ)
    same = clean.edited([ComponentEdit(HeadId(1, 2), 3, scale=1.0)], **READ)
    everywhere = clean.edited([ComponentEdit(HeadId(1, 2), 3)], everywhere=True, **READ)
    for row, prompt in enumerate(prompts):
        expected = library_run(pair, prompt, 1, lambda z: z, RECEIVER, NEURON)
        for found in (none, same, everywhere):
            assert_same(found, row, expected)
    assert torch.equal(none.logits, same.logits)


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_edit_is_the_librarys_run_with_a_hook(
    pair: Pair, dials: ComponentDials, everywhere: bool
) -> None:
    """The change made by hand in the head's output: along `v_i`, by the activation read from it."""
    prompts, head, i = prompts_of(pair), HeadId(1, 2), 0
    clean = dials.clean(prompts, 0)
    edits = [ComponentEdit(head, i, scale=-2.0, shift=0.7)]
    found = clean.edited(edits, everywhere=everywhere, **READ)
    untouched = clean.edited([], **READ)
    direction = dials.writes(head)[i].float()
    w_o = pair.model.w_o[1, 2]
    onto = torch.linalg.lstsq(w_o.T, direction[:, None]).solution[:, 0]

    def by_hand(z: Tensor) -> Tensor:
        z = z.clone()
        activation = z[:, :, 2] @ w_o @ direction
        z[:, :, 2] += (-3 * activation + 0.7)[..., None] * onto
        return z

    for row, prompt in enumerate(prompts):
        expected = library_run(pair, prompt, 1, by_hand, RECEIVER, NEURON, whole=everywhere)
        assert_same(found, row, expected)
    assert not torch.allclose(found.logits, untouched.logits, atol=0.05)


def test_scale_0_on_all_components_removes_the_head(pair: Pair, dials: ComponentDials) -> None:
    prompts, head = prompts_of(pair), HeadId(1, 3)
    edits = [ComponentEdit.removed(head, i) for i in range(pair.model.shape.d_head)]
    found = dials.clean(prompts, 1).edited(edits, **READ)

    def zero(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, head.index] = 0.0
        return z

    for row, prompt in enumerate(prompts):
        assert_same(found, row, library_run(pair, prompt, 1, zero, RECEIVER, NEURON))


def test_scaling_everywhere_is_scaling_the_singular_value(
    pair: Pair, dials: ComponentDials
) -> None:
    """With `W_V` changed so that OV has `5 s_i` for `s_i`, the library gives the same run."""
    model, head, i = pair.model, HeadId(1, 0), 0
    prompts = prompts_of(pair)
    found = dials.clean(prompts, 1).edited([ComponentEdit(head, i, 5.0)], everywhere=True, **READ)
    last_only = dials.clean(prompts, 1).edited([ComponentEdit(head, i, 5.0)], **READ)
    ov = components(model.w_v[1], model.w_o[1])
    u = ov.reads[0, i].float()
    w_v = model.w_v[1, 0] + 4.0 * u[:, None] * (u @ model.w_v[1, 0])
    scaled = torch.linalg.svdvals(w_v.double() @ model.w_o[1, 0].double())[: model.shape.d_head]
    expected = ov.singular_values[0].clone()
    expected[i] *= 5
    assert torch.allclose(scaled.sort().values, expected.sort().values, rtol=1e-4)
    for row, prompt in enumerate(prompts):
        kept: dict[str, Tensor] = {}

        def keep(name: str, into: dict[str, Tensor]) -> Callable[[Tensor, Any], None]:
            def act(value: Tensor, hook: Any) -> None:
                into[name] = value

            return act

        tokens, _ = model.batch([prompt])
        hooks = [("blocks.1.ln1.hook_out", keep("x", kept)),
                 ("blocks.1.attn.hook_pattern", keep("a", kept))]  # fmt: skip
        with torch.no_grad():
            model._bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        new = kept["a"][:, 0] @ (kept["x"] @ w_v)

        def put(z: Tensor, new: Tensor = new) -> Tensor:
            z = z.clone()
            z[:, :, 0] = new
            return z

        run = library_run(pair, prompt, 1, put, RECEIVER, NEURON, whole=True)
        assert_same(found, row, run)
    assert not torch.allclose(found.logits, last_only.logits, atol=0.01)


def test_a_sweep_gives_each_row_its_own_number(pair: Pair, dials: ComponentDials) -> None:
    """One prompt of another length between, so that rows must find their numbers."""
    first, other, _ = prompts_of(pair)
    scales, head = torch.tensor([0.0, 1.0, -3.0, 4.0]), HeadId(1, 1)
    swept = dials.clean([first, first, other, first], 1).edited(
        [ComponentEdit(head, 0, scale=scales)], **READ
    )
    for row, prompt in enumerate([first, first, other, first]):
        alone = dials.clean([prompt], 1).edited(
            [ComponentEdit(head, 0, scale=float(scales[row]))], **READ
        )
        assert torch.allclose(swept.logits[row], alone.logits[0], atol=1e-4)
    assert not torch.allclose(swept.logits[0], swept.logits[3], atol=0.01)


def test_activations_are_those_of_the_trace(pair: Pair, dials: ComponentDials) -> None:
    model, prompts, head = pair.model, prompts_of(pair), HeadId(1, 2)
    found = dials.clean(prompts, 1).activations(head)
    tokens, last = model.batch(prompts)
    trace = model.trace(tokens, last, [NeuronId(2, 0)] * len(prompts))
    expected = component_activations(trace.z[:, 1, 2], model.w_o[1, 2], dials.writes(head))
    assert torch.allclose(found, expected, atol=1e-4)
    for row, prompt in enumerate(prompts):
        along = dials.along(prompt, head)
        assert along.shape == (len(prompt), model.shape.d_head)
        assert torch.allclose(along[-1], found[row], atol=1e-4)
    shorter = dials.along(prompts[0][:3], head)
    assert torch.allclose(dials.along(prompts[0], head)[:3], shorter, atol=1e-4)


def test_layers_below_the_clean_run_are_refused(pair: Pair, dials: ComponentDials) -> None:
    clean = dials.clean(prompts_of(pair), 1)
    for call in (
        lambda: clean.edited([ComponentEdit.removed(HeadId(0, 0), 0)]),
        lambda: clean.edited([], receiver=HeadId(0, 1)),
        lambda: clean.activations(HeadId(0, 0)),
    ):
        with pytest.raises(ValueError, match="from 1 on"):
            call()
    with pytest.raises(ValueError, match="0 to 2"):
        dials.clean(prompts_of(pair), 3)
    with pytest.raises(ValueError, match="at least one prompt"):
        dials.clean([], 1)
