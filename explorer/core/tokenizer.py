"""A model's tokenizer as the store needs it: plain text in, ids out, and every token's own text.

Special-token strings inside a text are plain text. A token's text is its text inside a sentence:
the leading space kept, no clean-up; bytes that are no whole character read `<0xE2>`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from explorer.core.errors import UnsupportedModelError
from explorer.core.types import without_lone_surrogates


def _byte_alphabet() -> dict[str, int]:
    """The printable alphabet of byte-level BPE: which character stands for which byte.

    Printable Latin-1 bytes stand for themselves; the other bytes, in order, are shifted to 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_alphabet()


def bytes_to_text(raw: bytes) -> str:
    """UTF-8 with every byte that is part of no whole character as `<0xE2>`."""
    parts: list[str] = []
    while raw:
        try:
            parts.append(raw.decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            parts.append(raw[: error.start].decode("utf-8"))
            parts += [f"<0x{byte:02X}>" for byte in raw[error.start : error.end]]
            raw = raw[error.end :]
    return "".join(parts)


class TextTokenizer:
    """Wraps a fast tokenizer. `bos_id` is put before every sequence that the model sees."""

    def __init__(self, hf_tokenizer: Any) -> None:
        backend = getattr(hf_tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UnsupportedModelError(
                "the model has no fast tokenizer (tokenizer.json); choose a model that has one"
            )
        bos = hf_tokenizer.bos_token_id
        bos = hf_tokenizer.eos_token_id if bos is None else bos
        if bos is None:
            raise UnsupportedModelError(
                "the model's tokenizer has neither a BOS nor an EOS token; choose a model with one"
            )
        self.bos_id = int(bos)
        self._backend = backend
        self._backend.encode_special_tokens = True
        self._backend.no_truncation()
        self._backend.no_padding()

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without BOS. Lone surrogates become the replacement character."""
        clean = [without_lone_surrogates(text) for text in texts]
        return [e.ids for e in self._backend.encode_batch_fast(clean, add_special_tokens=False)]

    def encode(self, text: str) -> list[int]:
        return self.encode_all([text])[0]

    @property
    def n_ids(self) -> int:
        """One more than the largest id that a sequence can hold."""
        added = self._backend.get_added_tokens_decoder()
        never = {i for i, token in added.items() if token.special} - {self.bos_id}
        return 1 + max({*self._backend.get_vocab().values(), self.bos_id} - never)

    @cached_property
    def _is_byte_level(self) -> bool:
        decoder = json.loads(self._backend.to_str()).get("decoder") or {}
        stages = decoder.get("decoders", [decoder])
        return any(stage.get("type") == "ByteLevel" for stage in stages)

    def _text_of(self, token: str, is_added: bool) -> str:
        if is_added:
            return token
        if self._is_byte_level and all(c in _BYTES for c in token):
            return bytes_to_text(bytes(_BYTES[c] for c in token))
        return token.replace("▁", " ")

    def texts(self, d_vocab: int) -> list[str]:
        """The text of each of `d_vocab` ids; empty past the tokenizer's vocabulary."""
        vocabulary = {i: token for token, i in self._backend.get_vocab().items()}
        added = set(self._backend.get_added_tokens_decoder())
        return [
            self._text_of(vocabulary[i], i in added) if i in vocabulary else ""
            for i in range(d_vocab)
        ]
