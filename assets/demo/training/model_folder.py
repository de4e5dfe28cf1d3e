"""A trained model as a Hugging Face folder, with a card of the numbers of its training."""

from collections.abc import Sequence
from pathlib import Path

import torch
from corpus import END_OF_TEXT, HELD_OUT_SHARE, Corpus
from evaluate import N_TASK_SENTENCES, Results
from safetensors import SafetensorError
from settings import CallError, Settings, TrainingError
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

SEEN_FILE = "task_sentences.json"


def claim_folder(out: Path) -> None:
    """Make the folder before the training, so that a place one cannot write to is found out now."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CallError(f"{out} exists and is not an empty folder: give another --out, or clear it")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallError(f"cannot make {out} ({error.strerror}): give another --out") from error


@torch.no_grad()
def round_to_float16(model: GPT2LMHeadModel) -> None:
    """Round the weights, in place, to what float16 holds: what is measured is what is stored."""
    for name, parameter in model.named_parameters():
        parameter.copy_(parameter.half())
        if not parameter.isfinite().all():
            raise TrainingError(f"{name} outgrew float16: try a smaller --muon-lr and --adamw-lr")


def save_folder(
    model: GPT2LMHeadModel, tokenizer: Tokenizer, card: str, out: Path, seen: str | None
) -> None:
    """Weights as float16, to be loaded as float32; config, tokenizer and README.md beside them, and
    what the model has `seen` of task sentences, where it has seen any."""
    logging.disable_progress_bar()
    try:
        _write_folder(model, tokenizer, card, out)
        if seen is not None:
            (out / SEEN_FILE).write_text(seen, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"could not save in {out} ({error}): make room, run it again"
        ) from error


def _write_folder(model: GPT2LMHeadModel, tokenizer: Tokenizer, card: str, out: Path) -> None:
    halves = {name: value.half().cpu() for name, value in model.state_dict().items()}
    model.save_pretrained(out, state_dict=halves)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=model.config.n_positions,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)
    (out / "README.md").write_text(card, encoding="utf-8")


def model_card(
    sources: Sequence[str],
    settings: Settings,
    corpus: Corpus,
    n_parameters: int,
    results: Results,
    took: str,
) -> str:
    """The README.md: what the model is, what it read, how it was trained, how well it does."""
    s = settings
    rows = {
        "architecture": f"GPT-2 (`GPT2LMHeadModel`): {s.layers} layers, {s.heads} heads, {s.width} "
        f"wide, {4 * s.width:,} MLP neurons a layer, context {s.context}, untied unembedding; "
        f"{n_parameters / 1e6:.1f} M parameters, stored as float16, to be loaded as float32",
        "tokenizer": f"byte-level BPE, {s.vocab:,} tokens, trained on the same text; "
        f"BOS = EOS = `{END_OF_TEXT}` (id 0)",
        "text": f"{', '.join(sources)}: texts {corpus.n_texts:,}, characters {corpus.n_chars:,}, "
        f"tokens {len(corpus.train) + len(corpus.held_out):,}; curly quotes and dashes made plain",
        "task sentences": _task_line(s),
        "training": f"{s.n_steps * s.tokens_per_step:,} tokens in {s.n_steps:,} steps, rows of "
        f"{s.context} tokens, {s.rows} a step, in {s.precision}; Muon (lr {s.muon_lr:g}, momentum "
        f"{s.muon_momentum:g}) for the matrices inside the blocks, AdamW (lr {s.adamw_lr:g}) for "
        "the rest; a constant rate, then linear to zero over the last "
        f"{100 * s.cooldown:g} %; seed {s.seed}; {took}, torch {torch.__version__}",
        "loss": f"{results.held_out_loss:.2f} nats a token on the last "
        f"{100 * HELD_OUT_SHARE:g} % of the text, held out (no task sentences)",
        "tasks": f"top-1 on {N_TASK_SENTENCES} fresh sentences each: {results.tasks}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"# A demo model\n\nMade by `assets/demo/training/train.py`.\n\n| | |\n|---|---|\n{table}\n"
    )


def has_task_rows(settings: Settings) -> bool:
    """Whether any row of the training holds task sentences."""
    return settings.task_rows > 0 and settings.first_task_step < settings.n_steps


def _task_line(settings: Settings) -> str:
    if not has_task_rows(settings):
        return "none"
    return (
        f"from step {settings.first_task_step + 1:,} on, {settings.task_rows} of {settings.rows} "
        "rows of each step: name inhibition and lists, as `task_sentences.py` makes them"
    )
