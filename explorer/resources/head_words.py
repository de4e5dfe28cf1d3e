"""What the Head page shows of a pair's words: the explanation, its verdicts, its score and nulls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from explorer.charts.confusion_dots import CELLS, Reference, cell_of
from explorer.charts.style import number
from explorer.charts.token_text import ending, passage
from explorer.core.rules import evidence, parse
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId

_SHOWN_TEXT = 70
"""Characters of a prompt in a mark's hover text, its end."""


@dataclass(frozen=True)
class PairScore:
    """How an explanation did on the test prompts."""

    tp: int
    fp: int
    tn: int
    fn: int
    n_missing: int
    score: float | None
    """Balanced accuracy; None where the test prompts lack a class."""
    ci_low: float | None
    ci_high: float | None

    @property
    def n_verdicts(self) -> int:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def cells(self) -> dict[str, int]:
        """Prompts in each cell of the confusion table."""
        return dict(zip(CELLS, (self.tp, self.fn, self.fp, self.tn), strict=True))


@dataclass(frozen=True)
class Explained:
    """A pair's explanation by one explainer, and its test."""

    explainer: str
    explainers: tuple[str, ...]
    """All that explained the pair."""
    text: str
    rule: str | None
    """JSON, of `contrast` alone."""
    evidence: tuple[str, ...]
    """What the rule's clauses rest on, a line each; empty where there is no rule."""
    request: str
    reply: str
    score: PairScore | None
    """None where the explanation was not tested."""
    verdicts: pd.DataFrame
    """`prompt_id rank active predicted reply cell text`, by rank."""
    references: tuple[Reference, ...]
    """The score, the nulls and the random neurons; empty without a score."""

    @cached_property
    def right(self) -> dict[int, bool]:
        """Whether the explanation was right, by prompt id."""
        return {
            int(i): bool(a == p)
            for i, a, p in zip(
                self.verdicts["prompt_id"], self.verdicts["active"], self.verdicts["predicted"],
                strict=True,
            )
        }  # fmt: skip

    def prompts_in(self, cell: str) -> set[int]:
        """The prompts of one cell of the confusion table."""
        chosen = self.verdicts.loc[self.verdicts["cell"] == cell, "prompt_id"]
        return {int(i) for i in chosen}

    @property
    def data(self) -> pd.DataFrame:
        """The explanation as a person takes it away."""
        names = ("explainer", "text", "rule", "request", "reply")
        return pd.DataFrame([{name: getattr(self, name) for name in names}])

    @property
    def test_data(self) -> pd.DataFrame:
        """Verdicts, one a row, to take away."""
        shown = self.verdicts.drop(columns=["text"])
        return shown.rename(columns={"rank": "prompt", "reply": "raw verdict"})


def _float(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _score(store: Store, neuron: NeuronId, head: HeadId, explainer: str) -> PairScore | None:
    found = store.head_scores(neuron, head)
    rows = found.loc[found["explainer"] == explainer].to_dict("records")
    if not rows:
        return None
    counts = {name: int(rows[0][name]) for name in ("tp", "fp", "tn", "fn", "n_missing")}
    values = {name: _float(rows[0][name]) for name in ("score", "ci_low", "ci_high")}
    return PairScore(**counts, **values)  # pyright: ignore[reportArgumentType]


def _p_words(p_value: float | None) -> str:
    if p_value is None:
        return ""
    return ", p < 0.001" if p_value < 0.001 else f", p = {p_value:.3f}"


def _references(
    store: Store, neuron: NeuronId, head: HeadId, explainer: str, score: PairScore
) -> tuple[Reference, ...]:
    """The score first, then what the words must beat."""
    if score.score is None:
        return ()
    interval = ""
    if score.ci_low is not None and score.ci_high is not None:
        interval = f" ({number(score.ci_low)}–{number(score.ci_high)})"
    found = [
        Reference("This explanation", score.score, number(score.score) + interval,
                  "95 % interval: bootstrap over test prompts", score.ci_low, score.ci_high)
    ]  # fmt: skip
    nulls = {
        row["null_kind"]: row
        for row in store.score_nulls(neuron, head, explainer).to_dict("records")
    }
    for kind, name, meaning in (
        ("other-head", "Another head’s", "Verdicts for the neuron’s other studied heads, held "
         "against this head’s activity"),
        ("shuffle", "Shuffled activity", "The same verdicts held against 1,000 permutations of the "
         "activity; p: the share that does as well or better"),
    ):  # fmt: skip
        value = _float(nulls[kind]["score"]) if kind in nulls else None
        if value is not None:
            words = number(value) + _p_words(_float(nulls[kind]["p_value"]))
            found.append(Reference(name, value, words, meaning))
    means = {row["kind"]: row for row in store.mean_scores(explainer).to_dict("records")}
    if "random" in means:
        value, n = float(means["random"]["score"]), int(means["random"]["n"])
        found.append(
            Reference("Random neurons", value, f"{number(value)}, {n} pair{'' if n == 1 else 's'}",
                      "Mean score of this run’s heads that serve randomly drawn neurons")
        )  # fmt: skip
    return tuple(found)


def with_texts(rows: pd.DataFrame, texts: Mapping[int, str]) -> pd.DataFrame:
    """Rows of prompts with the end of each kept text (`prompt_texts`) as `text`."""
    return rows.assign(text=[texts[int(i)] for i in rows["prompt_id"]])


def prompt_texts(store: Store, neuron: NeuronId) -> dict[int, str]:
    """The end of each kept text of both splits, for hover texts, by prompt id."""
    words = store.token_texts
    found = {}
    for split in ("train", "test"):
        rows = store.prompts(neuron, split)
        for prompt_id, ids, start in zip(
            rows["prompt_id"], rows["token_ids"], rows["start"], strict=True
        ):
            kept = "".join(words[int(i)] for i in ids[int(start) :])
            found[int(prompt_id)] = ending(passage(kept), _SHOWN_TEXT)
    return found


def _evidence(rule: str | None) -> tuple[str, ...]:
    """What a rule rests on; a rule that cannot be read is said to be so, and its text stands alone."""
    if rule is None:
        return ()
    try:
        return tuple(evidence(parse(rule)))
    except ValueError as error:
        return (f"The stored rule could not be read: {error}.",)


def explained(
    store: Store,
    neuron: NeuronId,
    head: HeadId,
    wanted: str | None,
    texts: Mapping[int, str],
) -> Explained | None:
    """The pair's explanation by the explainer `wanted`, else by the run's own, else by the first;
    None where nobody explained it."""
    rows = store.explanations(neuron, head).to_dict("records")
    if not rows:
        return None
    by_name = {str(row["explainer"]): row for row in rows}
    order = (wanted, str(store.manifest.get("explainer")), next(iter(by_name)))
    name = next(n for n in order if n in by_name)
    score = _score(store, neuron, head, name)
    verdicts = store.classifications(neuron, head, name)
    cells = [
        cell_of(bool(a), bool(p))
        for a, p in zip(verdicts["active"], verdicts["predicted"], strict=True)
    ]
    row = by_name[name]
    rule = None if pd.isna(row["rule"]) else str(row["rule"])
    return Explained(
        explainer=name,
        explainers=tuple(by_name),
        text=str(row["text"]),
        rule=rule,
        evidence=_evidence(rule),
        request="" if pd.isna(row["request"]) else str(row["request"]),
        reply="" if pd.isna(row["reply"]) else str(row["reply"]),
        score=score,
        verdicts=with_texts(verdicts.assign(cell=cells), texts),
        references=() if score is None else _references(store, neuron, head, name, score),
    )
