"""The command line: flags to a `JobConfig`. Mistakes exit with status 2 and one line."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.core.errors import CallError
from explorer.core.types import ActiveRule
from precompute.config import (
    OPTION_NAMES,
    PRESETS,
    JobConfig,
    parse_explainers,
    parse_neurons,
    parse_tokens,
)
from precompute.explainers.openai_endpoint import URL_VARIABLE

_EXAMPLES = """\
examples:
  the bundled model, as `make demo` does:
    python -m precompute --model assets/demo/model --corpus assets/demo/corpus/train.jsonl \\
        --test-corpus assets/demo/corpus/test.jsonl --preset demo --tokens '␣come,␣go'
  GPT-2 small with the paper's layers, on the paper's corpus (downloads both):
    python -m precompute --model gpt2 --corpus NeelNanda/pile-10k --preset neo-small
  your own text, two neurons of interest:
    python -m precompute --model ./my-gpt2 --corpus notes.txt --neurons L9N2770,L10N3041
  heads explained by a model of OpenAI (the key in OPENAI_API_KEY), for 200,000 tokens at most:
    python -m precompute --model gpt2 --corpus notes.txt --explainer contrast,openai \\
        --openai-model gpt-4.1-mini --price-in 0.4 --price-out 1.6 --max-tokens-spent 200000
  and by a model on this machine, with Ollama (no key; vLLM and llama.cpp alike):
    python -m precompute --model gpt2 --corpus notes.txt --explainer openai \\
        --openai-base-url http://localhost:11434/v1 --openai-model llama3.1:8b --openai-concurrency 2

  on a Ray cluster that is running, as many workers as it has GPUs:
    python -m precompute --model gpt2-xl --corpus pile.jsonl.gz --engine ray --ray-address auto --device cuda

beside the job (each has its own --help):
  python -m precompute plan ...       time, memory, disk and cost of a run before it is made
  python -m precompute status DIR     what is published and what is unfinished
  python -m precompute clean DIR      remove what is not published
  python -m precompute verify STORE   check a store, and sampled numbers against the model

The same command again continues an unfinished run. The last line on standard output is the path of
the published store; look at it with: python -m explorer
"""


class Parser(argparse.ArgumentParser):
    """Mistakes become CallError: one line, no usage dump."""

    def error(self, message: str) -> Any:
        raise CallError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m precompute",
        epilog=_EXAMPLES,
        argument_default=argparse.SUPPRESS,
        description="Find next-token neurons, the prompts that excite them and the attention heads "
        "that switch them on; publish them as a DuckDB store for the explorer.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        metavar="DIR_OR_NAME",
        help="a local Hugging Face folder (safetensors) or a hub name",
    )
    add(
        "--corpus",
        required=True,
        metavar="FILE_OR_NAME",
        help="text: .txt (blank lines part documents), .jsonl or .parquet (field text), gzipped or "
        "not, or a hub data set name",
    )
    add("--out", metavar="DIR", help="folder of the stores (default: runs)")
    add(
        "--test-corpus",
        metavar="FILE_OR_NAME",
        help="held-out text (default: documents with an odd id are held out)",
    )
    add(
        "--layers",
        metavar="last:N | 9,10,11 | all",
        help="where next-token neurons are sought (default: the last quarter, rounded up)",
    )
    add("--neurons-per-layer", type=int, metavar="K", help="(default: 20)")
    add(
        "--tokens",
        type=_checked(parse_tokens),
        metavar="' go,␣an'",
        help="also each of these tokens' K best neurons; ␣ is a space",
    )
    add(
        "--neurons",
        type=_checked(parse_neurons),
        metavar="L9N2770,L10N3041",
        help="also these neurons",
    )
    add("--random-neurons-per-layer", type=int, metavar="K", help="the baseline set (default: 10)")
    add("--prompts", type=int, metavar="N", help="kept per neuron and split (default: 20)")
    add(
        "--candidates",
        type=int,
        metavar="M",
        help="best documents held per neuron and split before truncation (default: 10 x prompts)",
    )
    add("--max-prompt-tokens", type=int, metavar="N", help="longest kept prompt (default: 100)")
    add(
        "--keep-ratio",
        type=float,
        metavar="R",
        help="share of the activation that a truncated prompt keeps (default: 0.8)",
    )
    add(
        "--active-rule",
        type=_checked(ActiveRule.parse),
        metavar="mean+2sd | top:K",
        help="when a head is active in a prompt (default: mean+2sd)",
    )
    add(
        "--explainer",
        metavar="contrast | openai | none",
        help="who explains heads in words; contrast,openai asks both (default: contrast, offline)",
    )
    add(
        "--tasks",
        metavar="name-inhibition,laundry-list | none",
        help="tasks that the model is tried on (default: both)",
    )
    _add_openai(parser)
    _add_engine(parser)
    add("--device", choices=("auto", "cpu", "cuda"), help="(default: auto)")
    add("--seed", type=int, metavar="N", help="seed of the random neurons (default: 0)")
    add("--force", action="store_true", help="run again even where a finished run exists")
    add(
        "--preset",
        choices=tuple(PRESETS),
        help="the bundled model's or the paper's layers and counts; explicit flags win",
    )
    return parser


def _add_engine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--engine",
        choices=("local", "ray"),
        help="work in this process, or on a Ray cluster (pip install '.[ray]') whose workers each hold "
        "the model (default: local)",
    )
    add(
        "--ray-address",
        metavar="auto | HOST:PORT",
        help="the cluster; auto is one that is running (default: start one on this machine)",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="Ray workers (default: as many as there is room for)",
    )
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="numbers in which the corpus is read: bfloat16 is faster on a GPU and finds nearly the same "
        "documents; what it changes is measured and said. The store's numbers are float32 either way "
        "(default: float32)",
    )
    add("--log-json", action="store_true", help="progress as JSON, an object a line")
    add(
        "--keep-shards",
        action="store_true",
        help="keep what a published run was made of, so that a changed option costs its own stages alone",
    )


def _add_openai(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--openai-model", metavar="NAME", help="the model that explains, as its endpoint names it")
    add(
        "--openai-base-url",
        metavar="URL",
        help="the endpoint, anything that speaks chat completions (default: OPENAI_BASE_URL from the "
        "environment, else OpenAI; the key is always OPENAI_API_KEY from the environment)",
    )
    add("--openai-concurrency", type=int, metavar="N", help="calls in flight (default: 8)")
    add("--openai-timeout", type=float, metavar="S", help="seconds for a reply (default: 300)")
    add(
        "--few-shot",
        type=int,
        metavar="N",
        help="train prompts with their answer shown before each verdict (default: 0)",
    )
    add("--price-in", type=float, metavar="USD", help="for a million tokens sent, to tell the cost")
    add("--price-out", type=float, metavar="USD", help="for a million tokens written")
    add(
        "--max-tokens-spent",
        type=int,
        metavar="N",
        help="ask the language model nothing more after N tokens, in and out together, in this call "
        "of the job; what is missing is recorded, the rest published (default: no limit)",
    )


def _checked(parse: Any) -> Any:
    def run(text: str) -> Any:
        try:
            return parse(text)
        except CallError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return run


def config_from(argv: list[str]) -> JobConfig:
    """The checked options of a command line. Raises CallError for a mistake in the call."""
    check_texts(argv)
    given = vars(_parser().parse_args(argv))
    preset = PRESETS.get(given.get("preset", ""), {})
    values = {**preset, **given}
    assert set(values) <= set(OPTION_NAMES)
    if "out" in values:
        values["out"] = Path(os.path.expanduser(values["out"]))
    config = JobConfig(**values)
    address = os.environ.get(URL_VARIABLE, "").strip()
    if (
        config.openai_base_url is None
        and address
        and "openai" in parse_explainers(config.explainer)
    ):
        config = replace(config, openai_base_url=address)
    return config


def check_texts(argv: list[str]) -> None:
    """Raise CallError for bytes that are no text: a store could not name such a file."""
    for word in argv:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = word.encode("utf-8", "replace").decode("utf-8")
            raise CallError(
                f"{shown} is not UTF-8; rename it, or link to it under another name"
            ) from error
