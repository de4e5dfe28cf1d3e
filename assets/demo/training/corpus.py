"""Text files in; a tokenizer and one stream of tokens out."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from jaxtyping import Int
from settings import CallError, Settings, TrainingError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

END_OF_TEXT = "<|endoftext|>"
"""The only special token, id 0: it opens a row, closes a text and pads."""

END_OF_TEXT_ID = 0

HELD_OUT_SHARE = 0.01
"""The last of the text, never trained on: the held-out loss is measured there."""

PLAIN = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": "--",
        "\u2026": "...",
        "\ufeff": None,
    }
)
"""Curly quotes, dashes and ellipses made plain, byte-order marks dropped: they waste tokens."""

PIECE_CHARS = 100_000
PIECES_AT_ONCE = 64
"""How much text the tokenizer is handed at a time, so that memory stays flat."""


@dataclass(frozen=True)
class Corpus:
    """A stream of tokens, split once: what is trained on, and the last of it, held out."""

    train: Int[Tensor, " n_train"]
    held_out: Int[Tensor, " n_held"]
    n_texts: int
    n_chars: int


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The texts of all files: a plain file is one text, a line of a .jsonl file another.

    A name ending in .gz is unpacked first.
    """
    texts = [text for path in paths for text in _texts_of(path) if text.strip()]
    if not texts:
        names = ", ".join(str(path) for path in paths)
        raise TrainingError(f"no text in {names}: give a file with something to learn from")
    return texts


def _texts_of(path: Path) -> list[str]:
    if not path.is_file():
        raise CallError(f"{path} is not a file: check the path after --text")
    packed = path.suffix == ".gz"
    inner = path.with_suffix("") if packed else path
    opener = gzip.open if packed else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            texts = list(_json_texts(path, file)) if inner.suffix == ".jsonl" else [file.read()]
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not UTF-8 text: convert it first, as with iconv") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TrainingError(f"{path} is no sound gzip file ({error}): fetch it again") from error
    except OSError as error:
        raise TrainingError(f"cannot read {path} ({error.strerror}): mend that first") from error
    return [text.translate(PLAIN) for text in texts]


def _json_texts(path: Path, lines: TextIO) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TrainingError(f"{path}, line {number}, is not JSON: mend it") from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise TrainingError(f'{path}, line {number}, needs a string "text": add it')
        yield record["text"]


def train_tokenizer(texts: Sequence[str], vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer with exactly `vocab` tokens; END_OF_TEXT is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_pieces(texts), trainer)
    possible = tokenizer.get_vocab_size()
    if possible < vocab:
        raise CallError(
            f"--vocab {vocab} is more than this text can fill: give --vocab {possible} or less, "
            "or more text"
        )
    return tokenizer


def encode(texts: Sequence[str], tokenizer: Tokenizer, settings: Settings) -> Corpus:
    """All texts as one stream, END_OF_TEXT after each, with the last HELD_OUT_SHARE split off."""
    ids: list[Tensor] = []
    for text in texts:
        pieces = list(_pieces([text]))
        for start in range(0, len(pieces), PIECES_AT_ONCE):
            for piece in tokenizer.encode_batch(pieces[start : start + PIECES_AT_ONCE]):
                ids.append(torch.tensor(piece.ids, dtype=torch.int32))
        ids.append(torch.tensor([END_OF_TEXT_ID], dtype=torch.int32))
    stream = torch.cat(ids)
    n_held = int(len(stream) * HELD_OUT_SHARE)
    if n_held < settings.context:
        need = round(settings.context / HELD_OUT_SHARE)
        raise TrainingError(
            f"the text has {len(stream):,} tokens, too few to hold out a row of "
            f"{settings.context}: give text of {need:,} tokens or more, or a smaller --context"
        )
    return Corpus(stream[:-n_held], stream[-n_held:], len(texts), sum(map(len, texts)))


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    """The texts in pieces of PIECE_CHARS or more, cut after a line end where there is one."""
    for text in texts:
        start = 0
        while start < len(text):
            line_end = text.find("\n", start + PIECE_CHARS)
            stop = len(text) if line_end < 0 else line_end + 1
            yield text[start:stop]
            start = stop
