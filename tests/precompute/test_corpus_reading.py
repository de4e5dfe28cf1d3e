"""Corpora: the same documents are the same corpus in every format; odd ones are read; broken files
are refused with the place where they break."""

from __future__ import annotations

import gzip
import json
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explorer.core.errors import CallError, CorpusError
from precompute.corpus import documents, shards, survey
from tests.precompute.calling import write_jsonl

TEXTS = ["One line.", "Two\nlines, naïve 🙂.", "  kept indent", "One line.", "<|endoftext|>", "end"]


def write_txt(path: Path, texts: list[str]) -> Path:
    path.write_bytes("\n\n".join(texts).encode())
    return path


def write_parquet(path: Path, texts: list[str | None]) -> Path:
    pq.write_table(pa.table({"n": range(len(texts)), "text": texts}), path, row_group_size=2)
    return path


WRITERS: dict[str, Callable[[Path, list[str]], Path]] = {
    ".txt": write_txt,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,  # type: ignore[dict-item]
}


def zipped(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


@pytest.mark.parametrize("is_zipped", [False, True])
@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_gives_the_same_documents(
    tmp_path: Path, ending: str, is_zipped: bool
) -> None:
    path = WRITERS[ending](tmp_path / f"a{ending}", TEXTS)
    path = zipped(path) if is_zipped else path
    assert list(documents(str(path))) == TEXTS
    assert survey(str(path)) == survey(str(write_jsonl(tmp_path / "plain.jsonl", TEXTS)))
    assert [(first, texts) for first, texts in shards(str(path), max_documents=4)] == [
        (0, TEXTS[:4]), (4, TEXTS[4:])
    ]  # fmt: skip


@pytest.mark.parametrize("changed", [TEXTS[::-1], [*TEXTS, ""], ["One", " line.", *TEXTS[1:]]])
def test_other_documents_are_another_corpus(tmp_path: Path, changed: list[str]) -> None:
    same = survey(str(write_jsonl(tmp_path / "same.jsonl", list(TEXTS))))
    other = survey(str(write_jsonl(tmp_path / "other.jsonl", changed)))
    assert same == survey(str(write_jsonl(tmp_path / "again.jsonl", TEXTS)))
    assert same.sha256 != other.sha256


def test_blank_lines_part_the_documents_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n \t\r\n\xef\xbb\xbfnot first\r\nsecond line  \r\n\r\n\n\n\nb\n   \nc")
    assert list(documents(str(path))) == ["\ufeffnot first\nsecond line  ", "b", "c"]


@pytest.mark.parametrize("ending", [".txt", ".jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, ending: str) -> None:
    path = WRITERS[ending](tmp_path / f"a{ending}", TEXTS)
    expected = survey(str(path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert survey(str(path)) == expected


def test_empty_documents_count_in_ids_and_duplicates_stay(tmp_path: Path) -> None:
    texts = ["", "a", "", "a", ""]
    jsonl = write_jsonl(tmp_path / "a.jsonl", texts)
    jsonl.write_text(jsonl.read_text().replace("\n", "\n\n"))  # empty lines are no documents
    parquet = write_parquet(tmp_path / "a.parquet", [None, "a", "", "a", None])
    assert list(documents(str(jsonl))) == list(documents(str(parquet))) == texts
    assert survey(str(jsonl)) == survey(str(parquet))
    assert (survey(str(jsonl)).n_documents, survey(str(jsonl)).n_characters) == (5, 2)


def test_bytes_that_are_not_utf8_are_replaced_and_counted_by_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    good = "an author's own \ufffd".encode()  # the control: U+FFFD that the file really holds
    path.write_bytes(b"caf\xe9 \xff\n\n" + good + b"\n\n\xff\n\xfe\n\nfine")
    assert next(documents(str(path))) == "caf\ufffd \ufffd"
    assert (survey(str(path)).n_documents, survey(str(path)).n_replaced) == (4, 2)
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b'{"text": "caf\xe9"}\n{"text": "' + good + b'"}\n{"text": "half \\ud83d"}\n')
    assert survey(str(lines)).n_replaced == 2


def test_odd_texts_come_through_unchanged(tmp_path: Path) -> None:
    odd = [
        "a\0b",
        "<script>alert(1)</script>",
        "   ",
        "🙂👩‍👩‍👧",
        "שלום עולם",
        "\u202eabc",
        "x" * 200_000,
    ]
    odd += ["\x1b[31mred\x1b[0m", "[bold]no markup[/bold]", "\ud83d\ude00 whole pair"]
    path = write_jsonl(tmp_path / "a.jsonl", odd)
    whole = [text.encode("utf-16", "surrogatepass").decode("utf-16") for text in odd]
    assert list(documents(str(path))) == whole
    assert survey(str(path)).n_replaced == 0


def test_shards_are_cut_by_count_and_size_and_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = ["x" * rng.choice([0, 1, 9, 30]) for _ in range(200)]
    path = str(write_jsonl(tmp_path / "a.jsonl", texts))
    parts = list(shards(path, max_documents=7, max_characters=40))
    assert [text for _, part in parts for text in part] == texts
    assert [first for first, _ in parts] == [
        sum(len(part) for _, part in parts[:i]) for i in range(len(parts))
    ]
    assert all(len(part) <= 7 for _, part in parts)
    assert all(sum(map(len, part)) <= 40 for _, part in parts)
    assert any(len(part) == 7 for _, part in parts)
    assert any(len(part) < 7 for _, part in parts[:-1])  # size cut some
    huge = str(write_jsonl(tmp_path / "b.jsonl", ["a", "x" * 100, "b"]))
    assert [len(part) for _, part in shards(huge, max_characters=40)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"\n', ["a.jsonl", "line 3", "not JSON"]),
        ("a.jsonl", b"[" * 100_000, ["line 1", "not JSON"]),
        ("a.jsonl", b'{"text": "a"}\n{"words": "b"}\n', ["line 2", '"text"']),
        ("a.jsonl", b'{"text": 5}\n', ["line 1", '"text"']),
        ("a.jsonl", b'["text"]\n', ["line 1", '"text"']),
        ("a.jsonl.gz", b'{"text": "a"}\n', ["a.jsonl.gz", "gzip"]),
        ("a.txt.gz", gzip.compress(b"word " * 9999)[:-20], ["a.txt.gz", "gzip"]),
        ("a.txt.gz", gzip.compress(b"word " * 9999)[:30] + b"\0" * 40, ["a.txt.gz", "gzip"]),
        ("a.parquet", b"", ["a.parquet", "parquet"]),
        ("a.parquet", b"PAR1 this is none PAR1", ["a.parquet", "parquet"]),
        ("a.parquet.gz", gzip.compress(b"none"), ["a.parquet.gz", "parquet"]),
        ("a.parquet.gz", b"none", ["a.parquet.gz", "gzip"]),
    ],
)
def test_a_broken_file_is_refused_with_the_place(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        survey(str(tmp_path / name))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"words": ["a"]}), "no column called text"),
        (pa.table({"text": [1, 2]}), "int64"),
        (pa.table({"text": [b"a"]}), "binary"),
    ],
)
def test_a_parquet_file_needs_a_column_of_texts(
    tmp_path: Path, table: pa.Table, words: str
) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=words):
        survey(str(tmp_path / "a.parquet"))
    kinds = [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string()]
    for kind in kinds:  # the control: every kind of text column is read
        pq.write_table(pa.table({"text": pa.array(["a", None], kind)}), tmp_path / "b.parquet")
        assert list(documents(str(tmp_path / "b.parquet"))) == ["a", ""]


@pytest.mark.parametrize("name", ["missing.txt", "missing", "", "a.csv", "a.gz", "folder"])
def test_what_is_no_corpus_is_a_mistake_in_the_call(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(CallError):
        survey(str(tmp_path / name) if name else "")


class NotFound(FileNotFoundError):
    """What the hub's library raises for a name that it does not have."""


def fake_hub(monkeypatch: pytest.MonkeyPatch, load: Callable[..., object]) -> None:
    """A hub with one data set, in place of the library that would reach for the network."""
    hub = types.ModuleType("datasets")
    errors = types.ModuleType("datasets.exceptions")
    hub.load_dataset = load  # type: ignore[attr-defined]
    errors.DatasetsError = type("DatasetsError", (Exception,), {})  # type: ignore[attr-defined]
    errors.DatasetNotFoundError = NotFound  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", hub)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", errors)


def test_a_hub_data_set_is_streamed_like_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def load(name: str, **options: object) -> list[dict[str, str]]:
        asked.append((name, options))
        return [{"text": text, "meta": "x"} for text in TEXTS]

    fake_hub(monkeypatch, load)
    expected = survey(str(write_jsonl(tmp_path / "a.jsonl", TEXTS)))
    assert survey("NeelNanda/pile-10k") == expected
    assert asked == [("NeelNanda/pile-10k", {"split": "train", "streaming": True})]


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (NotFound("no such data set"), CallError, "no hub data set called a/b"),
        (ConnectionError("no network\nmore"), CorpusError, "network"),
    ],
)
def test_a_hub_name_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception], words: str
) -> None:
    def load(name: str, **options: object) -> None:
        raise error

    fake_hub(monkeypatch, load)
    with pytest.raises(expected, match=words) as caught:
        survey("a/b")
    assert "\n" not in str(caught.value)


def test_a_hub_data_set_without_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, lambda name, **options: [json.loads('{"words": "a"}')])
    with pytest.raises(CorpusError, match="no text column"):
        survey("a/b")
