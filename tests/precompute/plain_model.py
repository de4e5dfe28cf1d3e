"""A model as Hugging Face runs it: float64, weights as they are, no padding.

Nothing of the product is used here. What a layer norm, a gain or a bias does to a number is worked out
by hand, from the weights of the folder and from what hooks on the plain modules see.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

BOS = 0


def _name_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{b:02X}>" for b in error.object[error.start : error.end]), error.end


codecs.register_error("name-bytes", _name_bytes)


@dataclass(frozen=True)
class Layer:
    """A block's weights, rows and columns as in `x @ W`; heads apart."""

    gain: np.ndarray
    shift: np.ndarray
    eps: float
    w_in: np.ndarray
    """`[neuron d_model]`"""
    b_in: np.ndarray
    w_out: np.ndarray
    """`[neuron d_model]`"""
    w_o: np.ndarray
    """`[head d_head d_model]`"""
    b_o: np.ndarray
    b_v: np.ndarray
    """`[head d_head]`: what every value holds whatever the token."""


@dataclass(frozen=True)
class Pass:
    """What a run over BOS and some tokens left at the last position; `post` has all positions."""

    post: list[np.ndarray]
    """`[pos neuron]` for each layer."""
    embedding: np.ndarray
    z: list[np.ndarray]
    """Input of the output projection, `[head d_head]`, value biases in it."""
    mlp_input: list[np.ndarray]
    """What the layer norm before the MLP reads."""
    pre: list[np.ndarray]
    mlp_out: list[np.ndarray]
    attention: list[np.ndarray]
    """`[head pos]`"""
    logits: np.ndarray


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


class PlainModel:
    def __init__(self, folder: Path) -> None:
        self.hf = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager"
        ).eval()
        config = self.hf.config
        self.n_layers, self.n_heads = config.num_hidden_layers, config.num_attention_heads
        self.d_head = config.hidden_size // self.n_heads
        self.context = config.max_position_embeddings
        self.is_parallel = config.model_type == "gpt_neox"
        self.blocks = list(self.hf.gpt_neox.layers if self.is_parallel else self.hf.transformer.h)
        self.layers = [self._layer(block) for block in self.blocks]
        final = self.hf.gpt_neox.final_layer_norm if self.is_parallel else self.hf.transformer.ln_f
        self.unembedding = _array(self.hf.get_output_embeddings().weight * final.weight)
        raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self._vocabulary: dict[str, int] = raw["model"]["vocab"]
        # Without its special tokens a tokenizer reads their strings as plain text.
        self._tokenizer = Tokenizer.from_str(json.dumps({**raw, "added_tokens": []}))
        self._passes: dict[tuple[int, ...], Pass] = {}
        self._seen: dict[str, np.ndarray] = {}
        self._watch()

    def n_reaching(self, layer: int) -> int:
        """Layers whose heads write before a layer's MLP reads."""
        return layer if self.is_parallel else layer + 1

    # --- text ---------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def texts(self) -> list[str]:
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        texts = [""] * len(self.unembedding)
        for token, i in self._vocabulary.items():
            texts[i] = bytes(byte_of[c] for c in token).decode("utf-8", "name-bytes")
        return texts

    # --- weights ------------------------------------------------------------------------------

    def _layer(self, block: Any) -> Layer:
        heads = (self.n_heads, self.d_head)
        if self.is_parallel:
            first, norm, w_in = (
                block.input_layernorm,
                block.post_attention_layernorm,
                block.mlp.dense_h_to_4h,
            )
            qkv, out = block.attention.query_key_value, block.attention.dense
            # A head's rows lie together: query, key, value.
            w_v = qkv.weight.view(self.n_heads, 3, self.d_head, -1)[:, 2].flatten(0, 1)
            b_v = qkv.bias.view(self.n_heads, 3, self.d_head)[:, 2].flatten()
            w_in_rows, w_out, w_o = w_in.weight, block.mlp.dense_4h_to_h.weight.T, out.weight.T
        else:
            first, norm, w_in = block.ln_1, block.ln_2, block.mlp.c_fc
            qkv, out = block.attn.c_attn, block.attn.c_proj
            w_v, b_v = qkv.weight.chunk(3, dim=1)[2].T, qkv.bias.chunk(3)[2]
            w_in_rows, w_out, w_o = w_in.weight.T, block.mlp.c_proj.weight, out.weight
        return Layer(
            gain=_array(norm.weight), shift=_array(norm.bias), eps=norm.eps,
            w_in=_array(w_in_rows), b_in=_array(w_in.bias), w_out=_array(w_out),
            w_o=_array(w_o.reshape(*heads, -1)), b_o=_array(out.bias),
            # The bias of the layer norm before attention, folded into the values, is constant too.
            b_v=_array((b_v + w_v @ first.bias).view(heads)),
        )  # fmt: skip

    def congruence(self) -> np.ndarray:
        """`[layer neuron token]`: writing weights centred; unembedding with the final gain folded
        in, centred over d_model and over all its rows."""
        rows = self.unembedding - self.unembedding.mean(1, keepdims=True)
        rows = rows - rows.mean(0, keepdims=True)
        out = np.stack([layer.w_out - layer.w_out.mean(1, keepdims=True) for layer in self.layers])
        return out @ rows.T

    # --- runs ---------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Note inputs and outputs of the plain modules."""

        def note(module: torch.nn.Module, name: str, is_input: bool = False) -> None:
            def hook(_: Any, inputs: tuple[Any, ...], output: Any) -> None:
                value = inputs[0] if is_input else output
                self._seen[name] = _array(value)

            module.register_forward_hook(hook)

        first = self.hf.gpt_neox.embed_in if self.is_parallel else self.hf.transformer.drop
        note(first, "embedding")
        for n, block in enumerate(self.blocks):
            if self.is_parallel:
                norm, out, w_in = (
                    block.post_attention_layernorm,
                    block.attention.dense,
                    block.mlp.dense_h_to_4h,
                )
            else:
                norm, out, w_in = block.ln_2, block.attn.c_proj, block.mlp.c_fc
            note(norm, f"mlp_input{n}", is_input=True)
            note(out, f"z{n}", is_input=True)
            note(w_in, f"pre{n}")
            note(block.mlp.act, f"post{n}")
            note(block.mlp, f"mlp_out{n}")

    def run(self, token_ids: list[int]) -> Pass:
        """One forward pass over BOS and these tokens; positions count from BOS, 0."""
        if tuple(token_ids) not in self._passes:
            self._run_together([tuple(token_ids)])
        return self._passes[tuple(token_ids)]

    def prepare(self, sequences: Iterable[list[int]]) -> None:
        """Run many sequences beforehand, those of equal length together: it is only faster."""
        by_length: dict[int, set[tuple[int, ...]]] = {}
        for ids in sequences:
            if ids and tuple(ids) not in self._passes:
                by_length.setdefault(len(ids), set()).add(tuple(ids))
        for same in by_length.values():
            rows = sorted(same)
            for first in range(0, len(rows), 256):
                self._run_together(rows[first : first + 256])

    def _run_together(self, rows: list[tuple[int, ...]]) -> None:
        with torch.no_grad():
            found = self.hf(torch.tensor([[BOS, *row] for row in rows]), output_attentions=True)

        def each_layer(name: str, i: int) -> list[np.ndarray]:
            return [self._seen[f"{name}{n}"][i, -1].copy() for n in range(self.n_layers)]

        for i, row in enumerate(rows):
            self._passes[row] = Pass(
                post=[self._seen[f"post{n}"][i].copy() for n in range(self.n_layers)],
                embedding=self._seen["embedding"][i, -1].copy(),
                z=[z.reshape(self.n_heads, self.d_head) for z in each_layer("z", i)],
                mlp_input=each_layer("mlp_input", i),
                pre=each_layer("pre", i),
                mlp_out=each_layer("mlp_out", i),
                attention=[_array(layer[i, :, -1]) for layer in found.attentions],
                logits=_array(found.logits[i, -1]),
            )
