// Queries: what was asked, where each answer stands, and sending answers again.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, may, send, session } from "./api.js";
import { askForm } from "./ask.js";
import { watch } from "./live.js";
import { busy, countdown, mark, none, timed } from "./marks.js";
import { copyButton, curlOf } from "./dialogs.js";
import { apiButton, problemStrip, scopeGate } from "./parts.js";
import { emptyState } from "./pieces.js";
import { redeliverDialog } from "./redeliver.js";
import { go, link } from "./routing.js";
import { number, t } from "./words.js";

const FILTERS = ["text", "state", "host", "outcome", "from", "to"];
const STATES = ["waiting", "in_flight", "will_retry", "given_up", "delivered", "stopped"];
const OUTCOMES = ["completed", "no_match", "failed", "none"];
const MARKS = {
  waiting: ["quiet", "…"], in_flight: ["note", "▶"], will_retry: ["warn", "↻"], given_up: ["bad", "■"],
  delivered: ["good", "✓"], stopped: ["quiet", "×"],
};
const PAGE = 50;
const SETTLE_MS = 400;

export async function open(root, place) {
  const state = { place, page: null, rows: [], next: null, fresh: new Set(), problem: null, isBusy: false };
  let asking = null;
  const draw = () => render(screen(state, acts, ask), root);
  const ask = askForm(draw);
  const load = async ({ more = false } = {}) => {
    asking?.abort();
    const mine = (asking = new AbortController());
    Object.assign(state, { isBusy: true, problem: null });
    draw();
    try {
      let cursor = more ? state.next : null;
      let found = [];
      // A page may be empty before the last one: what follows is looked at too.
      do {
        const page = await get("/queries", { ...filterOf(state.place), limit: PAGE, total: more || cursor ? null : true, cursor }, mine);
        if (!more && !cursor) state.page = page;
        found = page.queries;
        cursor = page.next;
      } while (cursor && !found.length);
      Object.assign(state, { rows: more ? [...state.rows, ...found] : found, next: cursor });
      if (!more) state.fresh.clear();
      if (isBare(state) && session()?.instance.standalone) state.inbox = (await send("POST", "/inbox", {})).url;
    } catch (problem) {
      if (problem.name === "AbortError") return;
      state.problem = problem;
    }
    state.isBusy = false;
    draw();
  };
  const acts = {
    load,
    filter(event) {
      event.preventDefault();
      const given = new FormData(event.currentTarget);
      go(link("queries", null, Object.fromEntries(FILTERS.map((name) => [name, String(given.get(name) ?? "").trim()]))));
    },
    redeliver: () => redeliverDialog(filterOf(state.place), load),
  };
  draw();
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(load, SETTLE_MS);
  };
  let isNew = true;
  // A new stream says nothing of what changed before it: the list is asked for again, but for the first.
  const stop = watch("queries", (news, { isSnapshot }) => {
    take(state, news);
    if (isSnapshot && !isNew) soon();
    isNew &&= !isSnapshot;
    draw();
  });
  if (may("query")) await load();
  const clock = setInterval(draw, 1000);
  return {
    update(now) {
      state.place = now;
      load();
    },
    close() {
      [stop, () => clearInterval(clock), () => clearTimeout(timer), () => asking?.abort()].forEach((fn) => fn());
    },
  };
}

/** Dates of the form are days here; the archive's are moments. */
function filterOf({ params }) {
  const filter = Object.fromEntries(FILTERS.map((name) => [name, params.get(name)]).filter(([, value]) => value));
  for (const name of ["from", "to"]) {
    if (!filter[name]) continue;
    const day = new Date(`${filter[name]}T00:00`);
    if (Number.isNaN(day.getTime())) {
      delete filter[name];
      continue;
    }
    if (name === "to") day.setDate(day.getDate() + 1); // its last day counts
    filter[name] = day.toISOString();
  }
  return filter;
}

/** Rows on the page change in place; new questions are counted, so that nothing jumps away. */
function take(state, { changed }) {
  const news = new Map(changed.map((one) => [one.query_id, one]));
  state.rows = state.rows.map((row) => (news.has(row.query_id) ? { ...row, ...news.get(row.query_id) } : row));
  const known = new Set(state.rows.map((row) => row.query_id));
  if (state.page) changed.filter((one) => !known.has(one.query_id)).forEach((one) => state.fresh.add(one.query_id));
}

function screen(state, acts, ask) {
  const filter = Object.fromEntries(FILTERS.map((name) => [name, state.place.params.get(name) ?? ""]));
  const isFiltered = Object.values(filter).some(Boolean);
  const isEmpty = isBare(state);
  if (!may("query")) return html`<h1>${t("queries.title")}</h1>${scopeGate("query", html`<p>${t("queries.what")}</p>`)}`;
  return html`
    <header class="row spread"><h1>${t("queries.title")}</h1>
      <span class="row">${total(state)}
        ${isEmpty ? nothing : toInbox()}
        ${apiButton(() => ({ method: "GET", path: "/queries", params: { ...filterOf(state.place), limit: PAGE } }))}</span></header>
    <details class="card" ?open=${isEmpty}><summary>${t("ask.title")}</summary>${ask.view()}</details>
    ${isEmpty ? empty(state.inbox) : form(filter, acts)}
    ${state.problem ? problemStrip(state.problem, () => acts.load()) : nothing}
    ${state.fresh.size ? html`<button type="button" class="row" @click=${() => acts.load()}>
      ${t("queries.fresh", { n: state.fresh.size })}</button>` : nothing}
    ${state.rows.length ? list(state)
      : isFiltered && state.page && !state.isBusy ? html`<p>${t("queries.no_match")} <a href="#/queries">${t("queries.clear")}</a></p>` : nothing}
    ${state.isBusy && !state.rows.length ? busy() : nothing}
    ${state.next ? html`<button type="button" ?disabled=${state.isBusy} @click=${() => acts.load({ more: true })}>
      ${t("queries.more")}</button>` : nothing}`;
}

/** Whether nobody has asked anything yet. */
const isBare = ({ page, rows, place }) => page && !rows.length && !FILTERS.some((name) => place.params.get(name));

function total({ page }) {
  if (!page?.total) return nothing;
  const { queries: n, is_exact: isExact } = page.total;
  return html`<span class="quiet">${t("queries.total", { n, count: number(n) + (isExact ? "" : "+") })}</span>`;
}

function form(filter, acts) {
  const choice = (name, values) => html`<label>${t(`queries.${name}`)}
    <select name=${name}>
      <option value="" ?selected=${!filter[name]}>${t("queries.any")}</option>
      ${values.map((value) => html`<option value=${value} ?selected=${filter[name] === value}>${t(`queries.${name}_${value}`)}</option>`)}
    </select></label>`;
  const field = (name, type) => html`<label>${t(`queries.${name}`)}
    <input name=${name} type=${type} .value=${filter[name]} maxlength="500"></label>`;
  const isOpen = innerWidth > 640 || Object.values(filter).some(Boolean);
  return html`<details ?open=${isOpen}><summary>${t("queries.apply")}</summary><form class="filter" @submit=${acts.filter}>
    ${field("text", "search")} ${choice("state", STATES)} ${field("host", "text")} ${choice("outcome", OUTCOMES)}
    ${field("from", "date")} ${field("to", "date")}
    <span class="row"><button>${t("queries.apply")}</button>
      <a href="#/queries">${t("queries.clear")}</a>
      ${scopeGate("query", html`<button type="button" @click=${acts.redeliver}>${t("queries.redeliver")}</button>`)}</span>
  </form></details>`;
}

function list({ rows }) {
  return html`<table class="cards">
    <thead><tr>${["text", "state", "host", "attempts", "accepted"].map((key) =>
      html`<th scope="col">${t(`queries.col_${key}`)}</th>`)}</tr></thead>
    <tbody>${repeat(rows, (row) => row.query_id, (row) => html`<tr>
      <th scope="row"><a href=${link("queries", row.query_id)} dir="auto">${row.text}</a></th>
      <td data-label=${t("queries.col_state")}>${stateOf(row)}</td>
      <td data-label=${t("queries.col_host")}>${row.host ?? none}</td>
      <td class="number" data-label=${t("queries.col_attempts")}>${number(row.attempts ?? 0)}</td>
      <td data-label=${t("queries.col_accepted")}>${timed(row.accepted_at)}</td></tr>`)}</tbody>
  </table>`;
}

/** A query's state by what happens next, its outcome and the time to the next attempt. */
export function stateOf(row) {
  const word = t(`queries.state_${row.state}`);
  return html`${mark(...(MARKS[row.state] ?? ["quiet", "?"]), word)}
    ${row.outcome && row.outcome !== "query.completed"
      ? html`<span class="quiet">${t(`queries.outcome_${row.outcome.replace("query.", "")}`)}</span>` : nothing}
    ${row.next_at && row.state === "will_retry" ? html`<span class="quiet">${countdown(row.next_at)}</span>` : nothing}`;
}

const toInbox = () => (session()?.instance.standalone ? html`<a class="button" href="#/inbox">${t("queries.to_inbox")}</a>` : nothing);

/** The first thing that a newcomer meets: a line that can be pasted. */
function empty(inbox) {
  const isHere = session()?.instance.standalone;
  const line = curlOf("POST", "/images/tags", {}, { text: t("ask.example"), callback_url: inbox ?? "https://example.org/hook" });
  return emptyState({
    title: t("queries.none"),
    text: t(isHere ? "queries.none_inbox" : "queries.none_what"),
    actions: html`${toInbox()}
      <div class="snippet"><pre tabindex="0">${line}</pre>${copyButton(line)}</div>`,
  });
}
