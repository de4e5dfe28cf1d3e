"""Time of a run, stage by stage, with any number of workers; and the forecast tried on runs that were made,
each with what the other runs teach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from precompute.estimates.past_runs import PastRun
from precompute.estimates.rates import Rates, comparable, corrected, usual_habits
from precompute.estimates.work import SHARED, STAGES, Work
from precompute.estimates.workload import REFERENCE_HABITS, Habits, RunSize


@dataclass(frozen=True)
class StageForecast:
    """One stage: its work, its seconds on one worker, and its seconds as the workers share it."""

    name: str
    work: Work
    alone: float
    shared: float


@dataclass(frozen=True)
class Forecast:
    """The whole run."""

    stages: tuple[StageForecast, ...]
    workers: int

    @property
    def seconds(self) -> float:
        """From the call to the store."""
        return sum(stage.shared for stage in self.stages)

    @property
    def worker_hours(self) -> float:
        """Workers times the hours for which they are held: all of the run."""
        return self.seconds * self.workers / 3600

    def cost(self, price_an_hour: float) -> float:
        """In the unit of the price, which is for one worker."""
        return self.worker_hours * price_an_hour


def shared_seconds(run: RunSize, stage: str, seconds: float, workers: int) -> float:
    """Seconds where workers share a stage: as long as the busiest has whole shards to work on."""
    if stage not in SHARED or workers == 1:
        return seconds
    shards = run.n_scan_shards if stage == "scan" else float(max(1, run.n_prompt_shards))
    return seconds * math.ceil(shards / workers) / shards


def forecast(run: RunSize, habits: Habits, rates: Rates, workers: int = 1) -> Forecast:
    """Every stage of a run, by these rates."""
    found = []
    for name, work_of in STAGES.items():
        work = work_of(run, habits)
        alone = rates.seconds(name, work)
        found.append(StageForecast(name, work, alone, shared_seconds(run, name, alone, workers)))
    return Forecast(tuple(found), workers)


@dataclass(frozen=True)
class Trial:
    """A run that was made, against its forecast by the table and the other runs."""

    run_id: str
    forecast: float
    actual: float
    """Seconds, over the stages that the run timed."""
    stages: dict[str, tuple[float, float]]
    """Forecast and actual of each."""
    n_others: int
    """Other runs that the forecast had to learn from."""

    @property
    def ratio(self) -> float:
        return self.forecast / self.actual


def trials(rates: Rates, runs: Sequence[PastRun]) -> list[Trial]:
    """Each run on the table's kind of device, forecast as if it had not been made yet: rates and habits
    come from the others alone."""
    mine = comparable(rates.device, runs)
    found = []
    for run in mine:
        others = [other for other in mine if other is not run]
        learned = corrected(rates, others)
        habits = usual_habits(others) or REFERENCE_HABITS
        planned = {s.name: s.alone for s in forecast(run.size, habits, learned).stages}
        stages = {n: (planned[n], run.seconds[n]) for n in run.seconds if n in planned}
        total = [sum(pair[i] for pair in stages.values()) for i in (0, 1)]
        if total[1] > 0:
            found.append(Trial(run.run_id, total[0], total[1], stages, len(others)))
    return found
