"""Tiny models and a small corpus, built here: nothing is downloaded and nothing is trained for long.

Two shapes stand for all models that are supported: GPT-2 (blocks in sequence, learned positions, tied
embeddings) and GPT-NeoX (attention and MLP in parallel, rotary positions). Their weights are random, but
large enough that heads attend and neurons differ; no gain is 1 and no bias is 0, so that leaving one out of
the folding shows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from pathlib import Path

import duckdb
import pytest
import torch

# Products of tiny tensors: a second thread gains nothing, and on a busy machine waits cost ten times more.
torch.set_num_threads(1)

DEMO_CORPUS = Path(__file__).parents[1] / "assets" / "demo" / "corpus"
N_TOKENS = 500
N_PADDING_ROWS = 5
"""Rows of the embedding past the tokenizer's vocabulary, as many real models have them."""
SIZES = {"layers": 3, "heads": 4, "width": 32, "mlp": 64, "context": 48}
END_OF_TEXT = "<|endoftext|>"


def demo_documents(name: str, count: int) -> list[str]:
    """The first documents of a demo corpus file."""
    with (DEMO_CORPUS / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for _, line in zip(range(count), lines, strict=False)]


def byte_level_tokenizer(texts: list[str], size: int) -> object:
    """A byte-level BPE tokenizer like GPT-2's, whose BOS and EOS are `<|endoftext|>` (id 0)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    assert backend.get_vocab_size() == size
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Random weights of a size at which heads attend, neurons switch and every bias matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2:
                is_table = any(part in name for part in ("wte", "wpe", "embed_in"))
                parameter.copy_(noise * (0.7 if is_table else 1.3 * min(parameter.shape) ** -0.5))
            elif "ln" in name or "norm" in name:
                parameter.copy_(0.25 * noise + (1.0 if name.endswith("weight") else 0.0))
            else:
                parameter.copy_(0.3 * noise)


def _gpt2(context: int) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=N_TOKENS + N_PADDING_ROWS, n_positions=context, n_embd=SIZES["width"],
            n_layer=SIZES["layers"], n_head=SIZES["heads"], n_inner=SIZES["mlp"],
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def _neox(context: int) -> torch.nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=N_TOKENS + N_PADDING_ROWS, max_position_embeddings=context,
            hidden_size=SIZES["width"], num_hidden_layers=SIZES["layers"],
            num_attention_heads=SIZES["heads"], intermediate_size=SIZES["mlp"],
            use_parallel_residual=True, bos_token_id=0, eos_token_id=0,
            rope_parameters={
                "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5
            },
        )
    )  # fmt: skip


MAKERS = {"gpt2": _gpt2, "neox": _neox}


@pytest.fixture(scope="session")
def tiny_tokenizer() -> object:
    """500 tokens of plain English: words, pieces of words and every byte."""
    return byte_level_tokenizer(demo_documents("train", 400), N_TOKENS)


@pytest.fixture(scope="session")
def tiny_folder(
    tiny_tokenizer: object, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Build a Hugging Face folder: `tiny_folder("gpt2" | "neox", seed=0, context=48)`."""

    def build(kind: str, seed: int = 0, context: int = SIZES["context"]) -> Path:
        folder = tmp_path_factory.mktemp("models") / f"tiny-{kind}"
        model = MAKERS[kind](context)
        randomise(model, seed)
        model.save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
        return folder

    return build


@pytest.fixture(scope="session")
def gpt2_folder(tiny_folder: Callable[..., Path]) -> Path:
    """A random GPT-2: 3 layers, 4 heads, width 32, 64 neurons a layer, 48 positions, 505 rows."""
    return tiny_folder("gpt2", seed=1)


@pytest.fixture(scope="session")
def neox_folder(tiny_folder: Callable[..., Path]) -> Path:
    """A random GPT-NeoX of the same sizes: parallel blocks, rotary positions, untied embeddings."""
    return tiny_folder("neox", seed=2)


@pytest.fixture(scope="session")
def publish(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., duckdb.DuckDBPyConnection]:
    """Run the whole job in process, as the command line does, and open what it published:
    `publish("--model", folder, "--corpus", file, ...)`. `--out` is a new folder unless given."""
    from precompute.__main__ import main

    def run(*argv: object) -> duckdb.DuckDBPyConnection:
        words = [str(word) for word in argv]
        if "--out" not in words:
            words += ["--out", str(tmp_path_factory.mktemp("runs"))]
        output = io.StringIO()
        with redirect_stdout(output):
            status = main(words)
        assert status == 0
        return duckdb.connect(output.getvalue().splitlines()[-1], read_only=True)

    return run


@pytest.fixture(scope="session")
def write_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write texts, one document each, to a new `.jsonl` file."""

    def write(texts: Iterable[str], name: str = "texts") -> Path:
        path = tmp_path_factory.mktemp("corpus") / f"{name}.jsonl"
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        path.write_text(rows, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def small_corpus(write_corpus: Callable[..., Path]) -> Path:
    """60 short documents of the demo corpus, as `.jsonl`."""
    return write_corpus([text[:300] for text in demo_documents("train", 60)], "small")
