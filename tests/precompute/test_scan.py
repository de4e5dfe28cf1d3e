"""The corpus scan: shards, length buckets and windows change nothing; ties; how a test split is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.core.accumulate import Peaks, TopDocuments, reading_marks
from explorer.core.model import LanguageModel, load_model
from explorer.core.types import NeuronId
from precompute import prepare
from precompute.__main__ import STAGES
from precompute.config import JobConfig
from precompute.corpus import documents, shards
from precompute.job import StudiedNeuron
from precompute.progress import Display
from precompute.stages import scan
from tests.conftest import demo_documents

Write = Callable[..., Path]
NEURONS = [NeuronId(layer, index) for layer in (0, 2) for index in range(0, 64, 4)]
SIZE = 47
"""Tokens that fit the tiny models' context beside BOS."""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Documents from empty to three windows long, in no order of length."""
    whole = demo_documents("train", 40)
    cut = [text[: (37 * i) % 331] for i, text in enumerate(whole)]
    assert "" in cut and len(max(cut, key=len)) > 290
    return cut


@pytest.fixture(scope="module")
def model(gpt2_folder: Path) -> LanguageModel:
    return load_model(gpt2_folder, "cpu")


def scanned(
    folder: Path, out: Path, corpus: Path, *, n_candidates: int = 8, neurons: list[NeuronId] = NEURONS,
    test_corpus: Path | None = None,
) -> scan.ScanResult:  # fmt: skip
    """Run the scan stage alone, as the job does."""
    config = JobConfig(
        str(folder), str(corpus), out=out, prompts=1, candidates=n_candidates, device="cpu",
        test_corpus=None if test_corpus is None else str(test_corpus),
    )  # fmt: skip
    studied = [StudiedNeuron(neuron, 1, 0.0, "requested") for neuron in neurons]
    with Display(STAGES) as display:
        plan = prepare.plan(config, display)
        with prepare.opened(plan, display) as job:
            return scan.run(job, studied)


def whole_peaks(
    model: LanguageModel, texts: list[str], neurons: list[NeuronId] = NEURONS
) -> tuple[np.ndarray, np.ndarray]:
    """All windows in one padded batch: each document's highest activation, and its position."""
    ids = [model.encode(text) for text in texts]
    windows = [(doc, n) for doc in range(len(ids)) for n in range(0, len(ids[doc]), SIZE)]
    tokens, last = model.batch([ids[doc][n : n + SIZE] for doc, n in windows])
    layers = {n.layer: torch.arange(64) for n in neurons}
    values = model.activations(tokens, layers)
    best = np.full((len(texts), len(neurons)), -np.inf, dtype=np.float32)
    where = np.full(best.shape, -1)
    for row, (doc, offset) in enumerate(windows):
        for column, neuron in enumerate(neurons):
            inside = values[neuron.layer][row, 1 : int(last[row]) + 1, neuron.index].numpy()
            if inside.max() > best[doc, column]:
                best[doc, column] = inside.max()
                where[doc, column] = offset + int(inside.argmax())
    return best, where


def best_of(best: np.ndarray, where: np.ndarray, doc_ids: list[int], k: int) -> Peaks:
    """The k best of some documents by plain sorting; positive peaks alone."""
    shape = (best.shape[1], k)
    found = Peaks(np.full(shape, -np.inf), np.full(shape, -1), np.full(shape, -1))
    for neuron in range(best.shape[1]):
        on = [doc for doc in doc_ids if best[doc, neuron] > 0]
        on.sort(key=lambda doc: (-best[doc, neuron], doc))
        for rank, doc in enumerate(on[:k]):
            found.activation[neuron, rank] = best[doc, neuron]
            found.doc_id[neuron, rank] = doc
            found.position[neuron, rank] = where[doc, neuron]
    return found


def assert_same(found: Peaks, expected: Peaks) -> None:
    np.testing.assert_array_equal(found.doc_id, expected.doc_id)
    np.testing.assert_array_equal(found.position, expected.position)
    np.testing.assert_allclose(found.activation, expected.activation, rtol=1e-4, atol=1e-5)


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of three documents, forward passes of about two windows."""
    monkeypatch.setattr(scan, "shards", partial(shards, max_documents=3))
    monkeypatch.setattr("precompute.worker.batch_tokens_on", lambda device: 100)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_shards_and_buckets_equal_one_big_batch(
    kind: str, request: pytest.FixtureRequest, texts: list[str], tmp_path: Path, write_corpus: Write
) -> None:
    folder = request.getfixturevalue(f"{kind}_folder")
    corpus = write_corpus(texts)
    best, where = whole_peaks(load_model(folder, "cpu"), texts)
    whole = scanned(folder, tmp_path / "whole", corpus)
    request.getfixturevalue("in_small_pieces")
    assert sum(1 for _ in scan.shards(str(corpus))) == 14
    pieces = scanned(folder, tmp_path / "pieces", corpus)
    for split, first in (("train", 0), ("test", 1)):
        expected = best_of(best, where, list(range(first, len(texts), 2)), 8)
        assert_same(whole.peaks[split], expected)
        assert_same(pieces.peaks[split], expected)
    assert whole.n_documents == pieces.n_documents == {"train": 20, "test": 20}
    assert whole.n_tokens == pieces.n_tokens
    # Control: the corpus has peaks beyond the first window, so that windows matter.
    assert any((p.position >= SIZE).any() for p in whole.peaks.values())


def test_no_token_is_lost_or_read_twice_by_windows() -> None:
    documents_ids = [list(range(n)) for n in (0, 1, 4, 5, 6, 10, 11)]
    windows = scan.cut_windows(documents_ids, 5)
    for index, ids in enumerate(documents_ids):
        mine = [window for window in windows if window.document == index]
        assert [i for window in mine for i in window.token_ids] == ids
        assert [window.offset for window in mine] == list(range(0, len(ids), 5))
    assert max(len(window.token_ids) for window in windows) == 5
    assert min(len(window.token_ids) for window in windows) == 1


@pytest.mark.parametrize("max_tokens", [1, 12, 30, 10_000])
def test_batches_hold_every_window_once_and_stay_small(max_tokens: int) -> None:
    windows = scan.cut_windows([list(range(n)) for n in (3, 9, 1, 7, 7, 2, 9, 23)], 9)
    found = list(scan.batches(windows, max_tokens))
    assert sorted((w.document, w.offset) for batch in found for w in batch) == sorted(
        (w.document, w.offset) for w in windows
    )
    for batch in found:
        cells = len(batch) * (max(len(w.token_ids) for w in batch) + 1)
        assert cells <= max_tokens or len(batch) == 1
    assert (len(found) == 1) == (max_tokens == 10_000)


def test_padding_is_never_a_peak(model: LanguageModel) -> None:
    """A short window's peaks do not change when a long one stands beside it."""
    ids = model.encode(" ".join(demo_documents("train", 2)))[: SIZE + 3]
    short, long = scan.Window(0, 0, ids[:3]), scan.Window(1, 0, ids[3:])
    finder = scan.PeakFinder(model, NEURONS)
    alone, where = finder.find([short])
    together, where_together = finder.find([short, long])
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(where_together[0], where[0])
    assert where.max() <= 2
    # Control: the padding itself would have been a higher peak for some neurons.
    tokens, _ = model.batch([short.token_ids, long.token_ids])
    values = model.activations(tokens, {2: torch.arange(64)})[2]
    assert bool((values[0, 4:].max(0).values > values[0, 1:4].max(0).values).any())


def test_bos_is_never_a_peak(model: LanguageModel) -> None:
    ids = model.encode(demo_documents("train", 1)[0])[:20]
    tokens, _ = model.batch([ids])
    values = model.activations(tokens, {0: torch.arange(64)})[0][0]
    at_bos = [i for i in range(64) if values[0, i] > values[1:, i].max()]
    assert at_bos
    found, _ = scan.PeakFinder(model, [NeuronId(0, i) for i in at_bos]).find(
        [scan.Window(0, 0, ids)]
    )
    np.testing.assert_allclose(found[0], values[1:, at_bos].max(0).values.numpy(), rtol=1e-4)


def test_of_equal_documents_the_lower_id_comes_first(
    gpt2_folder: Path, tmp_path: Path, write_corpus: Write, in_small_pieces: None
) -> None:
    """Copies lie in shards and batches with others of every length; all are peaks of one height."""
    one, *others = [text[:120] for text in demo_documents("train", 8)]
    layout = [one, others[0], others[1][:30], one, one, "", others[2], others[3], one, others[4][:60],
              one, others[5], others[6], one]  # fmt: skip
    doubled = [text for text in layout for _ in range(2)]
    copies = [2 * i for i, text in enumerate(layout) if text == one]
    result = scanned(gpt2_folder, tmp_path, write_corpus(doubled), n_candidates=14)
    n_checked = 0
    for ids in result.peaks["train"].doc_id.tolist():
        found = [doc_id for doc_id in ids if doc_id in copies]
        n_checked += len(found) == len(copies)
        assert found == sorted(found)
    assert n_checked > 20


def test_rounding_does_not_decide_between_copies() -> None:
    """The later copy came out a little higher, as in a batch of another shape; and a real peak lies
    between the two numbers."""
    heights = np.array([[2.0], [2.000001], [2.0000005], [1.0]], dtype=np.float32)
    ids, position = np.array([4, 9, 6, 1]), np.zeros((4, 1), dtype=np.int64)
    mark = np.array([[7], [7], [8], [0]], dtype=np.uint64)
    for k, expected in ((1, [6]), (2, [6, 4]), (4, [6, 4, 9, 1])):
        best = TopDocuments(1, k)
        best.update(ids, heights, position, mark)
        assert best.result().doc_id[0].tolist() == expected
        one_by_one = TopDocuments(1, k)
        for row in range(4):
            one_by_one.update(ids[[row]], heights[[row]], position[[row]], mark[[row]])
        assert one_by_one.result().doc_id[0].tolist() == expected
    # Control: without marks the higher number wins.
    best = TopDocuments(1, 1)
    best.update(ids, heights, position)
    assert best.result().doc_id.tolist() == [[9]]


def test_marks_are_equal_exactly_where_the_same_tokens_were_read() -> None:
    rng, size = np.random.default_rng(0), 4
    texts = [rng.integers(0, 2, n).tolist() for n in (0, 1, 3, 4, 5, 8, 9, 9, 12) for _ in range(3)]
    marks: dict[int, set[tuple[int, ...]]] = {}
    for place in range(12):
        position = np.array([[place if place < len(ids) else -1] for ids in texts])
        for ids, mark in zip(
            texts, reading_marks(texts, size, position)[:, 0].tolist(), strict=True
        ):
            read = tuple(ids[place - place % size : place + 1]) if place < len(ids) else ()
            marks.setdefault(mark, set()).add(read)
    assert marks.pop(0) == {()}
    found = [read for group in marks.values() for read in group]
    assert len(found) == len(set(found)) == len(marks) > 20


def test_of_equal_positions_the_earlier_is_the_peak(model: LanguageModel) -> None:
    """A document of one token over and over has the same windows; the first one's peak is taken."""
    ids = [model.encode(" the")[0]] * (3 * SIZE)
    windows = scan.cut_windows([ids], SIZE)
    activation, position = scan.PeakFinder(model, NEURONS).find(windows)
    assert len(windows) == 3 and (activation == activation[:1]).all()
    _, where = scan.document_peaks(
        1, np.zeros(3, dtype=int), np.array([2 * SIZE, 0, SIZE]), activation, position
    )
    np.testing.assert_array_equal(where[0], position[0])


def test_a_test_split_is_the_odd_documents(
    gpt2_folder: Path, texts: list[str], tmp_path: Path, write_corpus: Write
) -> None:
    peaks = scanned(gpt2_folder, tmp_path, write_corpus(texts)).peaks
    for split, parity in (("train", 0), ("test", 1)):
        doc_ids = peaks[split].doc_id
        assert (doc_ids[doc_ids >= 0] % 2 == parity).all()
        assert len(set(doc_ids[doc_ids >= 0].tolist())) > 10


def test_a_second_file_is_the_test_split_whole(
    gpt2_folder: Path, model: LanguageModel, texts: list[str], tmp_path: Path, write_corpus: Write
) -> None:
    """Each file's ids count from 0, odd and even alike."""
    first, second = write_corpus(texts[:25]), write_corpus(texts[25:])
    result = scanned(gpt2_folder, tmp_path, first, test_corpus=second)
    for split, path, part in (("train", first, texts[:25]), ("test", second, texts[25:])):
        assert list(documents(str(path))) == part
        best, where = whole_peaks(model, part)
        assert_same(result.peaks[split], best_of(best, where, list(range(len(part))), 8))
        assert {0, 1} == {doc_id % 2 for doc_id in result.peaks[split].doc_id.flatten().tolist()}
    assert result.n_documents == {"train": 25, "test": 15}
