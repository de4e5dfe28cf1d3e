"""Corpora as streams of documents: `.txt`, `.jsonl`, `.parquet`, gzipped or not, or a hub data set.

A document's id is its place in the file from 0, empty ones included, duplicates kept. Nothing here
holds more of a corpus than a few documents. Bytes that are not UTF-8 become the replacement character
and are counted.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from explorer.core.errors import CallError, CorpusError, first_line
from precompute.cutting import CHARACTERS_A_SHARD, DOCUMENTS_A_SHARD

_ENDINGS = (".txt", ".jsonl", ".parquet")
MAX_DOCUMENT_BYTES = 64 << 20
"""A document is held whole; a larger one is refused, since memory must not grow with the corpus."""

Document = tuple[str, bool]
"""A document's text, and whether bytes of it were not UTF-8 and had to be replaced."""


@dataclass(frozen=True)
class Survey:
    """What one pass over a corpus found."""

    n_documents: int
    n_characters: int
    n_replaced: int
    """Documents with bytes that are not UTF-8."""
    sha256: str
    """Over all documents' texts, in order: the same text is the same corpus, gzipped or not."""


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    kind = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
    if kind is None:
        raise CallError(
            f"{path.name} is no corpus that can be read; give a .txt, .jsonl or .parquet file "
            "(gzipped or not)"
        )
    return kind


class _Counted(io.FileIO):
    """A file that tells how many of its bytes are read, as they lie on disk."""

    def __init__(self, path: Path, told: Callable[[int], object]) -> None:
        super().__init__(path)
        self._told = told

    def readinto(self, buffer: Any, /) -> int | None:
        n = super().readinto(buffer)
        self._told(n or 0)
        return n


@contextmanager
def _opened(path: Path, told: Callable[[int], object]) -> Iterator[IO[bytes]]:
    with io.BufferedReader(_Counted(path, told), 1 << 20) as raw:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            yield raw


def _decoded(raw: bytes) -> tuple[str, bool]:
    """The text, and whether bytes that are not UTF-8 were replaced (a U+FFFD may be the author's)."""
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), True


def _too_large(path: Path, number: int) -> CorpusError:
    return CorpusError(
        f"{path.name}: the document at line {number} is larger than {MAX_DOCUMENT_BYTES:,} bytes; cut it "
        "into several (in a .txt file with blank lines)"
    )


def _lines(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file, without the byte order mark that some editors write first; none is held
    that is larger than a document may be."""
    number = 0
    while raw := stream.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise _too_large(path, number)
        yield raw if number > 1 else raw.removeprefix(codecs.BOM_UTF8)


def _text_documents(stream: IO[bytes], path: Path) -> Iterator[Document]:
    lines: list[str] = []
    was_replaced, size = False, 0
    for number, raw in enumerate(_lines(stream, path), 1):
        text, is_bad = _decoded(raw)
        line = text.rstrip("\r\n")
        if line.strip():
            lines.append(line)
            was_replaced |= is_bad
            size += len(raw)
            if size > MAX_DOCUMENT_BYTES:
                raise _too_large(path, number)
        elif lines:
            yield "\n".join(lines), was_replaced
            lines, was_replaced, size = [], False, 0
    if lines:
        yield "\n".join(lines), was_replaced


def _jsonl_documents(stream: IO[bytes], path: Path) -> Iterator[Document]:
    for number, raw in enumerate(_lines(stream, path), 1):
        if not raw.strip():
            continue
        line, was_replaced = _decoded(raw)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{path.name}, line {number} is not JSON; mend or remove it"
            ) from error
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise CorpusError(
                f'{path.name}, line {number} has no text field "text"; add it or remove it'
            )
        yield text, was_replaced


def _parquet_documents(stream: IO[bytes], path: Path) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = _unpacked(stream) if isinstance(stream, gzip.GzipFile) else stream
    try:
        parquet = pq.ParquetFile(source, buffer_size=1 << 20)
        if "text" not in parquet.schema_arrow.names:
            raise CorpusError(
                f"{path.name} has no column called text; rename the one that holds it"
            )
        for batch in parquet.iter_batches(batch_size=1024, columns=["text"]):
            for text in batch.column(0).to_pylist():
                if not isinstance(text, str | None):
                    raise CorpusError(
                        f"{path.name}: its column text holds {batch.schema.field(0).type}; make it "
                        "one of strings"
                    )
                yield text or "", False
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path.name} is not a readable parquet file; make it again") from error


def _unpacked(stream: IO[bytes]) -> IO[bytes]:
    """A whole unpacked file on disk, gone when closed: parquet is read from its end."""
    found = tempfile.TemporaryFile()  # noqa: SIM115 closed with its last reader
    shutil.copyfileobj(stream, found, 1 << 20)
    found.seek(0)
    return found


_READERS: dict[str, Callable[[IO[bytes], Path], Iterator[Document]]] = {
    ".txt": _text_documents, ".jsonl": _jsonl_documents, ".parquet": _parquet_documents,
}  # fmt: skip


def _hub_documents(name: str) -> Iterator[Document]:
    """Documents of a hub data set's train split, streamed."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        rows = load_dataset(name, split="train", streaming=True)
        for row in rows:
            text = row.get("text")
            if not isinstance(text, str):
                raise CorpusError(
                    f"the data set {name} has no text column called text; choose another"
                )
            yield text, False
    except DatasetNotFoundError as error:
        raise CallError(
            f"no file and no hub data set called {name}; give a file or a hub data set name"
        ) from error
    except (DatasetsError, HfHubHTTPError, OSError, ValueError) as error:
        reason = first_line(error, 200)
        raise CorpusError(
            f"no file and no reachable hub data set called {name} ({reason}); check the name and the "
            "network, or give a local file"
        ) from error


def _is_hub_name(source: str) -> bool:
    return (
        source.count("/") <= 1
        and not source.startswith((".", "/", "~"))
        and not source.lower().removesuffix(".gz").endswith(_ENDINGS)
    )


def _read(source: str, told: Callable[[int], object] = lambda n: None) -> Iterator[Document]:
    """The documents of a corpus, in order; `told` hears of each piece of the file that is read, in bytes
    as they lie on disk. Raises CallError where there is none."""
    path = Path(os.path.expanduser(source))
    if not path.is_file():
        if source.strip() and _is_hub_name(source) and not path.exists():
            yield from _hub_documents(source)
            return
        raise CallError(
            f"no corpus file at {source or '(empty)'}; give a file or a hub data set name"
        )
    kind = _kind(path)
    try:
        with _opened(path, told) as stream:
            yield from _READERS[kind](stream, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{path.name} is not a whole gzip file; make it again") from error
    except PermissionError as error:
        raise CallError(f"{path} cannot be read; check its permissions") from error


def documents(source: str) -> Iterator[str]:
    """The texts of a corpus, in order. Raises CallError where there is none."""
    return (text for text, _ in _read(source))


def size_on_disk(source: str) -> int:
    """Bytes of a corpus file; 0 for a hub data set, whose size is not known."""
    path = Path(os.path.expanduser(source))
    return path.stat().st_size if path.is_file() else 0


def survey(source: str, told: Callable[[int], object] = lambda n: None) -> Survey:
    """Count and fingerprint a corpus in one streamed pass; finds unreadable parts before any work.

    `told` hears of progress, in bytes of the file.
    """
    digest = hashlib.sha256()
    n_documents = n_characters = n_replaced = 0
    for text, was_replaced in _read(source, told):
        n_documents += 1
        n_characters += len(text)
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError:  # half a character, written out in a .jsonl file
            raw, was_replaced = text.encode("utf-8", "surrogatepass"), True
        n_replaced += was_replaced
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return Survey(n_documents, n_characters, n_replaced, digest.hexdigest())


def shards(
    source: str,
    max_documents: int = DOCUMENTS_A_SHARD,
    max_characters: int = CHARACTERS_A_SHARD,
) -> Iterator[tuple[int, list[str]]]:
    """Consecutive documents as (first doc_id, texts); cut by count and size, so that a shard's
    bounds depend on the corpus alone."""
    first, texts, size = 0, [], 0
    for doc_id, text in enumerate(documents(source)):
        if texts and (len(texts) >= max_documents or size + len(text) > max_characters):
            yield first, texts
            first, texts, size = doc_id, [], 0
        texts.append(text)
        size += len(text)
    if texts:
        yield first, texts
