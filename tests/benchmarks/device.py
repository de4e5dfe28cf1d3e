"""One script for a machine with a GPU and little time: `python -m tests.benchmarks device`.

The demo job on the device against the notebook way, and jobs of other shapes for the table of rates. A JSON
object a line, each as soon as it is known, so that a run that is cut off has told what it had; the last has
the fitted rates. Needs no browser, no Streamlit and no network.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from precompute.estimates.past_runs import PastRun
from tests.benchmarks import baseline, least, rates
from tests.benchmarks.model_speed import DEMO


def _tell(what: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"what": what, **facts}) + "\n")
    sys.stdout.flush()


def _told(name: str, found: PastRun, facts: dict[str, Any]) -> PastRun:
    _tell("job", model=name, stages=dict(found.seconds), tokens=found.size.tokens,
          neurons=found.size.n_neurons, **facts)  # fmt: skip
    return found


def main(device: str, seconds: float) -> None:
    """Everything that fits into about so many seconds, the most wanted first."""
    begin = time.perf_counter()
    on_gpu = device == "cuda"
    _tell("machine", device=torch.cuda.get_device_name() if on_gpu else "cpu",
          torch=torch.__version__, threads=torch.get_num_threads())  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        short = rates.long_documents(scratch / "short.jsonl", 400, 1)
        # Once in vain: the first run on a GPU pays for its libraries.
        rates.run(DEMO / "model", short, scratch / "warm", device, *rates.few(2, 2, 12))
        found, store, facts = rates.run(
            DEMO / "model", DEMO / "corpus" / "train.jsonl", scratch / "demo", device,
            *rates.demo_options(),
        )  # fmt: skip
        runs = [_told("demo", found, facts)]
        stages = baseline.compared(store, DEMO / "model", device)
        job, notebook = sum(s.job for s in stages), sum(s.notebook for s in stages)
        _tell("baseline", times_faster=notebook / job, at_least=baseline.AT_LEAST[device],
              stages=[{**s.__dict__, "times_faster": s.notebook / s.job} for s in stages])  # fmt: skip
        parts = least.compared(store, DEMO / "model", device)
        _tell("least forwards", stages=[p.__dict__ for p in parts])
        runs += _others(scratch, device, begin + seconds, short)
    fitted, errors = rates.fitted(runs)
    _tell("rates", table=rates.as_table(fitted), fitted_over_actual=errors,
          seconds=time.perf_counter() - begin)  # fmt: skip


def _others(scratch: Path, device: str, until: float, short: Path) -> list[PastRun]:
    """Other shapes, as long as there is time; the one most like real work first."""
    pages = rates.long_documents(scratch / "pages.jsonl", 480 if device == "cuda" else 40, 9)
    few = rates.few(24 if device == "cuda" else 6, 6 if device == "cuda" else 3, 12)
    found: list[PastRun] = []
    for model, corpus, options in (
        (rates.SMALL, pages, few), (rates.SMALL, pages, (*few, "--dtype", "bfloat16")),
        (rates.NEOX, short, few), (rates.BETWEEN, pages, few),
    ):  # fmt: skip
        if time.perf_counter() > until:
            _tell("left out for lack of time", model=model.name)
            continue
        folder = scratch / model.name
        if not folder.is_dir():
            model.save(folder)
        is_bfloat16 = "bfloat16" in options
        name = model.name + (" bfloat16" if is_bfloat16 else "")
        out = scratch / f"runs-{len(found)}-{model.name}"
        run, _, facts = rates.run(folder, corpus, out, device, *options)
        _told(name, run, facts)
        if not is_bfloat16:  # the table is of float32
            found.append(run)
    return found
