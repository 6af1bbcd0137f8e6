// What is drawn once for the whole cluster: its head, the frontend, the queue, the failovers.

import { byId, make, setData, setPairs, setText } from "./dom.js";
import { NOTHING, count, duration, longDuration, rate, size } from "./format.js";

const CAUSES = {
  signal: "killed",
  exit: "exited",
  hung: "hung",
  unresponsive: "frozen",
  startup: "failed to start",
  by_hand: "by hand",
  recycled: "recycled",
};

export function drawTrouble(trouble) {
  const line = byId("trouble");
  setData(document.body, "trouble", trouble?.kind ?? "");
  line.hidden = trouble === null;
  setText(line, trouble?.text ?? "");
  if (trouble?.kind === "deaf") {
    setText(byId("cluster-state"), "unknown");
    setData(byId("cluster-state"), "tone", "red");
  }
}

export function drawCluster(state, point) {
  const { cluster, queue, totals } = state.status;
  const isKnown = Object.keys(totals).length > 0;
  document.title = `${cluster.name} · failover-cluster`;
  setText(byId("cluster-name"), cluster.name);
  drawHead(state, cluster, isKnown);
  drawFrontend(cluster, totals, isKnown ? point : null);
  drawQueue(queue, totals, isKnown);
  drawFailover(state.status.restarts, totals, cluster, isKnown);
  const isMoving = isKnown && state.answers && point !== null && point.answers_per_s > 0;
  setData(document.body, "moving", isMoving ? "yes" : "");
}

function drawHead(state, cluster, isKnown) {
  const chip = byId("cluster-state");
  const [text, tone] = !state.answers
    ? ["does not answer", "red"]
    : !isKnown
      ? ["balancer down", "red"]
      : cluster.draining
        ? ["draining", "amber"]
        : ["running", "green"];
  setText(chip, text);
  setData(chip, "tone", tone);
  setPairs(byId("cluster-facts"), [
    ["up", longDuration(cluster.uptime_s)],
    ["pulse", duration(cluster.balancer_pulse_ms ?? null)],
    ["launcher", String(cluster.launcher_pid)],
    ["balancer", cluster.balancer_pid === null ? NOTHING : String(cluster.balancer_pid)],
  ]);
}

function drawFrontend(cluster, totals, point) {
  setText(byId("frontend-address"), cluster.bind);
  setText(byId("frontend-rate"), point ? rate(point.answers_per_s) : NOTHING);
  const all = totals.answered ?? 0;
  const rows = Object.entries(totals.by_status ?? {}).filter(([, number]) => number > 0);
  const list = byId("frontend-answers");
  while (list.children.length > rows.length) list.lastElementChild.remove();
  while (list.children.length < rows.length) list.append(answersRow());
  rows.forEach(([status, number], place) => {
    const row = list.children[place];
    const [code, share, figure] = row.children;
    setData(row, "tone", status === "200" ? "green" : status < "500" ? "amber" : "red");
    setText(code, status);
    share.firstElementChild.style.width = `${(100 * number) / Math.max(1, all)}%`;
    setText(figure, count(number));
  });
}

function answersRow() {
  const share = make("span", { class: "share", "aria-hidden": "true" }, make("span"));
  return make("li", {}, make("span", { class: "code" }), share, make("span", { class: "figure" }));
}

function drawQueue(queue, totals, isKnown) {
  setText(byId("queue-length"), isKnown ? count(queue.length) : NOTHING);
  setText(byId("queue-limit"), `of ${count(queue.limit)} may wait`);
  drawBar(byId("queue-bar"), isKnown ? queue.length : 0, queue.limit);
  const budget = totals.retry_budget;
  setPairs(byId("queue-rows"), [
    ["size", isKnown ? `${size(queue.bytes)} of ${size(queue.limit_bytes)}` : NOTHING],
    ["in flight", isKnown ? count(totals.open) : NOTHING],
    ["retry budget", budget ? `${count(budget.spent)} of ${count(budget.allowed)}` : NOTHING],
    ["clients gone", isKnown ? count(totals.clients_gone) : NOTHING],
  ]);
}

function drawBar(bar, value, limit) {
  const share = Math.min(1, value / Math.max(1, limit));
  bar.setAttribute("aria-valuenow", value);
  bar.setAttribute("aria-valuemax", limit);
  setData(bar, "tone", share < 0.5 ? "blue" : share < 0.85 ? "amber" : "red");
  bar.firstElementChild.style.width = `${100 * share}%`;
}

function drawFailover(restarts, totals, cluster, isKnown) {
  setText(byId("failover-count"), isKnown ? count(totals.failovers) : NOTHING);
  const causes = Object.entries(CAUSES)
    .filter(([cause]) => restarts[cause])
    .map(([cause, words]) => [`restarts, ${words}`, count(restarts[cause])]);
  const balancer = cluster.balancer_restarts;
  setPairs(byId("failover-rows"), [
    ["late replies", isKnown ? count(totals.late_replies) : NOTHING],
    ["ejections", isKnown ? count(totals.ejections) : NOTHING],
    ...(causes.length ? causes : [["restarts", "0"]]),
    ["restarts of the balancer", balancer ? count(balancer) : null],
  ]);
}
