"""The Neuron page shows what is stored of the neuron, and nothing that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from tests.explorer.page_reader import (
    chart,
    html_of,
    neurons_with,
    open_page,
    store_copy,
    strips_of_page,
    text_of,
    widest,
)
from tests.explorer.seeded import D_MLP, N_PROMPTS, tables

NEURON = NeuronId(5, 7)


def _ids_in_strips(strips: str) -> list[int]:
    return [int(found) for found in re.findall(r'data-id="(\d+)"', strips)]


def test_heading_and_metrics_are_the_stored_numbers(seeded: Store) -> None:
    prompts = seeded.prompts(NEURON, "train")
    text = text_of(open_page("neuron", neuron=str(NEURON)))
    assert "L5 N7, the ␣come neuron" in text
    n_first = int((prompts["token_rank"] == 1).sum())
    assert f"first choice in {n_first} of {N_PROMPTS} train prompts" in text
    assert f"median probability {100 * prompts['probability'].median():.1f} %" in text
    values = [line.strip() for line in text.splitlines()]
    assert "14.2" in values  # congruence, one decimal
    assert f"{prompts['activation'].max():.2f}" in values
    kept = [
        len(ids) - start for ids, start in zip(prompts["token_ids"], prompts["start"], strict=True)
    ]
    whole = [len(ids) for ids in prompts["token_ids"]]
    median = lambda row: f"{sorted(row)[2] / 2 + sorted(row)[3] / 2:g}"  # noqa: E731  six prompts
    assert f"{median(kept)} of {median(whole)}, median" in values


def _likeliest(store: Store) -> NeuronId:
    """The neuron with a studied head after whose train prompts its token is likeliest."""
    found = store.sql(
        """
        SELECT p.layer, p.neuron FROM prompts p JOIN studied_neurons s USING (layer, neuron)
        WHERE p.split = 'train' AND s.kind <> 'random' AND (p.layer, p.neuron) IN
              (SELECT (layer, neuron) FROM head_activity WHERE studied)
        GROUP BY ALL ORDER BY avg(p.probability) DESC LIMIT 1
        """
    )
    return NeuronId(int(found["layer"].iloc[0]), int(found["neuron"].iloc[0]))


def test_first_visit_opens_on_the_neuron_whose_token_is_likeliest(seeded: Store) -> None:
    app = open_page("neuron")
    assert app.query_params["neuron"] == str(_likeliest(seeded))
    assert app.query_params["neuron"] != str(NEURON)  # which has the highest congruence


def test_heatmap_holds_the_stored_contributions(seeded: Store) -> None:
    app = open_page("neuron", neuron=str(NEURON))
    _, frames = chart(app, "Heatmap of")
    cells = widest(frames, "rank", "head", "contribution")
    attributions = seeded.attributions(NEURON, "train").set_index("rank")
    heads = list(dict.fromkeys(cells["head"]))
    assert len(cells) == N_PROMPTS * len(heads) == N_PROMPTS * 20
    for cell in cells.to_dict("records"):
        flat = HeadId.parse(cell["head"]).flat(8)
        row = attributions.loc[cell["rank"]]
        assert cell["contribution"] == pytest.approx(float(row["heads"][flat]))
        assert cell["active"] == (flat in list(row["active"]))
    assert cells["active"].any()
    assert not cells["active"].all()


def test_columns_are_studied_heads_first_then_by_share(seeded: Store) -> None:
    spec, _ = chart(open_page("neuron", neuron=str(NEURON)), "Heatmap of")
    domain = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    activity = seeded.head_activity(NEURON)
    expected = [
        HeadId(int(a), int(b)).label for a, b in activity[["head_layer", "head"]].to_numpy()
    ]
    assert domain == expected[:20]
    n_studied = int(activity["studied"].sum())
    bold = spec["layer"][0]["encoding"]["x"]["axis"]["labelFontWeight"]["condition"]["test"][
        "oneOf"
    ]
    assert sorted(bold) == sorted(domain[:n_studied])


def test_a_chosen_head_beyond_the_limit_is_shown(seeded: Store) -> None:
    activity = seeded.head_activity(NEURON)
    last = HeadId(*(int(v) for v in activity[["head_layer", "head"]].iloc[-1]))
    spec, _ = chart(open_page("neuron", neuron=str(NEURON), head=str(last)), "Heatmap of")
    domain = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert len(domain) == 20
    assert domain[-1] == last.label


def test_share_bars_are_the_stored_shares(seeded: Store) -> None:
    _, frames = chart(open_page("neuron", neuron=str(NEURON)), "Share of prompts")
    drawn = widest(frames, "head", "share").set_index("head")
    for row in seeded.head_activity(NEURON).head(20).to_dict("records"):
        label = HeadId(int(row["head_layer"]), int(row["head"])).label
        assert drawn.loc[label, "share"] == pytest.approx(row["n_active"] / N_PROMPTS)
        assert drawn.loc[label, "studied"] == row["studied"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_prompt_stands_with_its_probability_and_rank(seeded: Store, split: str) -> None:
    app = open_page("neuron", neuron=str(NEURON), split=split)
    (strips,) = strips_of_page(app)
    prompts = seeded.prompts(NEURON, split)
    assert _ids_in_strips(strips) == prompts["prompt_id"].tolist()
    rows = strips.split('class="row')[1:]
    for row, prompt in zip(rows, prompts.to_dict("records"), strict=True):
        numbers = re.findall(r'<span class="v">([^<]*)</span>', row)
        assert numbers == [
            f"{prompt['activation']:.2f}",
            f"{100 * prompt['probability']:.1f} %",
            str(prompt["token_rank"]),
        ]
        shown = re.findall(r'title="activation ([^"]*)"', row)
        assert shown == [f"{v:.2f}".replace("-", "−") for v in prompt["kept_activations"]]


def test_the_switch_changes_split_and_url(seeded: Store) -> None:
    app = open_page("neuron", neuron=str(NEURON))
    train = _ids_in_strips(strips_of_page(app)[0])
    app.button_group(key="neuron-split-train").set_value("test").run()
    test = _ids_in_strips(strips_of_page(app)[0])
    assert test == seeded.prompts(NEURON, "test")["prompt_id"].tolist()
    assert not set(train) & set(test)


def test_the_chosen_prompt_is_marked_and_its_curve_drawn(seeded: Store) -> None:
    prompt = seeded.prompts(NEURON, "train").iloc[2]
    app = open_page("neuron", neuron=str(NEURON), prompt=str(prompt["prompt_id"]))
    (strips,) = strips_of_page(app)
    assert re.findall(r'class="row chosen"[^>]*data-id="(\d+)"', strips) == [
        str(prompt["prompt_id"])
    ]
    assert "Truncation of prompt 3" in [h.value for h in app.header]
    _, frames = chart(app, "Activation against tokens kept")
    drawn = widest(frames, "tokens_kept", "activation")
    curve = seeded.truncation_curve(int(prompt["prompt_id"]))
    kept = {len(prompt["token_ids"]) - int(s): float(a) for s, a in curve.to_numpy()}
    drawn = drawn[drawn["tokens_kept"].isin(kept)]
    shown = dict(zip(drawn["tokens_kept"], drawn["activation"], strict=True))
    assert set(kept) <= set(shown)
    _, frames = chart(app, "Heatmap of")
    assert [3] in [frame["rank"].tolist() for frame in frames if "rank" in frame]


@pytest.mark.parametrize("text", ["<script>", " <img src=x onerror=alert(1)>"])
def test_hostile_texts_are_escaped(seeded: Store, text: str) -> None:
    app = open_page("neuron", neuron=str(neurons_with(seeded, text)[0]))
    seen = html_of(app) + "".join(strips_of_page(app))
    assert text.strip()[:4] not in seen
    assert text.strip()[:4].replace("<", "&lt;") in seen


def test_a_neuron_that_is_not_studied_shows_its_weights_alone(seeded: Store) -> None:
    studied = {tuple(r) for r in seeded.studied_neurons()[["layer", "neuron"]].to_numpy()}
    index = next(i for i in range(D_MLP) if (3, i) not in studied)
    app = open_page("neuron", neuron=f"L3N{index}")
    assert "No prompts are stored for this neuron. Its weights are below" in text_of(app)
    assert strips_of_page(app) == []
    _, frames = chart(app, "Congruence with")
    drawn = widest(frames, "token_id", "congruence")
    expected = seeded.neuron_tokens(NeuronId(3, index), 10)
    assert drawn["token_id"].tolist() == expected["token_id"].tolist()
    assert drawn["congruence"].tolist() == pytest.approx(expected["congruence"].tolist())


def test_a_neuron_that_is_not_there_is_named(seeded: Store) -> None:
    app = open_page("neuron", neuron="L5N9999")
    assert "has no neuron L5 N9999. Layers 4–5 are studied." in text_of(app)
    assert f"{_likeliest(seeded).label}, the" in text_of(app)  # the page goes on with its default


def test_buttons_step_through_the_studied_neurons(seeded: Store) -> None:
    rows = seeded.studied_neurons()[["layer", "neuron"]].to_numpy()
    first, second = (NeuronId(int(a), int(b)) for a, b in rows[:2])
    app = open_page("neuron", neuron=str(first))
    assert app.button(key="neuron-before").disabled
    app.button(key="neuron-after").click().run()
    assert f"{second.label}, the" in text_of(app)
    app.button(key="neuron-before").click().run()
    assert f"{first.label}, the" in text_of(app)


def test_a_split_without_prompts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tables()
    prompts: pa.Table = changed["prompts"]
    changed["prompts"] = prompts.filter(pc.equal(prompts["split"], "train"))
    store_copy(tmp_path, "no-test", changed)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    assert "No test prompt is kept" in text_of(open_page("neuron", neuron="L5N7", split="test"))
    assert "No train prompt" not in text_of(open_page("neuron", neuron="L5N7"))
