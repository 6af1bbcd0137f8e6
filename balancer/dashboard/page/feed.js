// The events, the newest first. While somebody reads, the list stands still.

import { byId, make, setText } from "./dom.js";
import { timeOfDay } from "./format.js";

const LINES_MAX = 500;

export class Feed {
  constructor() {
    this.list = byId("feed");
    this.more = byId("feed-more");
    this.held = [];
    this.isHovered = false;
    this.list.addEventListener("pointerenter", (event) => {
      this.isHovered = event.pointerType === "mouse";
    });
    this.list.addEventListener("pointerleave", () => {
      this.isHovered = false;
      this.release();
    });
    this.list.addEventListener("scroll", () => this.release());
    this.more.addEventListener("click", () => {
      this.list.scrollTop = 0;
      this.isHovered = false;
      this.release();
    });
    byId("feed-warnings").addEventListener("change", (event) => {
      this.list.classList.toggle("warnings-only", event.target.checked);
    });
  }

  begin(events) {
    this.held = [];
    this.list.replaceChildren();
    events.forEach((event) => this.show(event));
    this.tell();
  }

  add(event) {
    if (this.isRead()) this.held.push(event);
    else this.show(event);
    this.tell();
  }

  isRead() {
    return this.isHovered || this.list.scrollTop > 4;
  }

  release() {
    if (this.isRead()) return;
    this.held.forEach((event) => this.show(event));
    this.held = [];
    this.tell();
  }

  show(event) {
    this.list.prepend(lineOf(event));
    while (this.list.children.length > LINES_MAX) this.list.lastElementChild.remove();
  }

  tell() {
    if (this.held.length > LINES_MAX) this.held.splice(0, this.held.length - LINES_MAX);
    this.more.hidden = this.held.length === 0;
    setText(this.more, `${this.held.length} new`);
    byId("feed-empty").hidden = this.list.children.length > 0;
  }
}

export function lineOf(event) {
  const [first, ...rest] = String(event.text ?? "").split("\n");
  const time = make("time", { datetime: event.time ?? "", text: timeOfDay(event.time) });
  const source = make("span", { class: "source", text: event.source ?? "" });
  const text = make("span", { class: "text", text: first });
  const line = make("li", { "data-level": event.level ?? "info" }, time, source, text);
  if (event.level === "warning" || event.level === "error") {
    time.before(make("span", { class: "visually-hidden", text: `${event.level}: ` }));
  }
  if (rest.length) {
    const all = make("pre", { text: rest.join("\n") });
    line.append(make("details", {}, make("summary", { text: "stack" }), all));
  }
  return line;
}
