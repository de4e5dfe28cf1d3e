"""`python -m precompute plan`: what it prints, what it refuses, how quick it is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.precompute.calling import Outcome, assert_refused, call

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"
XL = ("--model-shape", "gpt2-xl", "--documents", "10000000")


def plan(*argv: object) -> Outcome:
    return call("plan", *argv)


def test_a_large_run_is_planned_from_its_shape(tmp_path: Path) -> None:
    found = plan(*XL, "--workers", "64", "--price-hour", "2", "--device", "cpu", "--runs", tmp_path)
    assert found.status == 0, found.stderr
    for words in ("48 layers", "10 million documents", "64 workers", "scan", "in all", "Memory: ",
                  "Disk: ", "Worker-hours: ", "USD", "300 assumed", "no run to try it on"):  # fmt: skip
        assert words in found.stdout, words


def test_the_figures_are_there_as_json_and_workers_shorten_the_scan(tmp_path: Path) -> None:
    def told(*argv: object) -> dict:
        found = plan(*XL, *argv, "--device", "cpu", "--json", "--runs", tmp_path)
        assert found.status == 0, found.stderr
        return json.loads(found.stdout)

    one, many = told(), told("--workers", 64)
    scan = [next(s for s in p["stages"] if s["stage"] == "scan") for p in (one, many)]
    assert scan[0]["seconds"] / scan[1]["seconds"] == pytest.approx(64, rel=0.01)
    assert scan[0]["flops"] == scan[1]["flops"]
    assert many["seconds"] < one["seconds"]
    assert many["worker_hours"] >= one["worker_hours"]
    assert one["cost"] is None
    wider = told("--neurons-per-layer", 100)
    assert wider["neurons"] > one["neurons"]
    assert wider["memory"]["driver"] > one["memory"]["driver"]


def test_the_bundled_model_and_text_are_measured(tmp_path: Path) -> None:
    corpus = DEMO / "corpus" / "train.jsonl"
    found = plan("--model", DEMO / "model", "--corpus", corpus, "--json", "--runs", tmp_path)
    assert found.status == 0, found.stderr
    facts = json.loads(found.stdout)
    assert facts["model"]["n_layers"] == 6
    assert facts["documents"] == len(corpus.read_text(encoding="utf-8").splitlines())
    assert facts["tokens"] == pytest.approx(76_459, rel=0.05)  # counted by the job


def test_runs_that_were_made_are_forecast(quick_run: Outcome) -> None:
    runs = quick_run.store.parent
    found = plan("--model-shape", "gpt2", "--documents", "100", "--device", "cpu", "--runs", runs)
    assert quick_run.store.stem in found.stdout
    facts = json.loads(
        plan("--model-shape", "gpt2", "--documents", "100", "--device", "cpu", "--runs", runs,
             "--json").stdout
    )  # fmt: skip
    (trial,) = facts["trials"]
    assert trial["actual"] > 0
    assert trial["forecast"] > 0
    assert set(trial["stages"]) >= {"scan", "prompts", "heads", "ablations"}


def test_no_time_is_told_for_a_device_that_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from precompute.estimates import rates

    monkeypatch.delitem(rates.MEASURED, "cpu")
    found = plan(*XL, "--device", "cpu", "--runs", tmp_path)
    assert found.status == 0
    assert "has not been measured" in found.stdout
    assert "Worker-hours" not in found.stdout
    assert "Memory: " in found.stdout


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (("--model-shape",), ()),
        (("--documents",), ("--model-shape", "gpt2")),
        (("--model-shape", "gpt2-xl"), ("--model-shape", "gpt9", "--documents", "3")),
        (("one of them",), (*XL, "--model", "gpt2")),
        (("--documents",), ("--model-shape", "gpt2", "--documents", "0")),
        (("--workers",), (*XL, "--workers", "0")),
        (("--tokens-per-document",), (*XL, "--tokens-per-document", "nan")),
        (("--price-hour",), (*XL, "--price-hour", "-1")),
        (("--layers",), (*XL, "--layers", "last:99")),
        (("--candidates",), (*XL, "--candidates", "1")),
        (("no corpus file",), ("--model-shape", "gpt2", "--corpus", "/nowhere.jsonl")),
        (("unrecognized",), (*XL, "--colour", "red")),
    ],
)
def test_mistakes_are_said_in_one_line(words: tuple[str, ...], argv: tuple[str, ...]) -> None:
    assert_refused(plan(*argv), 2, *words)


def test_a_plan_takes_no_time_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from precompute.__main__ import main; "
        f"status = main(['plan', *{list(XL)!r}, '--device', 'cpu', '--runs', {str(tmp_path)!r}]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    begin = time.process_time()
    children = _children_seconds()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert _children_seconds() - children + time.process_time() - begin < 8


def _children_seconds() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
