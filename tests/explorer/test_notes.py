"""Notes: kept beside the store, whole under two writers, harmless whatever they hold."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.runs import list_runs
from explorer.core.types import HeadId, NeuronId
from explorer.resources import notes_file
from explorer.resources.notes_file import (
    Note,
    NotesError,
    notes_json,
    notes_markdown,
    notes_path,
    notes_table,
    read_notes,
    save_note,
)
from tests.explorer.page_reader import html_of, open_page
from tests.explorer.seeded import write_seeded_store

NEURON, HEAD = NeuronId(5, 7), HeadId(1, 2)
HOSTILE = "<script>alert(1)</script> [a](javascript:b) `x` *y*\n# z"


@pytest.fixture()
def path(tmp_path: Path) -> Path:
    return notes_path(tmp_path / "run.duckdb")


def test_what_is_written_is_read_by_others(path: Path) -> None:
    save_note(path, NEURON, " fires after *did* ", True, Note())
    save_note(path, HEAD, HOSTILE, False, Note())
    found = read_notes(path)
    assert (found[NEURON].text, found[NEURON].star) == ("fires after *did*", True)
    assert (found[HEAD].text, found[HEAD].star) == (HOSTILE, False)
    assert [p.name for p in path.parent.iterdir()] == ["run.notes.json"], "nothing is left behind"


def test_a_note_without_text_and_star_is_taken_away(path: Path) -> None:
    note = save_note(path, NEURON, "x", False, Note())
    assert save_note(path, NEURON, "", False, note).empty
    assert read_notes(path) == {}


def test_two_sessions_keep_each_others_words(path: Path) -> None:
    first = save_note(path, NEURON, "first", False, Note())
    save_note(path, NEURON, "first, then theirs", False, first)
    save_note(path, HEAD, "another", False, Note())
    mine = save_note(path, NEURON, "mine", True, first)
    assert mine.text == "first, then theirs\n\nmine"
    assert read_notes(path)[HEAD].text == "another"
    alone = save_note(path, NEURON, "mine alone", True, mine)
    assert alone.text == "mine alone", "who saw the last state replaces it"


def test_a_star_set_meanwhile_keeps_the_others_text(path: Path) -> None:
    first = save_note(path, NEURON, "first", False, Note())
    save_note(path, NEURON, "changed", False, first)
    assert save_note(path, NEURON, "first", True, first).text == "changed"


def test_many_writers_at_once_lose_nothing(path: Path) -> None:
    def write(layer: int) -> None:
        for index in range(5):
            save_note(path, NeuronId(layer, index), f"{layer} {index}", False, Note())

    threads = [threading.Thread(target=write, args=(layer,)) for layer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {str(unit) for unit in read_notes(path)} == {
        f"L{layer}N{index}" for layer in range(4) for index in range(5)
    }


@pytest.mark.parametrize(
    "content",
    ["", "junk", "[]", "{}", '{"format": 2, "notes": {}}', '{"format": 1, "notes": {"x": {}}}',
     '{"format": 1, "notes": {"L1N2": {"text": 1, "star": true, "changed": ""}}}', "[" * 100_000],
)  # fmt: skip
def test_a_file_that_is_none_is_said_and_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(NotesError, match="is no file of notes"):
        read_notes(path)
    with pytest.raises(NotesError, match="left alone"):
        save_note(path, NEURON, "x", False, Note())
    assert path.read_text() == content


def test_a_failure_while_writing_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_note(path, NEURON, "old", False, Note())
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notes_file.os, "replace", full)
    with pytest.raises(NotesError, match="No space left"):
        save_note(path, HEAD, "new", False, Note())
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_notes_are_no_run(tmp_path: Path) -> None:
    store = write_seeded_store(tmp_path)
    save_note(notes_path(store), NEURON, "x", True, Note())
    runs = list_runs(tmp_path)
    assert [run.run_id for run in runs.runs] == ["seeded"]
    assert runs.unreadable == ()


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from([NEURON, HEAD, NeuronId(4, 3)]),
                       st.builds(Note, st.text(max_size=40), st.booleans(), st.just("t"))))  # fmt: skip
def test_exports_hold_every_note(notes: dict) -> None:
    table = notes_table(notes)
    assert dict(zip(table["what"], table["text"], strict=True)) == {
        str(unit): note.text for unit, note in notes.items()
    }
    assert table["star"].tolist() == sorted(table["star"], reverse=True)
    rows = json.loads(notes_json("run", notes))["notes"]
    assert {row["what"]: row["star"] for row in rows} == {str(u): n.star for u, n in notes.items()}


def test_markdown_reads_no_markup_in_a_note() -> None:
    text = notes_markdown("run", {NEURON: Note(HOSTILE, True)}).decode()
    assert "## ★ L5 N7" in text
    assert "<script>" not in text.replace("\\<script", "")
    assert "[a](" not in text
    assert "\n# z" not in text


# --- the menu -----------------------------------------------------------------------------------


@pytest.fixture()
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_seeded_store(tmp_path)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    return tmp_path


def _opened(**query: str):
    at = open_page("neuron", **query)
    at.session_state["nt-notes"] = True
    return at.run()


def test_a_note_is_written_from_the_page_and_shown_escaped(run_folder: Path) -> None:
    at = _opened(neuron="L5N7")
    at.text_area(key="note-seeded-L5N7-text").set_value(HOSTILE).run()
    at.checkbox(key="note-seeded-L5N7-star").check().run()
    assert not at.exception
    found = read_notes(run_folder / "seeded.notes.json")
    assert found[NEURON].text == HOSTILE
    assert found[NEURON].star
    assert "&lt;script&gt;alert(1)" in html_of(at)
    assert "<script>" not in html_of(at)


def test_a_folder_that_cannot_be_written_loses_nothing(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _opened(neuron="L5N7")

    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    real = notes_file.tempfile.mkstemp
    monkeypatch.setattr(notes_file.tempfile, "mkstemp", refused)
    at.text_area(key="note-seeded-L5N7-text").set_value("precious").run()
    assert "Permission denied" in at.warning[0].value
    assert at.text_area(key="note-seeded-L5N7-text").value == "precious"
    assert not (run_folder / "seeded.notes.json").exists()
    monkeypatch.setattr(notes_file.tempfile, "mkstemp", real)
    at.checkbox(key="note-seeded-L5N7-star").check().run()
    assert not at.warning
    assert read_notes(run_folder / "seeded.notes.json")[NEURON].text == "precious"
