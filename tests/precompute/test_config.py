"""From a command line to options: defaults, presets, spellings, and every mistake named by its flag."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from explorer.core.errors import CallError
from explorer.core.types import ActiveRule, ModelShape, NeuronId
from precompute.arguments import config_from
from precompute.config import JobConfig, parse_layers

NEEDED = ["--model", "m", "--corpus", "c.txt"]
SHAPE = ModelShape(
    n_layers=12, n_heads=12, d_model=768, d_head=64, d_mlp=3072, d_vocab=50257, n_ctx=1024,
    parallel_blocks=False, rotary=False,
)  # fmt: skip

CONTRACT: dict[str, tuple[str, Any, Any]] = {
    # field: (words on the command line, what they mean, default)
    "model": ("--model here", "here", "m"),
    "corpus": ("--corpus text.txt", "text.txt", "c.txt"),
    "out": ("--out there", Path("there"), Path("runs")),
    "test_corpus": ("--test-corpus held.txt", "held.txt", None),
    "layers": ("--layers 3,4", "3,4", None),
    "neurons_per_layer": ("--neurons-per-layer 7", 7, 20),
    "tokens": ("--tokens ␣go", (" go",), ()),
    "neurons": ("--neurons L9N2770,L10N3041", (NeuronId(9, 2770), NeuronId(10, 3041)), ()),
    "random_neurons_per_layer": ("--random-neurons-per-layer 3", 3, 10),
    "prompts": ("--prompts 5", 5, 20),
    "candidates": ("--candidates 44", 44, None),
    "max_prompt_tokens": ("--max-prompt-tokens 50", 50, 100),
    "keep_ratio": ("--keep-ratio 0.5", 0.5, 0.8),
    "active_rule": ("--active-rule top:3", ActiveRule(3), ActiveRule()),
    "explainer": ("--explainer none", "none", "contrast"),
    "tasks": ("--tasks none", "none", "name-inhibition,laundry-list"),
    "openai_model": ("--openai-model m", "m", None),
    "openai_base_url": ("--openai-base-url http://here/v1", "http://here/v1", None),
    "openai_concurrency": ("--openai-concurrency 3", 3, 8),
    "openai_timeout": ("--openai-timeout 2.5", 2.5, 300.0),
    "few_shot": ("--few-shot 4", 4, 0),
    "price_in": ("--price-in 0.4", 0.4, None),
    "price_out": ("--price-out 1.6", 1.6, None),
    "max_tokens_spent": ("--max-tokens-spent 1000", 1000, None),
    "engine": ("--engine ray", "ray", "local"),
    "ray_address": ("--engine ray --ray-address auto", "auto", None),
    "workers": ("--engine ray --workers 3", 3, None),
    "dtype": ("--dtype bfloat16", "bfloat16", "float32"),
    "log_json": ("--log-json", True, False),
    "keep_shards": ("--keep-shards", True, False),
    "device": ("--device cpu", "cpu", "auto"),
    "seed": ("--seed 9", 9, 0),
    "force": ("--force", True, False),
    "preset": ("--preset demo", "demo", None),
}


def refused(words: list[str]) -> str:
    with pytest.raises(CallError) as caught:
        config_from(words)
    return str(caught.value)


def test_the_contract_names_every_option_and_nothing_else() -> None:
    assert set(CONTRACT) == set(JobConfig.__dataclass_fields__)


@pytest.mark.parametrize("field", CONTRACT)
def test_each_flag_sets_its_own_field_and_no_other(field: str) -> None:
    words, value, default = CONTRACT[field]
    plain, given = config_from(NEEDED), config_from([*NEEDED, *words.split(" ")])
    assert getattr(plain, field) == default
    assert getattr(given, field) == value
    # A preset sets what its name stands for; every other flag leaves the rest alone.
    together = {
        "preset": {"preset", "layers"},
        "ray_address": {"ray_address", "engine"},
        "workers": {"workers", "engine"},
    }
    expected = together.get(field, {field})
    assert {n for n in CONTRACT if getattr(plain, n) != getattr(given, n)} == expected


@pytest.mark.parametrize(
    ("preset", "layers", "per_layer", "n_random"),
    [
        ("demo", "last:2", 20, 10),
        ("neo-small", "9,10,11", 20, 20),
        ("neo-medium", "20,21,22,23", 20, 20),
        ("neo-large", "31,32,33,34,35", 40, 20),
    ],
)
def test_presets_hold_the_papers_layers_and_counts(
    preset: str, layers: str, per_layer: int, n_random: int
) -> None:
    config = config_from([*NEEDED, "--preset", preset])
    assert (config.layers, config.neurons_per_layer) == (layers, per_layer)
    assert (config.random_neurons_per_layer, config.prompts) == (n_random, 20)


@pytest.mark.parametrize("order", [1, -1])
def test_explicit_flags_win_over_a_preset_on_either_side_of_it(order: int) -> None:
    flags = [["--preset", "neo-large"], ["--layers", "all", "--random-neurons-per-layer", "1"]]
    config = config_from([*NEEDED, *[word for words in flags[::order] for word in words]])
    assert (config.layers, config.random_neurons_per_layer) == ("all", 1)
    assert config.neurons_per_layer == 40  # what was not named stays the preset's


def test_an_explicit_default_wins_over_a_preset_too() -> None:
    config = config_from([*NEEDED, "--preset", "neo-large", "--neurons-per-layer", "20"])
    assert config.neurons_per_layer == 20


def test_candidates_are_ten_times_the_prompts_unless_given() -> None:
    assert config_from([*NEEDED, "--prompts", "7"]).n_candidates == 70
    assert config_from([*NEEDED, "--prompts", "7", "--candidates", "7"]).n_candidates == 7


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (" go,␣an", (" go", " an")),
        ("go", ("go",)),
        ("␣a␣b", (" a b",)),
        (" go, go", (" go", " go")),
        ("␣", (" ",)),
        ("é,␣🙂", ("é", " 🙂")),
    ],
)
def test_tokens_keep_their_spaces(text: str, tokens: tuple[str, ...]) -> None:
    assert config_from([*NEEDED, "--tokens", text]).tokens == tokens


@pytest.mark.parametrize(
    ("text", "n_layers", "layers"),
    [
        (None, 12, (9, 10, 11)),
        (None, 6, (4, 5)),
        (None, 5, (3, 4)),
        (None, 1, (0,)),
        ("last:2", 12, (10, 11)),
        ("last:12", 12, tuple(range(12))),
        ("11,9,9", 12, (9, 11)),
        ("0", 1, (0,)),
        ("all", 3, (0, 1, 2)),
    ],
)
def test_layers(text: str | None, n_layers: int, layers: tuple[int, ...]) -> None:
    assert parse_layers(text, n_layers) == layers


@pytest.mark.parametrize(
    "text", ["last:0", "last:13", "12", "0,12", "-1", "", "9,", "last", "last:x", "9-11", "9, 10"]
)
def test_layers_that_do_not_exist_are_mistakes(text: str) -> None:
    with pytest.raises(CallError, match="--layers"):
        parse_layers(text, 12)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--keep-ratio", "0"), ("--keep-ratio", "1.01"), ("--keep-ratio", "-0.5"),
        ("--keep-ratio", "nan"), ("--keep-ratio", "inf"), ("--keep-ratio", "much"),
        ("--prompts", "0"), ("--prompts", "2.5"), ("--candidates", "0"), ("--candidates", "19"),
        ("--max-prompt-tokens", "0"), ("--neurons-per-layer", "-1"),
        ("--random-neurons-per-layer", "-1"), ("--seed", "-1"), ("--seed", "x"),
        ("--tokens", ""), ("--tokens", " go,"), ("--neurons", "9N5"), ("--neurons", "L9H5"),
        ("--neurons", "L9N5,"), ("--active-rule", "top:0"), ("--active-rule", "mean"),
        ("--explainer", "oracle"), ("--explainer", ""), ("--explainer", "none,contrast"),
        ("--explainer", "contrast,"), ("--explainer", "contrast,contrast"),
        ("--device", "tpu"), ("--preset", "paper"),
        ("--openai-base-url", "ftp://here"), ("--openai-base-url", "here/v1"), ("--openai-base-url", ""),
        ("--openai-base-url", "http://"), ("--openai-base-url", "http://h:x/"), ("--openai-base-url", "http://[/"),
        ("--openai-concurrency", "0"), ("--openai-timeout", "0"), ("--openai-timeout", "nan"),
        ("--few-shot", "-1"), ("--price-in", "-1"), ("--price-out", "nan"), ("--max-tokens-spent", "-1"),
    ],
)  # fmt: skip
def test_a_bad_value_is_a_mistake_that_names_its_flag(flag: str, value: str) -> None:
    message = refused([*NEEDED, f"{flag}={value}"])
    assert flag in message
    assert "\n" not in message


def test_values_at_the_edge_are_good() -> None:
    words = ["--keep-ratio", "1", "--prompts", "1", "--candidates", "1", "--neurons-per-layer", "0"]
    config = config_from([*NEEDED, *words, "--random-neurons-per-layer", "0"])
    assert (config.keep_ratio, config.n_candidates, config.neurons_per_layer) == (1, 1, 0)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--model"),
        (["--model", "m"], "--corpus"),
        (["--corpus", "c.txt"], "--model"),
        ([*NEEDED, "--colour", "red"], "--colour"),
        ([*NEEDED, "--prompt", "3"], "--prompt"),  # flags are not guessed from their beginnings
        ([*NEEDED, "stray"], "stray"),
        ([*NEEDED, "--seed"], "--seed"),
    ],
)
def test_an_unknown_or_missing_flag_is_named(words: list[str], named: str) -> None:
    assert named in refused(words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--neurons-per-layer", "3073"], "3072"),
        (["--random-neurons-per-layer", "3073"], "3072"),
        (["--neurons", "L12N0"], "L12N0"),
        (["--neurons", "L0N3072"], "L0N3072"),
        (["--layers", "12"], "layer 12"),
    ],
)
def test_what_a_model_cannot_give_is_a_mistake(words: list[str], named: str) -> None:
    with pytest.raises(CallError, match=named):
        config_from([*NEEDED, *words]).check_against(SHAPE)


def test_all_that_a_model_has_can_be_asked_for() -> None:
    words = ["--neurons-per-layer", "3072", "--random-neurons-per-layer", "3072"]
    config = config_from([*NEEDED, *words, "--neurons", "L11N3071,L0N0", "--layers", "0,11"])
    config.check_against(SHAPE)
    with pytest.raises(CallError):  # the control: one layer less, and the same call is a mistake
        config.check_against(replace(SHAPE, n_layers=11))


def test_bytes_that_are_no_text_are_a_mistake() -> None:
    assert "not UTF-8" in refused(["--model", "m", "--corpus", "caf\udce9.txt"])
    assert config_from(["--model", "m", "--corpus", "café.txt"]).corpus == "café.txt"


def test_the_folder_of_an_unknown_user_is_a_plain_name() -> None:
    assert config_from([*NEEDED, "--out", "~no-such-user/x"]).out == Path("~no-such-user/x")
    assert config_from([*NEEDED, "--out", "~/x"]).out == Path.home() / "x"


def test_only_what_shapes_the_results_names_a_run() -> None:
    """Where a store lies and on what it was computed is not part of what it holds."""
    plain = config_from(NEEDED).identity()
    for field, (words, _, _) in CONTRACT.items():
        if field in {"model", "corpus", "test_corpus", "preset"}:
            continue  # these enter by their content
        changed = config_from([*NEEDED, *words.split(" ")]).identity()
        shapes = field not in {"out", "force", "device", *WHERE, *ASKING, *SAYING}
        assert (changed != plain) is shapes, field


WHERE = {"engine", "ray_address", "workers", "log_json", "keep_shards"}
"""Where a run is worked on, and what it leaves."""
ASKING = {"openai_concurrency", "openai_timeout", "price_in", "price_out", "max_tokens_spent"}
"""How a language model is asked."""
SAYING = {"openai_model", "openai_base_url", "few_shot"}
"""What shapes its words, where it is asked at all."""
BY_OPENAI = ["--explainer", "contrast,openai", "--openai-model", "other"]


def test_a_language_model_shapes_a_run_by_what_it_is_asked_alone() -> None:
    plain = config_from([*NEEDED, *BY_OPENAI]).identity()
    assert plain != config_from([*NEEDED, "--openai-model", "other"]).identity()
    for field in ASKING | SAYING:
        changed = config_from([*NEEDED, *BY_OPENAI, *CONTRACT[field][0].split(" ")]).identity()
        assert (changed != plain) is (field in SAYING), field


def test_the_endpoint_of_the_environment_counts_where_one_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", " http://there/v1 ")
    assert config_from(NEEDED).openai_base_url is None
    assert config_from([*NEEDED, *BY_OPENAI]).openai_base_url == "http://there/v1"
    given = ["--openai-base-url", "http://here/v1"]
    assert config_from([*NEEDED, *BY_OPENAI, *given]).openai_base_url == "http://here/v1"


def test_what_an_address_hides_is_not_among_the_options() -> None:
    address = "https://me:pass-word-1@here:8443/v1?code=hidden-word#part"
    config = config_from([*NEEDED, *BY_OPENAI, "--openai-base-url", address])
    assert config.options()["openai_base_url"] == "https://here:8443/v1"
    assert config.identity()["openai_base_url"] == "https://here:8443/v1"


@pytest.mark.parametrize("explainer", ["openai", "contrast,openai"])
def test_a_language_model_must_be_named(explainer: str) -> None:
    assert "--openai-model" in refused([*NEEDED, "--explainer", explainer])


def test_the_stored_options_are_all_there_with_defaults_filled_in() -> None:
    options = config_from(NEEDED).options()
    assert set(options) == set(CONTRACT)
    assert options["candidates"] == 200
    assert options["active_rule"] == "mean+2sd"
    assert config_from([*NEEDED, "--neurons", "L9N5"]).options()["neurons"] == ["L9N5"]
