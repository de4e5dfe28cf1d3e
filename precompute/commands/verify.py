"""`python -m precompute verify STORE`: check a store, and sampled numbers against its model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.core.errors import (
    CallError,
    ExplorerError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from explorer.core.named_model import BUNDLED_MODEL, find_model
from explorer.core.plain_text import one_line
from explorer.core.runs import SUFFIX
from explorer.core.store import Store
from explorer.core.verify_report import Check, Report, summary
from explorer.core.verify_store import cannot_be_run
from explorer.core.verify_store import checks as store_checks
from precompute.arguments import Parser, check_texts

if TYPE_CHECKING:
    from explorer.core.model import LanguageModel

_EPILOG = """\
Checks are ok, failed, or left out with the reason (an older store has no checksums; the model is not
there, or is another one). Exit status 0 only if nothing failed.

examples:
  python -m precompute verify runs                   every store of the folder
  python -m precompute verify runs --load-models     they are my own: load the models they name unasked
  python -m precompute verify a.duckdb --no-model    a stranger's store, against itself alone
  python -m precompute verify a.duckdb --model gpt2 --samples 200
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m precompute verify",
        description="Check a store: its tables and checksums, that what it names exists, its "
        "arithmetic on every row, and sampled prompts recomputed from the model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("store", metavar="STORE", help="a store file, or a folder: every store in it")
    add("--samples", type=int, default=32, metavar="N", help="prompts to recompute (default: 32)")
    add(
        "--model",
        metavar="DIR_OR_NAME",
        help="the run's model (default: the folder that the store names, once you agree; a hub model is "
        "fetched only where it is named here)",
    )
    add(
        "--load-models",
        action="store_true",
        help="agree beforehand that the folders which the stores name are loaded (the bundled model and "
        "--model are never asked for)",
    )
    add("--no-model", action="store_true", help="check the store alone")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    add("--json", action="store_true", help="the findings as JSON")
    return parser


def _stores(named: str) -> list[Path]:
    path = Path(named).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CallError(f"there is no store or folder at {named}; give verify one that is there")
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise ExplorerError(
            f"no stores in {named}; make one with: python -m precompute --out {named} ..."
        )
    return found


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


class _Models:
    """The model of the last store: stores of one folder mostly share theirs."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._named: str | None = arguments.model
        self._device: str = arguments.device
        self._agreed: bool = arguments.load_models
        self._can_ask = not arguments.json and _is_terminal()
        self._answers: dict[str, bool] = {str(BUNDLED_MODEL): True}
        self._folder: Path | None = None
        self._model: LanguageModel | None = None

    def _may_load(self, folder: str) -> bool:
        """Whether what a store names may be loaded: a store may be a stranger's, and is asked about."""
        if self._agreed:
            return True
        if folder not in self._answers and self._can_ask:
            sys.stdout.write(f"  The store names {one_line(folder)} as its model. Load it? [y/N] ")
            sys.stdout.flush()
            self._answers[folder] = sys.stdin.readline().strip().lower() in ("y", "yes")
        return self._answers.get(folder, False)

    def _of_store(self, store: Store) -> Path:
        named = find_model(str(store.manifest.get("model", "")))
        if named.kind == "network":
            raise ModelNotFoundError(
                f"the store names a network path, {named.source}, which is not opened for a store; give "
                "--model DIR"
            )
        if named.kind != "folder":
            raise ModelNotFoundError(
                f"there is no model folder at {named.source or '(none)'}; give --model DIR"
            )
        if not self._may_load(named.source):
            raise ModelNotFoundError(
                f"the store names {named.source}, which is not loaded unasked; give --model with that "
                "folder, or --load-models where the stores are your own"
            )
        return Path(named.source)

    def folder(self, store: Store) -> Path:
        from explorer.core.model_files import find_folder

        if self._named is None:
            return self._of_store(store)
        try:
            return find_folder(self._named)[0]
        except ModelNotFoundError as error:  # it was asked for: a mistake in the call
            raise CallError(str(error)) from error

    def load(self, folder: Path) -> LanguageModel:
        if self._model is None or folder != self._folder:
            from explorer.core.model import load_model

            self._folder, self._model = folder, load_model(str(folder), self._device)
        return self._model


def _model_checks(path: Path, models: _Models, n_samples: int) -> Iterator[Check]:
    from explorer.core import verify_model

    with Store.open(path) as store:
        try:
            folder = models.folder(store)
        except ModelNotFoundError as error:
            yield from verify_model.without_model(str(error))
            return
        weights = verify_model.check_weights(store.manifest, folder)
        yield weights
        if weights.state != "ok":
            yield from verify_model.without_model("the run's own weights are needed")[1:]
            return
        try:
            model = models.load(folder)
        except UnsupportedModelError as error:
            yield from verify_model.without_model(str(error))[1:]
            return
        yield from verify_model.checks(store, model, n_samples)


def _checks(path: Path, arguments: argparse.Namespace, models: _Models) -> Iterator[Check]:
    found: list[Check] = []
    for check in store_checks(path):
        found.append(check)
        yield check
    if arguments.no_model or found[0].state == "failed":
        return
    unusable = cannot_be_run(found)
    if unusable is None:
        yield from _model_checks(path, models, arguments.samples)
        return
    from explorer.core.verify_model import without_model

    yield from without_model(f"{unusable} must hold first")


def _show(check: Check) -> None:
    sys.stdout.write(f"  {check.state:<9} {check.name:<20} {one_line(check.reason)}\n")
    sys.stdout.flush()


def run(argv: list[str]) -> int:
    """Check every store named; 0 only if nothing failed."""
    check_texts(argv)
    arguments = _parser().parse_args(argv)
    if arguments.samples < 0:
        raise CallError(f"--samples must be 0 or more, got {arguments.samples}")
    models = _Models(arguments)
    reports = []
    for path in _stores(arguments.store):
        found = []
        if not arguments.json:
            sys.stdout.write(f"{one_line(str(path))}\n")
        for check in _checks(path, arguments, models):
            found.append(check)
            if not arguments.json:
                _show(check)
        reports.append(Report(path, tuple(found)))
        if not arguments.json:
            sys.stdout.write(f"  {summary(found)}\n")
    if arguments.json:
        sys.stdout.write(json.dumps([report.as_json() for report in reports], indent=1) + "\n")
    return 0 if all(report.passed for report in reports) else 1
