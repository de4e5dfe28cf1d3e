"""What a run is asked for: every option with its meaning, checked at birth, stored with the results."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from explorer.core.errors import CallError
from explorer.core.tasks import TASKS
from explorer.core.types import SPACE_MARK, ActiveRule, ModelShape, NeuronId
from precompute.explainers.openai_endpoint import check_url, shown_url


@dataclass(frozen=True)
class JobConfig:
    """One call of the job. Field names are the command line's long names with `_` for `-`."""

    model: str
    """A local Hugging Face folder or a hub name."""
    corpus: str
    """Text file (.txt, .jsonl, .parquet, any of them gzipped) or a hub data set name."""
    test_corpus: str | None = None
    """Held-out text; without it, documents with an odd doc_id are held out."""
    layers: str | None = None
    """Where next-token neurons are sought: last:N, 9,10,11 or all; None is the last quarter."""
    neurons_per_layer: int = 20
    """Next-token neurons of each layer, and neurons of each requested token."""
    tokens: tuple[str, ...] = ()
    """Tokens whose best neurons are studied as well, as text."""
    neurons: tuple[NeuronId, ...] = ()
    """Neurons that are studied as well."""
    random_neurons_per_layer: int = 10
    """The baseline: neurons drawn at random, with no token filter."""
    prompts: int = 20
    """Prompts kept for each neuron and split."""
    candidates: int | None = None
    """Best documents held for each neuron and split before truncation; None is 10 x prompts."""
    max_prompt_tokens: int = 100
    """Longest kept prompt, BOS not counted."""
    keep_ratio: float = 0.8
    """Share of the whole prompt's activation that a truncated prompt keeps."""
    active_rule: ActiveRule = ActiveRule()
    """When a head is active in a prompt."""
    explainer: str = "contrast"
    """Who explains the heads in words: contrast, openai, several with commas between, or none."""
    tasks: str = ",".join(TASKS)
    """Tasks that the model is tried on, with commas between, or none."""
    device: str = "auto"
    """Where the model runs."""
    seed: int = 0
    """Seed of the random neurons."""
    openai_model: str | None = None
    """The language model that explains, by the name its endpoint knows."""
    openai_base_url: str | None = None
    """The endpoint; None is the environment's OPENAI_BASE_URL, else OpenAI's own."""
    openai_concurrency: int = 8
    """Calls to the language model in flight at most."""
    openai_timeout: float = 300.0
    """Seconds to wait for a reply of the language model."""
    few_shot: int = 0
    """Train prompts with their answer shown to the language model before each verdict."""
    price_in: float | None = None
    """US dollars for a million tokens sent to the language model; for the estimate of cost."""
    price_out: float | None = None
    """US dollars for a million tokens that it writes."""
    max_tokens_spent: int | None = None
    """Tokens after which this call of the job asks the language model nothing more."""
    preset: str | None = None
    """A named set of layers and counts; explicit options win."""
    engine: str = "local"
    """Where shards are worked on: in this process, or on a Ray cluster."""
    ray_address: str | None = None
    """The cluster; auto is one that is running already, None starts one on this machine."""
    workers: int | None = None
    """Ray workers, each with a copy of the model; None is as many as the cluster has room for."""
    dtype: str = "float32"
    """Numbers in which the corpus is read; what the store holds is float32 either way."""
    log_json: bool = False
    """Progress as JSON, an object a line, instead of bars."""
    keep_shards: bool = False
    """Keep the shards of a published run, so that a changed option costs its own stages alone."""
    out: Path = Path("runs")
    """Folder of the stores."""
    force: bool = False
    """Run again even where a finished run of the same options exists."""

    def __post_init__(self) -> None:
        positive = {
            "--prompts": self.prompts,
            "--max-prompt-tokens": self.max_prompt_tokens,
            "--candidates": self.n_candidates,
            "--openai-concurrency": self.openai_concurrency,
        }
        for name, value in positive.items():
            if value < 1:
                raise CallError(f"{name} must be 1 or more, got {value}")
        for name in ("neurons_per_layer", "random_neurons_per_layer", "seed"):
            if getattr(self, name) < 0:
                raise CallError(
                    f"--{name.replace('_', '-')} must be 0 or more, got {getattr(self, name)}"
                )
        if not 0 < self.keep_ratio <= 1:
            raise CallError(f"--keep-ratio must be above 0 and at most 1, got {self.keep_ratio}")
        if self.n_candidates < self.prompts:
            raise CallError(
                f"--candidates must be at least --prompts ({self.prompts}), got {self.n_candidates}"
            )
        if self.workers is not None and self.workers < 1:
            raise CallError(f"--workers must be 1 or more, got {self.workers}")
        if self.engine == "local" and (self.workers or self.ray_address):
            raise CallError("--workers and --ray-address need --engine ray")
        if self.ray_address is not None and not re.fullmatch(
            r"auto|[A-Za-z0-9.\-\[\]:]+:\d{1,5}", self.ray_address, re.A
        ):
            raise CallError(
                f"--ray-address must be auto or HOST:PORT, got {self.ray_address[:60]!r}"
            )
        parse_tasks(self.tasks)
        self._check_openai()

    def _check_openai(self) -> None:
        if "openai" in parse_explainers(self.explainer) and not self.openai_model:
            raise CallError(
                "--explainer openai needs --openai-model NAME, a model that the endpoint knows"
            )
        if self.openai_base_url is not None:
            check_url(self.openai_base_url)
        if not 0 < self.openai_timeout < math.inf:
            raise CallError(f"--openai-timeout must be above 0, got {self.openai_timeout}")
        for name in ("few_shot", "price_in", "price_out", "max_tokens_spent"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise CallError(f"--{name.replace('_', '-')} must be 0 or more, got {value}")

    @property
    def n_candidates(self) -> int:
        return 10 * self.prompts if self.candidates is None else self.candidates

    def options(self) -> dict[str, Any]:
        """Every option as JSON values, with defaults filled in; what the manifest stores."""
        plain = asdict(self)
        plain["candidates"] = self.n_candidates
        plain["active_rule"] = str(self.active_rule)
        plain["neurons"] = [str(neuron) for neuron in self.neurons]
        plain["tokens"] = list(self.tokens)
        plain["out"] = str(self.out)
        if self.openai_base_url is not None:
            plain["openai_base_url"] = shown_url(self.openai_base_url)
        return plain

    def identity(self) -> dict[str, Any]:
        """The options that change the results: what makes two runs the same run."""
        free = {"out", "force", "device", "preset", "model", "corpus", "test_corpus"}
        free |= {
            "openai_concurrency",
            "openai_timeout",
            "price_in",
            "price_out",
            "max_tokens_spent",
            "engine",
            "ray_address",
            "workers",
            "log_json",
            "keep_shards",
        }
        if self.dtype == "float32":
            free.add("dtype")
        if "openai" not in parse_explainers(self.explainer):
            free |= {"openai_model", "openai_base_url", "few_shot"}
        return {name: value for name, value in self.options().items() if name not in free}

    def check_against(self, shape: ModelShape) -> None:
        """Raise CallError for options that this model cannot satisfy."""
        for name in ("neurons_per_layer", "random_neurons_per_layer"):
            if getattr(self, name) > shape.d_mlp:
                raise CallError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}, but a layer of this model "
                    f"has {shape.d_mlp} neurons"
                )
        for neuron in self.neurons:
            if neuron.layer >= shape.n_layers or neuron.index >= shape.d_mlp:
                raise CallError(
                    f"--neurons names {neuron}, but this model has layers 0 to {shape.n_layers - 1} "
                    f"with neurons 0 to {shape.d_mlp - 1}"
                )
        parse_layers(self.layers, shape.n_layers)


def parse_layers(text: str | None, n_layers: int) -> tuple[int, ...]:
    """The layers of `last:N`, `9,10,11` or `all`, ascending; None is the last quarter, rounded up."""
    if text is None:
        return tuple(range(n_layers - -(-n_layers // 4), n_layers))
    if text == "all":
        return tuple(range(n_layers))
    if match := re.fullmatch(r"last:(\d{1,4})", text, re.A):
        count = int(match[1])
        if not 1 <= count <= n_layers:
            raise CallError(f"--layers {text} must name 1 to {n_layers} layers of this model")
        return tuple(range(n_layers - count, n_layers))
    if not re.fullmatch(r"\d{1,4}(,\d{1,4})*", text, re.A):
        raise CallError(
            f"--layers must be last:N, a list such as 9,10,11, or all; got {text[:40]!r}"
        )
    layers = sorted({int(part) for part in text.split(",")})
    if layers[-1] >= n_layers:
        raise CallError(
            f"--layers names layer {layers[-1]}, but this model has layers 0 to {n_layers - 1}"
        )
    return tuple(layers)


def parse_tokens(text: str) -> tuple[str, ...]:
    """Token texts from a list with commas; `␣` stands for a space, spaces are kept."""
    parts = tuple(part.replace(SPACE_MARK, " ") for part in text.split(","))
    if any(not part for part in parts):
        raise CallError("--tokens has an empty entry; write it as ' go,␣an'")
    return parts


def parse_neurons(text: str) -> tuple[NeuronId, ...]:
    """Neurons from a list such as `L9N2770,L10N3041`."""
    try:
        return tuple(NeuronId.parse(part) for part in text.split(","))
    except ValueError as error:
        raise CallError(f"--neurons: {error}") from error


EXPLAINERS = ("contrast", "openai")


def parse_explainers(text: str) -> tuple[str, ...]:
    """Names of explainers from a list such as `contrast,openai`; none for `none`."""
    if text == "none":
        return ()
    names = tuple(text.split(","))
    if len(set(names)) < len(names) or not set(names) <= set(EXPLAINERS):
        known = ", ".join(EXPLAINERS)
        raise CallError(
            f"--explainer must be none or a list with commas of {known}, each once; got {text[:40]!r}"
        )
    return names


def parse_tasks(text: str) -> tuple[str, ...]:
    """Names of tasks from a list with commas; none for `none`."""
    if text == "none":
        return ()
    names = tuple(text.split(","))
    if len(set(names)) < len(names) or not set(names) <= set(TASKS):
        raise CallError(
            f"--tasks must be none or a list with commas of {', '.join(TASKS)}, each once; "
            f"got {text[:40]!r}"
        )
    return names


PRESETS: dict[str, dict[str, Any]] = {
    # The bundled model's own scale.
    "demo": {"layers": "last:2", "neurons_per_layer": 20, "random_neurons_per_layer": 10,
             "prompts": 20},
    # Layers and counts of Neo, Cohen and Barez 2024, with their 20 random neurons a layer.
    "neo-small": {"layers": "9,10,11", "neurons_per_layer": 20, "random_neurons_per_layer": 20},
    "neo-medium": {"layers": "20,21,22,23", "neurons_per_layer": 20, "random_neurons_per_layer": 20},
    "neo-large": {"layers": "31,32,33,34,35", "neurons_per_layer": 40,
                  "random_neurons_per_layer": 20},
}  # fmt: skip

OPTION_NAMES = tuple(f.name for f in fields(JobConfig))
