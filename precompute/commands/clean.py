"""`python -m precompute clean DIR`: remove what is not published, and nothing else."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from pathlib import Path

from explorer.core.plain_text import one_line
from precompute.arguments import Parser, check_texts
from precompute.commands.status import bytes_in_words, existing_folder
from precompute.work_folders import LOCK_FILE, WorkFolder, leftovers

_EPILOG = """\
Removed: the work folders of unfinished runs (*.partial) and single files that were left over. Never
touched: published stores, notes, links, and a folder that holds anything that is not the job's.
Exit status 1 where something had to stay, 0 otherwise.
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m precompute clean",
        description="Remove what is not published in a folder of stores.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("folder", nargs="?", default="runs", metavar="DIR", help="(default: runs)")
    add("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(one_line(text) + "\n")


def _why_kept(work: WorkFolder) -> str | None:
    """Why a work folder must stay; None where it may go."""
    if work.in_use:
        return "a job is working in it; wait for it to end"
    if work.foreign:
        return f"it holds {work.foreign[0]}, which is none of the job's; move that elsewhere"
    return None


def _remove(work: Path) -> str | None:
    """Remove a work folder while holding its lock; why not, where a job has come first."""
    descriptor = os.open(work / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(work)
    except BlockingIOError:
        return "a job is working in it; wait for it to end"
    finally:
        os.close(descriptor)
    return None


def _described(work: WorkFolder) -> str:
    replies = f", {work.n_replies:,} replies paid for" if work.n_replies else ""
    return f"{work.path} ({bytes_in_words(work.n_bytes)}{replies})"


def run(argv: list[str]) -> int:
    """Remove, or say what would be removed. 1 where something had to stay."""
    check_texts(argv)
    arguments = _parser().parse_args(argv)
    folder = existing_folder(arguments.folder, "clean")
    found = leftovers(folder, with_checksums=False)
    verb, total, kept = ("would remove" if arguments.dry_run else "removed"), 0, 0
    for work in found.work:
        why = _why_kept(work)
        if why is None and not arguments.dry_run:
            why = _remove(work.path)
        if why is not None:
            _say(f"kept {work.path}: {why}")
            kept += 1
            continue
        _say(f"{verb} {_described(work)}")
        total += work.n_bytes
    for path, size in found.stray:
        if not arguments.dry_run:
            path.unlink(missing_ok=True)
        _say(f"{verb} {path} ({bytes_in_words(size)})")
        total += size
    for path in found.links:
        _say(f"left alone {path}: it is a link")
    if found.work or found.stray:
        _say(f"{verb} {bytes_in_words(total)} in all")
    else:
        _say(f"{folder} holds nothing that is not published")
    return 1 if kept else 0
