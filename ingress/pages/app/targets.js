// Callback targets of the pipeline: what waits for each and why; disable, resume.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, lastOnly, may, send } from "./api.js";
import { dialog, mark, none, timed } from "./marks.js";
import { problemStrip, say, scopeGate } from "./parts.js";
import { duration, number, t } from "./words.js";

const MARKS = {
  open: ["good", "✓"], half_open: ["warn", "◐"], broken: ["bad", "■"], disabled: ["warn", "‖"],
};

/** Return the targets as a part of the page: `take(the ten that hold most, the stage of deliveries)` and `view()`. */
export function targetList(draw) {
  const state = { top: [], before: 0, elsewhere: 0, all: null, q: "", isComplete: true, problem: null };
  const look = lastOnly(() => get("/targets", state.q ? { q: state.q } : {}));
  const load = async () => {
    try {
      const { targets, next } = await look();
      Object.assign(state, { all: targets, isComplete: !next, problem: null });
    } catch (problem) {
      state.problem = problem;
    }
    draw();
  };
  const acts = {
    load,
    find(event) {
      event.preventDefault();
      state.q = new FormData(event.target).get("q").trim();
      load();
    },
    change: (target, verb) => change(target, verb, load),
  };
  const take = (top, stage) => {
    const before = stage?.unread ?? 0;
    const listed = top.reduce((sum, one) => sum + one.waiting, 0);
    Object.assign(state, { top, before, elsewhere: Math.max(0, (stage?.waiting ?? 0) - before - listed) });
  };
  return { take, view: () => view(state, acts) };
}

function view(state, acts) {
  const rows = state.all ? merged(state.all, state.top) : state.top;
  return html`<section>
    <h2>${t("targets.title")}</h2>
    ${state.problem ? problemStrip(state.problem, acts.load) : nothing}
    ${rows.length ? html`<table class="cards">
      <thead><tr>${["target", "state", "waiting", "oldest", "flight", "p99", "last", "act"].map(
        (key) => html`<th scope="col">${t(`targets.col_${key}`)}</th>`)}</tr></thead>
      <tbody>${repeat(rows, (one) => one.target, (one) => row(one, acts))}</tbody>
    </table>` : html`<p class="quiet">${t(state.q ? "targets.no_match" : may("admin") ? "targets.none" : "targets.none_own")}</p>`}
    ${state.before ? html`<p>${t("targets.before", { n: state.before })}</p>` : nothing}
    ${state.elsewhere && !state.all ? html`<p class="quiet">${t(may("admin") ? "targets.elsewhere" : "targets.of_others", { n: state.elsewhere })}</p>` : nothing}
    ${state.isComplete ? nothing : html`<p class="quiet">${t("targets.more")}</p>`}
    ${scopeGate("admin", html`<form class="row" @submit=${acts.find}>
      <label>${t("targets.find")} <input name="q" type="search" maxlength="253"></label>
      <button>${t("targets.all")}</button></form>`)}
  </section>`;
}

/** The list keeps its order while the live figures of the top ten go on. */
function merged(all, top) {
  const live = new Map(top.map((one) => [one.target, one]));
  return all.map((one) => ({ ...one, ...live.get(one.target) }));
}

function row(one, acts) {
  const [kind, glyph] = MARKS[one.state] ?? ["quiet", "?"];
  const cell = (key, value) => html`<td data-label=${t(`targets.col_${key}`)}>${value}</td>`;
  return html`<tr>
    <th scope="row"><a href="#/queries?host=${encodeURIComponent(hostOf(one.target))}">${one.target}</a></th>
    ${cell("state", html`${mark(kind, glyph, t(`targets.state_${one.state}`))}
      ${one.waits_for && one.state === "open" ? html`<span class="quiet">${t(`query.waits.${one.waits_for}`)}</span>` : nothing}
      ${one.reason ? html`<span class="quiet">${one.reason}</span>` : nothing}`)}
    ${cell("waiting", number(one.waiting))}
    ${cell("oldest", seconds(one.oldest_waiting_s))}
    ${cell("flight", (one.cap ?? null) === null ? none : `${number(one.in_flight)} / ${number(one.cap)}`)}
    ${cell("p99", (one.p99_ms ?? null) === null ? none : duration(one.p99_ms / 1000))}
    ${cell("last", html`${timed(one.last_ok_at)}
      ${one.last_error ? html`<span class="quiet">${one.last_error}</span>` : nothing}`)}
    ${cell("act", one.state !== "disabled"
      ? html`<button type="button" ?disabled=${!may("admin")} @click=${() => acts.change(one.target, "disable")}>${t("targets.disable")}</button>`
      : html`<button type="button" ?disabled=${!may("admin")} @click=${() => acts.change(one.target, "resume")}>${t("targets.resume")}</button>`)}
  </tr>`;
}

function seconds(value) {
  return (value ?? null) === null ? none : duration(value);
}

function hostOf(target) {
  return new URL(target).hostname.replace(/^\[|\]$/g, "");
}

/** Ask for the reason, then hold or resume a target's webhooks. */
function change(target, verb, after) {
  const seen = { problem: null };
  const act = async (event) => {
    event.preventDefault();
    const reason = new FormData(event.target).get("reason").trim();
    const url = new URL(target);
    const port = url.port || (url.protocol === "https:" ? 443 : 80);
    try {
      const host = encodeURIComponent(hostOf(target));
      await send("POST", `/targets/${url.protocol.slice(0, -1)}/${host}/${port}/${verb}`, { reason });
      shown.close();
      say(t(`targets.did_${verb}`, { target }));
      await after();
    } catch (problem) {
      seen.problem = problem;
      shown.draw();
    }
  };
  const shown = dialog(t(`targets.${verb}_title`, { target }), () => html`
    ${seen.problem ? problemStrip(seen.problem) : nothing}
    <form class="stack" @submit=${act}>
      <p>${t(`targets.${verb}_what`)}</p>
      <label>${t("targets.reason")} <input name="reason" maxlength="500"></label>
      <button>${t(`targets.${verb}`)}</button>
    </form>`);
}
