"""A channel planted by hand: composition finds it, its z stands out, its dial turns the receiver's
attention as worked out by hand, and other directions of equal norm do not.

The control model's receiver reads a direction that nobody writes; all else in it is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

from explorer.core.component_edit import ComponentEdit, component_basis, random_directions
from explorer.core.composition import random_level
from explorer.core.model import load_model
from explorer.core.model_blocks import Blocks
from explorer.core.model_component_edit import CleanRuns, ComponentDials
from explorer.core.types import HeadId
from tests.precompute import planted_channel as planted

Publish = Callable[..., duckdb.DuckDBPyConnection]
Write = Callable[..., Path]
SENDER, RECEIVER = HeadId(*planted.SENDER), HeadId(*planted.RECEIVER)
PROMPTS = planted.prompts(24, seed=1)
OPTIONS = ("--layers", 2, "--neurons-per-layer", 2, "--random-neurons-per-layer", 0,
           "--explainer", "none")  # fmt: skip
TOP = f"""SELECT src_layer, src_head, src_component, score, z FROM component_composition
    WHERE mode = ? AND dst_layer = {RECEIVER.layer} AND dst_head = {RECEIVER.index}
    ORDER BY score DESC"""
NOISE = 0.03
"""How far attention may be from what was worked out without the noise."""


def store_of(folder: Path, publish: Publish, write: Write) -> duckdb.DuckDBPyConnection:
    texts = ["".join(words) for words in planted.prompts(30, seed=2)]
    return publish("--model", folder, "--corpus", write(texts), *OPTIONS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    root = tmp_path_factory.mktemp("planted-channel")
    return {
        yes: planted.write_folder(root / f"gpt2-{int(yes)}", with_channel=yes)
        for yes in (True, False)
    }


@pytest.fixture(scope="module")
def store(
    folders: dict[bool, Path], publish: Publish, write_corpus: Write
) -> duckdb.DuckDBPyConnection:
    return store_of(folders[True], publish, write_corpus)


@pytest.fixture(scope="module")
def control(
    folders: dict[bool, Path], publish: Publish, write_corpus: Write
) -> duckdb.DuckDBPyConnection:
    return store_of(folders[False], publish, write_corpus)


# --- found from the weights -------------------------------------------------------------------


def test_the_planted_component_is_the_clear_top_of_the_receivers_query(
    store: duckdb.DuckDBPyConnection,
) -> None:
    first, second, *_ = store.execute(TOP, ["Q"]).fetchall()
    assert first[:3] == (SENDER.layer, SENDER.index, 0)
    assert first[3] > 0.95 and second[3] < 0.6
    assert first[4] > 8 and first[4] > 1.7 * second[4]


def test_no_other_receiver_nor_mode_has_such_a_top(store: duckdb.DuckDBPyConnection) -> None:
    others = store.execute(
        """SELECT max(score) FROM component_composition
           WHERE NOT (mode = 'Q' AND dst_layer = ? AND dst_head = ?)""",
        [RECEIVER.layer, RECEIVER.index],
    ).fetchone()
    assert others is not None and others[0] < 0.8


def test_without_the_channel_it_does_not_stand_out(control: duckdb.DuckDBPyConnection) -> None:
    rows = control.execute(TOP, ["Q"]).fetchall()
    assert rows[0][3] < 0.6
    assert all(row[4] < 5 for row in rows)
    mine = [row[3] for row in rows if row[:3] == (SENDER.layer, SENDER.index, 0)]
    assert all(score < 3 * random_level(planted.WIDTH) for score in mine)


def test_whole_heads_see_it_too(store: duckdb.DuckDBPyConnection) -> None:
    rows = store.execute(
        """SELECT src_layer, src_head, score FROM composition
           WHERE mode = 'Q' AND dst_layer = ? AND dst_head = ? ORDER BY score DESC""",
        [RECEIVER.layer, RECEIVER.index],
    ).fetchall()
    assert len(rows) == RECEIVER.layer * planted.N_HEADS
    assert rows[0][:2] == planted.SENDER and rows[0][2] > 3 * rows[1][2]
    # What else the head writes is not read: the component alone scores higher.
    component = store.execute(TOP, ["Q"]).fetchone()
    assert component is not None and rows[0][2] < component[3] - 0.02


# --- and in runs ------------------------------------------------------------------------------


class Planted:
    """The model run once on the prompts, with what by-hand arithmetic needs."""

    def __init__(self, folder: Path) -> None:
        model = load_model(folder, "cpu")
        self.dials = ComponentDials(Blocks(model))
        ids = [[planted.WORDS.index(word) for word in words] for words in PROMPTS]
        self.clean: CleanRuns = self.dials.clean(ids, SENDER.layer)
        self.direction = self.dials.writes(SENDER)[0].float()
        self.turn = float(torch.sign(self.direction @ planted.CHANNEL))
        """The sign rule may have turned CHANNEL round."""

    def attention(self, *edits: ComponentEdit, **options: object) -> list[np.ndarray]:
        found = self.clean.edited(edits, receiver=RECEIVER, **options).attention  # type: ignore[arg-type]
        assert found is not None
        return [found[i, : len(w) + 1].numpy() for i, w in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def runs(folders: dict[bool, Path]) -> Planted:
    return Planted(folders[True])


def side(words: list[str]) -> str:
    (found,) = set(words) & set(planted.SIGN_OF)
    return found


def by_hand(activation: float | None = None) -> list[list[float]]:
    """At this activation along CHANNEL, or at each prompt's own."""
    own = [planted.SIGN_OF[side(words)] for words in PROMPTS]
    return [
        planted.attention_by_hand(words, mine if activation is None else activation)
        for words, mine in zip(PROMPTS, own, strict=True)
    ]


def largest_gap(found: list[np.ndarray], expected: list[list[float]] | list[np.ndarray]) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(a - np.asarray(b)).max()) for a, b in pairs)


def test_its_activation_is_planted_in_size_and_sign(runs: Planted) -> None:
    assert abs(float(runs.direction @ planted.CHANNEL)) > 0.99
    found = runs.clean.activations(SENDER)[:, 0] * runs.turn
    expected = [planted.SIGN_OF[side(words)] for words in PROMPTS]
    assert np.allclose(found, expected, atol=0.05)
    others = runs.clean.activations(SENDER)[:, 1:]
    assert float(others.abs().max()) < 0.3


def test_the_receiver_attends_where_the_channel_says(runs: Planted) -> None:
    found = runs.attention()
    for weights, words in zip(found, PROMPTS, strict=True):
        assert weights[1 + words.index(planted.NAMED[side(words)])] > 0.95
    assert largest_gap(found, by_hand()) < NOISE


def test_removing_it_levels_attention_as_worked_out_by_hand(runs: Planted) -> None:
    found = runs.attention(ComponentEdit.removed(SENDER, 0))
    assert largest_gap(found, by_hand(0.0)) < NOISE
    assert all(weights.max() < 0.3 for weights in found)


@pytest.mark.parametrize("activation", [-2.0, -0.4, 0.2, 0.5, 3.0])
def test_setting_it_moves_attention_along_the_curve_worked_out_by_hand(
    runs: Planted, activation: float
) -> None:
    edit = ComponentEdit.set_to(SENDER, 0, runs.turn * activation)
    assert largest_gap(runs.attention(edit), by_hand(activation)) < 2 * NOISE
    assert largest_gap(runs.attention(edit), by_hand(-activation)) > 0.3


def test_turning_it_round_swaps_the_poles(runs: Planted) -> None:
    found = runs.attention(ComponentEdit(SENDER, 0, scale=-1.0))
    for weights, words in zip(found, PROMPTS, strict=True):
        pole = {planted.NORTH: planted.SOUTH, planted.SOUTH: planted.NORTH}
        assert weights[1 + words.index(pole[planted.NAMED[side(words)]])] > 0.95


def test_other_directions_of_equal_norm_move_nothing(runs: Planted) -> None:
    clean = runs.attention()
    change = -runs.clean.activations(SENDER)[:, 0]
    for component in range(1, planted.D_HEAD):
        found = runs.attention(ComponentEdit(SENDER, component, shift=change))
        assert largest_gap(found, clean) < NOISE
    w_o = runs.dials.blocks.model.w_o[SENDER.layer, SENDER.index]
    for seed in range(5):
        # Random among what the head can write beside the planted direction.
        directions = random_directions(runs.dials.writes(SENDER)[1:], 1, seed)
        bases = {SENDER: component_basis(w_o, directions)}
        found = runs.attention(ComponentEdit(SENDER, 0, shift=change), bases=bases)
        assert largest_gap(found, clean) < NOISE
    assert largest_gap(runs.attention(ComponentEdit(SENDER, 0, shift=change)), clean) > 0.6


def test_where_nobody_reads_it_removing_it_moves_nothing(folders: dict[bool, Path]) -> None:
    control = Planted(folders[False])
    assert float(control.clean.activations(SENDER)[:, 0].abs().min()) > 0.9
    removed = control.attention(ComponentEdit.removed(SENDER, 0))
    assert largest_gap(removed, control.attention()) < NOISE
