"""Replies on disk: what was appended is there after any kill, what was torn is not taken for a reply."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from precompute.explainers.openai_replies import Reply
from precompute.explainers.reply_log import ReplyLog, request_key

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "é 🙂 \n"}], "temperature": 0}


def reply(text: str) -> Reply:
    return Reply(text, len(text), "", "stop", 3, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "replies.jsonl"
    log = ReplyLog(path)
    for i in range(3):
        log.append(f"k{i}", REQUEST, reply(f"reply {i}\n</script>"))
    return path


def test_replies_are_found_again_by_their_key(path: Path) -> None:
    log = ReplyLog(path)
    assert (len(log), log.n_torn) == (3, 0)
    assert [log.get(f"k{i}") for i in range(3)] == [
        reply(f"reply {i}\n</script>") for i in range(3)
    ]
    assert log.get("k3") is None
    assert [json.loads(line)["request"] for line in path.read_text().splitlines()] == [REQUEST] * 3


def test_a_file_torn_at_any_byte_loses_its_last_line_alone(path: Path) -> None:
    raw = path.read_bytes()
    second = raw.index(b"\n", raw.index(b"\n") + 1) + 1
    for end in range(second + 1, len(raw) - 1):
        path.write_bytes(raw[:end])
        log = ReplyLog(path)
        assert (len(log), log.n_torn) == (2, 1)
    log.append("k3", REQUEST, reply("after"))  # begins a line of its own
    again = ReplyLog(path)
    assert [again.get(f"k{i}") is not None for i in range(4)] == [True, True, False, True]
    path.write_bytes(raw[:-1])  # all but the line end: the reply is whole
    log = ReplyLog(path)
    assert (len(log), log.n_torn) == (3, 0)
    log.append("k3", REQUEST, reply("after"))
    assert len(ReplyLog(path)) == 4


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"{}", b"[]", b"7", b'{"key": "a"}', b"[" * 9000, b"\0" * 40]
)
def test_lines_that_are_no_reply_are_counted_and_passed_over(path: Path, line: bytes) -> None:
    path.write_bytes(line + b"\n" + path.read_bytes())
    log = ReplyLog(path)
    assert (len(log), log.n_torn) == (3, 1)


def test_a_reply_is_on_disk_before_it_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    log = ReplyLog(path)
    log.append("k3", REQUEST, reply("new"))
    assert synced == [path.stat().st_size]


def test_a_disk_that_cannot_take_a_reply_says_so_and_harms_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    log = ReplyLog(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            log.append("k3", REQUEST, reply("lost"))
    assert log.get("k3") is None
    log.append("k4", REQUEST, reply("kept"))
    again = ReplyLog(path)
    assert again.get("k4") == reply("kept")
    assert again.get("k0") is not None


def test_a_key_is_of_all_that_was_asked_and_where() -> None:
    base = request_key("http://here/v1", REQUEST)
    assert request_key("http://here/v1", dict(reversed(REQUEST.items()))) == base
    others = [
        request_key("http://there/v1", REQUEST),
        request_key("http://here/v1", {**REQUEST, "model": "n"}),
        request_key("http://here/v1", {**REQUEST, "temperature": 1}),
        request_key("http://here/v1", {**REQUEST, "messages": []}),
    ]
    assert len({base, *others}) == 5
    assert len(base) == 64
