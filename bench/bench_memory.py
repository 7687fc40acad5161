"""Ten million rows of a file through a pool that answers at once, beside ten thousand."""
from harness import Bench, Goal, Side

FEW, MANY, MOST = 10_000, 1_000_000, 10_000_000
# Smaller than the smallest file, so that each of them fills it: memory is to depend on the window, not on the file.
WINDOW_ROWS = 4_096
LINE_BYTES = 100


def lines(count):
    for i in range(count):
        start = f'{{"custom_id":"row-{i:08}","text":"'
        yield start + "x" * (LINE_BYTES - len(start) - 3) + '"}\n'


def bench(kit):
    program = kit.program("memory_weir")
    kit.tell("writing a file of 10 million rows")
    sides = {count: Side(f"{count:,} rows", [program, kit.write(f"{count}.jsonl", lines(count)), "/dev/null", WINDOW_ROWS],
                         rows=count, prints=True, repeat=10 if count == MANY else 1) for count in (FEW, MANY, MOST)}
    most, many, few = (sides[count].name for count in (MOST, MANY, FEW))
    return Bench(
        "rows of about 100 B from a file through a thread pool that answers at once, results in order",
        shows=["rss_bytes", "cpu_us_per_row", "wall_s"],
        notes=[f"window: {WINDOW_ROWS:,} rows, which is what may be in flight.",
               f"{MANY:,} rows run ten times in a round, so that both sides of the ratio of times take as long."],
        sides=list(sides.values()),
        warm_up=False,
        goals=[
            Goal(most, "rss_bytes", "<=", 1.10, beside=few),
            Goal(most, "rss_bytes", "<=", 64 << 20),
            Goal(most, "cpu_us_per_row", "<=", 1.10, beside=many),
        ])
