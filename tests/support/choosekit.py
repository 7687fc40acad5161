"""Which task comes next, said a second time: a slow and obvious model, and a service whose requests end when the test says.

    service = Service()                           # of a pool {"kind": "http", "url": service.url("a"), "throttle": "none"}
    model = Model("priority", limit=4)
    model.pool("a", limit=2, skills=["x"])
    task = {"key": "7", "skill": "x", "priority": 3, "payload": ..., ...}      # as it is submitted
    model.add(task)
    model.start_all()                             # [("7", "a"), ...], in their order, until nothing can start
    service.wait(lambda s: len(s.begun) == 1)     # s.begun: [("7", "a"), ...], in the order of their arrival
    service.end("7"); model.end("7")
    service.close()

The model knows what docs/operating.md and examples/weir.yml say, and nothing of how weir does it.
"""
import http.server
import json
import math
import socket
import threading

from weirtest import SLOWNESS


class Service:
    """Answers a POST to /POOL, whose body has `key`, when end(key) was called, or free(); and `s` seconds of the body later."""

    def __init__(self):
        self.changed = threading.Condition()
        self.begun, self.released, self.all_free = [], set(), False
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.hold(body, self.path[1:])
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                try:
                    self.wfile.write(b"{}")
                except OSError:
                    self.close_connection = True  # the daemon has gone

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def url(self, pool):
        return f"http://127.0.0.1:{self.server.server_port}/{pool}"

    def hold(self, body, pool):
        with self.changed:
            self.begun.append((body["key"], pool))
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.all_free or body["key"] in self.released, 300 * SLOWNESS)
        threading.Event().wait(body.get("s", 0))

    def end(self, key):
        with self.changed:
            self.released.add(key)
            self.changed.notify_all()

    def free(self):
        """Nothing is held any more."""
        with self.changed:
            self.all_free = True
            self.changed.notify_all()

    def wait(self, condition, deadline_s=20):
        """Whether it came to be, before the deadline."""
        with self.changed:
            return self.changed.wait_for(lambda: condition(self), deadline_s * SLOWNESS)

    def close(self):
        self.free()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Model:
    def __init__(self, policy, limit, ageing=0, default_pool=None, slots=None, weights=None, exact_s=0.0):
        """ageing: priority for each minute; slots: {name: count}; weights: {tenant: weight}; exact_s: of times that it is told."""
        self.policy, self.limit, self.ageing, self.default_pool = policy, limit, ageing, default_pool
        self.slots, self.weights = dict(slots or {}), dict(weights or {})
        self.exact_s = exact_s
        self.pools = {}      # in their order
        self.waiting = []    # tasks, in the order of their coming
        self.running = {}    # key: (task, pool)
        self.had, self.doubt, self.seen = {}, {}, []  # of tenants: those of the file, then as they come
        for tenant in self.weights:
            self.see(tenant)

    def pool(self, name, limit, skills=(), cpu=0, reserve=None, enabled=True):
        self.pools[name] = {"name": name, "limit": limit, "skills": skills, "cpu": cpu, "reserve": reserve, "enabled": enabled}

    def add(self, task, ready_s=0.0):
        """ready_s: when it became ready, for ageing."""
        self.waiting.append({"priority": 0, "tenant": "", "session": None, **task, "ready_s": ready_s})
        self.see(task.get("tenant", ""))

    def see(self, tenant):
        if tenant not in self.seen:
            self.seen.append(tenant)
            self.had[tenant] = self.doubt[tenant] = 0.0

    def find(self, key):
        return next(t for t in self.waiting if t["key"] == key)

    def cancel(self, key):
        self.waiting.remove(self.find(key))

    # ---- where it can run ----

    def here(self, pool):
        return [t for t, p in self.running.values() if p == pool["name"]]

    def pools_of(self, task):
        if "pool" in task:
            return [p for p in self.pools.values() if p["name"] == task["pool"]]
        offering = [p for p in self.pools.values() if task.get("skill") in p["skills"]]
        if "skill" in task and offering:
            return offering
        return [p for p in self.pools.values() if p["name"] == self.default_pool]

    def takes(self, pool, task):
        here = self.here(pool)
        if not pool["enabled"] or len(self.running) >= self.limit or len(here) >= pool["limit"]:
            return False
        if pool["reserve"] and task["priority"] < pool["reserve"]["min_priority"]:
            low = [t for t in here if t["priority"] < pool["reserve"]["min_priority"]]
            kept = min(math.ceil(pool["limit"] * pool["reserve"]["share"]), pool["limit"] - 1)
            if len(low) >= pool["limit"] - kept:
                return False
        needs = task.get("resources", {})
        if pool["cpu"] and needs.get("cpu", 0) + sum(t.get("resources", {}).get("cpu", 0) for t in here) > pool["cpu"]:
            return False
        for slot in needs.get("slots", []):
            taken = sum(slot in t.get("resources", {}).get("slots", []) for t, _ in self.running.values())
            if taken >= self.slots.get(slot, 0):
                return False
        return task["session"] is None or all(t["session"] != task["session"] for t, _ in self.running.values())

    def place(self, task):
        """The least utilised of its pools that takes it now, the first of these; None: it waits."""
        able = [p for p in self.pools_of(task) if self.takes(p, task)]
        return min(able, key=lambda p: len(self.here(p)) / p["limit"])["name"] if able else None

    # ---- what comes first ----

    def urgency(self, task):
        """The lower, the sooner: how long ago it would have come ready, had it the priority 0."""
        if self.policy == "fifo":
            return 0
        return task["ready_s"] - task["priority"] * 60 / self.ageing if self.ageing else -task["priority"]

    def key(self, task):
        """What decides, in its order; the last is the place in the order of the coming."""
        share = (self.had[task["tenant"]], self.seen.index(task["tenant"])) if self.policy == "fair-share" else (0, 0)
        return (*share, self.urgency(task))

    def firsts(self):
        """Those that may be the next: one, unless others are nearer to it than times are told. [(key, pool)]"""
        able = [t for t in self.waiting if self.place(t)]
        if not able:
            return []
        best = min(able, key=self.key)  # of equal ones the one that came first
        return [(t["key"], self.place(t)) for t in [best] + [t for t in able if self.is_as_near(t, best, able)]]

    def is_as_near(self, task, best, able):
        if self.policy == "fair-share" and task["tenant"] != best["tenant"]:
            doubt = self.doubt[task["tenant"]] + self.doubt[best["tenant"]]
            own = min((t for t in able if t["tenant"] == task["tenant"]), key=self.key)
            return task is own and self.had[task["tenant"]] - self.had[best["tenant"]] < doubt
        return (self.policy != "fifo" and self.ageing and task["priority"] != best["priority"] and
                self.urgency(task) - self.urgency(best) < 2 * self.exact_s)

    # ---- what happens ----

    def start(self, key, pool):
        task = self.find(key)
        self.waiting.remove(task)
        self.running[key] = (task, pool)

    def start_all(self):
        begun = []
        while first := self.firsts():
            self.start(*first[0])
            begun += first[:1]
        return begun

    def end(self, key, run_s=0.0):
        task, _ = self.running.pop(key)
        weight = self.weights.get(task["tenant"], 1)
        self.had[task["tenant"]] += run_s / weight
        self.doubt[task["tenant"]] += self.exact_s / weight
