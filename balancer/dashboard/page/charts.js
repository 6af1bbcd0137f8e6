// The last five minutes, drawn anew with each point. Where there are no figures there is a gap.

import { byId, draw, make, setText } from "./dom.js";
import { NOTHING, duration, rate } from "./format.js";

const SPAN_S = 300;
const GAP_S = 2.6;
const HEIGHT = 168;
const MARGIN = { left: 46, right: 10, top: 8, bottom: 20 };
const DEATHS = new Set(["died", "hung", "lost", "balancer"]);

const sumBut = (byStatus, left) =>
  Object.entries(byStatus).reduce((sum, [code, n]) => (code === left ? sum : sum + n), 0);

const THROUGHPUT = {
  title: "Per second",
  lines: [
    { name: "answers", kind: "main", isArea: true, of: (p) => p.answers_per_s, say: rate },
    { name: "errors", kind: "bad", isArea: true, of: (p) => sumBut(p.by_status_per_s, "200"), say: rate, isRare: true },
    { name: "failovers", kind: "warn", of: (p) => p.failovers_per_s, say: rate, isRare: true },
  ],
  scale: linear,
};
const LATENCY = {
  title: "Latency",
  lines: [
    { name: "p50", kind: "main", of: (p) => p.p50_ms, say: duration },
    { name: "p99", kind: "second", of: (p) => p.p99_ms, say: duration },
  ],
  scale: logarithmic,
};

export class Charts {
  constructor() {
    this.points = [];
    this.marks = [];
    this.now = 0;
    this.charts = [
      new Chart(byId("throughput"), THROUGHPUT),
      new Chart(byId("latency"), LATENCY),
    ];
    new ResizeObserver(() => this.draw()).observe(byId("throughput"));
  }

  begin(points, events) {
    this.points = points;
    this.marks = [];
    events.forEach((event) => this.mark(event));
    this.draw();
  }

  last() {
    return this.points.at(-1) ?? null;
  }

  add(point, now) {
    this.now = now;
    if (point) this.points.push(point);
    this.points = this.points.filter((one) => one.at > now - SPAN_S - 2);
    this.draw();
  }

  // A death leaves a mark below the throughput: what it did to the lines is seen beside it.
  mark(event) {
    if (!DEATHS.has(event.event)) return;
    this.marks.push(new Date(event.time).getTime() / 1000);
    this.marks = this.marks.slice(-200);
  }

  draw() {
    for (const chart of this.charts) chart.draw(this.points, this.now, this.marks);
  }
}

class Chart {
  constructor(figure, plan) {
    this.plan = plan;
    this.legend = plan.lines.map((line) => {
      const value = make("b", { text: NOTHING });
      return { value, item: make("li", { "data-line": line.kind }, `${line.name} `, value) };
    });
    const list = make("ul", {}, ...this.legend.map(({ item }) => item));
    this.when = make("span", { class: "muted" });
    const head = make("figcaption", {}, make("h2", { text: plan.title }), this.when, list);
    this.svg = draw("svg", { role: "img", height: HEIGHT });
    figure.append(head, this.svg);
    this.pointerX = null;
    this.svg.addEventListener("pointermove", (event) => {
      this.pointerX = event.offsetX;
      this.redraw();
    });
    this.svg.addEventListener("pointerleave", () => {
      this.pointerX = null;
      this.redraw();
    });
    this.redraw = () => {};
  }

  draw(points, now, marks) {
    this.redraw = () => this.draw(points, now, marks);
    const width = this.svg.clientWidth;
    if (width < 100) return;
    const inner = { width: width - MARGIN.left - MARGIN.right, bottom: HEIGHT - MARGIN.bottom };
    const x = (at) => MARGIN.left + inner.width * (1 - (now - at) / SPAN_S);
    const values = points.flatMap((point) => this.plan.lines.map((line) => line.of(point)));
    const scale = this.plan.scale(values.filter((value) => value !== null));
    const y = (value) => inner.bottom - (inner.bottom - MARGIN.top) * scale.share(value);
    const seen = points.filter((point) => point.at > now - SPAN_S);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(
      ...scale.ticks.flatMap((tick) => rule(tick.text, y(tick.value), width)),
      ...minutes(x, now, inner.bottom),
      ...marks.filter((at) => at > now - SPAN_S).map((at) => mark(x(at), inner.bottom)),
      ...this.plan.lines.flatMap((line) => paths(line, seen, x, y, inner.bottom)),
    );
    this.point(seen, x, inner.bottom);
  }

  // The legend tells of the point under the pointer, or else of the last one.
  point(seen, x, bottom) {
    let shown = seen.at(-1) ?? null;
    if (this.pointerX !== null && shown !== null) {
      const distance = (point) => Math.abs(x(point.at) - this.pointerX);
      shown = seen.reduce((best, point) => (distance(point) < distance(best) ? point : best));
      const at = x(shown.at);
      this.svg.append(draw("line", { class: "pointer", x1: at, x2: at, y1: MARGIN.top, y2: bottom }));
      setText(this.when, new Date(shown.at * 1000).toLocaleTimeString("en-GB"));
    } else {
      setText(this.when, "");
    }
    this.plan.lines.forEach((line, place) => {
      const value = shown === null ? null : line.of(shown);
      setText(this.legend[place].value, value === null ? NOTHING : line.say(value));
    });
    const words = this.legend.map(({ item }) => item.textContent).join(", ");
    this.svg.setAttribute("aria-label", `${this.plan.title}: ${words}`);
  }
}

// --- scales ------------------------------------------------------------------------------------

function linear(values) {
  const top = niceAbove(Math.max(1, ...values));
  const ticks = [0, 0.5, 1].map((part) => ({ value: part * top, text: rate(part * top) }));
  return { ticks, share: (value) => value / top };
}

function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function logarithmic(values) {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...positive, 1)));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(...positive, 1))));
  const ticks = [];
  for (let power = low; power <= high; power += high - low > 4 ? 2 : 1) {
    ticks.push({ value: 10 ** power, text: duration(10 ** power).replace(".0", "") });
  }
  const share = (value) => Math.max(0, (Math.log10(value) - low) / (high - low));
  return { ticks, share };
}

// --- what is drawn -----------------------------------------------------------------------------

function rule(text, y, width) {
  return [
    draw("line", { class: "rule", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
    draw("text", { class: "tick", x: MARGIN.left - 6, y: y + 4, "text-anchor": "end", text }),
  ];
}

function minutes(x, now, bottom) {
  return [0, 1, 2, 3, 4, 5].map((ago) => {
    const anchor = ago === 0 ? "end" : ago === 5 ? "start" : "middle";
    const text = ago === 0 ? "now" : ago === 5 ? "−5 min" : `−${ago}`;
    const place = { x: x(now - ago * 60), y: bottom + 15 };
    return draw("text", { class: "tick", ...place, "text-anchor": anchor, text });
  });
}

function mark(x, bottom) {
  return draw("path", { class: "death", d: `M${x - 3} ${bottom + 5}l3 -5l3 5z` });
}

function paths(line, points, x, y, bottom) {
  const runs = runsOf(line, points);
  const drawn = runs.map((run) => run.map((point) => [x(point.at), y(line.of(point))]));
  return drawn.flatMap((run) => {
    const way = run.map(([px, py], place) => `${place ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`);
    if (run.length === 1) way.push("h0.01");
    const stroke = draw("path", { class: "line", "data-line": line.kind, d: way.join("") });
    if (!line.isArea || run.length === 1) return [stroke];
    const [first, last] = [run[0][0], run.at(-1)[0]];
    const area = `${way.join("")}L${last.toFixed(1)} ${bottom}L${first.toFixed(1)} ${bottom}z`;
    return [draw("path", { class: "area", "data-line": line.kind, d: area }), stroke];
  });
}

function runsOf(line, points) {
  const runs = [];
  let before = null;
  for (const point of points) {
    // A line along the bottom would say nothing but that all is well.
    if (line.of(point) === null || (line.isRare && line.of(point) === 0)) {
      before = null;
      continue;
    }
    if (before === null || point.at - before.at > GAP_S) runs.push([]);
    runs.at(-1).push(point);
    before = point;
  }
  return runs;
}
