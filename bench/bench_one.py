"""One row, start to end, beside curl for the same request."""
from harness import Bench, Goal, Side

TIMES = 100
BODY = '{"prompt":"one row"}'


def bench(kit):
    url = kit.nginx("location / { return 200 '{\"answer\":\"short\"}\\n'; }").origin + "/v1"
    row = kit.write("row.jsonl", BODY + "\n")
    body = kit.write("body.json", BODY)
    weir = kit.pin(1) + [kit.weir, "run", "-q", "--url", url]
    return Bench(
        "one row, start to end, nginx on the other processor",
        shows=["wall_ms", "cpu_ms", "rss_bytes"],
        notes=[f"each figure of a round is the median of {TIMES} runs; -o makes a journal and waits for the disk."],
        sides=[
            Side("curl", kit.pin(1) + ["curl", "-s", "-H", "Content-Type: application/json", "-d", "@" + body, url],
                 repeat=TIMES),
            Side("weir run", weir + [row], repeat=TIMES),
            Side("weir run -o", weir + ["--fresh", "-o", "out.jsonl", row], repeat=TIMES),
        ],
        goals=[
            Goal("weir run", "wall_ms", "<=", 2, beside="curl"),
            Goal("weir run", "cpu_ms", "<=", 2, beside="curl"),
        ],
        beside="curl")
