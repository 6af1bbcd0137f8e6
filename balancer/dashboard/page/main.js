// The page follows the stream and hands each message to those who draw it.

import { byId, setText } from "./dom.js";
import { drawCluster, drawTrouble } from "./cluster.js";
import { timeOfDay } from "./format.js";
import { drawWorkers, tickWorkers } from "./workers.js";
import { Charts } from "./charts.js";
import { Feed } from "./feed.js";
import { WorkerDialog } from "./worker_dialog.js";

const SILENCE_MS = 4000;
const RECONNECT_MS = 2000;
const TICK_MS = 200;

const charts = new Charts();
const feed = new Feed();
const dialog = new WorkerDialog();
let lastState = null;
let answeredAt = null;
let heardAt = performance.now();

function connect() {
  const stream = new EventSource("/stream");
  stream.addEventListener("past", (message) => {
    const past = JSON.parse(message.data);
    charts.begin(past.points, past.events);
    feed.begin(past.events);
  });
  stream.addEventListener("state", (message) => {
    heardAt = performance.now();
    note(JSON.parse(message.data));
  });
  stream.addEventListener("event", (message) => {
    const event = JSON.parse(message.data);
    feed.add(event);
    charts.mark(event);
    dialog.note(event);
  });
  stream.addEventListener("error", () => {
    // The browser dials again by itself, but not after an answer that is no stream.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, RECONNECT_MS);
  });
}

function note(state) {
  lastState = state;
  drawTrouble(troubleOf(state));
  if (state.status) {
    const rate = state.point ?? charts.last();
    drawCluster(state, rate);
    drawWorkers(state.status, heardAt, (name) => dialog.open(name));
    dialog.draw(state, heardAt);
  } else {
    setText(byId("cluster-name"), state.name);
  }
  charts.add(state.point, state.now);
}

function troubleOf(state) {
  if (!state.answers) {
    const since = answeredAt ? ` This is how it was at ${timeOfDay(answeredAt)}.` : "";
    return { kind: "silent", text: `The cluster does not answer.${since}` };
  }
  answeredAt = Date.now();
  if (Object.keys(state.status.totals).length === 0) {
    return { kind: "balancer", text: "The balancer does not answer; the launcher sees to it." };
  }
  return null;
}

function tick() {
  if (performance.now() - heardAt > SILENCE_MS) {
    drawTrouble({ kind: "deaf", text: "The dashboard does not answer: trying again." });
  } else if (lastState?.answers) {
    tickWorkers();
    dialog.tick();
  }
}

connect();
setInterval(tick, TICK_MS);
