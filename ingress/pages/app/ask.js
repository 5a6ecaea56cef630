// A question with its answer by webhook: the form that Queries and Inbox share.
import { html, nothing } from "./lit/lit-html.js";
import { get, send, session } from "./api.js";
import { wordsOf } from "./marks.js";
import { lemmaChips } from "./explain.js";
import { apiButton, problemStrip, say, scopeGate } from "./parts.js";
import { go, link } from "./routing.js";
import { t } from "./words.js";

const READ_AFTER_MS = 300;

/**
 * A form to ask. `inbox` is the address to send to where the screen has one; else the reader chooses
 * between an address and the built-in inbox. `after`: the token of an upload to wait for. `asked(query_id)` is called when it is accepted.
 */
export function askForm(draw, { inbox = null, text = "", after = null, asked = (id) => go(link("queries", id)) } = {}) {
  const hasInbox = Boolean(session()?.instance.standalone);
  const state = { text, url: "", toInbox: inbox !== null || hasInbox, top: 1, least: 0, problem: null, isBusy: false };
  // Asked twice with one key it acts once: a second press after a broken answer makes no second question.
  let key = crypto.randomUUID();
  let timer = 0;
  const read = async () => {
    try {
      state.lemmas = state.text.trim() ? await get("/lemmas", { text: state.text }) : null;
    } catch {
      state.lemmas = null; // a help only
    }
    draw();
  };
  const acts = {
    set(name, value) {
      state[name] = value;
      key = crypto.randomUUID();
      draw();
    },
    text(event) {
      acts.set("text", event.target.value);
      clearTimeout(timer);
      timer = setTimeout(read, READ_AFTER_MS);
    },
    body: () => ({
      text: state.text.trim(),
      callback_url: state.toInbox ? inbox ?? t("ask.inbox_address") : state.url.trim(),
      ...(state.top > 1 ? { top_n: state.top } : {}),
      ...(state.least > 0 ? { min_score: state.least } : {}),
      ...(after ? { after } : {}),
    }),
    async send(event) {
      event.preventDefault();
      if (state.isBusy) return;
      Object.assign(state, { isBusy: true, problem: null });
      draw();
      try {
        const to = state.toInbox ? inbox ?? (await send("POST", "/inbox", {})).url : state.url.trim();
        const body = { ...acts.body(), callback_url: to };
        const { query_id: id } = await send("POST", "/images/tags", body, { idempotencyKey: key });
        key = crypto.randomUUID();
        say(t("ask.accepted"));
        asked(id);
      } catch (problem) {
        state.problem = problem;
      }
      state.isBusy = false;
      draw();
    },
  };
  return { view: () => view(state, acts, { inbox, hasInbox }) };
}

function view(state, acts, { inbox, hasInbox }) {
  return html`<form class="stack ask" @submit=${acts.send}>
    ${state.problem ? problemStrip(state.problem) : nothing}
    <label>${t("ask.text")}
      <input name="text" required maxlength="2000" autocomplete="off" .value=${state.text} @input=${acts.text}
        placeholder=${t("ask.example")}></label>
    ${state.lemmas ? lemmaChips(wordsOf(state.lemmas)) : nothing}
    ${inbox ? nothing : target(state, acts, hasInbox)}
    <details><summary>${t("ask.more")}</summary>
      <span class="row">
        <label>${t("ask.top")} <input type="number" min="1" max="50" .value=${String(state.top)}
          @input=${(event) => acts.set("top", Number(event.target.value) || 1)}></label>
        <label>${t("ask.least")} <input type="number" min="0" max="10" step="0.05" .value=${String(state.least)}
          @input=${(event) => acts.set("least", Number(event.target.value) || 0)}></label>
      </span></details>
    ${scopeGate("query", html`<span class="row"><button class="filled" ?disabled=${state.isBusy}>${t("ask.send")}</button>
      ${apiButton(() => ({ method: "POST", path: "/images/tags", body: acts.body() }))}</span>`)}
  </form>`;
}

function target(state, acts, hasInbox) {
  const choice = (toInbox, text) => html`<label><input type="radio" name="to" .checked=${state.toInbox === toInbox}
    @change=${() => acts.set("toInbox", toInbox)}> ${text}</label>`;
  return html`<fieldset><legend>${t("ask.to")}</legend>
    ${hasInbox ? html`${choice(true, t("ask.to_inbox"))} ${choice(false, t("ask.to_url"))}` : nothing}
    ${state.toInbox ? nothing : html`<label>${t("ask.url")}
      <input name="url" type="url" required maxlength="2000" placeholder="https://example.org/hook"
        .value=${state.url} @input=${(event) => acts.set("url", event.target.value)}></label>`}
  </fieldset>`;
}
