"""Train a small GPT-2 for the demo, tokenizer and all, from any plain text file.

examples:
  python assets/demo/training/train.py --text book.txt --out my-model --tokens 2000000
  python assets/demo/training/train.py --text a.txt b.txt.gz more.jsonl.gz --out my-model
  python assets/demo/training/train.py --text book.txt --out tiny --steps 200 \\
      --layers 2 --heads 4 --width 64 --vocab 1024

A plain file is one text; each line of a .jsonl file is one, in its field "text"; either may be
packed with gzip. Two CPU cores train on some millions of tokens an hour, a GPU far faster.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from settings import CallError, Settings, TrainingError

if TYPE_CHECKING:
    import torch
    from optimise import OnStep

METAVARS = {int: "N", float: "X", str: "NAME"}

SMOOTHING = 0.05
"""Weight of the newest step in the loss that the progress display shows."""

STATUS_LINES = 20
"""Lines of progress over a training whose display is not a terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status is returned."""
    parser = build_parser()
    call = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        make_model(call.text, call.out, call.device, settings_of(call), console)
    except CallError as error:
        return _fail(parser.prog, error, status=2)
    except TrainingError as error:
        return _fail(parser.prog, error, status=1)
    except KeyboardInterrupt:
        return _fail(parser.prog, "stopped, nothing saved: run it again to start over", status=130)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line: one option for each field of Settings."""
    summary, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--text",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="what to learn from: .txt or .jsonl, or either with .gz",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the model, new or empty"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to train; auto takes a GPU if there is one (default auto)",
    )
    for option in fields(Settings):
        default = "" if option.default is None else f" (default {option.default})"
        parser.add_argument(
            "--" + option.name.replace("_", "-"),
            type=option.metadata["kind"],
            default=option.default,
            metavar=METAVARS[option.metadata["kind"]],
            help=(option.metadata["help"] + default).replace("%", "%%"),
        )
    return parser


def settings_of(call: argparse.Namespace) -> Settings:
    """The parsed options as Settings."""
    return Settings(**{option.name: getattr(call, option.name) for option in fields(Settings)})


def make_model(
    paths: Sequence[Path], out: Path, device_name: str, settings: Settings, console: Console
) -> None:
    """All of it: read, tokenise, train, measure, save, and print what was measured."""
    # Here and not above: torch takes seconds to import, and --help and mistakes need none of it.
    import corpus as text
    import model_folder as folder
    import optimise
    from batches import batches
    from evaluate import measure
    from task_sentences import load_words, record

    device = pick_device(device_name)
    optimise.require_muon()
    settings = optimise.with_precision_for(settings, device)
    texts = text.read_texts(paths)
    folder.claim_folder(out)
    console.print(f"training a tokenizer of {settings.vocab:,} tokens ...")
    tokenizer = text.train_tokenizer(texts, settings.vocab)
    corpus = text.encode(texts, tokenizer, settings)
    console.print(f"text: {len(corpus.train):,} tokens, {len(corpus.held_out):,} more held out")
    model = optimise.build_model(settings)
    started = time.monotonic()
    with progress(settings.n_steps, console) as on_step:
        rows = batches(corpus.train, tokenizer, load_words(), settings)
        optimise.train(model, rows, settings, device, on_step)
    took = f"{(time.monotonic() - started) / 60:.1f} minutes on {device.type}"
    folder.round_to_float16(model)
    results = measure(model, tokenizer, corpus.held_out, load_words(), settings)
    names = [path.name for path in paths]
    card = folder.model_card(names, settings, corpus, model.num_parameters(), results, took)
    seen = record(load_words()) if folder.has_task_rows(settings) else None
    folder.save_folder(model, tokenizer, card, out, seen)
    sys.stdout.write(
        f"held-out loss: {results.held_out_loss:.3f} nats a token\n"
        f"tasks, top-1: {results.tasks}\n"
        f"saved in {out}; the numbers of this training are in {out / 'README.md'}\n"
    )


def pick_device(name: str) -> "torch.device":
    """The device of that name; `auto` is a GPU if there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise CallError("--device cuda: torch finds no GPU here; give --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def progress(n_steps: int, console: Console) -> "Iterator[OnStep]":
    """A bar with the loss and the time left; lines now and then where there is no terminal."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} steps, loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    smooth = math.nan
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=n_steps, loss=smooth)

        def on_step(step: int, loss: float) -> None:
            nonlocal smooth
            smooth = loss if step == 1 else smooth + SMOOTHING * (loss - smooth)
            bar.update(task, completed=step, loss=smooth)
            due = step % math.ceil(n_steps / STATUS_LINES) == 0 or step == n_steps
            if due and not console.is_terminal:
                left = bar.tasks[task].time_remaining
                ending = "" if left is None else f", {left / 60:.1f} minutes left"
                console.print(f"step {step:,} of {n_steps:,}, loss {smooth:.3f}{ending}")

        yield on_step


def _fail(prog: str, message: object, status: int) -> int:
    """One line of what went wrong, and the exit status."""
    sys.stderr.write(f"{prog}: error: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
