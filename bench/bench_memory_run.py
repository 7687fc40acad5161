"""Millions of rows of a file, each with a key, through `weir run` and nginx, beside ten thousand."""
import os

from bench_memory import FEW, MANY, WINDOW_ROWS, lines
from harness import Bench, Goal, Side

IN_FLIGHT = 64
# More than `weir run` holds fingerprints of in memory. Ten million take four minutes and more.
MOST = int(os.environ.get("MEMORY_RUN_ROWS", 4_000_000))


def bench(kit):
    url = kit.nginx("location / { return 200 '{\"answer\":\"short\"}\\n'; }").origin + "/v1"
    weir = kit.pin(1) + [kit.weir, "run", "-q", "--url", url, "-j", IN_FLIGHT, "--window", WINDOW_ROWS]
    sides = {count: Side(f"{count:,} rows", weir + [kit.write(f"{count}.jsonl", lines(count))], rows=count)
             for count in (FEW, MANY, MOST)}
    most, many, few = (sides[count].name for count in (MOST, MANY, FEW))
    return Bench(
        "rows of about 100 B, each with a key of its own, from a file through `weir run` and nginx",
        shows=["rss_bytes", "cpu_us_per_row", "wall_s"],
        notes=[f"window: {WINDOW_ROWS:,} rows. One round: so many requests take minutes, and memory hardly varies."],
        sides=list(sides.values()),
        rounds=1,
        warm_up=False,
        goals=[
            Goal(most, "rss_bytes", "<=", 1.10, beside=few),
            Goal(most, "rss_bytes", "<=", 64 << 20),
            Goal(most, "cpu_us_per_row", "<=", 1.10, beside=many),
        ])
