"""The words of the field as types: which head, which neuron, and how they are written.

`L5H3` and `L5N231` are the one written form for URLs, the command line and messages; headings use
`L5 H3`. This module imports neither torch nor Streamlit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

SPACE_MARK = "␣"
NEWLINE_MARK = "↵"
TAB_MARK = "⇥"
ABLATION_KINDS = ("zero-last", "zero-all", "mean-last", "mean-all")
"""Ways of removing a head, as `ablations.kind` has them."""


@dataclass(frozen=True, order=True)
class _Unit:
    """A numbered part of a layer. Both indices count from 0."""

    layer: int
    index: int
    LETTER: ClassVar[str] = "?"

    def __post_init__(self) -> None:
        if self.layer < 0 or self.index < 0:
            raise ValueError(f"expected indices from 0, got layer {self.layer}, {self.index}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `L5H3` or `L5 H3` (case ignored). Raises ValueError with what was expected."""
        match = re.fullmatch(rf"L(\d{{1,4}}) ?{cls.LETTER}(\d{{1,7}})", text.strip(), re.I | re.A)
        if match is None:
            raise ValueError(f"expected the form L5{cls.LETTER}3, got {text[:40]!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def label(self) -> str:
        """The form for headings: `L5 H3`."""
        return f"L{self.layer} {self.LETTER}{self.index}"

    def __str__(self) -> str:
        return f"L{self.layer}{self.LETTER}{self.index}"


class HeadId(_Unit):
    """An attention head, written `L5H3`."""

    LETTER: ClassVar[str] = "H"

    def flat(self, n_heads: int) -> int:
        """The head's place in flat lists over the whole model: `layer * n_heads + head`."""
        return self.layer * n_heads + self.index

    @classmethod
    def from_flat(cls, flat: int, n_heads: int) -> HeadId:
        return cls(*divmod(flat, n_heads))


class NeuronId(_Unit):
    """An MLP neuron, written `L5N231`."""

    LETTER: ClassVar[str] = "N"


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a transformer, and the two facts about its blocks that the mathematics needs."""

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    parallel_blocks: bool
    """True where attention and MLP of a block read the same input (Pythia)."""
    rotary: bool
    """True where positions enter by rotation of queries and keys; False where they are learned."""

    def n_reaching_layers(self, neuron_layer: int) -> int:
        """How many layers of heads, from 0, write to the input of a neuron of that layer.

        In sequential blocks a layer's own heads come before its MLP; in parallel ones they do not.
        """
        return neuron_layer if self.parallel_blocks else neuron_layer + 1

    def n_reaching_heads(self, neuron_layer: int) -> int:
        """How many heads, from flat index 0, can reach a neuron of that layer."""
        return self.n_reaching_layers(neuron_layer) * self.n_heads


@dataclass(frozen=True)
class ActiveRule:
    """When a head counts as active in a prompt: `mean+2sd`, or `top:K`.

    `top_k` None is the rule "above mean + 2 sample standard deviations over reachable heads".
    """

    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"expected top:K with K of 1 or more, got top:{self.top_k}")

    @classmethod
    def parse(cls, text: str) -> ActiveRule:
        if text == "mean+2sd":
            return cls()
        match = re.fullmatch(r"top:(\d{1,6})", text, re.A)
        if match is None:
            raise ValueError(f"expected mean+2sd or top:K, got {text[:40]!r}")
        return cls(int(match[1]))

    def __str__(self) -> str:
        return "mean+2sd" if self.top_k is None else f"top:{self.top_k}"


def visible(text: str) -> str:
    """A token's or prompt's text with its white space made visible: `␣`, `↵`, `⇥`.

    For display only; never trims. Other control characters become `<0x07>`.
    """
    marked = text.replace(" ", SPACE_MARK).replace("\n", NEWLINE_MARK).replace("\t", TAB_MARK)
    return "".join(
        c if c.isprintable() or c in "\u200d\ufe0f" else f"<0x{ord(c):02X}>" for c in marked
    )


def without_lone_surrogates(text: str) -> str:
    """Text that can be written as UTF-8: halves of a pair joined, others become U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
