"""Rows through a thread pool, each in the journal on a disk before it is delivered."""
from harness import Bench, Goal, Side

ROWS, ROWS_PER_TRANSACTION = 500_000, 100


def bench(kit):
    weir, sqlite = kit.program("journal_inside"), kit.compile("journal_sqlite.c", "sqlite3")
    memory = kit.memory_folder()
    missing = "" if memory else "no room in /dev/shm"
    return Bench(
        "rows with journal through a thread pool, 100 B each, synchronous=FULL",
        shows=["rows_per_s", "syncs_per_s", "cpu_us_per_row"],
        notes=[f"file system: {kit.file_system()} (BENCH_DIR=... measures on another one).",
               "In memory nothing waits for a disk: what is left is the cost of the software alone."],
        sides=[
            Side("weir", [weir, kit.folder, ROWS], rows=ROWS, prints=True),
            Side("SQLite", [sqlite, kit.folder, ROWS, ROWS_PER_TRANSACTION], rows=ROWS, prints=True),
            Side("fdatasync", [kit.compile("journal_fdatasync.c"), kit.folder], prints=True),
            Side("weir, in memory", [weir, memory, ROWS], rows=ROWS, prints=True, missing=missing),
            Side("SQLite, in memory", [sqlite, memory, ROWS, ROWS_PER_TRANSACTION], rows=ROWS, prints=True, missing=missing),
        ],
        goals=[
            Goal("weir", "rows_per_s", ">=", 0.4, beside="SQLite"),
            Goal("weir, in memory", "rows_per_s", "", 0, beside="SQLite, in memory"),
        ])
