"""Heads, neurons and rules as text, there and back; and text made visible without loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.core.types import ActiveRule, HeadId, ModelShape, NeuronId, visible

LAYERS, INDICES = st.integers(0, 9999), st.integers(0, 9_999_999)
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
"""Lone surrogates and control characters included."""
MARKS = {" ": "␣", "\n": "↵", "\t": "⇥"}


@given(LAYERS, INDICES)
def test_heads_and_neurons_read_back_what_they_write(layer: int, index: int) -> None:
    head, neuron = HeadId(layer, index), NeuronId(layer, index)
    assert str(head) == f"L{layer}H{index}"
    assert str(neuron) == f"L{layer}N{index}"
    assert head.label == f"L{layer} H{index}"
    assert neuron.label == f"L{layer} N{index}"
    for text in (str(head), head.label, str(head).lower(), f"  {head}\n"):
        assert HeadId.parse(text) == head
    for text in (str(neuron), neuron.label, str(neuron).lower()):
        assert NeuronId.parse(text) == neuron
    # A head is not a neuron, in writing or as a value.
    with pytest.raises(ValueError, match="L5N3"):
        NeuronId.parse(str(head))
    with pytest.raises(ValueError, match="L5H3"):
        HeadId.parse(str(neuron))
    assert head != neuron


@pytest.mark.parametrize(
    "text",
    [
        "", "L5", "5H3", "L5H", "LH", "L-1H2", "L5H-2", "L5H3H4", "L5  H3", "L 5H3", "L5.0H3",
        "L5H3;DROP TABLE prompts", "<b>L5H3</b>", "L5H3\x00", "L٥H٣", "L5H３", "Lₖ5H3",
        "L99999H1", "L1H99999999", "L5H3" * 100,
    ],
)  # fmt: skip
def test_what_is_not_a_head_is_refused_with_the_form_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected the form L5H3") as error:
        HeadId.parse(text)
    assert len(str(error.value)) < 250


@given(ANY_TEXT)
def test_parsing_any_text_reads_it_or_refuses_it(text: str) -> None:
    try:
        head = HeadId.parse(text)
    except ValueError as error:
        assert "expected the form L5H3" in str(error) or "expected indices" in str(error)
    else:
        written = text.strip().upper().replace(" ", "")
        layer, index = written.removeprefix("L").split("H")
        assert head == HeadId(int(layer), int(index))


@given(LAYERS, LAYERS, INDICES, INDICES)
def test_units_sort_by_layer_then_index(a: int, b: int, i: int, j: int) -> None:
    assert (NeuronId(a, i) < NeuronId(b, j)) == ((a, i) < (b, j))
    assert (HeadId(a, i) == HeadId(b, j)) == ((a, i) == (b, j))


@given(st.integers(0, 80), st.integers(1, 128), st.data())
def test_flat_index_is_layer_times_heads_plus_head(
    layer: int, n_heads: int, data: st.DataObject
) -> None:
    head = HeadId(layer, data.draw(st.integers(0, n_heads - 1)))
    assert head.flat(n_heads) == layer * n_heads + head.index
    assert HeadId.from_flat(head.flat(n_heads), n_heads) == head
    # Counting from another number of heads names another head, from the second layer on.
    assert (HeadId.from_flat(head.flat(n_heads), n_heads + 1) == head) == (layer == 0)


def test_negative_indices_are_refused() -> None:
    for layer, index in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="from 0"):
            HeadId(layer, index)


@given(st.integers(0, 30), st.integers(1, 20))
def test_own_layer_heads_reach_in_sequential_blocks_only(layer: int, n_heads: int) -> None:
    sizes = {"n_layers": 31, "d_model": 8, "d_head": 2, "d_mlp": 16, "d_vocab": 50, "n_ctx": 9}
    sequential, parallel = (
        ModelShape(**sizes, n_heads=n_heads, parallel_blocks=is_parallel, rotary=False)
        for is_parallel in (False, True)
    )
    assert sequential.n_reaching_layers(layer) == layer + 1
    assert parallel.n_reaching_layers(layer) == layer
    own = sequential.n_reaching_heads(layer) - parallel.n_reaching_heads(layer)
    assert own == n_heads


@given(st.integers(1, 999_999))
def test_active_rule_reads_back_what_it_writes(k: int) -> None:
    assert ActiveRule.parse(f"top:{k}") == ActiveRule(k)
    assert str(ActiveRule(k)) == f"top:{k}"
    assert ActiveRule.parse("mean+2sd") == ActiveRule() != ActiveRule(k)
    assert str(ActiveRule()) == "mean+2sd"


@pytest.mark.parametrize(
    "text", ["", "top:", "top:0", "top:-1", "top:1.5", "top:x", "TOP:3", "mean+3sd", "top:3 ",
             "mean+2sd\n", "top:٣", "top:9999999"]
)  # fmt: skip
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        ActiveRule.parse(text)


@given(ANY_TEXT)
def test_visible_text_keeps_every_character(text: str) -> None:
    """Undoing the marks one by one gives the text back: nothing was dropped, trimmed or joined."""
    shown, rest = visible(text), visible(text)
    for character in text:
        mark = MARKS.get(character, character)
        if not rest.startswith(mark):
            mark = f"<0x{ord(character):02X}>"
        assert rest.startswith(mark)
        rest = rest.removeprefix(mark)
    assert rest == ""
    assert " " not in shown
    assert not any(c in shown for c in "\n\t\r\x00\x1b")
    # What is shown can be sent to a browser and drawn: no lone surrogate is left.
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert all(c.isprintable() or c in "\u200d\ufe0f" for c in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" come", "␣come"), ("  ", "␣␣"), ("a\n\tb", "a↵⇥b"), ("", ""), ("\x07", "<0x07>"),
        ("<b>&amp;</b>", "<b>&amp;</b>"), ("\r\n", "<0x0D>↵"), ("\ud800", "<0xD800>"),
        ("\u202eevil", "<0x202E>evil"), ("\u00a0", "<0xA0>"), ("é😀", "é😀"), ("שלום", "שלום"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"), ("\x00", "<0x00>"),
    ],
)  # fmt: skip
def test_visible_text_in_known_cases(text: str, shown: str) -> None:
    assert visible(text) == shown
