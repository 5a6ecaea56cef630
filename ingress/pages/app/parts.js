// What all screens show: chips, problems, undo.
import { html, nothing, render, svg } from "./lit/lit-html.js";
import { may } from "./api.js";
import { duration, has, t } from "./words.js";

const ICONS = {
  photos: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 5M15 9h.01",
  duplicates: "M8 8h12v12H8zM16 8V4H4v12h4",
  labels: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  queries: "M4 5h16v11H9l-5 4z",
  pipeline: "M3 12h4l3-7 4 14 3-7h4",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  close: "M5 5l14 14M19 5L5 19",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  check: "M4 12l5 6L20 6",
  warn: "M12 3l10 18H2zM12 10v5M12 18h.01",
  up: "M5 15l7-7 7 7",
  down: "M5 9l7 7 7-7",
  back: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  filter: "M3 5h18l-7 8v6l-4 2v-8z",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  list: "M4 6h16M4 12h16M4 18h16",
  code: "M8 6l-6 6 6 6M16 6l6 6-6 6",
  undo: "M9 14L4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  star: "M12 3l2.7 6 6.3.6-4.8 4.2 1.5 6.2-5.7-3.4L6.3 20l1.5-6.2L3 9.6 9.3 9z",
  user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 21c0-5 4-7 8-7s8 2 8 7",
};

/** A drawing beside a word; never the only bearer of a meaning. */
export const icon = (name) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${svg`<path d=${ICONS[name]}></path>`}</svg>`;

/** A short word on solid ground; `kind`: good, warn, bad or nothing. `remove` adds a button. */
export const chip = (text, { kind = "", lang = "", remove = null, label = text, title = "" } = {}) => html`<span class="chip ${kind}" title=${title || nothing}>
  <span lang=${lang || nothing}>${text}</span>
  ${remove ? html`<button class="bare" aria-label=${t("parts.removeNamed", { name: label })} @click=${remove}>${icon("close")}</button>` : nothing}
</span>`;

/** A problem in the reader's words; what only the server can say stands behind it in English. */
export function failure(problem) {
  if (problem?.name === "AbortError") return "";
  const code = problem?.code ?? "internal_error";
  if (code === "scope_missing" && problem.scope) return t("problem.scope", { scope: problem.scope });
  if (code === "rate_limited" && problem.retryAfter) return t("problem.wait", { time: duration(problem.retryAfter) });
  const limit = /\d+/.exec(problem?.detail ?? "")?.[0] ?? "…"; // said where the words name one
  return has(`problem.${code}`) ? t(`problem.${code}`, { limit }) : problem.title || t("problem.internal_error");
}

export const problemStrip = (problem, retry = null) => (problem
  ? html`<div class="strip bad" role="alert">
      ${icon("warn")}
      <div>
        <b>${failure(problem)}</b>
        ${problem.detail ? html`<div class="quiet" lang="en">${problem.detail}</div>` : nothing}
        ${(problem.errors ?? []).slice(0, 5).map((one) => html`<div lang="en"><code>${one.pointer}</code> ${one.detail}</div>`)}
        <small class="quiet"><code>${problem.code ?? problem.name}</code> ${problem.requestId ?? ""}</small>
      </div>
      ${retry ? html`<button @click=${retry}>${t("parts.retry")}</button>` : nothing}
    </div>`
  : nothing);

/** What a key may not do is shown all the same, disabled, and the scope that it lacks is named. */
export const scopeGate = (scope, template) => (may(scope)
  ? template
  : html`<fieldset class="gate" disabled>${template}<small>${t("parts.needsScope", { scope })}</small></fieldset>`);

/** A button that shows the very request on display as `curl` and, where there is one, as a command. */
export const apiButton = (request) => html`<button class="quiet-button" aria-label="API" @click=${async () => (await import("./dialogs.js")).showCommand(request())}>${icon("code")}<span>API</span></button>`;

export function closeDialogs() {
  for (const one of document.querySelectorAll("dialog[open]")) one.close();
}

const TOAST_MS = 12_000;

/** A note with "Undo". It stays while the pointer or the focus is on it; returns how to end it. */
export function undoToast(text, undo = null, { ms = TOAST_MS } = {}) {
  const toast = document.createElement("div");
  toast.className = "toast row";
  let timer = 0;
  const end = () => {
    clearTimeout(timer);
    toast.remove();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(end, ms);
  };
  const back = () => {
    end();
    undo();
  };
  render(html`<span>${text}</span>${undo ? html`<button @click=${back}>${t("parts.undo")}</button>` : nothing}<button class="bare" aria-label=${t("parts.close")} @click=${end}>${icon("close")}</button>`, toast);
  for (const [name, fn] of [["pointerenter", () => clearTimeout(timer)], ["focusin", () => clearTimeout(timer)], ["pointerleave", wait], ["focusout", wait]]) toast.addEventListener(name, fn);
  document.getElementById("toasts")?.append(toast);
  say(text);
  wait();
  return end;
}

const QUIET_MS = 5000;
let saidAt = 0;
let pending = 0;
let nextText = "";

/** Says a text to screen readers, at most one in 5 s: of several the last. */
export function say(text) {
  nextText = text;
  if (pending) return;
  pending = setTimeout(() => {
    pending = 0;
    saidAt = Date.now();
    const region = document.getElementById("said");
    if (region) region.textContent = nextText;
  }, Math.max(50, saidAt + QUIET_MS - Date.now()));
}
