"""A process that reads stores and corpora named on its standard input, one a line, and says what came of
each as a line of JSON. A native library that crashes takes this process along, not the test.

    store PATH      opened, its rows checked, all of it read
    corpus PATH     surveyed and cut into shards
"""

from __future__ import annotations

import json
import resource
import sys
import traceback
from pathlib import Path

from explorer.core.errors import ExplorerError
from explorer.core.store import Store
from explorer.core.store_values import check_values
from precompute import corpus

_MEMORY = 6 << 30


def _read_store(path: Path) -> str:
    with Store.open(path) as store:
        check_values(store.sql, path, store.manifest)
        return f"{sum(store.row_counts().values())} rows"


def _read_corpus(path: Path) -> str:
    found = corpus.survey(str(path))
    n = sum(len(texts) for _, texts in corpus.shards(str(path), max_documents=7))
    assert n == found.n_documents, "a survey counts what the shards hold"
    return f"{n} documents"


_READERS = {"store": _read_store, "corpus": _read_corpus}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for line in sys.stdin:
        kind, _, name = line.rstrip("\n").partition(" ")
        try:
            answer = {"ok": _READERS[kind](Path(name))}
        except ExplorerError as error:
            answer = {"refused": str(error)}
        except BaseException:  # noqa: BLE001 that is what is looked for
            answer = {"traceback": traceback.format_exc()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
