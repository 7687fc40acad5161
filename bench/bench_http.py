"""50,000 POSTs of 500 bytes, 64 in flight, to nginx on the other processor."""
import json

from harness import Bench, BenchError, Goal, Side

ROWS, IN_FLIGHT, BODY_BYTES, CURL_ROWS = 50_000, 64, 500, 5_000
# Node.js 18, which Debian 12 has, can run these.
NODE_PACKAGES = ("undici@6.21.0", "p-queue@8.0.1")
ANSWER = {"id": "generation-0123456789", "choices": [{"index": 0, "finish_reason": "stop", "message": {
    "role": "assistant", "content": "An answer of about two hundred bytes, as short ones of such services are."}}]}


def body(i):
    start = json.dumps({"row": f"{i:08}", "prompt": ""})[:-2]
    return start + "x" * (BODY_BYTES - len(start) - 2) + '"}'


def undici(kit, origin, body_file):
    side = Side("undici, p-queue", rows=ROWS)
    try:
        script = kit.npm("http_undici.mjs", *NODE_PACKAGES)
        side.command = kit.pin(1) + ["node", script, origin, "/v1", ROWS, IN_FLIGHT, body_file]
    except (BenchError, OSError) as e:
        side.missing = str(e)
    return side


def bench(kit):
    origin = kit.nginx(f"location / {{ return 200 '{json.dumps(ANSWER)}\\n'; }}").origin
    url = origin + "/v1"
    rows = kit.write("rows.jsonl", (body(i) + "\n" for i in range(ROWS)))
    body_file = kit.write("body.json", body(0))
    weir = kit.pin(1) + [kit.weir, "run", "-q", "--url", url, "-j", IN_FLIGHT]
    return Bench(
        "50,000 POSTs of 500 B, 64 in flight, nginx on the other processor",
        shows=["cpu_us_per_row", "rows_per_s", "rss_bytes"],
        notes=["CPU is the client's, user and system. curl --parallel sends 5,000."],
        sides=[
            Side("libcurl", kit.pin(1) + [kit.compile("http_libcurl.c", "libcurl"), url, ROWS, IN_FLIGHT, body_file], rows=ROWS),
            Side("weir run", weir + [rows], rows=ROWS),
            Side("weir run -o --meta", weir + ["--fresh", "--meta", "-o", "out.jsonl", rows], rows=ROWS),
            undici(kit, origin, body_file),
            Side("curl --parallel", kit.pin(1) + ["curl", "-s", "-Z", "--parallel-max", IN_FLIGHT, "-H", "Expect:",
                                                  "-H", "Content-Type: application/json", "-d", "@" + body_file,
                                                  "-o", "/dev/null", f"{url}?[1-{CURL_ROWS}]"], rows=CURL_ROWS),
        ],
        goals=[
            Goal("weir run", "cpu_us_per_row", "<=", 1.2, beside="libcurl"),
            Goal("weir run -o --meta", "cpu_us_per_row", "<=", 1.6, beside="libcurl"),
        ],
        beside="libcurl")
