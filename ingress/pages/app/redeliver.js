// Webhooks sent again, all that match: counted first, then confirmed, once.
import { html, nothing } from "./lit/lit-html.js";
import { send } from "./api.js";
import { dialog } from "./marks.js";
import { apiButton, problemStrip, say } from "./parts.js";
import { number, t } from "./words.js";

const STATES = ["given_up", "stopped", "will_retry", "waiting", "delivered"];
const MOST = 10_000;

/** Show the dialog, filled with what of the list's filter a redelivery knows. */
export function redeliverDialog(filter, after) {
  const state = {
    states: new Set([STATES.includes(filter.state) ? filter.state : "given_up"]),
    host: filter.host ?? "", since: filter.from ?? null, until: filter.to ?? null,
    counted: null, done: null, problem: null, isBusy: false, key: crypto.randomUUID(),
  };
  const body = (isDry) => ({
    filter: {
      states: STATES.filter((one) => state.states.has(one)),
      ...(state.host ? { host: state.host } : {}),
      ...(state.since ? { since: state.since } : {}), ...(state.until ? { until: state.until } : {}),
    },
    dry_run: isDry,
    limit: MOST,
  });
  const ask = async (isDry) => {
    Object.assign(state, { isBusy: true, problem: null });
    shown.draw();
    try {
      const options = isDry ? {} : { idempotencyKey: state.key };
      const answer = await send("POST", "/queries/redeliver", body(isDry), options);
      if (isDry) state.counted = answer.matched;
      else {
        state.done = answer.redelivered;
        say(t("redeliver.done", { n: answer.redelivered }));
        after();
      }
    } catch (problem) {
      state.problem = problem;
    }
    state.isBusy = false;
    shown.draw();
  };
  const change = (fn) => (event) => {
    fn(event.target);
    Object.assign(state, { counted: null, done: null, key: crypto.randomUUID() });
    shown.draw();
  };
  const shown = dialog(t("redeliver.title"), () => view(state, { ask, change, body, filter }));
}

/** The same as a command; `parts` is what the request says. */
function commandOf({ filter, limit }) {
  const { states, host, since, until } = filter;
  const options = [...states.map((one) => ["state", one]), ["host", host], ["since", since], ["until", until], ["limit", limit]];
  const given = options.filter(([, value]) => value).map(([name, value]) => ` --${name} ${value}`);
  return `photo-archive deliveries redeliver${given.join("")} --dry-run`;
}

function view(state, { ask, change, body, filter }) {
  const sum = state.counted && Object.values(state.counted).reduce((all, n) => all + n, 0);
  const n = sum && Math.min(sum, MOST);
  return html`<form class="stack" @submit=${(event) => event.preventDefault()}>
    ${filter.text || filter.outcome ? html`<p class="warn">${t("redeliver.not_by_text")}</p>` : nothing}
    <fieldset><legend>${t("redeliver.which")}</legend>${STATES.map((one) => html`<label>
      <input type="checkbox" .checked=${state.states.has(one)} @change=${change((box) =>
        box.checked ? state.states.add(one) : state.states.delete(one))}> ${t(`queries.state_${one}`)}${one === "delivered" ? html` (${t("redeliver.as_new")})` : nothing}</label>`)}</fieldset>
    <label>${t("redeliver.host")} <input maxlength="253" .value=${state.host}
      @input=${change((field) => (state.host = field.value.trim()))}></label>
    ${state.since || state.until ? html`<p class="quiet">${t("redeliver.dates")}</p>` : nothing}
    ${state.problem ? problemStrip(state.problem) : nothing}
    ${state.done !== null ? html`<p class="good" role="status">✓ ${t("redeliver.done", { n: state.done })}</p>`
      : sum === null ? nothing : html`<p role="status">${sum ? t("redeliver.matches", { n: sum }) : t("redeliver.nothing")}
        ${Object.entries(state.counted).map(([one, count]) => html`<br>${number(count)} · ${t(`queries.state_${one}`)}`)}</p>`}
    <span class="row">
      <button type="button" ?disabled=${state.isBusy || !state.states.size} @click=${() => ask(true)}>${t("redeliver.count")}</button>
      <button type="button" class="filled" ?disabled=${state.isBusy || !n || state.done !== null} @click=${() => ask(false)}>
        ${n ? t("redeliver.send", { n }) : t("redeliver.send_none")}</button>
      ${apiButton(() => ({ method: "POST", path: "/queries/redeliver", body: body(true),
        cli: commandOf(body(true)) }))}
    </span></form>`;
}
