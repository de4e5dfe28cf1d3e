"""Notes and bookmarks: on the neuron or head of the page, and all of the run, to read and take away.

What cannot be written stays in the session, is shown, exported with the rest, and tried again with
the next change.
"""

from __future__ import annotations

import html
from functools import partial
from typing import Any

import streamlit as st

from explorer.components.chips import plain_markdown
from explorer.components.export import file_stem, to_csv
from explorer.components.page_links import link
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.notes_file import (
    Note,
    Notes,
    NotesError,
    Unit,
    notes_json,
    notes_markdown,
    notes_path,
    notes_table,
    read_notes,
    save_note,
)
from explorer.selection import Selection

_UNSAVED, _ERROR = "notes-unsaved", "notes-error"


def _unsaved(store: Store) -> dict[Unit, tuple[Note, Note]]:
    """Notes of this session that could not be written, each with what its writer had seen."""
    return st.session_state.setdefault(_UNSAVED, {}).setdefault(store.run_id, {})


def _read(store: Store) -> Notes:
    """What the file holds, under what this session could not write."""
    mine = {unit: note for unit, (note, _) in _unsaved(store).items() if not note.empty}
    try:
        return {**read_notes(notes_path(store.path)), **mine}
    except NotesError as error:
        st.session_state[_ERROR] = str(error)
        return mine


def _save(store: Store, unit: Unit, text: str, star: bool, seen: Note) -> None:
    waiting = _unsaved(store)
    if unit in waiting:  # the note shown was this session's own, which is not in the file yet
        seen = waiting[unit][1]
    waiting[unit] = (Note(text.strip(), star), seen)
    st.session_state.pop(_ERROR, None)
    for each, (note, before) in list(waiting.items()):
        try:
            save_note(notes_path(store.path), each, note.text, note.star, before)
        except NotesError as error:
            st.session_state[_ERROR] = str(error)
            return
        del waiting[each]


def _editor(store: Store, unit: Unit, note: Note) -> None:
    """Bookmark and text of one neuron or head; both are kept as they are changed."""
    key = f"note-{store.run_id}-{unit}"
    values = {f"{key}-star": note.star, f"{key}-text": note.text}
    for name, value in values.items():
        # Only where it differs: setting it anew would overwrite what is being typed at this moment.
        if st.session_state.get(name) != value:
            st.session_state[name] = value

    def changed() -> None:
        state = st.session_state
        _save(store, unit, state[f"{key}-text"] or "", bool(state[f"{key}-star"]), note)

    st.checkbox(f"★ Bookmark {unit.label}", key=f"{key}-star", on_change=changed)
    st.text_area(f"Note on {unit.label}", key=f"{key}-text", on_change=changed, height=96,
                 placeholder="Kept beside the run, for all who open it.")  # fmt: skip


def _listed(notes: Notes) -> None:
    for name, star, text in notes_table(notes)[["what", "star", "text"]].itertuples(index=False):
        mark = "★ " if star else ""
        if "N" in name:
            neuron = NeuronId.parse(name)
            link(
                "neuron",
                f"{mark}**{neuron.label}** →",
                neuron=neuron,
                token=None,
                head=None,
                prompt=None,
            )
        else:
            head = HeadId.parse(name)
            link("head", f"{mark}**{head.label}** →", head=head, prompt=None)
        if text:
            st.html(f'<p class="nt-small nt-note-text">{html.escape(text)}</p>')


def _downloads(store: Store, notes: Notes) -> None:
    name = file_stem(store.run_id, "notes")
    table = notes_table(notes)
    files = (
        ("JSON", partial(notes_json, store.run_id, notes), "json", "application/json"),
        ("CSV", partial(to_csv, table), "csv", "text/csv"),
        ("Markdown", partial(notes_markdown, store.run_id, notes), "md", "text/markdown"),
    )
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.html('<p class="nt-small">Take away:</p>', width="content")
        for label, make, ending, kind in files:
            st.download_button(label, make, f"{name}.{ending}", kind, key=f"notes-{ending}",
                               on_click="ignore", type="tertiary")  # fmt: skip


@st.fragment
def _menu(store: Store, unit: Unit | None) -> None:
    notes = _read(store)
    mark = "noted" if unit is not None and unit in notes else "plain"
    with st.container(key=f"nt-notes-{mark}", width="content"):
        box: Any = st.popover("Notes", key="nt-notes", on_change="rerun",
                              help="Bookmarks and notes on neurons and heads")  # fmt: skip
    if not box.open:
        return
    with box:
        if (error := st.session_state.get(_ERROR)) is not None:
            st.warning(plain_markdown(error[:1].upper() + error[1:] + "."))
        if unit is not None:
            _editor(store, unit, notes.get(unit, Note()))
        if not notes:
            st.html('<p class="nt-small">No notes yet. Open a neuron or a head to write one.</p>')
            return
        st.html(f'<p class="nt-small">{len(notes)} in this run</p>')
        _listed(notes)
        _downloads(store, notes)


def notes_menu(store: Store, page: str, chosen: Selection) -> None:
    """The menu *Notes* of the frame; on the pages Neuron and Head it begins with theirs."""
    _menu(store, {"neuron": chosen.neuron, "head": chosen.head}.get(page))
