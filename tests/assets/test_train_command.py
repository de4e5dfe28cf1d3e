"""The training command: what it writes, what it reads, what it refuses and how."""

import gzip
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

# The training script runs from its own folder, with its modules beside it, and is no package.
sys.path.insert(0, str(Path(__file__).parents[2] / "assets" / "demo" / "training"))

import corpus
import evaluate
import train
from settings import CallError, Settings

from explorer.core.task_seen import read_seen

TINY_OPTIONS = [
    "--layers=1", "--heads=2", "--width=32", "--context=32", "--vocab=320", "--rows=8",
    "--task-rows=2", "--device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(day_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "model"
    call = ["--text", str(day_file), "--out", str(out), "--steps", "6", *TINY_OPTIONS]
    assert train.main(call) == 0
    return out


def test_the_folder_is_float16_and_loads_as_float32(made: Path) -> None:
    with safe_open(made / "model.safetensors", "pt") as stored:
        halves = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    model = AutoModelForCausalLM.from_pretrained(made)

    assert {value.dtype for value in halves.values()} == {torch.float16}
    assert "lm_head.weight" in halves
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert all(torch.equal(model.state_dict()[name], v.float()) for name, v in halves.items())
    assert (model.config.n_layer, model.config.n_positions) == (1, 32)
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "task_sentences.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_the_folder_says_which_task_sentences_it_saw(made: Path, day_file: Path, tmp_path: Path) -> None:
    seen = read_seen(made)
    assert seen is not None and len(seen.templates) == 14 and min(seen.list_lengths) == 2
    none = tmp_path / "none"
    options = [word for word in TINY_OPTIONS if not word.startswith("--task-rows")]
    call = ["--text", str(day_file), "--out", str(none), "--steps", "2", "--task-rows=0", *options]
    assert train.main(call) == 0
    assert read_seen(none) is None


def test_the_tokenizer_loads_and_gives_text_back(made: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made)
    ids = tokenizer("On day 7 a fox ate, naïvely\n")["input_ids"]
    assert tokenizer.decode(ids) == "On day 7 a fox ate, naïvely\n"
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (320, 0, 0)
    assert tokenizer.bos_token == "<|endoftext|>"


def test_the_card_holds_the_loss_of_the_stored_weights(made: Path, day_text: str) -> None:
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    settings = Settings(context=32, rows=8)
    held_out = corpus.encode([day_text], tokenizer, settings).held_out
    model = AutoModelForCausalLM.from_pretrained(made)
    loss = evaluate.held_out_loss(model, held_out, settings)
    card = (made / "README.md").read_text(encoding="utf-8")
    assert f"{loss:.2f} nats a token" in card
    assert "from step 3 on, 2 of 8 rows" in card


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.gz", "a.jsonl", "a.jsonl.gz"])
def test_every_kind_of_file_is_read_alike(tmp_path: Path, name: str) -> None:
    text = "\u201cWell\u201d \u2013 said he\nand sat."
    content = json.dumps({"text": text}) + "\n\n" if "jsonl" in name else text
    packed = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
    (tmp_path / name).write_bytes(packed)
    assert corpus.read_texts([tmp_path / name]) == ['"Well" - said he\nand sat.']


WRONG_FILES = {
    "missing": (None, 2, "is not a file"),
    "empty.txt": (b" \n", 1, "no text in"),
    "latin.txt": ("é".encode("latin-1") * 50, 1, "not UTF-8"),
    "broken.gz": (b"no gzip", 1, "no sound gzip file"),
    "broken.jsonl": (b'{"text": "a"}\n{', 1, "line 2, is not JSON"),
    "other.jsonl": (b'{"body": "a"}\n', 1, 'line 1, needs a string "text"'),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_one_line_and_a_status(tmp_path: Path, capsys, name: str) -> None:
    content, status, message = WRONG_FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    call = ["--text", str(tmp_path / name), "--out", str(tmp_path / "out"), *TINY_OPTIONS]

    assert train.main(call) == status
    _assert_one_line(capsys.readouterr().err, message)
    assert not list(tmp_path.glob("out/*"))


def test_too_short_a_text_is_said_with_what_is_needed(day_text, tmp_path, capsys) -> None:
    (tmp_path / "short.txt").write_text(day_text[:4000], encoding="utf-8")
    call = ["--text", str(tmp_path / "short.txt"), "--out", str(tmp_path / "out"), *TINY_OPTIONS]
    assert train.main(call) == 1
    _assert_one_line(capsys.readouterr().err, "give text of 3,200 tokens or more")


WRONG_OPTIONS = {
    "--vocab 100000": "more than this text can fill: give --vocab ",
    "--vocab 256": "--vocab must be 257 or more, got 256",
    "--heads 3": "--heads must divide --width",
    "--heads 0": "--heads must be 1 or more",
    "--task-rows 9": "--task-rows must not exceed --rows",
    "--task-start 1.5": "--task-start must lie between 0 and 1",
    "--muon-lr nan": "--muon-lr must lie between 0 and 1",
    "--steps 5 --tokens 5": "give one of them",
    "--precision int8": "--precision must be one of",
}


@pytest.mark.parametrize("options", WRONG_OPTIONS)
def test_a_wrong_option_is_one_line_and_status_2(day_file, tmp_path, capsys, options) -> None:
    call = ["--text", str(day_file), "--out", str(tmp_path / "out"), *TINY_OPTIONS]
    assert train.main(call + options.split()) == 2
    _assert_one_line(capsys.readouterr().err, WRONG_OPTIONS[options])


def test_the_vocab_that_the_message_offers_is_possible(day_text: str) -> None:
    with pytest.raises(CallError) as caught:
        corpus.train_tokenizer([day_text], 100_000)
    offered = int(re.search(r"give --vocab (\d+)", str(caught.value)).group(1))
    assert corpus.train_tokenizer([day_text], offered).get_vocab_size() == offered


def test_a_folder_with_something_in_it_is_left_alone(day_file, tmp_path, capsys) -> None:
    (tmp_path / "mine").write_text("keep")
    call = ["--text", str(day_file), "--out", str(tmp_path), *TINY_OPTIONS]
    assert train.main(call) == 2
    _assert_one_line(capsys.readouterr().err, "not an empty folder")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_torch_without_muon_is_named(day_file, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    call = ["--text", str(day_file), "--out", str(tmp_path / "out"), *TINY_OPTIONS]
    assert train.main(call) == 1
    _assert_one_line(capsys.readouterr().err, f"torch {torch.__version__} has no Muon")


@pytest.mark.parametrize("call", [[], ["--text", "a", "--out", "b", "--device", "tpu"]])
def test_what_argparse_refuses_is_status_2(call: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(call)
    assert caught.value.code == 2


def test_help_shows_examples(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        train.main(["--help"])
    assert caught.value.code == 0
    assert "train.py --text book.txt --out my-model" in capsys.readouterr().out


def _assert_one_line(printed: str, message: str) -> None:
    """The error is the last line printed, the only one of its kind, and no traceback."""
    assert "Traceback" not in printed
    assert printed.count("error:") == 1
    assert message in printed.strip().splitlines()[-1]
