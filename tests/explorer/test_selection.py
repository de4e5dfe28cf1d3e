"""A URL says the whole view: what is written can be read back, and no link can do harm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer.core.types import HeadId, NeuronId
from explorer.selection import SPLITS, Selection, parse

# A URL cannot carry lone surrogates; `␣` is how the URL writes a space of a token.
_text = st.text(st.characters(codec="utf-8"), max_size=60)
_names = st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=1, max_size=60)


def _optional(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


_units = st.tuples(st.integers(0, 9999), st.integers(0, 9_999_999))
_selections = st.builds(
    Selection,
    run=_optional(_names.filter(lambda name: not name.startswith("."))),
    token=_optional(_text.filter(lambda text: "␣" not in text)),
    neuron=_optional(_units.map(lambda unit: NeuronId(*unit))),
    head=_optional(_units.map(lambda unit: HeadId(*unit))),
    split=_optional(st.sampled_from(SPLITS)),
    prompt=_optional(st.integers(0, 10**9 - 1)),
    text=_optional(_text),
    pos=_optional(st.integers(0, 10**9 - 1)),
    measure=_optional(st.text("abcdef", max_size=40)),
    sort=_optional(st.text("abcdef", max_size=40)),
)


@given(_selections)
def test_what_is_written_to_the_url_is_read_back(selection: Selection) -> None:
    assert parse(selection.to_query()) == (selection, ())


@given(st.dictionaries(st.sampled_from([*Selection.__dataclass_fields__, "other"]), _text))
def test_no_link_raises_and_every_bad_part_is_noted(query: dict[str, str]) -> None:
    selection, notes = parse(query)
    read = {name for name in query if getattr(selection, name, None) is not None}
    known = set(query) & set(Selection.__dataclass_fields__)
    assert len(notes) == len(known - read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("neuron", "L9H3"),
        ("neuron", "L٣N٣"),
        ("neuron", "<script>alert(1)</script>"),
        ("neuron", "L1N2; DROP TABLE tokens"),
        ("neuron", "L99999N1"),
        ("head", "L5N3"),
        ("split", "validation"),
        ("prompt", "-1"),
        ("prompt", "1e9"),
        ("prompt", "²"),
        ("pos", "99999999999999999999"),
        ("run", "../../etc/passwd"),
        ("run", "..\\x"),
        ("run", ".hidden"),
        ("run", ""),
    ],
)
def test_a_hostile_value_is_left_out_and_said(name: str, value: str) -> None:
    selection, notes = parse({name: value, "token": "␣come"})
    assert getattr(selection, name) is None
    assert selection.token == " come"
    assert len(notes) == 1
    assert name in notes[0]


def test_long_texts_are_cut_and_not_refused() -> None:
    selection, notes = parse({"text": "a" * 10_000, "token": "b" * 10_000, "run": "c" * 10_000})
    assert notes == ()
    assert [len(selection.text or ""), len(selection.token or ""), len(selection.run or "")] == [
        4000, 200, 200,
    ]  # fmt: skip


def test_spaces_of_a_token_are_visible_in_the_url() -> None:
    assert Selection(token=" come").to_query() == {"token": "␣come"}
    assert Selection(text=" come on").to_query() == {"text": " come on"}


def _app(**query: object) -> AppTest:
    """A page that does nothing but show what `Selection` says and what the URL then is."""
    app = AppTest.from_string(
        """
        import streamlit as st
        from explorer import selection
        chosen = selection.current()
        st.button("swap", on_click=selection.choose, kwargs={"run": "b", "prompt": None})
        st.button("none", on_click=selection.choose, kwargs={"others": None})
        selection.show_in_url(chosen, tuple(st.session_state.get("names", ("run", "others"))))
        st.json({"run": chosen.run, "others": chosen.others, "notes": selection.link_notes()})
        """
    )
    for name, value in query.items():
        app.query_params[name] = value  # type: ignore[assignment]
    return app.run()


def _seen(app: AppTest) -> dict:
    assert not app.exception
    return json.loads(app.json[0].value)


def test_a_repeated_run_is_a_comparison() -> None:
    app = _app(run=["a", "b", "c"])
    assert _seen(app) == {"run": "a", "others": ["b", "c"], "notes": []}
    assert app.query_params["run"] == ["a", "b", "c"]
    app.button[0].click().run()  # a run that is compared changes places with the first
    assert _seen(app)["others"] == ["a", "c"]
    assert app.query_params["run"] == ["b", "a", "c"]
    app.button[1].click().run()
    assert _seen(app) == {"run": "b", "others": None, "notes": []}
    assert app.query_params["run"] in ("b", ["b"])


def test_other_pages_keep_one_run_and_the_session_the_others() -> None:
    app = _app(run=["a", "b"])
    app.session_state["names"] = ("run", "token")
    app.run()
    assert app.query_params["run"] in ("a", ["a"])
    assert _seen(app)["others"] == ["b"]
    single = _app(run="a")
    assert _seen(single)["others"] is None
    assert single.query_params["run"] in ("a", ["a"])


@pytest.mark.parametrize(
    "runs", [["a", "../b"], ["a", ""], ["a", "b", "c", "d", "e"], ["a", ".hidden"]]
)
def test_a_comparison_that_cannot_be_is_left_out_and_said(runs: list[str]) -> None:
    seen = _seen(_app(run=runs))
    assert (seen["run"], seen["others"]) == ("a", None)
    assert len(seen["notes"]) == 1
    assert "others" in seen["notes"][0]
