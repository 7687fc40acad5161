"""20 million no-op rows through a thread pool of two threads, results streamed in order."""
from harness import Bench, Goal, Side

ROWS = 20_000_000


def bench(kit):
    return Bench(
        "no-op rows through a thread pool, 2 threads, results streamed in order",
        shows=["rows_per_s", "us_per_row", "cpu_us_per_row", "rss_bytes"],
        notes=["rows: 20 M for weir, the ring and the atomic; 5 M for libuv and 2 M for GLib, whose rates need no more.",
               "weir has permits, full metadata and statistics for each row; the others have the order and nothing else."],
        sides=[
            Side("weir", [kit.program("rows_weir"), ROWS], rows=ROWS, prints=True),
            Side("libuv", [kit.compile("rows_libuv.c", "libuv"), ROWS // 4], rows=ROWS // 4, prints=True,
                 env={"UV_THREADPOOL_SIZE": "2"}),
            Side("GLib", [kit.compile("rows_glib.c", "glib-2.0"), ROWS // 10], rows=ROWS // 10, prints=True),
            Side("ring", [kit.compile("rows_ring.c"), ROWS], rows=ROWS, prints=True),
            Side("atomic (limit)", [kit.compile("rows_atomic.c"), ROWS], rows=ROWS, prints=True),
        ],
        goals=[
            Goal("weir", "rows_per_s", ">=", 2, beside="libuv"),
            Goal("weir", "rows_per_s", ">=", 0.5, beside="ring"),
            Goal("weir", "cpu_us_per_row", "", 0, beside="libuv"),
            Goal("weir", "cpu_us_per_row", "", 0, beside="ring"),
        ],
        beside="ring")
