"""Notes and bookmarks on neurons and heads: one JSON file beside a store, `<run>.notes.json`.

The store is never written. All sessions and servers on the folder share the file: a change is made
under a lock, on what the file holds at that moment, and touches the one neuron or head it is about;
the file is replaced whole, so that no reader sees half of it. Nothing here needs Streamlit.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.core.errors import ExplorerError
from explorer.core.types import HeadId, NeuronId

ENDING = ".notes.json"
FORMAT = 1
MAX_TEXT = 4000
MAX_BYTES = 8_000_000
Unit = NeuronId | HeadId
_here = threading.Lock()


class NotesError(ExplorerError):
    """The notes cannot be read or written; the message says what repairs it."""


@dataclass(frozen=True)
class Note:
    """What somebody wrote about a neuron or head."""

    text: str = ""
    star: bool = False
    """Bookmarked."""
    changed: str = ""
    """When it was last changed, ISO 8601 in UTC; empty where there is none yet."""

    @property
    def empty(self) -> bool:
        return not self.text and not self.star


Notes = Mapping[Unit, Note]


def notes_path(store_path: Path) -> Path:
    """The file that holds a run's notes: beside the store, and no store by its name."""
    return store_path.with_name(store_path.stem + ENDING)


def _unit(text: str) -> Unit:
    try:
        return NeuronId.parse(text)
    except ValueError:
        return HeadId.parse(text)


def _note(entry: Any) -> Note:
    text, star, changed = entry["text"], entry["star"], entry["changed"]
    if not (isinstance(text, str) and isinstance(star, bool) and isinstance(changed, str)):
        raise TypeError("expected a text, yes or no, and a time")
    return Note(text, star, changed)


def _parse(raw: str) -> dict[Unit, Note]:
    content = json.loads(raw)
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}"[:40])
    return {_unit(name): _note(entry) for name, entry in content["notes"].items()}


@lru_cache(maxsize=16)
def _parsed(path: Path, state: tuple[int, int, int]) -> dict[Unit, Note]:
    del state  # tells one content of the file from another
    return _parse(path.read_text(encoding="utf-8"))


def read_notes(path: Path) -> Notes:
    """All notes of a file; none where there is no file. Raises NotesError for a file that is none."""
    try:
        found = path.stat()
        if found.st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        return _parsed(path, (found.st_ino, found.st_mtime_ns, found.st_size))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NotesError(f"{path.name} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NotesError(
            f"{path.name} is no file of notes; it is left alone. Move it away to write new ones"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """This server's threads one by one, and other servers on the folder kept out."""
    with _here:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _write(path: Path, notes: Notes) -> None:
    entries = {
        str(unit): {"text": note.text, "star": note.star, "changed": note.changed}
        for unit, note in sorted(notes.items(), key=lambda item: str(item[0]))
    }
    content = {"format": FORMAT, "run": path.name.removesuffix(ENDING), "notes": entries}
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, ensure_ascii=True, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _joined(mine: str, seen: str, theirs: str) -> str:
    """The text to keep when `theirs` was written since `seen` was read: nobody's words are lost."""
    if theirs in (seen, mine) or theirs in mine:
        return mine
    if not mine or mine == seen or mine in theirs:
        return theirs
    return f"{theirs}\n\n{mine}"


def save_note(path: Path, unit: Unit, text: str, star: bool, seen: Note) -> Note:
    """Write one note; an empty one takes the entry away. Returns what now stands in the file.

    `seen` is the note that the writer had before them: where another session has changed the text
    since, both texts are kept. Raises NotesError where the folder cannot be written, or the file is
    not one of notes; then nothing has changed.
    """
    text = text.strip()[:MAX_TEXT]
    try:
        with _locked(path.parent):
            notes = dict(read_notes(path))
            there = notes.get(unit, Note())
            if there.changed != seen.changed:
                text = _joined(text, seen.text, there.text)
            note = Note(text, star, datetime.now(UTC).isoformat(timespec="microseconds"))
            notes.pop(unit, None)
            if not note.empty:
                notes[unit] = note
            _write(path, notes)
            return Note() if note.empty else note
    except OSError as error:
        raise NotesError(
            f"notes cannot be written to {path.parent} ({error.strerror or error}); they are kept while "
            "this page is open. Make the folder writable, or export them"
        ) from error


# --- to take away ---------------------------------------------------------------------------


def notes_table(notes: Notes) -> pd.DataFrame:
    """One row a note, bookmarks first, then by name: `what star text changed`."""
    order = sorted(notes.items(), key=lambda item: (not item[1].star, item[0].LETTER, item[0]))
    rows = [(str(unit), note.star, note.text, note.changed) for unit, note in order]
    return pd.DataFrame(rows, columns=["what", "star", "text", "changed"])


def notes_json(run_id: str, notes: Notes) -> bytes:
    """The notes as JSON with the run's name."""
    rows = notes_table(notes).to_dict("records")
    return json.dumps({"run": run_id, "notes": rows}, ensure_ascii=False, indent=1).encode()


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|~>$:<&" else c for c in text)


def notes_markdown(run_id: str, notes: Notes) -> bytes:
    """The notes as Markdown; no text in them is read as markup."""
    lines = [f"# Notes on {_plain(run_id)}", ""]
    table = notes_table(notes)
    for unit, star, text in zip(
        map(_unit, table["what"]), table["star"], table["text"], strict=True
    ):
        lines += [f"## {'★ ' if star else ''}{unit.label}", ""]
        lines += [_plain(line) + "  " for line in str(text).splitlines()] + [""]
    return "\n".join(lines).encode()
