"""Whether what a link names exists in the run: what does not is forgotten, and said."""

from __future__ import annotations

from typing import Any

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
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


def check(store: Store, wanted: Selection) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Changes that make a selection fit the run, and a sentence for each thing that is not there.

    A neuron without a token brings its own, so that the trail leads back to it.
    """
    missing = {
        "neuron": _no_neuron(store, wanted.neuron),
        "head": _no_head(store, wanted.head),
        "token": _no_token(store, wanted.token),
    }
    notes = tuple(text for text in missing.values() if text is not None)
    changes: dict[str, Any] = {name: None for name, text in missing.items() if text is not None}
    if wanted.token is None and wanted.neuron is not None and "neuron" not in changes:
        changes["token"] = own_token(store, wanted.neuron)
    return changes, notes
