// The states of a worker: a colour, a sign for those who do not see it, and what it means.

export const STATES = {
  starting: { tone: "grey", sign: "◌" },
  connecting: { tone: "grey", sign: "◌" },
  idle: { tone: "green", sign: "●" },
  busy: { tone: "blue", sign: "▶" },
  overdue: { tone: "amber", sign: "◷" },
  ejected: { tone: "amber", sign: "▲" },
  draining: { tone: "grey", sign: "◒" },
  drained: { tone: "grey", sign: "○" },
  down: { tone: "red", sign: "✕" },
  failed: { tone: "red", sign: "■" },
};

const UNKNOWN = { tone: "grey", sign: "?" };

export const lookOf = (state) => STATES[state] ?? UNKNOWN;
export const isInRotation = (worker) => worker.state === "idle" || worker.state === "busy";
