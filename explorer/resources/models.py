"""The model of a run, for Live: loaded once per server process, in the background, and locked.

Stored pages never need it. Torch takes seconds to import, so nothing here imports it but the thread
that loads. A folder that has moved, weights that are not those of the run, or a model that cannot be
read leave the stored pages as they are; Live says what is missing and how to point to it. What a run
names as its model is loaded once a person agrees: see `model_consent`.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import pandas as pd
import streamlit as st

from explorer.charts.next_tokens import NextRow
from explorer.core.named_model import NamedModel, find_model
from explorer.core.runs import short_name
from explorer.core.store import Store
from explorer.resources import model_consent
from explorer.resources.live_values import LiveCurve, LiveRequest, LiveValue
from explorer.resources.model_consent import MODEL_VARIABLE
from explorer.resources.model_slot import POINT_TO_IT, ModelSlot
from explorer.resources.session_runs import give_way

_WARM_UP_AFTER_S = 1.5
"""Loading waits this long after the first page is asked for, so that the page is painted first."""
_LONG_PROMPT = 48
"""From this many tokens on, the curve waits until the session has been quiet for a moment."""
_QUIET_S = 0.25


@dataclass(frozen=True)
class ModelStatus:
    """How far the model of a run is; `message` ends with what repairs it, where it has failed.

    `missing`: its folder is not there. `asks`: the run names it, and nobody has agreed to load it.
    """

    state: Literal["waiting", "loading", "ready", "failed", "missing", "asks"]
    name: str
    message: str = ""
    is_checked: bool = True
    """Whether the run names a checksum that the weights must have."""


def _load(source: str, expected_sha256: str | None) -> Any:
    """Import torch and load weights of this checksum; what that leaves in memory is set aside for good.

    Streamlit collects garbage after every run of a page, which walks all that is alive: with the
    libraries and a model in memory, each keystroke would wait 0.3 s for it.
    """
    atexit.register(gc.unfreeze)
    gc.disable()
    try:
        import torch

        gc.freeze()
        from explorer.core.model import load_model

        # One core is left to the server and the browser: where they share the machine, threads that
        # wait for each other take several times as long as one.
        torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
        return load_model(source, expected_sha256=expected_sha256)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@st.cache_resource(show_spinner=False, max_entries=2)
def _slot(source: str, sha256: str | None) -> ModelSlot:
    return ModelSlot(source, partial(_load, expected_sha256=sha256))


def named_model(store: Store) -> NamedModel:
    """What is to be loaded for the run: EXPLORER_MODEL, else what the manifest names."""
    given = os.environ.get(MODEL_VARIABLE)
    named = given or str(store.manifest.get("model", ""))
    return find_model(named, given=bool(given))


def model_source(store: Store) -> str:
    """Folder (absolute, links followed) or hub name of the run's model."""
    return named_model(store).source


def expected_checksum(store: Store) -> str | None:
    """SHA-256 that the run says its weights have; None where it says none."""
    sha256 = store.manifest.get("weights_sha256")
    return str(sha256) if sha256 else None


def slot_of(store: Store, source: str) -> ModelSlot:
    """The place of the run's model, which does all work with it."""
    return _slot(source, expected_checksum(store))


def model_name(store: Store) -> str:
    """What a person calls the run's model."""
    return str(store.manifest.get("model_name") or short_name(str(store.manifest.get("model", ""))))


def warm_up(store: Store) -> None:
    """Begin to load the run's model soon, where it is a folder that may be; cheap, for any page."""
    named = named_model(store)
    if named.kind == "folder" and model_consent.may_load(named):
        slot_of(store, named.source).start(_WARM_UP_AFTER_S)


def _why_missing(named: NamedModel) -> str:
    if named.kind == "network":
        why = f"the run names a network path, {named.source}, which is not opened for a run"
    else:
        why = f"there is no model folder at {named.source}"
    return f"{why}; {POINT_TO_IT}"


def model_status(store: Store) -> ModelStatus:
    """The state of the run's model. Asking begins to load what may be loaded, and nothing else."""
    named, name = named_model(store), model_name(store)
    slot = slot_of(store, named.source)
    if model_consent.may_load(named):
        slot.start()
    elif slot.state == "waiting":
        if named.kind in ("network", "missing"):
            return ModelStatus("missing", name, _why_missing(named))
        return ModelStatus("asks", name, named.source)
    return ModelStatus(slot.state, name, slot.message, expected_checksum(store) is not None)


def fetch(store: Store, agreed: NamedModel | None = None) -> None:
    """Load the model that a person has agreed to (`agreed`, as it was shown), or try again after a
    failure. What is no longer what was shown is asked for again."""
    if agreed is not None:
        model_consent.agree(agreed)
    named = named_model(store)
    if model_consent.may_load(named):
        slot = slot_of(store, named.source)
        slot.retry()
        slot.start()


def _wait_for_quiet() -> None:
    until = time.monotonic() + _QUIET_S
    while time.monotonic() < until:
        time.sleep(0.02)
        give_way()


def encode(store: Store, request: LiveRequest) -> tuple[int, ...]:
    """The request's tokens: the stored ones of an unedited prompt, else the typed text's."""
    if request.token_ids is not None:
        return request.token_ids
    slot = slot_of(store, model_source(store))
    return tuple(slot.use(lambda model: model.encode(request.text), give_way))


def analyse(
    store: Store, request: LiveRequest, ids: tuple[int, ...], pos: int | None
) -> tuple[LiveValue, float]:
    """The numbers at position `pos` of the tokens from one forward pass, and the seconds it took.

    The last few are remembered: a click on a head, or a key in the other prompt, asks for them again.
    """
    return _analysed(store, model_source(store), request, ids, pos)


@lru_cache(maxsize=32)
def _analysed(
    store: Store, source: str, request: LiveRequest, ids: tuple[int, ...], pos: int | None
) -> tuple[LiveValue, float]:
    from explorer.core.analysis import AnalysisSpec, analyse_prompt

    spec = AnalysisSpec.from_manifest(store.manifest)
    n_cut = max(0, len(ids) - (store.shape.n_ctx - 1))
    index = None if pos is None else pos - n_cut

    def job(model: Any) -> tuple[Any, float]:
        began = time.perf_counter()
        found = analyse_prompt(model, ids, request.neuron, request.token_id, index, spec)
        return found, time.perf_counter() - began

    found, seconds = slot_of(store, source).use(job, give_way)
    return live_value(request.text, found, store.token_texts), seconds


def next_row(token: Any, texts: list[str]) -> NextRow:
    """A next token of the core, with its text."""
    return NextRow(texts[token.token_id], token.probability, token.rank, token.token_id)


def live_value(text: str, found: Any, texts: list[str]) -> LiveValue:
    """The core's analysis of a prompt, with the texts of its tokens."""
    return LiveValue(
        text=text,
        token_ids=found.token_ids,
        tokens=tuple(texts[i] for i in found.token_ids),
        n_cut=found.n_cut,
        neuron=found.neuron,
        token=texts[found.token_id],
        position=found.position,
        activations=tuple(float(a) for a in found.activations),
        heads=found.heads,
        n_reaching_layers=found.n_reaching_layers,
        mlps=found.mlps,
        embedding=found.embedding,
        bias=found.bias,
        pre_activation=found.pre_activation,
        activation=found.activation,
        active=frozenset(found.active),
        next_tokens=tuple(next_row(token, texts) for token in found.next_tokens),
        target=next_row(found.target, texts),
        ln_scale=found.ln_scale,
        attention=found.attention,
        probabilities=found.probabilities,
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _suffixes(
    run: str, source: str, ids: tuple[int, ...], neuron: str, _store: Store, _neuron: Any
) -> Any:
    from explorer.core.analysis import AnalysisSpec, suffix_curve

    spec = AnalysisSpec.from_manifest(_store.manifest)
    slot = slot_of(_store, source)
    return slot.use(lambda model: suffix_curve(model, ids, _neuron, spec), give_way)


def curve(store: Store, value: LiveValue) -> LiveCurve:
    """The truncation curve up to the position studied, over every suffix."""
    ids = value.token_ids[: value.position + 1]
    source = model_source(store)
    if len(ids) >= _LONG_PROMPT:
        _wait_for_quiet()
    found = _suffixes(store.run_id, source, ids, str(value.neuron), store, value.neuron)
    points = pd.DataFrame({"tokens_kept": found.lengths, "activation": found.activations})
    return LiveCurve(value.text, points, found.whole_activation, found.kept, found.keep_ratio)
