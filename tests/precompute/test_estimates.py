"""What a run will take: sizes without weights, work as functions of them, forecasts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explorer.core.errors import CallError, UnsupportedModelError
from explorer.core.model import load_model
from explorer.core.types import ModelShape, NeuronId
from precompute.config import JobConfig
from precompute.estimates import rates
from precompute.estimates.forecast import forecast, shared_seconds, trials
from precompute.estimates.past_runs import Machine, PastRun, past_runs, read_run
from precompute.estimates.rates import MEASURED, Rate, Rates, corrected
from precompute.estimates.shapes import NAMED, n_weights, parse_shape, shape_of_model
from precompute.estimates.work import STAGES, Work, forward
from precompute.estimates.workload import REFERENCE_HABITS, CorpusSize, RunSize, run_size
from tests.precompute.calling import Outcome
from tests.precompute.estimating import size_of

# --- sizes without weights --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2_folder", "neox_folder"])
def test_sizes_and_number_of_weights_are_those_of_the_loaded_model(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    model = load_model(folder, "cpu")
    assert shape_of_model(str(folder)) == model.shape
    bridge: Any = model._bridge
    blocks = [bridge.blocks[n] for n in range(model.shape.n_layers)]
    each = sum(
        w.numel() for w in (model.w_q, model.w_k, model.w_v, model.w_o, model.w_e, model.w_u)
    )
    each += sum(model.w_in(n).numel() + model.w_out(n).numel() for n in range(len(blocks)))
    assert n_weights(model.shape) == pytest.approx(each, rel=0.1)
    assert n_weights(dataclasses.replace(model.shape, n_layers=2 * len(blocks))) > 1.2 * each


def test_known_names_have_the_published_number_of_weights() -> None:
    # Published counts share the embedding; folded models hold it twice.
    for name, millions in {"gpt2": 124, "gpt2-xl": 1558}.items():
        shape = NAMED[name]
        tied = n_weights(shape) - shape.d_vocab * shape.d_model
        assert tied / 1e6 == pytest.approx(millions, rel=0.01)
    for name, millions in {"pythia-70m": 70, "pythia-1.4b": 1415, "pythia-12b": 11846}.items():
        assert n_weights(NAMED[name]) / 1e6 == pytest.approx(millions, rel=0.01)


def test_a_shape_is_given_by_name_or_by_sizes() -> None:
    text = "layers=12,heads=12,width=768,mlp=3072,vocab=50257,context=1024"
    assert parse_shape(text) == parse_shape("gpt2") == NAMED["gpt2"]
    for wrong in (
        "gpt5",
        "layers=12",
        text + ",layers=3",
        text.replace("768", "769"),
        "layers=x",
        "",
    ):
        with pytest.raises(CallError):
            parse_shape(wrong)


@pytest.mark.parametrize(
    "config",
    ["[]", "{", "{}", '{"model_type": "llama"}', '{"model_type": "gpt2", "n_layer": "six"}',
     '{"model_type": ["gpt2"]}', '{"model_type": "gpt2", "n_layer": -1, "n_head": 1, "n_embd": 1, '
     '"vocab_size": 1, "n_positions": 1}'],
)  # fmt: skip
def test_a_configuration_that_is_none_is_refused_in_one_line(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UnsupportedModelError) as caught:
        shape_of_model(str(tmp_path))
    assert "\n" not in str(caught.value)


# --- work -------------------------------------------------------------------------------------------


def test_work_of_a_forward_pass_is_twice_the_weights_that_a_token_meets() -> None:
    shape = NAMED["gpt2"]
    met = n_weights(shape) - shape.d_vocab * shape.d_model - shape.n_ctx * shape.d_model
    passed = forward(shape, tokens=1, length=0, layers=shape.n_layers, read=1)
    assert passed.flops == pytest.approx(2 * met, rel=0.01)
    attended = forward(shape, tokens=1, length=512, layers=shape.n_layers, read=1)
    assert attended.flops - passed.flops == 4 * 512 * shape.d_model * shape.n_layers


def growth(make: Callable[[int], RunSize], stage: str) -> float:
    """Exponent with which a stage's operations (or steps) grow from one size to twice it."""
    first, second = (STAGES[stage](make(n), REFERENCE_HABITS) for n in (1, 2))
    return math.log2((second.flops or second.steps) / (first.flops or first.steps))


def test_each_stage_grows_with_what_it_reads() -> None:
    def documents(n: int) -> RunSize:
        return size_of(documents=100_000 * n)

    def neurons(n: int) -> RunSize:
        return size_of(neurons_per_layer=50 * n, random_neurons_per_layer=50 * n)

    def layers(n: int) -> RunSize:
        shape = dataclasses.replace(NAMED["gpt2"], n_layers=24 * n)
        config = JobConfig(model="m", corpus="c", layers="last:1")
        return run_size(config, shape, {"train": CorpusSize(10.0, 3000.0)})

    assert growth(documents, "scan") == pytest.approx(1, abs=0.01)
    assert growth(documents, "congruence") == growth(documents, "heads") == 0
    for stage in ("prompts", "heads", "ablations", "explanations"):
        assert growth(neurons, stage) == pytest.approx(1, abs=0.01)
    assert growth(neurons, "scan") == 0
    for stage in ("congruence", "scan", "prompts"):
        assert growth(layers, stage) == pytest.approx(1, abs=0.05)
    # Every head against every earlier one: a part of the stage grows with the square.
    assert growth(layers, "channels") > growth(layers, "congruence") + 0.05


def test_neurons_are_counted_from_the_options_alone() -> None:
    options = {"layers": "9,11", "neurons_per_layer": 6, "random_neurons_per_layer": 2}
    assert size_of(**options).neurons == {9: 8, 11: 8}
    assert size_of(**options, tokens=(" a", " b", " c")).n_neurons == 16 + 18
    more = size_of(**options, neurons=(NeuronId(2, 7),))
    assert more.neurons == {2: 1, 9: 8, 11: 8}
    assert more.n_layers_read == 12
    assert (
        size_of(layers="last:1", neurons_per_layer=0, random_neurons_per_layer=0).n_layers_read == 0
    )


# --- a run that was made ----------------------------------------------------------------------------


def test_a_run_tells_what_it_was_asked_and_what_it_found(quick_run: Outcome) -> None:
    run = read_run(quick_run.store)
    assert run is not None
    assert run.size.n_neurons == 4
    assert run.size.documents == 16
    assert run.machine.device == "cpu"
    assert {"scan", "prompts", "heads", "ablations"} <= set(run.seconds)
    assert 1 <= run.habits.kept_tokens <= 11
    assert run.habits.evaluations >= 1
    assert 0 < run.habits.found <= 1


@pytest.mark.parametrize("options", [(), ("--max-prompt-tokens", 4)])
def test_the_number_of_suffixes_is_that_which_the_job_ran(
    options: tuple[object, ...], quick_call: tuple[object, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Kept, repeated and dropped ones alike; the second call drops most."""
    from precompute.stages import truncating
    from tests.precompute.calling import call

    ran: list[int] = []
    real = truncating.SuffixRunner.run

    def counted(self: Any, requests: Any) -> Any:
        ran.extend(length for _, length in requests)
        return real(self, requests)

    monkeypatch.setattr(truncating.SuffixRunner, "run", counted)
    run = read_run(call(*quick_call, *options, "--out", tmp_path).store)
    assert run is not None
    habits = run.habits
    planned = STAGES["prompts"](run.size, habits).steps - 0.1 * run.size.documents
    assert planned == pytest.approx(len(ran), rel=0.3)
    assert habits.evaluated_tokens == pytest.approx(sum(ran) / len(ran), rel=0.3)


def test_stores_that_teach_nothing_are_named(tmp_path: Path, quick_run: Outcome) -> None:
    (tmp_path / "torn.duckdb").write_bytes(b"no store")
    (tmp_path / "good.duckdb").write_bytes(quick_run.store.read_bytes())
    runs, left_out = past_runs(tmp_path)
    assert [run.run_id for run in runs] == ["good"]
    assert len(left_out) == 1
    assert left_out[0].startswith("torn.duckdb: ")


# --- rates and forecasts ----------------------------------------------------------------------------


def table(factor: float = 1.0) -> Rates:
    each = Rate(flop=1e-11 * factor, byte=1e-10 * factor, call=1e-3 * factor, step=1e-5 * factor)
    return Rates("cpu", "a test", dict.fromkeys(STAGES, each), {})


def made(name: str, size: RunSize, factor: float = 1.0) -> PastRun:
    """A run on a machine `factor` times as slow as the table's."""
    seconds = {s.name: s.alone * factor for s in forecast(size, REFERENCE_HABITS, table()).stages}
    return PastRun(name, size, REFERENCE_HABITS, seconds, Machine("cpu"))


def test_runs_made_here_correct_the_table() -> None:
    small, large = size_of(documents=500), size_of(documents=50_000, layers="last:1")
    slow = corrected(table(), [made("a", small, 3.0)])
    plain = forecast(large, REFERENCE_HABITS, table()).seconds
    assert forecast(large, REFERENCE_HABITS, slow).seconds == pytest.approx(3 * plain)
    # A busy afternoon slows a run and never the forecast; another device teaches nothing.
    three = [made("busy", small, 40.0), made("a", small, 3.0), made("busier", small, 90.0)]
    voted = corrected(table(), three)
    assert forecast(large, REFERENCE_HABITS, voted).seconds == pytest.approx(3 * plain)
    assert corrected(dataclasses.replace(table(), device="cuda"), three).factors == {}


def test_a_stage_too_short_to_time_says_nothing() -> None:
    run = made("a", size_of(documents=500), 3.0)
    short = dataclasses.replace(run, seconds={**run.seconds, "tasks": 0.1})
    assert corrected(table(), [short]).factors["tasks"] == pytest.approx(3.0)  # as the others
    assert corrected(table(), [dataclasses.replace(run, seconds={"tasks": 0.1})]).factors == {}


def test_each_run_is_forecast_without_itself() -> None:
    small, large = size_of(documents=500), size_of(documents=50_000)
    alike = trials(table(), [made("a", small, 3.0), made("b", large, 3.0)])
    assert [t.ratio for t in alike] == pytest.approx([1, 1])
    # The first knows only of the second, and the other way round: were a run to teach itself, both were 1.
    apart = trials(table(), [made("a", small, 3.0), made("b", large, 6.0)])
    assert [t.ratio for t in apart] == pytest.approx([2, 0.5])
    alone = trials(table(), [made("a", small, 3.0)])
    assert [(t.n_others, t.ratio) for t in alone] == [(0, pytest.approx(1 / 3))]


def test_only_runs_of_one_machine_and_one_worker_are_compared() -> None:
    small = size_of(documents=500)
    here, there = Machine("cpu", "Xeon", 2), Machine("cpu", "Ryzen", 16)
    runs = [
        dataclasses.replace(made(name, small, factor), machine=machine)
        for name, factor, machine in (
            ("new", 3.0, here), ("old", 2.0, here), ("other", 0.1, there),
            ("cluster", 0.1, dataclasses.replace(here, workers=8)),
            ("gpu", 0.1, Machine("cuda", "H100")), ("untold", 5.0, Machine("cpu")),
        )
    ]  # fmt: skip
    assert list(corrected(table(), runs).factors.values()) == pytest.approx([2.0] * len(STAGES))
    assert corrected(table(), runs).n_runs == 3


def test_workers_share_what_is_cut_into_shards_and_nothing_else() -> None:
    run = size_of(
        documents=1_000_000, layers="last:4", neurons_per_layer=20
    )  # 120 neurons: 4 shards
    assert shared_seconds(run, "congruence", 100.0, 64) == 100.0
    assert shared_seconds(run, "heads", 100.0, 4) == 25.0
    assert shared_seconds(run, "heads", 100.0, 3) == 50.0  # one of them has two
    assert shared_seconds(run, "heads", 100.0, 64) == 25.0
    assert shared_seconds(run, "scan", 100.0, 8) == pytest.approx(12.5, rel=0.01)
    whole = forecast(run, REFERENCE_HABITS, table(), 8)
    assert whole.worker_hours == pytest.approx(8 * whole.seconds / 3600)
    assert whole.cost(2.0) == pytest.approx(2 * whole.worker_hours)


def test_the_reference_table_covers_every_stage() -> None:
    for found in MEASURED.values():
        assert set(found.stages) == set(STAGES)
        for stage, rate in found.stages.items():
            assert rate.seconds(Work(1e12, 1e12, 1e3, 1e6)) > 0, stage


def test_reference_habits_are_those_of_the_bundled_model() -> None:
    assert rates.usual_habits([]) is None
    assert 0 < REFERENCE_HABITS.studied < REFERENCE_HABITS.with_active <= 1


def test_shards_are_cut_as_the_stages_cut_them() -> None:
    import inspect

    from precompute.corpus import shards
    from precompute.cutting import NEURONS_A_SHARD
    from precompute.estimates import room, workload
    from precompute.stages.scan import SHARDS_A_GROUP
    from precompute.worker import batch_tokens_on

    cut = inspect.signature(shards).parameters
    assert cut["max_documents"].default == workload.DOCUMENTS_A_SHARD
    assert cut["max_characters"].default == workload.CHARACTERS_A_SHARD
    assert workload.NEURONS_A_SHARD == NEURONS_A_SHARD
    assert room.SHARDS_A_GROUP == SHARDS_A_GROUP
    for device, tokens in workload.BATCH_TOKENS.items():
        assert tokens == batch_tokens_on(device)


def test_a_shape_is_all_that_planning_needs() -> None:
    shape = ModelShape(2, 2, 8, 4, 16, 30, 12, False, False)
    config = JobConfig(model="m", corpus="c", neurons_per_layer=2, random_neurons_per_layer=1)
    run = run_size(config, shape, {"train": CorpusSize(0.0, 0.0), "test": CorpusSize(0.0, 0.0)})
    assert all(s.alone >= 0 for s in forecast(run, REFERENCE_HABITS, table()).stages)
