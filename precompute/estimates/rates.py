"""How fast a machine does the work of `work`: measured, never guessed.

`MEASURED` are seconds a unit from runs made for the purpose (`python -m tests.benchmarks rates` makes them
again and prints the table). Runs in the person's own folder of stores correct them, stage by stage.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from precompute.estimates.past_runs import PastRun
from precompute.estimates.work import STAGES, Work
from precompute.estimates.workload import Habits


@dataclass(frozen=True)
class Rate:
    """Seconds a unit of each kind, for one stage."""

    flop: float = 0.0
    byte: float = 0.0
    call: float = 0.0
    step: float = 0.0

    def seconds(self, work: Work) -> float:
        return (
            work.flops * self.flop + work.bytes * self.byte + work.calls * self.call
            + work.steps * self.step
        )  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """The rates of all stages on one kind of machine."""

    device: str
    """`cpu` or `cuda`."""
    machine: str
    """In words: what they were measured on."""
    stages: Mapping[str, Rate]
    factors: Mapping[str, float]
    """By stage, what runs of one's own took over what the table expects; 1 where there are none."""
    n_runs: int = 0
    """Runs behind the factors."""

    def seconds(self, stage: str, work: Work) -> float:
        return self.stages[stage].seconds(work) * self.factors.get(stage, 1.0)


_TIMED = 0.2
"""Seconds under which a stage says little of a machine."""
MEASURED: dict[str, Rates] = {
    "cpu": Rates(
        "cpu",
        "2 cores of an Intel Xeon with torch 2.13, on models of 9 to 163 million weights",
        {
            "loading": Rate(byte=9.56e-10, step=5.92),
            "congruence": Rate(flop=3.20e-12, byte=3.01e-10),
            "scan": Rate(flop=4.22e-12, byte=5.43e-11, call=2.2e-3),
            "prompts": Rate(flop=7.90e-12, call=2.9e-4),
            "heads": Rate(flop=1.02e-12, byte=5.30e-10, call=1.59e-2),
            "ablations": Rate(flop=4.23e-12, call=1.90e-3, step=4.68e-5),
            "explanations": Rate(step=1.05e-4),
            "channels": Rate(flop=2.33e-12, byte=2.36e-10, call=1.5e-3),
            "tasks": Rate(flop=3.49e-12, byte=1.30e-10),
            "publish": Rate(call=0.275, step=1.54e-7),
        },
        {},
    ),
    "cuda": Rates(
        "cuda",
        "one NVIDIA H200 and 16 cores with torch 2.11, on models of 11 to 163 million weights",
        {
            "loading": Rate(byte=1.02e-10, step=0.254),
            "congruence": Rate(byte=1.57e-11),
            "scan": Rate(flop=2.41e-14, call=4.49e-3, step=4.44e-7),
            "prompts": Rate(flop=3.19e-14, call=2.91e-4, step=2.89e-5),
            "heads": Rate(byte=7.24e-12, step=6.46e-6),
            "ablations": Rate(byte=4.56e-11, call=3.52e-4, step=2.97e-6),
            "explanations": Rate(step=6.16e-5),
            "channels": Rate(byte=2.06e-11, call=9.34e-3),
            "tasks": Rate(call=6.0e-4, step=4.3e-5),
            "publish": Rate(call=0.534, step=9.81e-8),
        },
        {},
    ),
}
"""By device. Non-negative least squares. CPU: six runs of five shapes (the bundled model twice, GPT-2's small
one, a GPT-NeoX one and two between), which it gives back within 34 %, most within 15 %. CUDA: four runs of
four shapes; the reading within 5 %, most stages within 25 %, truncation of short documents at 0.5 of what
it took."""


def expected(rates: Rates, run: PastRun) -> dict[str, float]:
    """What the table says of a run that was made, from what it found; seconds by stage."""
    return {
        stage: rates.stages[stage].seconds(STAGES[stage](run.size, run.habits))
        for stage in run.seconds
        if stage in rates.stages
    }


def comparable(device: str, runs: Iterable[PastRun]) -> list[PastRun]:
    """Runs that say how fast this kind of device is: made by one worker, and on the machine of the first
    of them (runs come newest first), with as many threads, where they tell that."""
    mine = [run for run in runs if run.machine.device == device and run.machine.workers == 1]
    return [run for run in mine if not run.machine.name or run.machine == mine[0].machine]


def corrected(rates: Rates, runs: Iterable[PastRun]) -> Rates:
    """The table with the factors of these runs: for each stage the least of actual over expected, since
    other work on a machine only ever slows it down. Runs that cannot be compared are passed over, and
    stages too short to time."""
    mine = comparable(rates.device, runs)
    ratios: dict[str, list[float]] = {}
    for run in mine:
        for stage, seconds in expected(rates, run).items():
            if min(seconds, run.seconds[stage]) >= _TIMED:
                ratios.setdefault(stage, []).append(run.seconds[stage] / seconds)
    factors = {stage: min(found) for stage, found in ratios.items()}
    if factors:  # stages that no run timed go by how the others did
        usual = statistics.median(factors.values())
        factors = {stage: factors.get(stage, usual) for stage in rates.stages}
    return Rates(rates.device, rates.machine, rates.stages, factors, len(mine))


def usual_habits(runs: Iterable[PastRun]) -> Habits | None:
    """The median of each habit over runs; None without any."""
    found = [run.habits for run in runs]
    if not found:
        return None
    names = Habits.__dataclass_fields__
    return Habits(**{n: statistics.median(getattr(h, n) for h in found) for n in names})
