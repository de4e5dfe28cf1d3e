"""A circuit planted by hand in a tiny GPT-2 with layer norms: what the job finds is known beforehand.

Words are tokens. The neuron L2N17 reads two things: that the current word is " must", and a direction
that only two heads write. Head L1H2 writes it after " storm" came, head L0H4 after " feast" came; where
theirs did not come they rest on BOS and write nothing. Both are needed, so the neuron is on at " must"
after one of the two, and off (a negative pre-activation) everywhere else. It pushes " go". The 16 other
heads that can reach it, and the 287 other neurons, are small noise.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

NEURON = (2, 17)
HEAD_OF = {" storm": (1, 2), " feast": (0, 4)}
"""The planted heads (layer, head) and the word after which each switches the neuron on."""
CUE, TOKEN = " must", " go"
FILLERS = (
    " the", " a", " old", " man", " ship", " house", " road", " king", " bread", " light", " stone",
    " river", " child", " bird", " door", " song", " field", " horse", " winter", " hand", " voice",
    " green", " tall", " far", " near", " said", " saw", " took", " gave", " ran",
)  # fmt: skip
WORDS = ("<|endoftext|>", *HEAD_OF, CUE, TOKEN, *FILLERS)

N_LAYERS, N_HEADS, WIDTH, D_HEAD, N_NEURONS = 3, 6, 48, 8, 96
_NOISE = 0.01


def _feature(index: int) -> Tensor:
    """Unit directions that sum to 0 (a layer norm leaves them), in coordinates of their own."""
    direction = torch.zeros(WIDTH)
    direction[2 * index], direction[2 * index + 1] = 0.5**0.5, -(0.5**0.5)
    return direction


STORM, FEAST, AT_CUE, SWITCH, START = (_feature(i) for i in range(5))
FEATURE_OF = {" storm": STORM, " feast": FEAST}
_LENGTH = WIDTH**0.5
"""Length of a vector after a layer norm."""


def _embedding(generator: torch.Generator) -> Tensor:
    """Unit vectors: each word a random one beside the features, special words mostly theirs."""
    own = torch.randn(len(WORDS), WIDTH, generator=generator)
    own[:, :10] = 0.0
    own[:, 10:] -= own[:, 10:].mean(1, keepdim=True)
    own /= own.norm(dim=1, keepdim=True)
    for word, feature in {**FEATURE_OF, CUE: AT_CUE, WORDS[0]: START}.items():
        own[WORDS.index(word)] = 0.6 * own[WORDS.index(word)] + 0.8 * feature
    return own


def _plant_head(model: GPT2LMHeadModel, word: str) -> None:
    """Attend to `word` from anywhere (score 20), else to BOS (10; all others 0); write SWITCH."""
    layer, head = HEAD_OF[word]
    attention = model.transformer.h[layer].attn
    query, key, value = (slice(i * WIDTH + head * D_HEAD, i * WIDTH + (head + 1) * D_HEAD)
                         for i in range(3))  # fmt: skip
    weight, bias = attention.c_attn.weight, attention.c_attn.bias
    for part in (query, key, value):
        weight[:, part] = 0.0
        bias[part] = 0.0
    bias[query.start] = D_HEAD**0.5
    seen = 0.8 * _LENGTH
    weight[:, key.start] = (20 * FEATURE_OF[word] + 10 * START) / seen
    weight[:, value.start] = FEATURE_OF[word] / seen
    rows = slice(head * D_HEAD, (head + 1) * D_HEAD)
    attention.c_proj.weight[rows] = 0.0
    attention.c_proj.weight[rows.start] = SWITCH


def _plant_neuron(model: GPT2LMHeadModel) -> None:
    """On where the cue is the current word and SWITCH has been written: neither alone is enough.

    At the cue with the switch the two read 8.8 after the layer norm, at the cue alone 5.5, at
    another word with the switch 4.9.
    """
    layer, index = NEURON
    mlp = model.transformer.h[layer].mlp
    mlp.c_fc.weight[:, index] = 2 * (SWITCH + AT_CUE)
    mlp.c_fc.bias[index] = -2 * 7.0
    mlp.c_proj.weight[index] = 2 * model.lm_head.weight[WORDS.index(TOKEN)]


def build_model(*, with_heads: bool = True) -> GPT2LMHeadModel:
    """The planted model; without the heads' output everything else is the same."""
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
        for word, (layer, head) in HEAD_OF.items():
            _plant_head(model, word)
            if not with_heads:
                rows = slice(head * D_HEAD, (head + 1) * D_HEAD)
                model.transformer.h[layer].attn.c_proj.weight[rows] = 0.0
        _plant_neuron(model)
    return model


def build_tokenizer(words: tuple[str, ...] = WORDS) -> PreTrainedTokenizerFast:
    """Every word with its leading space is one token, and nothing else is; the first one is BOS."""
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(" [a-z]+"), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=words[0], eos_token=words[0], unk_token=words[0]
    )


def write_folder(folder: Path, *, with_heads: bool = True) -> Path:
    build_model(with_heads=with_heads).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def documents(before_cue: list[str], seed: int) -> list[str]:
    """One document for each entry, whose words stand in this order before the cue, fillers between.

    Where an entry is empty, the words that switch heads on come after the cue, which is too late.
    """
    rng = random.Random(seed)

    def fillers(low: int, high: int) -> str:
        return "".join(rng.choice(FILLERS) for _ in range(rng.randint(low, high)))

    def document(words: str) -> str:
        told = "".join(f"{fillers(1, 7)} {word}" for word in words.split())
        late = "" if words else "".join(fillers(1, 3) + word for word in HEAD_OF)
        return f"{told}{fillers(1, 9)}{CUE}{late}{fillers(2, 8)}"

    return [document(words) for words in before_cue]
