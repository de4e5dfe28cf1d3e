"""Token texts are texts inside a sentence; special strings and hostile bytes are plain text."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from explorer.core.errors import UnsupportedModelError
from explorer.core.tokenizer import TextTokenizer, bytes_to_text
from tests.conftest import END_OF_TEXT, N_PADDING_ROWS, N_TOKENS
from tests.core.conftest import Pair

ASCII = st.text(st.characters(max_codepoint=127), max_size=80)
ANY_TEXT = st.text(
    st.characters(codec=None) | st.sampled_from(["\ud83d", "\ude00", "\udfff", "\ufeff", "a", " "]),
    max_size=40,
).filter(lambda text: "<0x" not in text)
MANY = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="session")
def tokenizer(gpt2_pair: Pair) -> TextTokenizer:
    return gpt2_pair.model.tokenizer


@pytest.fixture(scope="session")
def texts(tokenizer: TextTokenizer) -> list[str]:
    return tokenizer.texts(N_TOKENS + N_PADDING_ROWS)


def without_lone_surrogates(text: str) -> str:
    """Halves that belong together joined, the others replaced by U+FFFD."""
    joined = re.sub(
        "([\ud800-\udbff])([\udc00-\udfff])",
        lambda m: chr(0x10000 + ((ord(m[1]) - 0xD800) << 10) + ord(m[2]) - 0xDC00),
        text,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def bytes_of(shown: str) -> bytes:
    """Undo `<0xE2>`: the bytes that token texts stand for, joined."""
    raw, rest = b"", shown
    while rest:
        if rest.startswith("<0x") and rest[5:6] == ">":
            raw, rest = raw + bytes([int(rest[3:5], 16)]), rest[6:]
        else:
            raw, rest = raw + rest[0].encode(), rest[1:]
    return raw


@MANY
@given(ASCII)
def test_texts_of_an_ascii_encoding_join_to_the_input(
    tokenizer: TextTokenizer, texts: list[str], text: str
) -> None:
    ids = tokenizer.encode(text)
    assert "".join(texts[i] for i in ids) == text
    assert tokenizer.bos_id not in ids


@MANY
@given(ANY_TEXT)
def test_texts_of_any_encoding_join_to_the_input_byte_by_byte(
    tokenizer: TextTokenizer, texts: list[str], text: str
) -> None:
    ids = tokenizer.encode(text)
    assert bytes_of("".join(texts[i] for i in ids)) == without_lone_surrogates(text).encode()
    assert (ids == []) == (text == "")


@pytest.mark.parametrize(
    "text",
    ["\x00", "a\x00b", "😀", "👩\u200d👩\u200d👧", "שלום עולם", "\u202e", "<script>alert(1)</script>",
     " ", "     ", "\n\n\n", "\r\n", "é", "e\u0301", "\ufffd", "\U0010ffff", "漢字"],
)  # fmt: skip
def test_hostile_texts_survive(tokenizer: TextTokenizer, texts: list[str], text: str) -> None:
    ids = tokenizer.encode(text)
    assert bytes_of("".join(texts[i] for i in ids)) == text.encode()
    assert all(texts[i] for i in ids)


def test_a_lone_surrogate_becomes_a_replacement_and_takes_nothing_along(
    tokenizer: TextTokenizer,
) -> None:
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("a\ud800b") != tokenizer.encode("ab")


def test_leading_spaces_and_case_are_kept(tokenizer: TextTokenizer, texts: list[str]) -> None:
    spaced = [text for text in texts if text.startswith(" ")]
    assert len(spaced) > 50
    assert " the" in spaced
    the = texts.index(" the")
    assert tokenizer.encode(" the") == [the]
    assert the not in tokenizer.encode("the")
    assert the not in tokenizer.encode(" The")


def test_no_clean_up(tokenizer: TextTokenizer, texts: list[str]) -> None:
    """Clean-up would join ` .` to `.` and ` n't` to `n't`."""
    for text in ("Well . So , no ?", "I do n't", "it 's"):
        assert "".join(texts[i] for i in tokenizer.encode(text)) == text


def test_bytes_that_are_no_whole_character_are_named(
    tokenizer: TextTokenizer, texts: list[str]
) -> None:
    """The Euro sign is three bytes; no merge for it was learned, so each is a token."""
    assert [texts[i] for i in tokenizer.encode("€")] == ["<0xE2>", "<0x82>", "<0xAC>"]
    single = [texts[i] for i in range(N_TOKENS) if len(bytes_of(texts[i])) == 1]
    ascii_bytes = {c for c in single if not c.startswith("<0x")}
    assert ascii_bytes >= set(string.printable)
    assert {f"<0x{byte:02X}>" for byte in range(0x80, 0x100)} <= set(single)


def test_special_strings_inside_a_text_are_plain_text(
    tokenizer: TextTokenizer, texts: list[str]
) -> None:
    ids = tokenizer.encode(f"one {END_OF_TEXT} two{END_OF_TEXT}")
    assert tokenizer.bos_id not in ids
    assert "".join(texts[i] for i in ids) == f"one {END_OF_TEXT} two{END_OF_TEXT}"
    # Control: the id exists, has that text, and is what BOS is.
    assert texts[tokenizer.bos_id] == END_OF_TEXT


def test_ids_past_the_vocabulary_have_no_text(texts: list[str]) -> None:
    assert texts[N_TOKENS:] == [""] * N_PADDING_ROWS
    assert all(texts[:N_TOKENS])


def test_texts_are_encoded_alike_alone_and_together(tokenizer: TextTokenizer) -> None:
    """No padding, no cutting, no BOS, whatever stands beside a text."""
    long = "a long way to go " * 200
    batch = ["", "go", long, " ", "😀"]
    assert tokenizer.encode_all(batch) == [tokenizer.encode(text) for text in batch]
    assert len(tokenizer.encode(long)) > 1000
    assert tokenizer.encode_all([]) == []


@given(st.binary(max_size=30))
def test_named_bytes_stand_for_the_bytes(raw: bytes) -> None:
    assume(b"<0x" not in raw)
    assert bytes_of(bytes_to_text(raw)) == raw


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_whole_characters_stand_for_themselves(text: str) -> None:
    assert bytes_to_text(text.encode()) == text


class _Bare:
    """A tokenizer object with what is given and nothing else."""

    def __init__(self, **have: object) -> None:
        self.__dict__.update(have)


def test_bos_else_eos_else_refused(gpt2_pair: Pair, tiny_tokenizer: object) -> None:
    backend = tiny_tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    make = lambda bos, eos: TextTokenizer(  # noqa: E731
        _Bare(backend_tokenizer=backend, bos_token_id=bos, eos_token_id=eos)
    )
    assert make(3, 4).bos_id == 3
    assert make(0, 4).bos_id == 0
    assert make(None, 4).bos_id == 4
    with pytest.raises(UnsupportedModelError, match="neither a BOS nor an EOS"):
        make(None, None)
    with pytest.raises(UnsupportedModelError, match="no fast tokenizer"):
        TextTokenizer(_Bare(bos_token_id=1, eos_token_id=1))
