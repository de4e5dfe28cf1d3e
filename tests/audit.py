"""`make audit`: the installed packages against the advisories known to the Python package index.

Exit status 0 where every package was looked up and none has a known advisory; 1 where one has, or where
any could not be looked up: what was not audited is not called sound.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

OWN = "next-token-explorer"


def verdict(found: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Exit status and lines for pip-audit's `dependencies`."""
    packages = [package for package in found if package["name"] != OWN]
    skipped = [package for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {flaw['id']}"
        f" (mended in {', '.join(flaw['fix_versions']) or 'no version yet'})"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    n_flawed = len(lines)
    if len(skipped) == len(packages):
        lines.append("advisories cannot be reached: nothing was audited; try again with a network")
    elif skipped:
        names = ", ".join(sorted(str(package["name"]) for package in skipped))
        lines.append(f"not audited, the index does not know them: {names}")
    n_looked_up = len(packages) - len(skipped)
    lines.append(f"{n_looked_up} of {len(packages)} packages looked up, {n_flawed} advisories")
    return int(bool(n_flawed or skipped or not packages)), lines


def main(words: Sequence[str]) -> int:
    """`words`: the program pip-audit, and the folder of the installed packages."""
    program, folder = words
    call = [program, "--path", folder, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
        sys.stderr.write(f"advisories cannot be reached ({reason}); nothing was audited\n")
        return 1
    status, lines = verdict(found)
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
