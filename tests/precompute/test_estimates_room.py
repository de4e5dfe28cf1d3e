"""Whether a run fits: memory and disk by its sizes, what a container leaves, refusals with advice; and a
corpus judged by its beginning."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from explorer.core.errors import ExplorerError
from precompute.config import JobConfig
from precompute.estimates import fit
from precompute.estimates.corpus_sample import sample
from precompute.estimates.room import room_needed, shards_bytes
from precompute.estimates.workload import REFERENCE_HABITS
from tests.precompute.calling import write_jsonl
from tests.precompute.estimating import size_of

DEMO = Path(__file__).parents[2] / "assets" / "demo"


def test_memory_does_not_grow_with_the_text_and_disk_only_by_groups() -> None:
    small, large = (size_of("gpt2-xl", documents=n) for n in (100_000, 10_000_000))
    room = [room_needed(size, REFERENCE_HABITS, "cpu") for size in (small, large)]
    assert room[1].driver == pytest.approx(room[0].driver, rel=0.01)
    assert room[1].store == pytest.approx(room[0].store, rel=0.01)
    loose = large.n_scan_shards * large.n_neurons * large.candidates * 36
    assert shards_bytes(large, REFERENCE_HABITS) < loose / 10
    wide = room_needed(size_of("gpt2-xl", neurons_per_layer=2000), REFERENCE_HABITS, "cpu")
    assert wide.driver > 1.5 * room[0].driver


def check(folder: Path, out: Path, **options: Any) -> str:
    config = JobConfig(model=str(folder), corpus="c", out=out, **options)
    counts = {"train": 500, "test": 500}
    return fit.check_fits(config, folder, counts, {s: 300 * n for s, n in counts.items()}, "cpu")


def test_what_fits_is_told_in_one_line(tmp_path: Path) -> None:
    line = check(DEMO / "model", tmp_path)
    assert line.startswith("This run will take about ")
    assert "of memory" in line
    assert "\n" not in line


def test_what_does_not_fit_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "memory_available", lambda: 1e8)
    with pytest.raises(ExplorerError, match=r"needs about .* of memory .* --engine ray"):
        check(DEMO / "model", tmp_path)
    monkeypatch.setattr(fit, "memory_available", lambda: 1e12)
    check(DEMO / "model", tmp_path)
    monkeypatch.setattr(fit, "disk_available", lambda folder: 1e6)
    with pytest.raises(ExplorerError, match=r"of disk .* --out"):
        check(DEMO / "model", tmp_path)


def test_a_model_far_too_large_is_refused_from_its_configuration(tmp_path: Path) -> None:
    sizes = {
        "n_layer": 200,
        "n_head": 128,
        "n_embd": 32768,
        "vocab_size": 50257,
        "n_positions": 2048,
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    with pytest.raises(ExplorerError, match="of memory"):  # 10 TB of weights
        check(tmp_path, tmp_path)


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/pod/box\n")
    free = fit.memory_available(tmp_path, own)
    assert free > 1e8  # no limit told: what the machine has
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod" / "memory.max").write_text("90000000\n")
    (tmp_path / "pod" / "memory.current").write_text("60000000\n")
    assert fit.memory_available(tmp_path, own) == 30_000_000  # of a group above
    (tmp_path / "pod" / "memory.stat").write_text("anon 1\ninactive_file 20000000\n")
    assert fit.memory_available(tmp_path, own) == 50_000_000
    (tmp_path / "pod" / "memory.max").write_text("max\n")
    assert fit.memory_available(tmp_path, own) > 1e8
    own.write_text("4:memory:/old\n")
    (tmp_path / "memory" / "old").mkdir(parents=True)
    (tmp_path / "memory" / "old" / "memory.limit_in_bytes").write_text("80000000")
    (tmp_path / "memory" / "old" / "memory.usage_in_bytes").write_text("10000000")
    assert fit.memory_available(tmp_path, own) == 70_000_000


@pytest.mark.parametrize("name", ["text.jsonl", "text.jsonl.gz", "text.txt"])
def test_a_large_corpus_is_judged_by_its_beginning(name: str, tmp_path: Path) -> None:
    words = [w for line in (DEMO / "corpus" / "train.jsonl").open(encoding="utf-8")
             for w in json.loads(line)["text"].split()]  # fmt: skip
    draw = random.Random(0)
    texts = [" ".join(draw.choices(words, k=draw.randint(20, 60))) for _ in range(12_000)]
    path = tmp_path / name
    if name.endswith(".txt"):
        path.write_text("\n\n".join(texts), encoding="utf-8")
    else:
        plain = write_jsonl(tmp_path / "plain.jsonl", texts).read_bytes()
        path.write_bytes(gzip.compress(plain) if name.endswith(".gz") else plain)
    found = sample(str(path), str(DEMO / "model"))
    assert not found.is_whole
    assert found.documents == pytest.approx(len(texts), rel=0.1)
    assert found.is_tokenised
    whole = sample(str(write_jsonl(tmp_path / "few.jsonl", texts[:50])), None)
    assert whole.is_whole
    assert whole.documents == 50
    assert not whole.is_tokenised
