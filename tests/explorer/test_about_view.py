"""About: every number defined with the run's thresholds, the manifest verbatim, nothing run."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explorer.charts.glossary import GLOSSARY, define
from tests.explorer.seeded import manifest, write_seeded_store


def _about() -> None:
    from explorer.views.about import render

    render()


def _open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("EXPLORER_STORE", str(folder))
    at = AppTest.from_function(_about, default_timeout=60).run()
    assert not at.exception
    return at


def _html(at: AppTest) -> str:
    return "\n".join(element.proto.body for element in at.get("html"))


def test_every_number_is_defined_and_every_warning_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path)
    page = html.unescape(_html(_open(tmp_path, monkeypatch)))
    for name in GLOSSARY:
        assert f"<td>{name}</td><td>{define(name, manifest())}</td>" in page
    assert '<td>repeated texts passed over</td><td class="nt-num">3</td>' in page
    assert '<td>prompts</td><td class="nt-num">156</td>' in page
    assert "Direct is not causal" in page
    assert "<td>explanations</td>" in page
    assert "<td>reply was neither yes nor no</td>" in page


def test_the_manifest_is_verbatim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_seeded_store(tmp_path)
    (code,) = _open(tmp_path, monkeypatch).code
    lines = dict(re.split(r" +", line, maxsplit=1) for line in code.value.splitlines())
    assert {name: json.loads(value) for name, value in lines.items()} == manifest()


def test_thresholds_are_those_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_seeded_store(tmp_path, keep_ratio=0.65, active_rule="top:3")
    page = html.unescape(_html(_open(tmp_path, monkeypatch)))
    assert "Shortest ending that keeps 65 % of the activation." in page
    assert "among the 3 largest of all heads" in page


def test_texts_of_a_strangers_store_are_shown_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "<script>alert(1)</script>"
    write_seeded_store(tmp_path, model_name=bad, warnings={bad: 2})
    (tmp_path / "<b>bad.duckdb").write_text("junk")
    page = _html(_open(tmp_path, monkeypatch))
    assert "<script>" not in page
    assert "<b>bad" not in page
    assert html.escape(bad) in page


def test_the_texts_of_the_glossary_are_those_of_the_design() -> None:
    assert GLOSSARY["Congruence"] == (
        "Dot product of the neuron's output weights and the token's unembedding. Higher: firing "
        "raises this token more. Compare within one model only."
    )
    assert GLOSSARY["Active"] == (
        "In this prompt, the contribution exceeds mean + 2 SD over heads that can reach the neuron."
    )
    assert GLOSSARY["Tokens kept"] == "Shortest ending that keeps 80 % of the activation."
    for name in (
        "Pre-activation", "Activation", "Contribution", "Share active", "Studied", "Score",
        "Removing it", "P(token)", "Attention", "Composition", "Singular value", "z", "Accuracy",
    ):  # fmt: skip
        assert GLOSSARY[name].endswith((".", "seed"))
    with pytest.raises(KeyError):
        define("effect", {})


@pytest.mark.parametrize(
    ("ratio", "shown"), [(0.8, "80 %"), (1.0, "100 %"), (0.125, "12.5 %"), (0.29, "29 %")]
)
def test_ratios_are_shown_without_needless_decimals(ratio: float, shown: str) -> None:
    assert shown in define("Tokens kept", {"keep_ratio": ratio})
