"""`python -m precompute`: find next-token neurons, their prompts and the heads that switch them on."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import duckdb

from explorer.core.errors import CallError, ExplorerError, first_line
from explorer.core.plain_text import one_line
from precompute.arguments import config_from
from precompute.commands import COMMANDS
from precompute.config import JobConfig
from precompute.interrupt import prompt_stop

STAGES = {
    "survey": "Surveying the corpus",
    "congruence": "Neurons against tokens",
    "scan": "Reading the corpus",
    "prompts": "Truncating prompts",
    "heads": "Attributing to heads",
    "ablations": "Removing heads",
    "explanations": "Explaining heads",
    "channels": "Channels between heads",
    "tasks": "Trying tasks",
    "publish": "Publishing the store",
}


def run_job(config: JobConfig) -> Path:
    """The whole job, as the list of its stages. Returns the path of the published store."""
    from precompute import prepare, publish
    from precompute.progress import Display
    from precompute.stages import (
        ablations,
        channels,
        explanations,
        heads,
        neurons,
        precision,
        prompts,
        scan,
        tasks,
    )

    begin = datetime.now(UTC)
    with Display(STAGES, config.log_json) as display:
        plan = prepare.plan(config, display)
        if plan.finished is not None:
            display.say(
                f"This run is finished already ({plan.finished.name}); --force runs it again.",
                path=plan.finished,
            )
            return plan.finished
        with prepare.opened(plan, display) as job:
            neurons.requested_token_ids(job)  # a mistake in the call is said before any work
            rankings = neurons.run(job)
            studied = neurons.select(job, rankings)
            found = scan.run(job, studied)
            kept = prompts.run(job, studied, found)
            precision.run(job, studied, kept)
            attributed = heads.run(job, studied, kept)
            ablated = ablations.run(job, studied, kept, attributed)
            explained = explanations.run(job, studied, kept, attributed)
            components, weights = channels.run(job, studied, kept, attributed)
            weights |= tasks.run(job)
            job.count_halved()
            shards = publish.Shards(kept, attributed, (ablated, explained, components), weights)
            path, rows = publish.run(job, rankings, studied, found, shards, begin, plan.name)
            prepare.clean_up(job, explanations.n_failures(explained))
    for line in job.continued():
        display.say(line)
    for kind, count in job.warnings.items():
        display.warn(kind, count)
    display.summary(rows, found.n_tokens_now, path, job.warnings)
    return path


def _fail(text: str, as_json: bool, event: str = "error", status: int = 1) -> int:
    """One line about what ended the call; returns the exit status."""
    if as_json:
        from precompute.json_log import write_event

        write_event(event, "error", message=text, status=status)
    else:
        sys.stderr.write(one_line(text if event == "stopped" else f"error: {text}") + "\n")
    return status


def _publish(words: list[str]) -> int:
    path = run_job(config_from(words))
    # A script gets the path as it is, a terminal gets no escape code of a folder's name.
    sys.stdout.write(f"{one_line(str(path)) if sys.stdout.isatty() else path}\n")
    return 0


def _action(words: list[str]) -> Callable[[list[str]], int]:
    """What the call asks for: one of `COMMANDS` by its first word, else the job itself."""
    if words and words[0] in COMMANDS:
        return lambda rest: import_module(f"precompute.commands.{words[0]}").run(rest[1:])
    return _publish


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 only when the store is published (or the command did what it was asked for); 2 for a
    mistake in the call; 1 for the rest."""
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = "--log-json" in words
    with prompt_stop(lambda: _stopped(as_json)):
        return _ended(words, as_json)


def _ended(words: list[str], as_json: bool) -> int:
    """Do what is asked for; the exit status, each failure said in one line."""
    try:
        return _action(words)(words)
    except CallError as error:
        return _fail(str(error), as_json, status=2)
    except ExplorerError as error:
        return _fail(str(error), as_json)
    except KeyboardInterrupt:
        return _stopped(as_json)
    except (OSError, duckdb.Error) as error:
        return _fail(_outside_reason(error), as_json)


def _stopped(as_json: bool) -> int:
    kept = "stopped; what is done is kept, and the same command continues"
    return _fail(kept, as_json, "stopped")


def _outside_reason(error: OSError | duckdb.Error) -> str:
    """One line about a disk or folder that failed, ending with what to do."""
    reason = first_line(error, 300)
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or os.strerror(errno.ENOSPC) in reason:  # DuckDB has no class of its own for it
        return "the disk is full; free some space, and the same command continues"
    return f"{reason}; mend it, and the same command continues"


if __name__ == "__main__":
    sys.exit(main())
