"""`clean` removes unfinished work and nothing else, whatever lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from precompute.commands import clean
from tests.explorer.seeded import write_seeded_store
from tests.precompute.calling import assert_refused, call
from tests.precompute.leftover import everything, job_at_work, unfinished_run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Published stores, notes and a person's own files; two unfinished runs and a probe left over."""
    out = tmp_path / "runs"
    write_seeded_store(out, "kept")
    (out / "kept.notes.json").write_text("{}")
    (out / "bad.duckdb").write_text("junk")
    (out / "mine.txt").write_text("mine")
    (out / "folder").mkdir()
    (out / "folder" / "deep.partial").write_text("not looked for")
    unfinished_run(out, "x")
    unfinished_run(out, "y", {"model": "m", "corpus": "c"})
    (out / ".write-probe.partial").write_bytes(b"12345")
    return out


OTHERS = ["bad.duckdb", "folder", "kept.duckdb", "kept.notes.json", "mine.txt"]


def test_what_is_not_published_goes_and_the_rest_stays(out: Path) -> None:
    kept = {name: found for name, found in everything(out).items() if ".partial" not in name}
    deep = (out / "folder" / "deep.partial").read_text()
    work_bytes = sum(p.stat().st_size for p in out.glob("[xy].partial/**/*") if p.is_file())
    before = everything(out)
    dry = call("clean", out, "--dry-run")
    assert dry.status == 0
    assert everything(out) == before
    outcome = call("clean", out)
    assert outcome.status == 0
    assert names(out) == OTHERS
    after = {name: found for name, found in everything(out).items() if ".partial" not in name}
    assert after == kept
    assert (out / "folder" / "deep.partial").read_text() == deep
    lines = outcome.stdout.splitlines()
    assert [line.replace("would remove", "removed") for line in dry.stdout.splitlines()] == lines
    assert [line.split()[:2] for line in lines[:2]] == [
        ["removed", str(out / f"{name}.partial")] for name in "xy"
    ]
    assert "2 replies paid for" in lines[0]
    assert lines[2] == f"removed {out / '.write-probe.partial'} (5 bytes)"
    assert lines[3] == f"removed {(work_bytes + 5) / 1000:,.1f} kB in all"
    assert call("clean", out).stdout == f"{out} holds nothing that is not published\n"


def test_a_folder_with_a_job_in_it_stays_and_the_rest_goes(out: Path) -> None:
    with job_at_work(out / "x.partial"):
        before = everything(out / "x.partial")
        outcome = call("clean", out)
        assert outcome.status == 1
        assert everything(out / "x.partial") == before
        assert names(out) == sorted([*OTHERS, "x.partial"])
        assert f"kept {out / 'x.partial'}: a job is working in it" in outcome.stdout
    assert call("clean", out).status == 0
    assert names(out) == OTHERS


def test_a_job_that_begins_while_clean_looks_comes_first(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking says that nobody works there; the lock, taken to remove, tells better."""
    monkeypatch.setattr("precompute.work_folders.is_worked_in", lambda work: False)
    with job_at_work(out / "x.partial"):
        outcome = call("clean", out)
        assert outcome.status == 1
        assert (out / "x.partial" / "replies.jsonl").is_file()
        assert names(out) == sorted([*OTHERS, "x.partial"])


def test_links_are_never_followed(out: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "lock").touch()
    (precious / "thesis.txt").write_text("years")
    (out / "link.partial").symlink_to(precious)
    (out / "file.partial").symlink_to(precious / "thesis.txt")
    scan = next((out / "x.partial").glob("scan-train-*"))
    (scan / "inside").symlink_to(precious)
    (out / "y.partial" / "lock").unlink()
    (out / "y.partial" / "lock").symlink_to(precious / "thesis.txt")
    before = everything(precious)
    outcome = call("clean", out)
    assert everything(precious) == before
    assert (out / "link.partial").is_symlink()
    assert (out / "file.partial").is_symlink()
    assert not (out / "x.partial").exists()  # with the link in it, not with what it leads to
    assert "left alone" in outcome.stdout
    assert (out / "y.partial").is_dir()  # its lock is a link, which the job never makes
    assert outcome.status == 1


@pytest.mark.parametrize("name", ["thesis.txt", "heads-notakey", "scan-0123456789abcdef", ".git"])
def test_a_folder_that_holds_anything_else_stays(name: str, tmp_path: Path) -> None:
    """Even if it is called like work: a person may have put something there."""
    work = unfinished_run(tmp_path, "x")
    (work / name).write_text("mine")  # the third is called like a stage, and is a file
    outcome = call("clean", tmp_path)
    assert outcome.status == 1
    assert (work / name).read_text() == "mine"
    assert len(names(work)) > 5
    assert f"it holds {name}" in outcome.stdout
    (work / name).unlink()
    assert call("clean", tmp_path).status == 0  # the control: the name was the reason


def test_escape_codes_in_names_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.partial").touch()
    outcome = call("clean", tmp_path)
    assert "\x1b" not in outcome.stdout
    assert "a<0x1B>[2J.partial" in outcome.stdout
    assert names(tmp_path) == []


def test_mistakes_in_the_call_are_told(tmp_path: Path) -> None:
    assert_refused(call("clean", tmp_path / "none"), 2, "no folder")
    assert_refused(call("clean", tmp_path, "--dry"), 2, "--dry")
    assert clean.run([str(tmp_path)]) == 0
