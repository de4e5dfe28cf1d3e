"""A plan in words, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from precompute.estimates.forecast import Forecast, Trial
from precompute.estimates.rates import Rates
from precompute.estimates.room import Room
from precompute.estimates.shapes import n_weights
from precompute.estimates.workload import Habits, RunSize


@dataclass(frozen=True)
class Plan:
    """All that is told of a run that has not been made."""

    size: RunSize
    habits: Habits
    notes: tuple[str, ...]
    """What had to be assumed."""
    device: str
    rates: Rates | None
    """None where the device has not been measured."""
    forecast: Forecast | None
    room: Room
    workers: int
    price_hour: float | None
    trials: tuple[Trial, ...]


def duration(seconds: float) -> str:
    """`3.2 s`, `12 min`, `5.4 h`, `12 days`."""
    for unit, size, most in (("s", 1.0, 120), ("min", 60.0, 120), ("h", 3600.0, 72)):
        if seconds / size < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:,.3g} days"


def amount(n_bytes: float) -> str:
    """`12 MB`, `3.4 GB`, in powers of ten."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"


def _rounded(number: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def _heading(plan: Plan) -> list[str]:
    shape, size = plan.size.shape, plan.size
    layers = sorted(size.neurons)
    where = f"layers {layers[0]} to {layers[-1]}" if layers else "no layer"
    workers = "1 worker" if plan.workers == 1 else f"{plan.workers:,} workers"
    return [
        f"Model: {shape.n_layers} layers, {shape.n_heads} heads, width {shape.d_model:,}, "
        f"{shape.d_mlp:,} neurons a layer, vocabulary {shape.d_vocab:,}, context {shape.n_ctx:,}: "
        f"{_rounded(n_weights(shape))} weights",
        f"Text: {_rounded(size.documents)} documents, {_rounded(size.tokens)} tokens",
        f"Work: {size.n_neurons:,} neurons of {where}, {size.prompts} prompts for each and split; "
        f"{plan.device}, {workers}",
    ]


def _time_lines(plan: Plan) -> list[str]:
    if plan.forecast is None or plan.rates is None:
        return [
            f"Time: not told. How fast the job runs on {plan.device} has not been measured, and nothing "
            "is guessed."
        ]
    lines = [f"{'stage':<14}{'10^12 operations':>18}{'GB moved':>12}{'one worker':>14}"
             f"{'together':>14}"]  # fmt: skip
    for stage in plan.forecast.stages:
        lines.append(
            f"{stage.name:<14}{stage.work.flops / 1e12:>18,.3g}{stage.work.bytes / 1e9:>12,.3g}"
            f"{duration(stage.alone):>14}{duration(stage.shared):>14}"
        )
    alone = sum(stage.alone for stage in plan.forecast.stages)
    lines.append(
        f"{'in all':<14}{'':>30}{duration(alone):>14}{duration(plan.forecast.seconds):>14}"
    )
    return lines


def _source(plan: Plan) -> list[str]:
    if plan.rates is None:
        return []
    lines = [f"Rates: measured on {plan.rates.machine}"]
    if plan.rates.factors:
        found = sorted(plan.rates.factors.values())
        lines[0] += (
            f"; corrected by runs made here, {plan.rates.n_runs} in all ({found[0]:.2g} to "
            f"{found[-1]:.2g} times the table, by stage)"
        )
    return lines


def _needs(plan: Plan) -> list[str]:
    room = plan.room
    lines = [f"Memory: {amount(room.driver)} where the job is started"]
    if plan.workers > 1:
        lines[0] += f", {amount(room.worker)} on each worker"
    if room.gpu:
        lines.append(f"GPU memory: {amount(room.gpu)} on each")
    lines.append(
        f"Disk: {amount(room.shards)} of unfinished shards, {amount(room.store)} for the store"
    )
    if plan.forecast is not None:
        hours = f"Worker-hours: {plan.forecast.worker_hours:,.3g}"
        if plan.price_hour is not None:
            hours += (
                f", {plan.forecast.cost(plan.price_hour):,.2f} USD at {plan.price_hour:g} an hour"
            )
        lines.append(hours)
    return lines


def _trials(plan: Plan) -> list[str]:
    if not plan.trials:
        return ["How good such a forecast is: not known, there is no run to try it on"]
    lines = [
        "How good such forecasts were, each run forecast from the table and the fastest of the other runs "
        "(a machine that was busy took longer):"
    ]
    for trial in plan.trials:
        worst = max(trial.stages, key=lambda n: abs(_log_ratio(trial.stages[n])))
        planned, actual = trial.stages[worst]
        lines.append(
            f"  {trial.run_id}: forecast {duration(trial.forecast)}, took {duration(trial.actual)} "
            f"({trial.ratio:.2f} times); worst stage {worst}: {duration(planned)} against "
            f"{duration(actual)}"
        )
    return lines


def _log_ratio(pair: tuple[float, float]) -> float:
    import math

    return math.log(max(pair[0], 1e-3) / max(pair[1], 1e-3))


def as_text(plan: Plan) -> str:
    """The whole plan, a few dozen lines."""
    notes = [f"Assumed: {note}" for note in plan.notes]
    parts = (_heading(plan), _time_lines(plan), _source(plan) + _needs(plan), notes, _trials(plan))
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def as_json(plan: Plan) -> dict[str, Any]:
    """The same figures, in seconds and bytes."""
    forecast = plan.forecast
    return {
        "model": asdict(plan.size.shape),
        "documents": plan.size.documents,
        "tokens": plan.size.tokens,
        "neurons": plan.size.n_neurons,
        "device": plan.device,
        "workers": plan.workers,
        "seconds": None if forecast is None else forecast.seconds,
        "worker_hours": None if forecast is None else forecast.worker_hours,
        "cost": None if forecast is None or plan.price_hour is None
        else forecast.cost(plan.price_hour),
        "stages": [] if forecast is None else [
            {"stage": s.name, **asdict(s.work), "seconds_alone": s.alone, "seconds": s.shared}
            for s in forecast.stages
        ],
        "rates": None if plan.rates is None else plan.rates.machine,
        "memory": asdict(plan.room),
        "habits": asdict(plan.habits),
        "assumed": list(plan.notes),
        "trials": [
            {"run": t.run_id, "forecast": t.forecast, "actual": t.actual, "stages": {
                name: {"forecast": a, "actual": b} for name, (a, b) in t.stages.items()}}
            for t in plan.trials
        ],
    }  # fmt: skip
