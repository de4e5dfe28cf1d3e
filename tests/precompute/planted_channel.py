"""A channel planted by hand in a tiny GPT-2: what composition and edits find is known beforehand.

At the cue, head L0H1 looks at " left" or " right" and writes the direction CHANNEL, once forwards, once
backwards: its strongest component, beside seven weak ones of noise. The query of head L2H3 reads CHANNEL,
its keys read " north" forwards and " south" backwards. So after " left" it attends to " north", after
" right" to " south", and with the component removed to all positions alike. All else is small noise.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from tests.precompute.planted import FILLERS, build_tokenizer

SENDER, RECEIVER = (0, 1), (2, 3)
LEFT, RIGHT, NORTH, SOUTH, CUE = " left", " right", " north", " south", " go"
WORDS = ("<|endoftext|>", LEFT, RIGHT, NORTH, SOUTH, CUE, *FILLERS)
SIGN_OF = {LEFT: 1.0, RIGHT: -1.0}
"""The activation of the planted component along CHANNEL after each word."""
NAMED = {LEFT: NORTH, RIGHT: SOUTH}

N_LAYERS, N_HEADS, WIDTH, D_HEAD, N_NEURONS = 3, 6, 48, 8, 32
SCORE = 10.0
"""Attention score of the word that the channel names, at an activation of 1."""
_NOISE, _WEAK = 0.002, 0.03
_OWN, _SHARED = 0.6, 0.8
_LENGTH = WIDTH**0.5
"""Length of a vector after a layer norm."""


def _feature(index: int) -> Tensor:
    """Unit directions that sum to 0 (a layer norm leaves them), in coordinates of their own."""
    direction = torch.zeros(WIDTH)
    direction[2 * index], direction[2 * index + 1] = 0.5**0.5, -(0.5**0.5)
    return direction


CHANNEL, TURN, SIDE, POLE, AT_CUE, START, ELSEWHERE = (_feature(i) for i in range(7))
_HALF = 0.5**0.5
_FEATURES = {
    LEFT: _HALF * (TURN + SIDE),
    RIGHT: _HALF * (TURN - SIDE),
    NORTH: POLE,
    SOUTH: -POLE,
    CUE: AT_CUE,
    WORDS[0]: START,
}


def _embedding(generator: torch.Generator) -> Tensor:
    """Unit vectors: each word a random one beside the features, special words mostly theirs."""
    own = torch.randn(len(WORDS), WIDTH, generator=generator)
    own[:, :14] = 0.0
    own[:, 14:] -= own[:, 14:].mean(1, keepdim=True)
    own /= own.norm(dim=1, keepdim=True)
    for word, feature in _FEATURES.items():
        own[WORDS.index(word)] = _OWN * own[WORDS.index(word)] + _SHARED * feature
    return own


def _slices(head: int) -> list[slice]:
    """Columns of query, key and value of a head in GPT-2's fused weights."""
    starts = (i * WIDTH + head * D_HEAD for i in range(3))
    return [slice(start, start + D_HEAD) for start in starts]


def _plant(model: GPT2LMHeadModel, reads: Tensor, generator: torch.Generator) -> None:
    """Both heads; `reads` is the direction that the receiver's query reads."""
    seen = _SHARED * _LENGTH
    for layer, head in (SENDER, RECEIVER):
        attention = model.transformer.h[layer].attn
        for part in _slices(head):
            noise = torch.randn(WIDTH, D_HEAD, generator=generator)
            attention.c_attn.weight[:, part] = (_WEAK if layer == SENDER[0] else _NOISE) * noise
            attention.c_attn.weight[:, part.start] = 0.0
            attention.c_attn.bias[part] = 0.0
    layer, head = SENDER
    attention, (query, key, value) = model.transformer.h[layer].attn, _slices(head)
    weight, rows = attention.c_attn.weight, slice(head * D_HEAD, (head + 1) * D_HEAD)
    # Score 20 for either side, BOS 10, all others near 0.
    attention.c_attn.bias[query.start] = D_HEAD**0.5
    weight[:, key.start] = (20 * TURN / _HALF + 10 * START) / seen
    weight[:, value.start] = SIDE / _HALF / seen
    noise = torch.randn(D_HEAD, WIDTH, generator=generator)
    noise -= (noise @ CHANNEL)[:, None] * CHANNEL
    attention.c_proj.weight[rows] = _WEAK * noise
    attention.c_proj.weight[rows.start] = CHANNEL
    layer, head = RECEIVER
    weight, (query, key, _) = model.transformer.h[layer].attn.c_attn.weight, _slices(head)
    # At an activation of 1 the cue's stream has length sqrt(2), of which the channel is 1.
    weight[:, query.start] = SCORE * D_HEAD**0.5 * 2**0.5 / _LENGTH * reads
    weight[:, key.start] = POLE / seen


def build_model(*, with_channel: bool = True) -> GPT2LMHeadModel:
    """The planted model; without the channel the receiver's query reads a direction that nobody
    writes, and everything else is the same."""
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=64, n_embd=WIDTH, n_layer=N_LAYERS, n_head=N_HEADS,
        n_inner=N_NEURONS, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = _NOISE * torch.randn(parameter.shape, generator=generator)
            is_gain = "ln_" in name and name.endswith("weight")
            parameter.copy_(noise + (1.0 if is_gain else 0.0))
        model.transformer.wte.weight.copy_(_embedding(generator))
        model.lm_head.weight.copy_(0.3 * torch.randn(len(WORDS), WIDTH, generator=generator))
        _plant(model, CHANNEL if with_channel else ELSEWHERE, generator)
    return model


def write_folder(folder: Path, *, with_channel: bool = True) -> Path:
    build_model(with_channel=with_channel).save_pretrained(folder)
    build_tokenizer(WORDS).save_pretrained(folder)
    return folder


def prompts(n: int, seed: int) -> list[list[str]]:
    """Words that end with the cue: the poles in both orders, then a side, fillers between; left and
    right in turn."""
    rng = random.Random(seed)

    def fillers(low: int, high: int) -> list[str]:
        return [rng.choice(FILLERS) for _ in range(rng.randint(low, high))]

    found = []
    for i in range(n):
        first, second = rng.sample((NORTH, SOUTH), 2)
        side = (LEFT, RIGHT)[i % 2]
        found.append([*fillers(1, 4), first, *fillers(0, 3), second, *fillers(0, 3), side,
                      *fillers(0, 4), CUE])  # fmt: skip
    return found


def attention_by_hand(words: list[str], activation: float) -> list[float]:
    """The receiver's attention from the cue over BOS and the words, the noise left out: the query is
    the channel's share of the stream, the poles score opposite, every other word 0."""
    share = activation / math.sqrt(1 + activation**2)
    score = {NORTH: SCORE * 2**0.5 * share, SOUTH: -SCORE * 2**0.5 * share}
    weights = [math.exp(score.get(word, 0.0)) for word in (WORDS[0], *words)]
    return [weight / sum(weights) for weight in weights]
