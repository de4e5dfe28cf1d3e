"""`verify`: a published store passes; for every rule, one deliberate fault makes exactly its check fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import pytest

from explorer.core import verify_rules, verify_store
from explorer.core.verify_report import Check
from explorer.core.verify_results import maths
from explorer.core.verify_store import N_CHECKS, check_store, checks
from tests.explorer.seeded import write_seeded_store
from tests.precompute.calling import Outcome
from tests.precompute.store_faults import FAULTS, drop, first
from tests.sizes import SOAK
from tests.spoiled import seal, spoiled

OPTIONS = ("--layers", "last:2", "--neurons-per-layer", 4, "--random-neurons-per-layer", 2,
           "--prompts", 4, "--candidates", 9)  # fmt: skip


def path_of(con: duckdb.DuckDBPyConnection) -> Path:
    with con:
        ((found,),) = con.sql(
            "SELECT path FROM duckdb_databases() WHERE path IS NOT NULL"
        ).fetchall()
    return Path(found)


@pytest.fixture(scope="module")
def top_k_store(
    neox_folder: Path, small_corpus: Path, publish: Callable[..., duckdb.DuckDBPyConnection]
) -> Path:
    """Parallel blocks, and three active heads a prompt: every table but the tasks' has rows."""
    call = ("--model", neox_folder, "--corpus", small_corpus, *OPTIONS, "--active-rule", "top:3")
    return path_of(publish(*call))


@pytest.fixture(scope="module")
def two_sd_store(quick_run: Outcome) -> Path:
    return quick_run.store


def failed(found: Iterable[Check]) -> dict[str, str]:
    return {check.name: check.reason for check in found if check.state == "failed"}


def test_published_stores_pass(top_k_store: Path, two_sd_store: Path, tmp_path: Path) -> None:
    for path in (top_k_store, two_sd_store):
        report = check_store(path)
        assert failed(report.checks) == {}
        assert report.passed
        assert [c.name for c in report.checks if c.state == "left out"] == ["tasks"]
        assert len({c.name for c in report.checks}) == len(report.checks) == N_CHECKS
    # A copy that is written and sealed again, with nothing wrong, passes too: what follows fails for
    # its fault and for nothing else.
    assert check_store(spoiled(top_k_store, tmp_path, ["CHECKPOINT"])).passed


def test_a_store_from_before_the_checksums_has_them_left_out(tmp_path: Path) -> None:
    report = check_store(write_seeded_store(tmp_path))
    assert failed(report.checks) == {}
    left_out = {c.name: c.reason for c in report.checks if c.state == "left out"}
    assert set(left_out) == {"row counts", "checksums", "tasks"}
    assert "before stores kept a record" in left_out["checksums"]
    path = tmp_path / "seeded.duckdb"
    with duckdb.connect(str(path)) as con:
        seal(con)
    assert {c.name for c in check_store(path).checks if c.state == "left out"} == {"tasks"}


FIRST_OF_EACH = list({name: fault for fault in reversed(FAULTS) for name in fault[:1]}.values())
TRIED = FAULTS if SOAK else FIRST_OF_EACH
"""Every rule's fault, or in the quick tests one for each check."""


@pytest.mark.parametrize(
    ("name", "words", "statements"),
    TRIED,
    ids=[f"{name}-{number}" for number, (name, *_) in enumerate(TRIED)],
)
def test_one_fault_fails_its_own_check_alone(
    name: str, words: str, statements: list[str], top_k_store: Path, tmp_path: Path
) -> None:
    path = spoiled(top_k_store, tmp_path, statements)
    found = failed(checks(path))
    assert set(found) == {name}, found
    assert words in found[name]


def test_every_check_has_a_fault() -> None:
    by_hand = {"opens", "row counts", "checksums"}  # each with a test of its own
    named = {rules.name for rules in (*verify_rules.REFERENCES, *maths(None))}
    assert {name for name, *_ in FAULTS} | by_hand == named | by_hand | {"tables", "manifest"}


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        (drop("failures"), set()),  # nothing to delete: the control
        ("UPDATE tokens SET text = text || 'x' WHERE token_id = 7", {"checksums"}),
        ("UPDATE manifest SET value = '\"x\"' WHERE key = 'corpus_name'", {"checksums"}),
        ("INSERT INTO failures VALUES ('a', 'b', 'c')", {"row counts", "checksums"}),
        ("UPDATE manifest SET value = 'null' WHERE key = 'table_sha256'", set()),
    ],
)
def test_what_was_changed_after_publishing_is_seen(
    statement: str, broken: set[str], top_k_store: Path, tmp_path: Path
) -> None:
    """The numbers agree with each other all the same; only the record of what was written differs."""
    path = spoiled(top_k_store, tmp_path, [statement], sealed=False)
    assert set(failed(checks(path))) == broken


def test_mean_and_two_standard_deviations_are_found_wrong(
    two_sd_store: Path, tmp_path: Path
) -> None:
    """The rule of most runs: a head taken from the list, one put there, one moved."""
    first_row = first("active_heads")
    for statement in (
        f"DELETE FROM active_heads WHERE {first_row}",
        "INSERT INTO active_heads SELECT prompt_id, 0, h FROM (SELECT prompt_id, unnest(range(4)) AS h "
        "FROM prompts) x ANTI JOIN active_heads a ON (a.prompt_id, a.head_layer, a.head) = "
        "(x.prompt_id, 0, h) LIMIT 1",
    ):
        found = failed(checks(spoiled(two_sd_store, tmp_path, [statement])))
        assert "active heads" in found
        assert set(found) <= {"active heads", "activity", "removals", "scores"}


def test_a_file_that_is_no_store_fails_the_first_check(tmp_path: Path, top_k_store: Path) -> None:
    junk = tmp_path / "junk.duckdb"
    junk.write_text("junk")
    assert list(failed(checks(junk))) == ["opens"]
    assert "rebuild it" in failed(checks(junk))["opens"]
    missing = spoiled(top_k_store, tmp_path, ["DROP TABLE composition"], sealed=False)
    assert list(failed(checks(missing))) == ["opens"]


def test_a_macro_of_the_stores_own_is_refused(top_k_store: Path, tmp_path: Path) -> None:
    """It could stand in for a function that the checks themselves use."""
    for macro in ("more(x) AS x + 1", "abs(x) AS 0"):
        path = spoiled(top_k_store, tmp_path, [f"CREATE MACRO {macro}"], sealed=False)
        assert len(failed(checks(path)).keys() & {"opens", "tables"}) == 1


def test_too_little_memory_is_no_fault_of_the_store(
    top_k_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    monkeypatch.setattr(verify_store, "seal_in_store", full)
    found = {check.name: check for check in checks(top_k_store)}
    assert found["checksums"].state == "left out"
    assert "memory" in found["checksums"].reason


def test_damaged_bytes_are_a_failed_check_and_no_traceback(
    top_k_store: Path, tmp_path: Path
) -> None:
    raw = top_k_store.read_bytes()
    seen: set[str] = set()
    for ninth in range(1, 9):
        at = ninth * len(raw) // 9
        path = tmp_path / f"damaged-{at}.duckdb"
        path.write_bytes(raw[:at] + bytes(b ^ 0xFF for b in raw[at : at + 4096]) + raw[at + 4096 :])
        seen |= set(failed(checks(path)))
        if seen and not SOAK:
            break
    assert seen  # some of the damage lies in blocks that hold rows
