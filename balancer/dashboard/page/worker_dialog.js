// All about one worker, and what may be done to it.

import { act, forget, keep, token } from "./admin.js";
import { byId, setData, setPairs, setText } from "./dom.js";
import { NOTHING, count, duration, longDuration } from "./format.js";
import { lineOf } from "./feed.js";
import { lookOf } from "./states.js";

export class WorkerDialog {
  constructor() {
    this.dialog = byId("worker");
    this.name = null;
    this.worker = null;
    this.isAdmin = false;
    this.heardAt = 0;
    this.rows = new Map();
    byId("worker-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => (this.name = null));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // beside it
    });
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (byId("token").value.trim()) keep(byId("token").value);
      byId("token").value = "";
      this.drawAdmin();
    });
    byId("token-forget").addEventListener("click", () => {
      forget();
      this.drawAdmin();
    });
    for (const button of byId("worker-actions").querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => this.ask(button.dataset.action));
    }
    byId("worker-confirm-yes").addEventListener("click", () => this.act("kill"));
    byId("worker-confirm-no").addEventListener("click", () => this.confirm(false));
  }

  open(name) {
    this.name = name;
    this.draw();
    setText(byId("worker-result"), "");
    byId("worker-events").replaceChildren();
    byId("worker-stack-section").hidden = true;
    this.confirm(false);
    this.drawAdmin();
    this.dialog.showModal();
    this.read();
  }

  // Called with each state; without one, with what is known.
  draw(state, heardAt) {
    if (state) {
      this.rows = new Map(state.status.workers.map((worker) => [worker.name, worker]));
      this.isAdmin = state.admin;
      this.heardAt = heardAt;
    }
    if (this.name === null) return;
    const worker = this.rows.get(this.name);
    const look = worker ? lookOf(worker.state) : lookOf("");
    setText(byId("worker-name"), this.name);
    setText(byId("worker-state"), worker ? `${look.sign} ${worker.state}` : "gone");
    setData(byId("worker-state"), "tone", look.tone);
    setText(byId("worker-pool"), worker ? `pool ${worker.pool}` : "");
    setText(byId("worker-why"), worker?.why ?? "");
    this.worker = worker ?? null;
    this.drawFigures();
  }

  tick() {
    if (this.name !== null && this.worker?.request) this.drawFigures();
  }

  note(event) {
    if (this.name !== null && event.worker === this.name) this.read();
  }

  drawFigures() {
    const worker = this.worker;
    if (worker === null) return;
    const age = (worker.request_age_ms ?? 0) + performance.now() - this.heardAt;
    const bad = (number) => (number ? "amber" : "");
    setPairs(byId("worker-figures"), [
      ["holds", worker.request ? `${worker.request}, ${duration(age)}` : "nothing"],
      ["p50", duration(worker.p50_ms)],
      ["p99", duration(worker.p99_ms)],
      ["served", count(worker.served)],
      ["empty", count(worker.empty)],
      ["busy in all", duration(worker.busy_ms)],
      ["timeout", count(worker.timeout), bad(worker.timeout)],
      ["died", count(worker.died), bad(worker.died)],
      ["garbled", count(worker.garbled), bad(worker.garbled)],
      ["restarts", count(worker.restarts), bad(worker.restarts)],
      ["pid", worker.pid === null ? NOTHING : String(worker.pid)],
      ["incarnation", String(worker.incarnation)],
      ["last death", lastDeath(worker)],
    ]);
  }

  async read() {
    const name = this.name;
    const response = await fetch(`/worker/${encodeURIComponent(name)}.json`);
    if (!response.ok || this.name !== name) return;
    const told = await response.json();
    byId("worker-events").replaceChildren(...told.events.reverse().map(lineOf));
    byId("worker-stack-section").hidden = told.stack === "";
    setText(byId("worker-stack"), told.stack);
  }

  // --- what may be done --------------------------------------------------------------------------

  drawAdmin() {
    byId("worker-admin").hidden = !this.isAdmin;
    byId("token-form").hidden = token() !== "";
    byId("worker-actions").hidden = token() === "" || !byId("worker-confirm").hidden;
  }

  ask(action) {
    if (action === "kill") this.confirm(true);
    else this.act(action);
  }

  confirm(isAsked) {
    byId("worker-confirm").hidden = !isAsked;
    if (isAsked) {
      const held = this.worker?.request ? `, which holds ${this.worker.request}` : "";
      setText(byId("worker-confirm-text"), `Kill ${this.name}${held}?`);
    }
    this.drawAdmin();
    if (isAsked) byId("worker-confirm-no").focus();
  }

  async act(action) {
    this.confirm(false);
    const result = byId("worker-result");
    setText(result, "…");
    setData(result, "tone", "");
    try {
      setText(result, await act(action, this.name));
      setData(result, "tone", "green");
    } catch (error) {
      setText(result, error.message);
      setData(result, "tone", "red");
    }
    this.drawAdmin();
  }
}

function lastDeath(worker) {
  if (!worker.last_death) return NOTHING;
  const age = worker.last_death_age_s;
  return age === null ? worker.last_death : `${worker.last_death}, ${longDuration(age)} ago`;
}
