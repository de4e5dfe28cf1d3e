"""How much text a corpus holds, from its beginning and its size on disk: a look, not a survey."""

from __future__ import annotations

import itertools
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from explorer.core.errors import CallError, CorpusError
from precompute.corpus import documents
from precompute.estimates.shapes import config_path
from precompute.estimates.workload import CHARACTERS_A_TOKEN, CorpusSize

_SAMPLE_DOCUMENTS = 1000
_SAMPLE_CHARACTERS = 1 << 20
_HEAD = 1 << 22
"""Bytes of a compressed file that are unpacked to see by how much it was shrunk."""


@dataclass(frozen=True)
class Sample:
    """What the beginning of a corpus says of the whole."""

    documents: float
    """In the whole file; exact where the sample reached its end."""
    characters_a_document: float
    tokens_a_character: float
    is_whole: bool
    is_tokenised: bool
    """False where no tokenizer was at hand and English text was assumed."""

    @property
    def size(self) -> CorpusSize:
        characters = self.documents * self.characters_a_document
        return CorpusSize(self.documents, characters * self.tokens_a_character)


def _tokens_a_character(texts: list[str], model: str | None) -> float | None:
    """Measured with the model's own tokenizer; None where there is none on this machine."""
    path = config_path(model) if model else None
    tokenizer = path.parent / "tokenizer.json" if path else None
    if tokenizer is None or not tokenizer.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises nothing narrower
        raise CorpusError(f"{tokenizer} cannot be read; give --model a whole folder") from error
    sample = texts[:100]
    n = sum(len(e.ids) for e in backend.encode_batch(sample, add_special_tokens=False))
    return n / max(1, sum(map(len, sample)))


def _unpacked_bytes(path: Path) -> float:
    """Size of a file's content: its own, or for gzip its own times what its head was shrunk by."""
    size = path.stat().st_size
    if not path.name.lower().endswith(".gz"):
        return float(size)
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    try:
        unpacked = len(unpacker.decompress(head))
    except zlib.error as error:
        raise CorpusError(f"{path.name} is not a whole gzip file; make it again") from error
    return size * unpacked / max(1, len(head) - len(unpacker.unused_data))


def _n_rows(path: Path) -> int | None:
    """Rows of a parquet file, from its last bytes."""
    if not path.name.lower().endswith(".parquet"):
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{path.name} is not a readable parquet file; make it again") from error


def _bytes_a_document(texts: list[str], name: str) -> float:
    """As the file writes them: text, line ends, and in JSON lines the field's name and escapes."""
    import json

    if ".jsonl" in name.lower():
        written = sum(len(json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace"))
                      + 1 for text in texts)  # fmt: skip
    else:
        written = sum(len(text.encode("utf-8", "replace")) + 2 for text in texts)
    return written / max(1, len(texts))


def sample(source: str, model: str | None) -> Sample:
    """Look at the beginning of a local corpus. Raises CallError where there is none."""
    path = Path(os.path.expanduser(source))
    if not path.is_file():
        raise CallError(
            f"no corpus file at {source[:80] or '(empty)'} to measure; give --documents and "
            "--tokens-per-document"
        )
    texts: list[str] = []
    characters = 0
    reader = documents(source)
    for text in itertools.islice(reader, _SAMPLE_DOCUMENTS):
        texts.append(text)
        characters += len(text)
        if characters > _SAMPLE_CHARACTERS:
            break
    is_whole = next(reader, None) is None
    total = float(len(texts))
    if not is_whole:
        total = float(_n_rows(path) or _unpacked_bytes(path) / _bytes_a_document(texts, path.name))
    measured = _tokens_a_character(texts, model)
    return Sample(
        documents=total,
        characters_a_document=characters / max(1, len(texts)),
        tokens_a_character=measured or 1 / CHARACTERS_A_TOKEN,
        is_whole=is_whole,
        is_tokenised=measured is not None,
    )
