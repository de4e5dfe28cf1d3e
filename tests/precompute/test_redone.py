"""A changed option costs the stages that it shapes and no other, and it is said which and why."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from precompute.checkpoint import RUN_FILE, ShardFolder, differences
from tests.precompute.calling import Outcome, call, tables

_SAID = re.compile(r"(.+): done again, other than before: (.+)")


@pytest.fixture(scope="module")
def kept(quick_call: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a published run that keeps its shards."""
    out = tmp_path_factory.mktemp("kept")
    outcome = call(*quick_call, "--keep-shards", "--out", out)
    assert outcome.status == 0 and "keeps what the store was made of" in outcome.stderr
    return out


def redone(outcome: Outcome) -> dict[str, str]:
    """What was said: stage and reason."""
    assert outcome.status == 0, outcome.stderr
    return dict(m.groups() for line in outcome.stderr.splitlines() if (m := _SAID.fullmatch(line)))


def saved_stages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages of the shards that get saved from here on."""
    stages: list[str] = []
    save = ShardFolder.save

    def logged(folder: ShardFolder, name: str, rows: object) -> None:
        stages.append(folder.path.name.rsplit("-", 1)[0])
        save(folder, name, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardFolder, "save", logged)
    return stages


@pytest.mark.parametrize(
    ("option", "reasons", "untouched"),
    [
        (
            ("--active-rule", "top:2"),
            {"heads": "active_rule", "ablations": "active_rule, heads"},
            {"congruence", "scan-train", "scan-test", "prompts", "tasks"},
        ),
        (
            ("--keep-ratio", "0.5"),
            {"prompts": "keep_ratio", "heads": "prompts"},
            {"congruence", "scan-train", "scan-test", "tasks"},
        ),
        (
            ("--random-neurons-per-layer", "2"),
            {"scan-train": "neurons", "channels": "neurons"},
            {"congruence", "tasks"},
        ),
        (
            ("--explainer", "none"),
            {},
            {"congruence", "scan-train", "prompts", "heads", "ablations"},
        ),
    ],
)
def test_only_what_an_option_shapes_is_done_again(
    option: tuple[str, ...], reasons: dict[str, str], untouched: set[str], kept: Path,
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    shutil.copytree(kept, out)
    with monkeypatch.context() as patch:
        stages = saved_stages(patch)
        found = call(*quick_call, *option, "--out", out)
    said = redone(found)
    assert {stage: said.get(stage) for stage in reasons} == reasons
    assert set(said) == set(stages)  # what is said is what is done
    assert not untouched & set(stages)
    alone = call(*quick_call, *option, "--out", tmp_path / "alone")
    assert redone(alone) == {}  # nothing lay there to differ from
    assert tables(found.store) == tables(alone.store)


def test_kept_shards_make_the_same_store_again_without_work(
    kept: Path, quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(kept, out)
    first = next(out.glob("*.duckdb"))
    stages = saved_stages(monkeypatch)
    again = call(*quick_call, "--keep-shards", "--force", "--out", out)
    assert stages == [] and again.store != first
    assert tables(again.store) == tables(first)


def test_the_work_folder_says_whose_it_is(kept: Path) -> None:
    note = json.loads(next(kept.glob(f"*.partial/{RUN_FILE}")).read_text())
    assert f"{note['name']}.duckdb" in [path.name for path in kept.iterdir()]
    assert note["options"]["keep_shards"] is True


def test_the_nearest_of_several_folders_explains(tmp_path: Path) -> None:
    ShardFolder(tmp_path, "scan-train", "0" * 16, {"neurons": ["L1N2"], "candidates": 5})
    ShardFolder(tmp_path, "scan-train", "1" * 16, {"neurons": ["L1N3"], "candidates": 6})
    ShardFolder(tmp_path, "scan-train-other", "2" * 16, {"neurons": ["L1N3"], "candidates": 5})
    (tmp_path / f"scan-train-{'3' * 16}").mkdir()
    (tmp_path / f"scan-train-{'3' * 16}" / "key.json").write_text("[torn")
    wanted = {"neurons": ["L1N3"], "candidates": 5}
    assert differences(tmp_path, "scan-train", wanted) in (["candidates"], ["neurons"])
    assert differences(tmp_path, "heads", wanted) == []
