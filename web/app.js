/*
 * The page of weir serve: asks the API, and puts what it hears in as text.
 *
 * A *feed* asks one thing again and again: soon after an event that concerns it, else now and then. How often it may ask depends
 * on how long the last answer took, so that a dispatcher with 10,000 attempts is not kept busy by those who watch it. Events come by
 * GET /v1/events/follow, read by fetch() because an EventSource cannot send a token; while that does not work, or while so many
 * come that following each would be work, the feeds go on by their own time.
 *
 * What tasks say is put in by textContent only; the server's content policy (trusted types) makes anything else fail.
 */
"use strict";

const $ = (id) => document.getElementById(id);
const STATES = ["ready", "running", "blocked", "scheduled", "done", "failed", "cancelled"];
const RUNNERS_SHOWN = 100;
const FAILURES_SHOWN = 25;
const EVENTS_SHOWN = 500;
const TEXT_SHOWN = 65536;
/* Rare ones, which are listed, too. */
const NOTES = ["pool.changed", "limit.changed", "breaker.opened", "breaker.closed", "worker.transition", "deadlock.detected",
  "dispatcher.started", "dispatcher.stopping", "dispatcher.stopped", "config.changed", "skill.unoffered", "task.quarantined"];

/* ---- the API ---- */

let token = "";
try { token = sessionStorage.getItem("weir-token") || ""; } catch { /* storage is off: asked for at each load */ }

class NeedsToken extends Error {
  constructor(shown) { super("a token is needed"); this.shown = shown; }
}
class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function request(path, signal) {
  const shown = token;
  const headers = shown ? { Authorization: `Bearer ${shown}` } : {};
  const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const text = problem.detail || `${answer.status} ${answer.statusText}`;
  if (answer.status === 401) throw new NeedsToken(shown);
  throw new Refused(answer.status, text);
}

const ask = async (path) => (await request(path, AbortSignal.timeout(20000))).json();

/* ---- words ---- */

const number = new Intl.NumberFormat("en");
const percent = (share) => `${Math.round(share * 100)} %`;
const clock = (date) => date.toLocaleTimeString([], { hour12: false });

function duration(s) {
  if (s === undefined) return "";
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${Math.round(s * 1e3)} ms`;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function bytes(n) {
  if (!n) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const i = Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  return `${(n / 2 ** (10 * i)).toFixed(i ? 1 : 0)} ${units[i]}`;
}

/* A cell: the time of today, the date too of other days. */
function when(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  return { text: today ? clock(date) : `${date.toLocaleDateString()} ${clock(date)}`, title: iso, cls: "when" };
}

/* In a record, where much happens in one second. */
function exactly(iso) {
  const cell = when(iso);
  cell.text += iso.slice(19, 23);
  return cell;
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const detail = (d) => (d ? Object.entries(d).map(([k, v]) => `${k}: ${shown(v)}`).join(", ") : "");
const taskLink = (id, cls) => (id ? { text: String(id), href: `#task/${id}`, cls } : "");
const poolLink = (name) => (name ? { text: name, href: `#pool/${encodeURIComponent(name)}` } : "");
const num = (n) => ({ text: n === undefined ? "" : number.format(n), cls: "n" });

/* ---- putting in ---- */

function make(tag, text, cls) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (cls) node.className = cls;
  return node;
}

/* A cell is a text, or {text, cls, title, href, bar: 0..1, meter: true}. Only what has changed is touched. */
function fill(td, cell) {
  const c = typeof cell === "object" ? cell : { text: String(cell) };
  const seen = `${c.text}\0${c.cls || ""}\0${c.title || ""}\0${c.href || ""}\0${c.bar ?? ""}`;
  if (td.seen === seen) return;
  td.seen = seen;
  td.className = c.cls || "";
  td.title = c.title || "";
  if (c.bar !== undefined) {
    let bar = td.firstElementChild;
    if (!bar) {
      bar = make(c.meter ? "meter" : "progress");
      bar.max = 1;
      td.replaceChildren(bar, make("span"));
    }
    bar.value = Math.min(1, Math.max(0, c.bar));
    bar.setAttribute("aria-label", c.text);
    td.lastElementChild.textContent = c.text;
  } else if (c.href) {
    const link = make("a", c.text);
    link.href = c.href;
    td.replaceChildren(link);
  } else {
    td.textContent = c.text;
  }
}

/* Rows by key: those that stay are kept where they are, with what is selected or focused in them. */
function table(id, items, keyOf, cellsOf, none) {
  const body = $(id).tBodies[0];
  const rows = (body.rowsByKey ||= new Map());
  const columns = $(id).tHead.rows[0].cells.length;
  const left = new Map(rows);
  let place = body.firstElementChild;
  if (body.none) { body.none.remove(); body.none = null; place = body.firstElementChild; }
  for (const item of items) {
    const key = keyOf(item);
    let row = rows.get(key);
    if (!row) {
      row = document.createElement("tr");
      for (let i = 0; i < columns; i++) row.append(document.createElement("td"));
      rows.set(key, row);
    }
    left.delete(key);
    cellsOf(item).forEach((cell, i) => fill(row.cells[i], cell));
    if (row === place) place = row.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const [key, row] of left) { row.remove(); rows.delete(key); }
  if (!items.length) {
    body.none = document.createElement("tr");
    const td = make("td", none, "none");
    td.colSpan = columns;
    body.none.append(td);
    body.append(body.none);
  }
}

/* A <dl>: [name, cell] pairs; without a value a pair is left out. */
function facts(id, pairs, grouped) {
  const list = $(id);
  const items = (list.items ||= new Map());
  const left = new Map(items);
  for (const [name, cell] of pairs) {
    if (cell === undefined || cell === "" || cell === null) continue;
    let pair = items.get(name);
    if (!pair) {
      pair = [make("dt", name), make("dd")];
      pair[1].dataset.name = name;
      if (grouped) { const div = make("div"); div.append(...pair); list.append(div); } else list.append(...pair);
      items.set(name, pair);
    }
    left.delete(name);
    fill(pair[1], cell);
  }
  for (const [name, [dt, dd]] of left) {
    if (grouped) dt.parentElement.remove(); else { dt.remove(); dd.remove(); }
    items.delete(name);
  }
}

function say(pill, cls) {
  if ($("live").textContent !== pill) $("live").textContent = pill;
  $("live").className = `pill ${cls}`;
}

function notice(text) {
  const box = $("notice");
  if (box.textContent !== text) box.textContent = text;
  box.hidden = !text;
}

/* ---- feeds ---- */

class Feed {
  /* fn asks and shows; at the earliest so long after the last answer, and at the latest. */
  constructor(fn, leastMs, mostMs) {
    Object.assign(this, { fn, leastMs, mostMs, on: false, busy: false, timer: 0, endedMs: -1e9, tookMs: 0 });
  }
  start() {
    this.on = true;
    this.wake(true);
  }
  stop() {
    this.on = false;
    clearTimeout(this.timer);
  }
  wake(now) {
    if (!this.on) return;
    if (this.busy) { this.again = true; return; }
    const free = this.endedMs + Math.max(this.leastMs, this.rest());
    this.at(now ? 0 : Math.max(0, free - performance.now()));
  }
  at(ms) {
    const due = performance.now() + ms;
    if (this.timer && this.due <= due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => this.run(), ms);
  }
  async run() {
    const began = performance.now();
    this.timer = 0;
    this.busy = true;
    this.again = false;
    try {
      await this.fn(() => this.on);
      connected();
    } catch (fault) {
      failed(fault);
    }
    this.busy = false;
    this.endedMs = performance.now();
    this.tookMs = this.endedMs - began;
    if (!this.on) return;
    if (this.again) this.wake();
    else this.at(Math.max(this.mostMs, this.rest()));
  }
  /* A twentieth of the time is spent asking; but nobody looks at what is older than 10 s. */
  rest() {
    return Math.min(20 * this.tookMs, 10000);
  }
}

let lostAt = null; /* since when there is no answer */
let fault = "";    /* what the last answer refused */
let last = null;   /* the last status */

function connected() {
  if (lostAt) { lostAt = null; stream.open(); }
  fault = "";
  tell();
}

function failed(error) {
  if (error instanceof NeedsToken) { refused(error); return; }
  if (error instanceof Refused) fault = error.message;
  else if (error instanceof TypeError || error.name === "TimeoutError") lostAt ||= new Date();
  else console.error(error); /* of this page's own */
  tell();
}

function tell() {
  if (lostAt) say("no connection", "bad");
  else if (stream.live) say("live", "good");
  else say(stream.flooded ? "polling (very busy)" : "polling", "warn");
  notice(lostAt ? `No answer since ${clock(lostAt)}. What is shown is from before that; it is tried again.`
    : fault || (last?.store.failing ? `The store takes nothing: ${last.store.message}. No task is accepted or started until it does.`
      : last?.state === "stopping" ? "The dispatcher is stopping: nothing new is started." : ""));
}

/* ---- following events ---- */

const FLOOD_PER_S = 300;
const CALM_MS = 30000;
const SILENCE_MS = 45000; /* it says that it is alive every 15 s */

const stream = {
  live: false,
  flooded: false,
  ended: null,

  async open() {
    this.close();
    const ended = (this.ended = new AbortController());
    const kinds = this.flooded ? `?kind=${NOTES.join(",")}` : "";
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => ended.abort(), SILENCE_MS);
    };
    try {
      heard();
      const answer = await request(`/v1/events/follow${kinds}`, ended.signal);
      this.live = !this.flooded;
      wakeAll(); /* what happened before it was open */
      tell();
      await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader(), heard);
    } catch (error) {
      if (error instanceof NeedsToken) refused(error);
    }
    clearTimeout(silence);
    if (this.ended !== ended) return; /* another one is open, or none is wanted */
    this.live = false;
    tell();
    this.again = setTimeout(() => this.open(), 2000);
  },

  close() {
    clearTimeout(this.again);
    this.ended?.abort();
    this.ended = null;
    this.live = false;
  },

  async read(reader, heard) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) this.one(JSON.parse(line.slice(5)));
    }
  },

  one(event) {
    const now = performance.now();
    if (!(now - this.since < 1000)) { this.since = now; this.count = 0; }
    if (++this.count > FLOOD_PER_S && !this.flooded) {
      this.flooded = true;
      setTimeout(() => { this.flooded = false; if (this.ended) this.open(); }, CALM_MS);
      setTimeout(() => this.ended && this.open(), 0);
    }
    happened(event);
  },
};

function happened(event) {
  const group = event.kind.split(".")[0];
  if (view.name === "task") {
    if (String(event.task) === view.of) feeds.task.wake();
    return;
  }
  if (view.name === "pool") {
    if (event.pool === view.of) feeds.pool.wake();
    return;
  }
  if (event.kind !== "runner.heartbeat") feeds.status.wake();
  if (group === "runner") feeds.runners.wake();
  if (event.kind === "task.failed" || event.kind === "task.deleted") feeds.failures.wake();
  if (NOTES.includes(event.kind)) feeds.notes.wake();
}

/* ---- overview ---- */

function poolState(p) {
  if (!p.enabled) return { text: p.draining ? "draining" : "disabled", cls: "warn" };
  if (p.held_s > 0) return { text: `paused for ${duration(p.held_s)}`, cls: "warn", title: "asked for by its service" };
  return { text: "enabled", cls: "good" };
}

function throttle(t) {
  if (!t) return "";
  const parts = [];
  if (t.rate_per_s !== undefined) parts.push(`${number.format(+t.rate_per_s.toPrecision(3))}/s`);
  if (t.delay_s > 0) parts.push(`${duration(t.delay_s)} apart`);
  if (t.limit !== undefined) parts.push(`${number.format(Math.round(t.limit))} in flight`);
  return { text: parts.length ? parts.join(", ") : "open", title: `${t.kind}: ${t.reason || ""}` };
}

function breaker(b) {
  if (!b) return "";
  return { text: b.state.replace("_", " "), cls: b.state === "closed" ? "good" : b.state === "open" ? "bad" : "warn" };
}

function workers(w) {
  if (!w) return "";
  const parts = [`${w.busy} busy`, `${w.idle} idle`];
  if (w.starting) parts.push(`${w.starting} starting`);
  if (w.unhealthy) parts.push(`${w.unhealthy} unhealthy`);
  return { text: parts.join(", "), cls: w.unhealthy ? "bad" : "" };
}

function showStatus(s) {
  last = s;
  const of = s.max_global_concurrency;
  $("state").textContent = `${s.version}, ${s.state} for ${duration(s.uptime_s)}, policy ${s.policy}`;
  document.title = `${s.running} running, ${s.tasks.ready} ready, ${s.tasks.failed} failed - weir`;
  facts("totals", [
    ...STATES.map((state) => [state, { text: number.format(s.tasks[state]), cls: state === "failed" && s.tasks.failed ? "bad" : "" }]),
    ["attempts, of the limit", `${number.format(s.running)} / ${of ? number.format(of) : "no limit"}`],
    ["utilisation", of ? percent(s.utilisation) : ""],
    ["commit of the store", s.store.failing ? { text: "failing", cls: "bad" } : `${s.store.commit_ms.toFixed(1)} ms`],
    ["events", number.format(s.last_event)],
  ], true);
  $("pools-count").textContent = `(${s.pools.length})`;
  table("pools", s.pools, (p) => p.name, (p) => [poolLink(p.name), poolState(p), num(p.running), num(p.limit),
    { text: percent(p.utilisation), bar: p.utilisation, meter: true }, num(p.queue.ready),
    { text: number.format(p.queue.failed), cls: p.queue.failed ? "n bad" : "n" }, throttle(p.throttle), breaker(p.breaker),
    workers(p.workers)], "no pool");
  choices($("history-pool"), s.pools.map((p) => p.name));
}

/* The first option stays; the chosen one too, while its pool is there. */
function choices(select, names) {
  const wanted = names.join("\0");
  if (select.seen === wanted) return;
  select.seen = wanted;
  const chosen = select.value;
  while (select.options.length > 1) select.remove(1);
  for (const name of names) select.add(new Option(name, name));
  select.value = names.includes(chosen) ? chosen : "";
}

let runnersNow = [];

function showRunners() {
  const words = $("runners-filter").value.trim().toLowerCase();
  const has = (r) => String(r.task) === words || (r.key || "").toLowerCase().includes(words) || r.pool.toLowerCase().includes(words);
  const found = words ? runnersNow.filter(has) : runnersNow;
  $("runners-count").textContent = `(${number.format(runnersNow.length)})`;
  $("runners-more").textContent = found.length > RUNNERS_SHOWN
    ? `The ${RUNNERS_SHOWN} that run longest, of ${number.format(found.length)}.` : "";
  table("runners", found.slice(0, RUNNERS_SHOWN), (r) => r.id, (r) => [taskLink(r.task, "n"), { text: r.key || "", cls: "text" },
    num(r.attempt), poolLink(r.pool), r.worker ? `worker ${r.worker}` : r.pid ? `process ${r.pid}` : "",
    { text: duration(r.run_s), cls: "n", title: r.started_at },
    r.cancelling ? { text: "is being cancelled", cls: "bad" }
      : r.progress !== undefined ? { text: `${percent(r.progress)} ${r.text || ""}`, bar: r.progress, cls: "text" }
        : { text: r.text || "", cls: "text" },
    when(r.heartbeat_at)], words ? "none with that runs" : "nothing runs");
}

const failureCells = (t) => [taskLink(t.id, "n"), { text: t.key || "", cls: "text" }, when(t.ended_at), poolLink(t.ran_in || t.pool),
  num(t.attempts), { text: [t.outcome, t.reason].filter((x, i, all) => x && all.indexOf(x) === i).join(": "), cls: "bad" },
  { text: (t.message || "").slice(0, 500), cls: "text" }];

const noteCells = (e) => [when(e.at), e.kind, e.task ? taskLink(e.task) : e.worker ? { text: `${e.pool}, worker ${e.worker}`,
  href: `#pool/${encodeURIComponent(e.pool)}` } : poolLink(e.pool), { text: detail(e.detail), cls: "text" }];

/* ---- the chart ---- */

const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const chart = { samples: [], resolution: 10 };

/* Pieces without a gap: the daemon did not run in between. */
function pieces(samples, resolutionMs) {
  const all = [];
  for (const s of samples) {
    const piece = all.at(-1);
    if (piece && s.ms - piece.at(-1).ms <= 1.5 * resolutionMs) piece.push(s);
    else all.push([s]);
  }
  return all;
}

function drawChart() {
  const box = $("history");
  const { samples, resolution } = chart;
  const width = Math.max(320, box.clientWidth), height = 208, left = 44, right = 8, top = 10, bottom = 24;
  const until = Date.now(), from = until - 360 * resolution * 1000;
  const most = Math.max(1, ...samples.map((s) => s.utilisation));
  const x = (ms) => left + (ms - from) / (until - from) * (width - left - right);
  const y = (u) => height - bottom - u / most * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "history-now" });
  for (const u of [0, most / 2, most]) {
    svg.append(draw("line", { x1: left, x2: width - right, y1: y(u), y2: y(u), class: "grid" }),
      draw("text", { x: left - 6, y: y(u) + 4, "text-anchor": "end" }, percent(u)));
  }
  for (let i = 0; i <= 4; i++) {
    const date = new Date(from + (until - from) * i / 4);
    svg.append(draw("text", { x: x(+date), y: height - 7, "text-anchor": i === 0 ? "start" : i === 4 ? "end" : "middle" },
      resolution === 3600 ? date.toLocaleDateString() : clock(date).slice(0, 5)));
  }
  for (const piece of pieces(samples, resolution * 1000)) {
    const end = piece.at(-1).ms + resolution * 1000; /* a sample is of the time from `at` on */
    const points = [...piece.map((s) => `${x(s.ms).toFixed(1)} ${y(s.utilisation).toFixed(1)}`),
      `${x(end).toFixed(1)} ${y(piece.at(-1).utilisation).toFixed(1)}`];
    svg.append(draw("path", { class: "area", d: `M${x(piece[0].ms).toFixed(1)} ${y(0)}L${points.join("L")}L${x(end).toFixed(1)} ${y(0)}Z` }),
      draw("path", { class: "curve", d: `M${points.join("L")}` }));
  }
  for (const s of samples.filter((each) => each.failed > 0)) {
    svg.append(draw("rect", { class: "failed", x: x(s.ms).toFixed(1), y: height - bottom - 4,
      width: Math.max(1, (width - left - right) / 360).toFixed(1), height: 4 }));
  }
  const cursor = draw("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (e) => {
    const ms = from + (e.clientX - svg.getBoundingClientRect().left - left) / (width - left - right) * (until - from);
    const s = samples.find((each) => ms >= each.ms && ms < each.ms + resolution * 1000);
    cursor.setAttribute("visibility", s ? "visible" : "hidden");
    if (!s) { sumUp(); return; }
    cursor.setAttribute("x1", x(s.ms)); cursor.setAttribute("x2", x(s.ms));
    $("history-now").textContent = `${new Date(s.ms).toLocaleString([], { hour12: false })}: ${percent(s.utilisation)}, ` +
      `${s.running.toFixed(1)} of ${s.limit.toFixed(1)}; ${s.started} started, ${s.finished} finished, ${s.failed} failed`;
  });
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); sumUp(); });
  box.replaceChildren(svg);
}

function sumUp() {
  const { samples, resolution } = chart;
  const mean = samples.reduce((sum, s) => sum + s.utilisation, 0) / samples.length;
  $("history-now").textContent = samples.length
    ? `last ${percent(samples.at(-1).utilisation)}, mean ${percent(mean)}, highest ` +
      `${percent(Math.max(...samples.map((s) => s.utilisation)))}; red: failed tasks`
    : `no samples yet: the first comes when ${duration(resolution)} are over`;
}

async function askHistory(wanted) {
  const resolution = Number($("history-resolution").value), pool = $("history-pool").value;
  const rows = await ask(`/v1/history?resolution=${resolution}${pool ? `&pool=${encodeURIComponent(pool)}` : ""}`);
  if (!wanted() || pool !== $("history-pool").value || resolution !== Number($("history-resolution").value)) return;
  chart.samples = rows.map((s) => ({ ...s, ms: Date.parse(s.at) }));
  chart.resolution = resolution;
  drawChart();
  sumUp();
}

/* ---- one task, one pool ---- */

function showTexts(task) {
  const texts = [["Payload", task.payload ?? task.payload_base64], ["Output", task.output ?? task.output_base64],
    ["Error output", task.errput]].filter(([, value]) => value !== undefined);
  const wanted = JSON.stringify(texts);
  if ($("task-texts").seen === wanted) return;
  $("task-texts").seen = wanted;
  $("task-texts").replaceChildren(...texts.flatMap(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    return [make("h2", name), make("pre", text.length > TEXT_SHOWN ? `${text.slice(0, TEXT_SHOWN)}\n... (cut)` : text)];
  }));
}

async function askTask(wanted) {
  const id = view.of;
  let task, record;
  try {
    [task, record] = await Promise.all([ask(`/v1/tasks/${id}`), ask(`/v1/tasks/${id}/events?order=newest&limit=${EVENTS_SHOWN}`)]);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    /* Deleted, perhaps; its events stay. */
    record = await ask(`/v1/tasks/${id}/events?order=newest&limit=${EVENTS_SHOWN}`).catch(() => ({ events: [] }));
  }
  if (!wanted() || view.of !== id) return;
  $("task-title").textContent = `Task ${id}${task?.key ? `: ${task.key}` : ""}`;
  document.title = `Task ${id} - weir`;
  if (task) {
    const times = ["submitted_at", "ready_at", "not_before", "deadline", "started_at", "ended_at"];
    const plain = ["pool", "skill", "ran_in", "tenant", "session", "batch", "priority", "attempts", "failures", "deaths",
      "max_attempts", "capacity_retries", "idempotency_key"];
    facts("task-facts", [
      ["state", { text: task.cancelling ? `${task.state}, is being cancelled` : task.state, cls: { failed: "bad", done: "good" }[task.state] || "" }],
      ["waits for", task.waits_for && `${task.waits_for.detail || ""} (${task.waits_for.why})`],
      ["outcome", task.outcome], ["reason", task.reason], ["status", task.status], ["message", task.message],
      ...plain.map((name) => [name.replaceAll("_", " "), task[name]]),
      ...times.map((name) => [name.replaceAll("_", " "), task[name] && when(task[name])]),
      ["timeout", task.timeout_s && duration(task.timeout_s)], ["after", task.after?.length ? task.after.join(", ") : ""],
      ["resources", detail(task.resources)], ["stuck", task.stuck ? { text: "it can never run", cls: "bad" } : ""],
    ]);
    showTexts(task);
  } else {
    facts("task-facts", [["state", { text: "there is no such task (any more)", cls: "warn" }]]);
    showTexts({});
  }
  table("task-events", record.events.reverse(), (e) => e.seq, (e) => [exactly(e.at), e.kind, num(e.attempt),
    e.worker ? `${e.pool}, worker ${e.worker}` : e.pool || "", { text: duration(e.duration_s), cls: "n" },
    { text: detail(e.detail), cls: "text" }], "nothing is recorded of it");
  $("task-more").textContent = record.next ? `The last ${EVENTS_SHOWN} events; there are older ones.` : "";
}

async function askPool(wanted) {
  const name = view.of, path = `/v1/pools/${encodeURIComponent(name)}`;
  const [p, list] = await Promise.all([ask(path), ask(`${path}/workers`)]);
  if (!wanted() || view.of !== name) return;
  document.title = `Pool ${name} - weir`;
  $("pool-title").textContent = `Pool ${name}`;
  const quota = (q, words) => (q.used || q.limit ? `${words(q.used) || 0} of ${q.limit ? words(q.limit) : "any"}` : "");
  facts("pool-facts", [
    ["kind", p.kind], ["state", poolState(p)], ["running", number.format(p.running)],
    ["limit", `${number.format(p.limit)} (set: ${number.format(p.max_concurrency)})`],
    ["utilisation", { text: percent(p.utilisation), bar: p.utilisation, meter: true }],
    ["skills", p.skills.join(", ")], ["cpu", quota(p.cpu, String)], ["memory", quota(p.memory, bytes)],
    ["reserve", detail(p.reserve)], ["burst", detail(p.burst)], ["throttle", detail(p.throttle)], ["breaker", breaker(p.breaker)],
    ["workers", workers(p.workers)], ["sessions", detail(p.sessions)], ["tasks", detail(p.queue)], ["attempts", detail(p.attempts)],
  ]);
  table("workers", list, (w) => w.id, (w) => [num(w.id), w.state, { text: w.health, cls: w.health === "unhealthy" ? "bad" : "" },
    { text: w.pid || "", cls: "n" }, when(w.started_at), num(w.in_flight), num(w.requests), num(w.failed), num(w.sessions),
    { text: bytes(w.memory_bytes), cls: "n" }, w.why || ""], "this pool has no workers");
}

/* ---- what is looked at ---- */

const feeds = {
  status: new Feed(async (wanted) => { const s = await ask("/v1/status"); if (wanted()) showStatus(s); }, 300, 3000),
  runners: new Feed(async (wanted) => {
    const list = await ask("/v1/runners");
    if (!wanted()) return;
    runnersNow = list.sort((a, b) => b.run_s - a.run_s);
    showRunners();
  }, 500, 3000),
  failures: new Feed(async (wanted) => {
    const { tasks } = await ask("/v1/tasks?state=failed&order=newest&limit=100");
    if (!wanted()) return;
    tasks.sort((a, b) => Date.parse(b.ended_at) - Date.parse(a.ended_at));
    table("failures", tasks.slice(0, FAILURES_SHOWN), (t) => t.id, failureCells, "no task has failed");
  }, 500, 15000),
  notes: new Feed(async (wanted) => {
    const { events } = await ask(`/v1/events?kind=${NOTES.join(",")}&order=newest&limit=20`);
    if (wanted()) table("notes", events, (e) => e.seq, noteCells, "nothing so far");
  }, 500, 30000),
  history: new Feed(askHistory, 1000, 10000),
  task: new Feed(askTask, 300, 5000),
  pool: new Feed(askPool, 300, 2000),
};
const OF_VIEW = { overview: ["status", "runners", "failures", "notes", "history"], task: ["task"], pool: ["pool"], login: [] };

let view = { name: "login", of: "" };

function wakeAll() {
  for (const name of OF_VIEW[view.name]) feeds[name].wake();
}

function show(name, of = "") {
  for (const feed of Object.values(feeds)) feed.stop();
  view = { name, of };
  for (const each of Object.keys(OF_VIEW)) $(each).hidden = each !== name;
  for (const each of OF_VIEW[name]) feeds[each].start();
}

function route() {
  const [, name, rest] = location.hash.match(/^#(task|pool)\/(.+)$/) || [];
  let of = rest;
  try { of = rest && decodeURIComponent(rest); } catch { /* a pool of that very name */ }
  fault = "";
  if (name === "task" && !/^\d+$/.test(of)) show("overview");
  else show(name || "overview", of);
  $("forget").hidden = !token;
  window.scrollTo(0, 0);
}

function login(wrong) {
  stream.close();
  show("login");
  say("no token", "warn");
  notice(wrong ? "This token is not known." : "");
  $("forget").hidden = true;
  $("token").focus();
}

/* Several asked at once; an answer to the token before must not ask for another one again. */
function refused(error) {
  if (error.shown === token) login(token !== "");
}

function keepToken(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem("weir-token", value);
    else sessionStorage.removeItem("weir-token");
  } catch { /* it is asked for again at the next load */ }
}

function begin() {
  route();
  stream.open();
}

$("login").addEventListener("submit", (e) => {
  e.preventDefault();
  const given = $("token").value.trim();
  $("token").value = "";
  if (!/^[\x21-\x7e]+$/.test(given)) { login(true); return; } /* no token is like that, and no header either */
  keepToken(given);
  notice("");
  begin();
});
$("forget").addEventListener("click", () => { keepToken(""); begin(); });
$("history-pool").addEventListener("change", () => feeds.history.wake(true));
$("history-resolution").addEventListener("change", () => feeds.history.wake(true));
$("runners-filter").addEventListener("input", showRunners);
new ResizeObserver(() => { if (view.name === "overview") drawChart(); }).observe($("history"));
window.addEventListener("hashchange", () => { if (view.name !== "login") { route(); $("main").focus(); } });
document.addEventListener("visibilitychange", () => {
  if (view.name === "login") return;
  if (document.hidden) { stream.close(); for (const feed of Object.values(feeds)) feed.stop(); } else begin();
});
begin();
