"""Memory does not grow with the corpus, and a document that could not be held is refused."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from explorer.core.errors import CorpusError
from precompute import corpus
from tests.sizes import SOAK

ROOT = Path(__file__).parents[2]
_MEASURE = """
import sys, tracemalloc
from precompute import corpus
import json, gzip, codecs, encodings.utf_8
list(corpus.shards(sys.argv[2]))  # what is loaded once
tracemalloc.start()
found = corpus.survey(sys.argv[1])
n = sum(len(texts) for _, texts in corpus.shards(sys.argv[1]))
print(found.n_documents, n, found.n_characters, tracemalloc.get_traced_memory()[1])
"""


def write_gz(path: Path, n_documents: int) -> Path:
    line = b'{"text": "' + b"a word and another " * 300 + b'"}\n'
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(n_documents // 100):
            stream.write(line * 100)
    return path


def peak_bytes(path: Path, small: Path) -> tuple[int, int]:
    """Characters of a corpus, and the most memory that surveying and cutting it takes."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path), str(small)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    n, again, characters, peak = map(int, done.stdout.split())
    assert n == again
    return characters, peak


@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    small = write_gz(tmp_path / "small.jsonl.gz", 500)
    large = write_gz(tmp_path / "large.jsonl.gz", 200_000 if SOAK else 10_000)
    few, peak_of_few = peak_bytes(small, small)
    many, peak_of_many = peak_bytes(large, small)
    assert many >= 20 * few
    assert peak_of_many < 1.2 * peak_of_few + (1 << 20)
    # Control: holding the texts, as a list does, would show.
    assert many > 2 * peak_of_many


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    path = write_gz(tmp_path / "x.jsonl.gz", 300)
    told: list[int] = []
    corpus.survey(str(path), told.append)
    assert sum(told) == corpus.size_on_disk(str(path)) == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("line.txt", b"ab " * 400),
        ("lines.txt", b"a line of text\n" * 90),
        ("row.jsonl", b'{"text": "' + b"ab " * 400 + b'"}\n'),
        ("row.jsonl.gz", gzip.compress(b'{"text": "' + b"ab " * 400 + b'"}\n')),
    ],
)
def test_a_document_that_could_not_be_held_is_refused(
    name: str, raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    assert corpus.survey(str(path)).n_documents == 1  # control: as it is, it is read
    monkeypatch.setattr(corpus, "MAX_DOCUMENT_BYTES", 1000)
    with pytest.raises(CorpusError, match=r"larger than 1,000 bytes; cut it"):
        corpus.survey(str(path))


def test_a_gzipped_parquet_file_is_unpacked_to_disk(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"document {i}" for i in range(3000)]
    pq.write_table(pa.table({"text": texts, "other": texts}), tmp_path / "x.parquet")
    packed = tmp_path / "x.parquet.gz"
    packed.write_bytes(gzip.compress((tmp_path / "x.parquet").read_bytes()))
    assert list(corpus.documents(str(packed))) == texts
