"""`python -m precompute verify`: exit status, what is left out and why, numbers recomputed from the model."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from explorer.core.verify_model import AGAIN
from precompute.commands import verify as verify_command
from tests.precompute.calling import Outcome, assert_refused, call
from tests.spoiled import spoiled

ALL_PROMPTS = ("--samples", 1000)
ROOT = Path(__file__).parents[2]


def verify(*words: object) -> Outcome:
    """Check stores of one's own."""
    return call("verify", "--load-models", *words)


def states(outcome: Outcome, place: int = 0) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(outcome.stdout)[place]["checks"]}


def failed(outcome: Outcome) -> set[str]:
    return {name for name, state in states(outcome).items() if state == "failed"}


def test_a_published_store_passes_with_its_model(quick_run: Outcome) -> None:
    outcome = verify(quick_run.store, *ALL_PROMPTS)
    assert outcome.status == 0, outcome.stdout
    lines = outcome.stdout.splitlines()
    assert lines[0] == str(quick_run.store)
    assert "failed" not in outcome.stdout
    again = next(line for line in lines if "attributions again" in line)
    assert again.split()[0] == "ok"
    assert "prompts, none differs by more than" in again
    found = verify("--json", quick_run.store)
    (report,) = json.loads(found.stdout)
    assert report["passed"] is True
    assert report["store"] == str(quick_run.store)
    assert set(report["checks"][0]) == {"name", "meaning", "state", "reason", "seconds"}
    assert {name for name, _ in AGAIN} <= set(states(found))


AGAIN_FAULTS = {
    "attributions again": [
        "UPDATE head_attributions SET mlps = [mlps[1] + 0.01] || mlps[2:], embedding = embedding - 0.01"
        " WHERE prompt_id = 0"
    ],
    "activations again": [
        "UPDATE truncation_curves c SET activations = list_transform(activations, lambda a, i: "
        "CASE WHEN starts[i] = p.start THEN a + 0.01 ELSE a END) FROM prompts p "
        "WHERE p.prompt_id = c.prompt_id AND c.prompt_id = 0",
        "UPDATE prompts SET truncated_activation = truncated_activation + 0.01, kept_activations = "
        "kept_activations[:-2] || [truncated_activation + 0.01::FLOAT], activation = "
        "CASE WHEN start = 0 THEN activation + 0.01 ELSE activation END WHERE prompt_id = 0",
    ],
    "probabilities again": ["UPDATE prompts SET probability = probability + 0.1 WHERE prompt_id = 0"],
    "token ranks again": [
        "UPDATE prompts SET token_rank = 506 - token_rank WHERE prompt_id = 0"
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", AGAIN_FAULTS)
def test_a_number_that_the_model_does_not_give_fails_its_check_alone(
    name: str, quick_run: Outcome, tmp_path: Path
) -> None:
    """The store agrees with itself, and its checksums with it: only the model tells."""
    path = spoiled(quick_run.store, tmp_path, AGAIN_FAULTS[name])
    assert failed(verify("--json", "--no-model", path)) == set()
    outcome = verify("--json", path, *ALL_PROMPTS)
    assert outcome.status == 1
    assert failed(outcome) == {name}
    reason = next(c for c in json.loads(outcome.stdout)[0]["checks"] if c["name"] == name)["reason"]
    assert "prompt 0" in reason
    assert reason.startswith("1 of ")


def left_out(outcome: Outcome) -> dict[str, str]:
    (report,) = json.loads(outcome.stdout)
    return {c["name"]: c["reason"] for c in report["checks"] if c["state"] == "left out"}


def test_without_the_runs_model_its_checks_are_left_out(
    quick_run: Outcome, gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = {name for name, _ in AGAIN}
    other = verify("--json", quick_run.store, "--model", gpt2_folder)
    assert other.status == 0
    assert left_out(other).keys() >= again | {"weights"}
    assert "the run has" in left_out(other)["weights"]

    def fetched(*words: object, **options: object) -> None:
        raise AssertionError("nothing is downloaded for what a store names")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    for named in ("/nowhere/model", "someone/hub-model", ""):
        change = [f"UPDATE manifest SET value = '\"{named}\"' WHERE key = 'model'"]
        path = spoiled(quick_run.store, tmp_path, change)
        found = verify("--json", path)
        assert found.status == 0
        assert left_out(found).keys() >= again | {"weights"}
        assert "give --model DIR" in left_out(found)["weights"]
    assert not left_out(verify("--json", "--no-model", path)).keys() & again
    none = left_out(verify("--json", quick_run.store, "--samples", 0))
    assert none["token ranks again"] == "no samples were asked for"


def test_a_model_that_a_store_names_is_loaded_once_somebody_agrees(
    quick_run: Outcome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copyfile(quick_run.store, tmp_path / "a.duckdb")
    shutil.copyfile(quick_run.store, tmp_path / "b.duckdb")
    again = {name for name, _ in AGAIN}
    unasked = call("verify", "--json", tmp_path / "a.duckdb")
    assert unasked.status == 0
    assert left_out(unasked).keys() >= again | {"weights"}
    assert "--load-models" in left_out(unasked)["weights"]
    assert not left_out(verify("--json", tmp_path / "a.duckdb")).keys() & again  # the control
    monkeypatch.setattr(verify_command, "_is_terminal", lambda: True)
    for answer, n_loaded in (("yes\n", 2), ("n\n", 0), ("\n", 0), ("", 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        asked = call("verify", "--samples", 1, tmp_path)
        assert asked.stdout.count("Load it? [y/N]") == 1  # one folder, two stores
        assert asked.stdout.count("  ok        attributions again") == n_loaded


def test_a_network_path_is_not_looked_at(
    quick_run: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: looked.append(str(path)) or real(path))
    for named in ("//host/share", "\\\\\\\\host\\\\share"):
        change = [f"UPDATE manifest SET value = '\"{named}\"' WHERE key = 'model'"]
        path = spoiled(quick_run.store, tmp_path, change)
        assert "network path" in left_out(verify("--json", path))["weights"]
    assert not [path for path in looked if "host" in path]


def test_the_bundled_model_is_not_asked_for(tmp_path: Path) -> None:
    from explorer.core.named_model import BUNDLED_MODEL

    models = verify_command._Models(verify_command._parser().parse_args(["x"]))
    assert models._may_load(str(BUNDLED_MODEL))
    assert not models._may_load(str(tmp_path))


def test_prompts_that_cannot_be_run_are_not_run(quick_run: Outcome, tmp_path: Path) -> None:
    path = spoiled(
        quick_run.store, tmp_path, ["UPDATE prompts SET token_ids = [99999] || token_ids[2:]"]
    )
    found = verify("--json", path)
    assert failed(found) == {"tokens named"}
    assert left_out(found)["attributions again"] == "tokens named must hold first"


def test_a_folder_is_checked_store_by_store(quick_run: Outcome, tmp_path: Path) -> None:
    shutil.copyfile(quick_run.store, tmp_path / "good.duckdb")
    assert verify("--no-model", tmp_path).status == 0
    (tmp_path / "bad\x1b[2J.duckdb").write_text("junk")
    outcome = verify("--no-model", tmp_path)
    assert outcome.status == 1
    assert "\x1b" not in outcome.stdout
    assert "bad<0x1B>[2J.duckdb" in outcome.stdout
    assert outcome.stdout.splitlines()[1].split()[:2] == ["failed", "opens"]
    both = verify("--no-model", "--json", tmp_path)
    assert [report["passed"] for report in json.loads(both.stdout)] == [False, True]


def test_mistakes_in_the_call_are_told(quick_run: Outcome, tmp_path: Path) -> None:
    store = quick_run.store
    assert_refused(call("verify"), 2, "STORE")
    assert_refused(call("verify", tmp_path / "none.duckdb"), 2, "none.duckdb")
    assert_refused(call("verify", store, "--samples", -1), 2, "--samples")
    assert_refused(call("verify", store, "--sampels", 1), 2, "--sampels")
    assert_refused(call("verify", tmp_path), 1, "no stores in", "--out")
    outcome = verify(store, "--model", tmp_path / "nowhere")
    assert outcome.status == 2
    assert "give --model" in outcome.stderr


def test_nothing_heavy_is_loaded_without_need(quick_run: Outcome, tmp_path: Path) -> None:
    code = (
        "from precompute.__main__ import main; status = main(sys.argv[1:]); "
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )

    def run(before: str) -> int:
        argv = [sys.executable, "-c", before + code, "verify", "--no-model", str(quick_run.store)]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, check=False).returncode

    assert run("import sys; ") == 0
    assert run("import sys, torch; ") == 9  # the control: torch is seen where it is loaded


def test_larger_stores_are_sampled_the_same_way_each_time(
    quick_run: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from explorer.core import verify_model

    asked: list[tuple[int, ...]] = []
    real: Callable[..., Any] = verify_model.analyse_prompt

    def noted(model: Any, ids: list[int], *more: Any) -> Any:
        asked.append(tuple(ids))
        return real(model, ids, *more)

    monkeypatch.setattr(verify_model, "analyse_prompt", noted)
    for _ in range(2):
        assert verify(quick_run.store, "--samples", 3).status == 0
    assert len(asked) == 6
    assert asked[:3] == asked[3:]
