"""Rows through a thread pool, each in the journal on a disk before it is delivered."""
from harness import Bench, Goal, Side

ROWS, ROWS_PER_TRANSACTION = 500_000, 100


def bench(kit):
    return Bench(
        "rows with journal through a thread pool, 100 B each, synchronous=FULL",
        shows=["rows_per_s", "syncs_per_s", "cpu_us_per_row"],
        notes=[f"file system: {kit.file_system()} (BENCH_DIR=... measures on another one)."],
        sides=[
            Side("weir, journal", [kit.program("journal_inside"), kit.folder, ROWS], rows=ROWS, prints=True),
            Side("SQLite, 100 a transaction",
                 [kit.compile("journal_sqlite.c", "sqlite3"), kit.folder, ROWS, ROWS_PER_TRANSACTION], rows=ROWS, prints=True),
            Side("fdatasync", [kit.compile("journal_fdatasync.c"), kit.folder], prints=True),
        ],
        goals=[Goal("weir, journal", "rows_per_s", ">=", 0.4, beside="SQLite, 100 a transaction")])
