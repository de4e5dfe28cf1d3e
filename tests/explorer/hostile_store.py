"""A store every text of which would harm where it is obeyed: as markup, markdown, a path or a command.

The seeded store with its words replaced; its numbers stay. What would run sets `window.evil`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from tests.explorer.seeded import write_seeded_store

IMG = "<img src=x onerror=window.evil=1>"
MARKUP = f'{IMG}<script>window.evil=2</script><svg/onload=window.evil=3>"\'><iframe srcdoc="{IMG}">'
MARKDOWN = (
    "[a](javascript:window.evil=4) ![b](http://127.0.0.1:9/beacon.png) $x$ `c` **d** :red[e] <<f>>"
)
CONTROLS = "\x1b[31m\x1b]0;title\x07 \u202eevil\u2066 \ufeff"
EVIL = f"{MARKUP} {MARKDOWN} {CONTROLS} ../../etc/passwd '; DROP TABLE tokens; --"
STEM = f"{IMG}\u202e[a](javascript:window.evil=5)"
"""Name of the store's file: what a file system allows of it."""
_TEXTS = {
    "explanations": ("text", "rule", "request", "reply"),
    "classifications": ("reply",),
    "failures": ("stage", "subject", "reason"),
    "task_results": ("template", "condition"),
}
_FACTS = (
    "model", "model_name", "corpus", "corpus_name", "test_corpus", "revision", "preset", "out", "device_used",
    "code_version", "weight_processing", "blocks", "layers", "weights_sha256", "end", "start",
)  # fmt: skip


def write_hostile_store(folder: Path, stem: str = STEM, **facts: Any) -> Path:
    """`folder/stem.duckdb`, hostile in every text; `facts` of the manifest win."""
    manifest = {
        **dict.fromkeys(_FACTS, EVIL),
        "warnings": {EVIL: 3, f"task {EVIL}": 1},
        "tokens": [EVIL, " come"],
        "library_versions": {EVIL: EVIL},
        "documents": {EVIL: EVIL},
        f"new {EVIL}": {EVIL: [EVIL]},
        **facts,
    }
    path = write_seeded_store(folder, stem, **manifest)
    with duckdb.connect(str(path)) as con:
        # Every third token, so that prompts and lists hold them among others.
        con.execute(
            "UPDATE tokens SET text = text || ? WHERE token_id % 3 = 0 AND text <> ''", (EVIL,)
        )
        for table, columns in _TEXTS.items():
            for column in columns:
                con.execute(f'UPDATE "{table}" SET "{column}" = ?', (EVIL,))
        con.execute("UPDATE explanations SET rule = ? WHERE rule IS NOT NULL", (json.dumps(EVIL),))
        con.execute("INSERT INTO failures VALUES (?, ?, ?)", (EVIL, EVIL, EVIL))
        for table in ("explanations", "classifications", "head_scores", "score_nulls"):
            con.execute(f"UPDATE {table} SET explainer = ? WHERE explainer = 'openai'", (EVIL,))
    return path
