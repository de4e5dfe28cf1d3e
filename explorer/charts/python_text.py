"""The lines of Python that reproduce a page's numbers, from the store or, for Live and Flow, the model.

Whatever comes from a link or a store is written with `repr`, as a value: no text of it can become code.
The lines need the package alone; a test runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from explorer.core.types import HeadId, NeuronId


@dataclass(frozen=True)
class PythonView:
    """A page and what is chosen on it, with the defaults that the page took where nothing was."""

    page: str
    store: str
    """Path of the run's file."""
    others: tuple[str, ...] = ()
    """Paths of the runs that Findings compares with it."""
    model: str = ""
    """Folder or hub name of the model."""
    token: str | None = None
    token_id: int | None = None
    """Of the neuron's own token (Live)."""
    neuron: NeuronId | None = None
    head: HeadId | None = None
    split: str = "train"
    prompt: int | None = None
    explainer: str | None = None
    kind: str = "zero-last"
    text: str | None = None
    """A typed prompt; None while a stored one is shown."""
    pos: int | None = None
    off: tuple[HeadId, ...] = ()
    text2: str | None = None
    pos2: int | None = None
    target: int | None = None
    min_head: float | None = None
    min_neuron: float | None = None
    mode: str = "Q"
    src: HeadId | None = None
    dst: HeadId | None = None
    matrix: str = "OV"
    comp: int = 0


def _open(view: PythonView) -> list[str]:
    return ["from explorer.core.store import Store", "", f"store = Store.open({view.store!r})"]


def _unit(name: str, unit: NeuronId | HeadId) -> str:
    return f"{name} = {type(unit).__name__}({unit.layer}, {unit.index})"


def _with_units(view: PythonView, *units: tuple[str, NeuronId | HeadId]) -> list[str]:
    names = ", ".join(sorted({type(unit).__name__ for _, unit in units}))
    opened = _open(view)
    opened.insert(1, f"from explorer.core.types import {names}")
    return [*opened, *(_unit(name, unit) for name, unit in units)]


def _tokens(view: PythonView) -> list[str]:
    return [
        *_open(view),
        f"token_id = store.token_id({view.token!r})",
        "neurons = store.token_neurons(token_id)  # its 20 neurons of highest congruence",
        "layers = store.neurons_per_layer(token_id)",
        "heads = neurons[['layer', 'neuron']].merge(store.pairs('train'))",
        "scores = store.pair_scores(store.main_explainer() or '')",
        "heads = heads.merge(scores[['layer', 'neuron', 'head_layer', 'head', 'score']], how='left')",
        "print(neurons, layers, heads, sep='\\n\\n')",
    ]


def _neuron(view: PythonView) -> list[str]:
    if view.neuron is None:
        return _about(view)
    lines = [
        *_with_units(view, ("neuron", view.neuron)),
        f"split = {view.split!r}",
        "tokens = store.neuron_tokens(neuron)  # what it writes to, by congruence",
        "prompts = store.prompts(neuron, split)",
        "attributions = store.attributions(neuron, split)  # heads: layer * n_heads + head",
        "heads = store.head_activity(neuron, split)",
    ]
    if view.prompt is not None:
        lines.append(f"curve = store.truncation_curve({view.prompt!r})")
    return [*lines, "print(tokens, prompts, heads, sep='\\n\\n')"]


def _head(view: PythonView) -> list[str]:
    if view.neuron is None or view.head is None:
        return _neuron(view)
    return [
        *_with_units(view, ("neuron", view.neuron), ("head", view.head)),
        f"split, explainer, kind = {view.split!r}, {view.explainer!r}, {view.kind!r}",
        "prompts = store.attributions(neuron, split)",
        "contributions = [row[head.flat(store.shape.n_heads)] for row in prompts['heads']]",
        "attention = store.head_attention(neuron, head)",
        "explanations = store.explanations(neuron, head)",
        "verdicts = store.classifications(neuron, head, explainer or '')",
        "scores = store.head_scores(neuron, head)",
        "nulls = store.score_nulls(neuron, head, explainer or '')",
        "serves = store.head_neurons(head, split)",
        "removed = store.ablations(neuron, head)",
        "removed = removed[removed['kind'] == kind]  # removed minus clean",
        "print(explanations, scores, nulls, removed, sep='\\n\\n')",
    ]


def _map(view: PythonView) -> list[str]:
    return [
        *_open(view),
        "keys = ['layer', 'neuron', 'head_layer', 'head']",
        "scores = store.pair_scores(store.main_explainer() or '')[[*keys, 'score']]",
        "effects = store.median_effects('zero-last')[[*keys, 'effect']]",
        "pairs = store.pairs('train').merge(scores, on=keys, how='left')",
        "pairs = pairs.merge(effects, on=keys, how='left')",
        "print(pairs)",
    ]


def _findings(view: PythonView) -> list[str]:
    stores = [view.store, *view.others]
    return [
        "from explorer.core import findings",
        "from explorer.core.store import Store",
        "",
        f"for path in {stores!r}:",
        "    store = Store.open(path)",
        "    scores = store.pair_scores(store.main_explainer() or '')",
        "    mean_scores = scores.groupby('neuron_kind')['score'].agg(['mean', 'count'])",
        f"    removed = store.removals({view.kind!r})",
        "    direct = removed['contribution'].to_numpy(dtype=float)",
        "    lost = -removed['delta_pre_activation'].to_numpy(dtype=float)",
        "    pairs = removed.groupby(['layer', 'neuron', 'head_layer', 'head'], sort=False).ngroup()",
        "    correlation = findings.pearson(direct, lost, pairs.to_numpy())  # intervals resample pairs",
        f"    together = store.joint_removals({view.kind!r})",
        "    depths = store.best_neuron_layers()",
        "    print(path, mean_scores, correlation, depths, sep='\\n\\n')",
    ]


def _about(view: PythonView) -> list[str]:
    return [
        *_open(view),
        "manifest, rows = store.manifest, store.row_counts()",
        "print(manifest, rows)",
    ]


def _channels(view: PythonView) -> list[str]:
    heads = [
        (name, head) for name, head in (("src", view.src), ("dst", view.dst)) if head is not None
    ]
    lines = [
        *(_with_units(view, *heads) if heads else _open(view)),
        f"composition = store.composition({view.mode!r})",
        "print(composition)",
    ]
    if view.src is not None:
        lines += [
            f"values = store.singular_values(src, {view.matrix!r})",
            f"tokens = store.component_tokens(src, {view.matrix!r}, {view.comp!r})",
            "print(values, tokens, sep='\\n\\n')",
        ]
        if view.matrix == "OV":
            lines.append(f"neurons = store.component_neurons(src, {view.comp!r})")
    if view.dst is not None:
        lines.append(f"reads = store.component_composition({view.mode!r}, dst)")
    return lines


def _prompt(view: PythonView) -> list[str]:
    """The tokens of the prompt, as the page has them."""
    if view.text is not None or view.prompt is None:
        lines = [f"token_ids = model.encode({view.text or ''!r})"]
    else:
        query = "SELECT token_ids[start + 1:] AS kept FROM prompts WHERE prompt_id = ?"
        lines = [f"token_ids = store.sql({query!r}, ({view.prompt!r},))['kept'][0].tolist()"]
    return [*lines, *_position("position", "token_ids", view.pos)]


def _position(name: str, ids: str, pos: int | None) -> list[str]:
    if pos is None:
        return [f"{name} = None  # the last one"]
    return [f"{name} = {pos!r} - max(0, len({ids}) - model.max_prompt_tokens)"]


def _live(view: PythonView) -> list[str]:
    if view.neuron is None or view.token_id is None:
        return _about(view)
    units = (("neuron", view.neuron),)
    lines = _with_units(view, *units)
    names = "HeadId, NeuronId" if view.off else "NeuronId"
    lines = [
        "from explorer.core.analysis import AnalysisSpec, analyse_prompt, suffix_curve",
        "from explorer.core.model import load_model",
        *(line if "types import" not in line else f"from explorer.core.types import {names}"
          for line in lines),
        f"token_id = {view.token_id!r}",
        f"model = load_model({view.model!r})",
        "spec = AnalysisSpec.from_manifest(store.manifest)",
        *_prompt(view),
        "found = analyse_prompt(model, token_ids, neuron, token_id, position, spec)",
        "curve = suffix_curve(model, found.token_ids[: found.position + 1], neuron, spec)",
        "print(found.pre_activation, found.activation, found.target, found.next_tokens)",
    ]  # fmt: skip
    if view.off:
        lines += _without(view)
    if view.text2:
        lines += [
            f"token_ids_b = model.encode({view.text2!r})",
            *_position("position_b", "token_ids_b", view.pos2),
            "second = analyse_prompt(model, token_ids_b, neuron, token_id, position_b, spec)",
            "print(second.pre_activation, second.activation, second.target, second.next_tokens)",
        ]
    return lines


def _without(view: PythonView) -> list[str]:
    """The heads that are off, removed together."""
    heads = ", ".join(f"HeadId({head.layer}, {head.index})" for head in view.off)
    lines = [
        "",
        "from explorer.core.live_ablation import ablate_prompt, prompt_means",
        "from explorer.core.model_blocks import Blocks",
        "",
        "blocks, means = Blocks(model), None",
    ]
    if view.kind.startswith("mean"):
        query = (
            "SELECT token_ids[start + 1:] AS kept FROM prompts WHERE split = 'train' "
            "AND NOT (layer = ? AND neuron = ?) ORDER BY prompt_id"
        )
        lines += [
            f"others = store.sql({query!r}, (neuron.layer, neuron.index))['kept']",
            "means = prompt_means(blocks, [ids.tolist() for ids in others])",
        ]
    return [
        *lines,
        f"heads, kind = [{heads}], {view.kind!r}",
        "without = ablate_prompt(",
        "    blocks, found.token_ids, neuron, token_id, found.position, heads, kind, means=means",
        ")",
        "print(without.pre_activation, without.activation, without.target, without.next_tokens)",
    ]


def _flow(view: PythonView) -> list[str]:
    lines = [
        "from explorer.core.flow_analysis import analyse_flow",
        "from explorer.core.model import load_model",
        *_open(view),
        f"model = load_model({view.model!r})",
        *_prompt(view),
        f"found = analyse_flow(model, token_ids, position, {view.target!r})  # None: the likeliest token",
        "print(found.target, found.logit, found.neurons, found.heads, sep='\\n')",
    ]
    if view.min_head is None or view.min_neuron is None:
        return lines
    return [
        *lines,
        "",
        "import numpy as np",
        "",
        "from explorer.core.flow import select_flow",
        "",
        "effects = np.array([one.effect for one in found.neurons])",
        "shown = select_flow(",
        f"    found.heads, effects, found.size_of_all_effects, {view.min_head!r}, {view.min_neuron!r}",
        ")",
        "print(shown.head_share, shown.neuron_share)",
    ]


_PAGES: dict[str, Callable[[PythonView], list[str]]] = {
    "tokens": _tokens, "neuron": _neuron, "head": _head, "map": _map, "live": _live, "flow": _flow,
    "channels": _channels, "findings": _findings, "about": _about,
}  # fmt: skip


def python_text(view: PythonView) -> str:
    """The lines for a page; they run where the package is installed."""
    return "\n".join(_PAGES.get(view.page, _about)(view)) + "\n"
