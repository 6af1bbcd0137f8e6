// The workers as tiles, by pool. A tile stays the same button while its worker exists, so that the
// focus stays where it is.

import { byId, make, setData, setText } from "./dom.js";
import { count, duration } from "./format.js";
import { isInRotation, lookOf } from "./states.js";

const CROWD = 48;
const SAY_EVERY_MS = 3000;
const STATUS_EVERY_MS = 1000;
const RECENT_DEATH_S = 60;

const tiles = new Map();
const pools = new Map();
let receivedAt = 0;
let saidAt = -Infinity;
const unsaid = new Map();

export function drawWorkers(status, heardAt, onOpen) {
  receivedAt = heardAt;
  const byPool = Map.groupBy
    ? Map.groupBy(status.workers, (worker) => worker.pool)
    : grouped(status.workers);
  for (const [name, part] of pools) {
    if (!byPool.has(name)) {
      part.section.remove();
      pools.delete(name);
    }
  }
  for (const [name, workers] of byPool) {
    const facts = status.pools.find((pool) => pool.name === name);
    drawPool(poolNamed(name), workers, facts, onOpen);
  }
  const names = new Set(status.workers.map((worker) => worker.name));
  for (const [name, tile] of tiles) {
    if (!names.has(name)) {
      tile.item.remove();
      tiles.delete(name);
    }
  }
  setData(document.body, "crowd", status.workers.length > CROWD ? "yes" : "");
  sayChanges();
}

// Between two statuses the ages go on by themselves.
export function tickWorkers() {
  for (const tile of tiles.values()) drawAge(tile);
}

function grouped(workers) {
  const byPool = new Map();
  for (const worker of workers) {
    if (!byPool.has(worker.pool)) byPool.set(worker.pool, []);
    byPool.get(worker.pool).push(worker);
  }
  return byPool;
}

function poolNamed(name) {
  if (!pools.has(name)) {
    const title = make("h2", { text: name });
    const summary = make("p", { class: "muted" });
    const list = make("ul", { class: "tiles" });
    const head = make("div", { class: "pool-head" }, title, summary);
    const section = make("section", { class: "pool", "aria-label": `Pool ${name}` }, head, list);
    byId("pools").append(section);
    pools.set(name, { section, summary, list });
  }
  return pools.get(name);
}

function drawPool(part, workers, facts, onOpen) {
  const serving = workers.filter(isInRotation).length;
  const busy = workers.filter((worker) => worker.state === "busy").length;
  const words = [`${serving} of ${facts?.workers ?? workers.length} in rotation`, `${busy} busy`];
  if (facts) words.push(...failuresIn(facts.tries));
  setText(part.summary, words.join(" · "));
  workers.forEach((worker, place) => {
    const tile = tileOf(worker, onOpen);
    if (part.list.children[place] !== tile.item) {
      part.list.insertBefore(tile.item, part.list.children[place] ?? null);
    }
    drawTile(tile, worker);
  });
}

function failuresIn(tries) {
  return ["timeout", "died", "garbled"]
    .filter((end) => tries[end])
    .map((end) => `${count(tries[end])} ${end}`);
}

function tileOf(worker, onOpen) {
  if (!tiles.has(worker.name)) {
    const name = make("span", { class: "name", text: worker.name });
    const sign = make("span", { class: "sign", "aria-hidden": "true" });
    const state = make("span", { class: "state" });
    const what = make("span", { class: "what" });
    const age = make("span", { class: "age" });
    const parts = ["", "", ""].map((text) => make("span", { text }));
    const figures = make("span", { class: "small" }, ...parts);
    const button = make(
      "button",
      { type: "button", class: "tile", "data-worker": worker.name },
      make("span", { class: "tile-head" }, name, make("span", { class: "mark" }, sign, state)),
      make("span", { class: "tile-body" }, what, age),
      figures,
    );
    button.addEventListener("click", () => onOpen(worker.name));
    const item = make("li", {}, button);
    tiles.set(worker.name, { item, button, sign, state, what, age, figures, worker: null });
  }
  return tiles.get(worker.name);
}

function drawTile(tile, worker) {
  const look = lookOf(worker.state);
  const before = tile.worker;
  tile.worker = worker;
  if (before !== null && before.state !== worker.state) {
    if (!isInRotation(before) || !isInRotation(worker)) unsaid.set(worker.name, worker.state);
  }
  setData(tile.button, "tone", look.tone);
  setData(tile.button, "state", worker.state);
  setText(tile.sign, look.sign);
  setText(tile.state, worker.state);
  setText(tile.what, worker.request ?? (worker.why || recentDeath(worker) || "waits for work"));
  setData(tile.what, "kind", worker.request ? "request" : worker.why ? "why" : "rest");
  drawAge(tile);
  const [served, slow, restarts] = tile.figures.children;
  setText(served, `${count(worker.served)} served`);
  setText(slow, worker.p99_ms ? `p99 ${duration(worker.p99_ms)}` : "");
  setText(restarts, worker.restarts ? `↻ ${count(worker.restarts)}` : "");
}

function recentDeath(worker) {
  const isRecent = worker.last_death && worker.last_death_age_s < RECENT_DEATH_S;
  return isRecent ? `${worker.last_death} ${duration(worker.last_death_age_s * 1000)} ago` : "";
}

function drawAge({ age, worker }) {
  const isHolding = worker.request !== null && worker.request_age_ms !== null;
  // What it held for less than the time between two statuses it holds no more, most likely.
  const isLong = isHolding && worker.request_age_ms >= STATUS_EVERY_MS;
  const heldMs = worker.request_age_ms + performance.now() - receivedAt;
  setText(age, isLong ? duration(heldMs) : isHolding ? "< 1 s" : "");
}

// One sentence for all changes, and not too often: it is read aloud.
function sayChanges() {
  if (unsaid.size === 0 || performance.now() - saidAt < SAY_EVERY_MS) return;
  saidAt = performance.now();
  const changes = [...unsaid];
  unsaid.clear();
  const words = changes.slice(0, 3).map(([name, state]) => `${name} is ${state}`);
  if (changes.length > 3) words.push(`${changes.length - 3} more have changed`);
  setText(byId("said"), words.join(", "));
}
