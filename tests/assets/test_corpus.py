"""The bundled text: long enough, split by piece, never repeating itself, as dense as real prose."""

import json
import lzma
import re
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[2] / "assets" / "demo" / "corpus"

# Measured once: 589,844 bytes of public-domain novels (paragraphs of 65 books, shuffled, five seeds),
# compressed with lzma preset 9, keep 0.341 of their size (0.340 to 0.342).
REAL_PROSE_RATIO = 0.341


def read(split: str) -> list[dict]:
    lines = (CORPUS / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def pieces() -> dict[tuple[str, int], str]:
    """Text of each piece, its paragraphs joined."""
    texts: dict[tuple[str, int], str] = {}
    for split in ("train", "test"):
        for row in read(split):
            key = (split, row["piece"])
            texts[key] = (texts.get(key, "") + "\n" + row["text"]).strip()
    return texts


def runs_in_two_pieces(texts: list[str], length: int) -> list[str]:
    """Every run of `length` words that occurs in more than one text."""
    seen: dict[tuple[str, ...], int] = {}
    shared = []
    for i, text in enumerate(texts):
        words = re.findall(r"[a-z0-9']+", text.lower())
        for k in range(len(words) - length + 1):
            run = tuple(words[k : k + length])
            if seen.setdefault(run, i) != i:
                shared.append(" ".join(run))
    return shared


def compressed_share(text: str) -> float:
    raw = text.encode()
    return len(lzma.compress(raw, preset=9)) / len(raw)


def test_sizes(pieces):
    assert len(pieces) >= 400
    assert sum(len(text.split()) for text in pieces.values()) >= 80_000
    assert len(read("train")) + len(read("test")) >= 1_500


def test_split_by_piece(pieces):
    train = {piece for split, piece in pieces if split == "train"}
    test = {piece for split, piece in pieces if split == "test"}
    assert train and test and not train & test


def test_no_run_of_eight_words_in_two_pieces(pieces):
    texts = list(pieces.values())
    assert runs_in_two_pieces(texts, 8) == []
    # The same check does find shared runs where there are some: shorter ones, and a planted one.
    assert runs_in_two_pieces(texts, 4)
    planted = " ".join(texts[0].split()[:8])
    assert runs_in_two_pieces([*texts, planted], 8)


def test_as_dense_as_real_prose(pieces):
    text = "\n".join(pieces.values())
    share = compressed_share(text)
    assert abs(share / REAL_PROSE_RATIO - 1) < 0.15, f"keeps {share:.3f} of its size"
    # Text from a generator would not pass: a tenth of the pieces, each said ten times.
    templated = "\n".join(list(pieces.values())[::10] * 10)
    assert abs(compressed_share(templated) / REAL_PROSE_RATIO - 1) > 0.15
