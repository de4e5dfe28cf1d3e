"""Whether what a link names exists in the run: what does not is forgotten, and said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources import map_tables, removal_tables
from explorer.selection import Selection


def spans(layers: list[int]) -> str:
    """Layers as a person writes them: `4–5`, `0, 3–5`."""
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def studied_layers(store: Store) -> list[int]:
    """The layers in which neurons were studied, ascending."""
    return sorted(int(layer) for layer in store.studied_neurons()["layer"].unique())


def _studied_text(store: Store) -> str:
    layers = studied_layers(store)
    if not layers:
        return "No neuron is studied in it."
    if len(layers) == 1:
        return f"Layer {layers[0]} is studied."
    return f"Layers {spans(layers)} are studied."


def _no_neuron(store: Store, neuron: NeuronId | None) -> str | None:
    shape = store.shape
    if neuron is None or (neuron.layer < shape.n_layers and neuron.index < shape.d_mlp):
        return None
    return f"Run *{store.run_id}* has no neuron {neuron.label}. {_studied_text(store)}"


def _no_head(store: Store, head: HeadId | None) -> str | None:
    shape = store.shape
    if head is None or (head.layer < shape.n_layers and head.index < shape.n_heads):
        return None
    return (
        f"Run *{store.run_id}* has no head {head.label}. "
        f"Its layers are 0–{shape.n_layers - 1}, with heads 0–{shape.n_heads - 1}."
    )


def _no_token(store: Store, token: str | None) -> str | None:
    if token is None or store.token_id(token) is not None:
        return None
    return (
        f"Run *{store.run_id}* has no token “{visible(token)}”. "
        "Tokens are pieces of words; try a shorter piece."
    )


def own_token(store: Store, neuron: NeuronId) -> str | None:
    """The text of a neuron's token: the studied one, else its best; None if it has none."""
    studied = store.studied_neurons()
    mine = studied[(studied["layer"] == neuron.layer) & (studied["neuron"] == neuron.index)]
    rows = mine if len(mine) else store.neuron_tokens(neuron, 1)
    ids = rows["token_id"].tolist()
    return store.token_texts[ids[0]] if ids else None


def split_of(store: Store, prompt: int | None) -> str | None:
    """The split of a prompt; None without one."""
    rows = store.sql("SELECT split FROM prompts WHERE prompt_id = ?", (prompt,))
    return next(iter(rows["split"].tolist()), None)


_PROMPT_OF_NEURON = ("neuron", "head")
"""Pages that show the prompts of the chosen neuron alone; the others show any prompt of the run."""


def _prompt(store: Store, wanted: Selection, page: str | None) -> tuple[dict[str, Any], str, bool]:
    """What the prompt changes, what is to be said of it, and whether it is not in the run at all.

    On a page of one neuron's prompts, a prompt brings its own split.
    """
    if wanted.prompt is None:
        return {}, "", False
    rows = store.sql(
        "SELECT layer, neuron, split FROM prompts WHERE prompt_id = ?", (wanted.prompt,)
    ).to_dict("records")
    if not rows:
        return {"prompt": None}, f"Run *{store.run_id}* has no prompt {wanted.prompt}.", True
    owner, split = NeuronId(int(rows[0]["layer"]), int(rows[0]["neuron"])), str(rows[0]["split"])
    if page not in _PROMPT_OF_NEURON or wanted.neuron is None:
        return {}, "", False
    if owner != wanted.neuron:
        said = f"Prompt {wanted.prompt} is one of {owner.label}, not of {wanted.neuron.label}."
        return {"prompt": None}, said, False
    if wanted.split == split:
        return {}, "", False
    said = f"Prompt {wanted.prompt} is a {split} prompt: the {split} prompts are shown."
    return {"split": split}, "" if wanted.split is None else said, False


def _unknown(what: str, value: str, known: Iterable[str]) -> str:
    return f"There is no {what} “{visible(value)}”. There are: {', '.join(known)}."


def _ways_of_showing(wanted: Selection, page: str | None) -> dict[str, str]:
    """What a link says of how a page is to be shown, and the page does not know."""
    lost: dict[str, str] = {}
    measures = {"map": tuple(map_tables.MEASURES), "findings": tuple(removal_tables.MEASURES)}
    if page in measures and wanted.measure not in (None, *measures[page]):
        lost["measure"] = _unknown("measure", str(wanted.measure), measures[page])
    sorts = [
        f"{rows}-{columns}" for rows in map_tables.ROW_SORTS for columns in map_tables.COLUMN_SORTS
    ]
    if page == "map" and wanted.sort not in (None, *sorts):
        lost["sort"] = _unknown("order", str(wanted.sort), sorts)
    return lost


def check(
    store: Store, wanted: Selection, page: str | None = None, arrived: bool = True
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Changes that make a selection fit the run and page, and a sentence for each thing that is not there.

    A neuron without a token brings its own, so that the trail leads back to it. What only one pair or
    one text can know (explainer, position, heads off) its page checks. `arrived` False: somebody came
    from another page, whose measure or prompt need not fit here; that goes without a word.
    """
    missing: dict[str, str | None] = {
        "neuron": _no_neuron(store, wanted.neuron),
        "head": _no_head(store, wanted.head),
        "token": _no_token(store, wanted.token),
    }
    misfits = _ways_of_showing(wanted, page)
    lost = [*misfits, *(name for name, text in missing.items() if text is not None)]
    changes: dict[str, Any] = dict.fromkeys(lost)
    fixes, said, is_missing = _prompt(store, replace(wanted, **changes), page)
    changes |= fixes
    notes = [*missing.values(), *(misfits.values() if arrived else ())]
    notes.append(said if is_missing or arrived else None)
    if wanted.token is None and wanted.neuron is not None and "neuron" not in changes:
        changes["token"] = own_token(store, wanted.neuron)
    return changes, tuple(text for text in notes if text)
