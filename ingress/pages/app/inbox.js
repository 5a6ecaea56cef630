// The receiver in the box: what was posted to it, whether it was signed right, and how it answers.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, lastOnly, may, send, session } from "./api.js";
import { askForm } from "./ask.js";
import { watch } from "./live.js";
import { busy, mark, moment } from "./marks.js";
import { confirmBy, copyButton } from "./dialogs.js";
import { apiButton, problemStrip, say, scopeGate } from "./parts.js";
import { emptyState, thumb } from "./pieces.js";
import { go, link } from "./routing.js";
import { signatureDialog } from "./signature.js";
import { clock, date, duration, has, t } from "./words.js";

const KINDS = ["ok", "500", "410", "slow", "never", "redirect"];

export async function open(root, place) {
  const state = { token: place.id, box: null, count: null, asked: [], wish: null, problem: null, isBusy: false };
  let ask = null;
  const draw = () => render(screen(state, acts, ask), root);
  const look = lastOnly(() => get(`/inbox/${encodeURIComponent(state.token)}`));
  const load = async () => {
    try {
      if (!state.token) {
        const { token } = await send("POST", "/inbox", {});
        state.token = token;
        go(link("inbox", token), { replace: true });
      }
      state.box = await look();
      ask ??= askForm(draw, { inbox: state.box.url, asked: (id) => state.asked.unshift(id) });
      state.problem = null;
    } catch (problem) {
      state.problem = problem;
    }
    draw();
  };
  let turn = Promise.resolve();
  const change = (fn) => (turn = turn.then(() => make(fn)));
  const make = async (fn) => {
    Object.assign(state, { isBusy: true, problem: null });
    draw();
    try {
      await fn();
      await load();
    } catch (problem) {
      Object.assign(state, { problem, wish: null });
    }
    state.isBusy = false;
    draw();
  };
  const acts = {
    load,
    // Arrows choose faster than the archive answers: the choice stands at once, and of several under
    // way the last one is sent.
    answer(kind, delay) {
      state.wish = { kind, delay_s: delay };
      draw();
      change(async () => {
        const { wish } = state;
        if (!wish) return;
        await send("PUT", `/inbox/${state.token}`, { answer: { kind: wish.kind, ...(wish.kind === "slow" ? { delay_s: wish.delay_s } : {}) } });
        state.box.answer = { ...state.box.answer, ...wish };
        if (state.wish !== wish) return; // another one was chosen meanwhile
        state.wish = null;
        say(t("inbox.answers_now", { kind: t(`inbox.kind_${wish.kind}`) }));
      });
    },
    async clear() {
      if (await confirmBy(t("inbox.clear_sure"))) await change(() => send("DELETE", `/inbox/${state.token}/posts`));
    },
  };
  draw();
  const isHere = session()?.instance.standalone && may("query");
  if (isHere) await load();
  const stop = watch("inbox", ({ inboxes, truncated }) => {
    const count = inboxes[state.token];
    if (!truncated && (count === undefined || count === state.count)) return;
    state.count = count;
    if (isHere) load();
  });
  const ticking = setInterval(draw, 1000);
  return {
    update(now) {
      if (!now.id || now.id === state.token) return;
      Object.assign(state, { token: now.id, box: null, count: null, asked: [], wish: null });
      ask = null;
      load();
    },
    close() {
      stop();
      clearInterval(ticking);
    },
  };
}

function screen(state, acts, ask) {
  const { box, problem } = state;
  return html`
    <p><a href="#/queries">← ${t("queries.title")}</a></p>
    <header class="row spread"><h1>${t("inbox.title")}</h1>
      ${state.token ? apiButton(() => ({ path: `/inbox/${state.token}` })) : nothing}</header>
    <p>${t("inbox.what")}</p>
    ${problem ? problemStrip(problem, acts.load) : nothing}
    ${!session()?.instance.standalone ? emptyState({ title: t("inbox.not_here"), text: t("inbox.not_here_why") })
      : !may("query") ? scopeGate("query", html`<button type="button">${t("inbox.open")}</button>`)
      : box ? found(state, acts, ask) : problem ? nothing : busy()}`;
}

function found({ box, asked, wish, isBusy }, acts, ask) {
  return html`
    <div class="snippet"><pre tabindex="0" role="group" aria-label=${t("inbox.address")}>${box.url}</pre>${copyButton(box.url)}</div>
    <div class="beside">
      <section class="card"><h2>${t("inbox.ask")}</h2>${ask.view()}
        ${asked.length ? html`<ul>${asked.map((id) => html`<li><a href=${link("queries", id)}>${t("inbox.watch")}</a></li>`)}</ul>` : nothing}</section>
      <section class="card"><h2>${t("inbox.answers")}</h2>${answers(wish ?? box.answer, wish !== null, acts)}</section>
    </div>
    <section>
      <div class="row spread"><h2>${t("inbox.posts", { n: box.posts.length })}</h2>
        <button type="button" ?disabled=${!box.posts.length || isBusy} @click=${acts.clear}>${t("inbox.clear")}</button></div>
      ${box.posts.length ? html`<ol class="lines">${repeat(box.posts, (one) => `${one.at} ${one.webhook_id} ${one.attempt_seen}`, (one) => post(one, box.posts))}</ol>`
        : emptyState({ title: t("inbox.none"), text: t("inbox.none_what") })}
    </section>`;
}

/** How the inbox answers from now on: so that one can watch the whole schedule of attempts. */
function answers(answer, isBusy, acts) {
  // Never disabled: the arrow keys would lose the choice that they are on.
  return html`<fieldset aria-busy=${isBusy}><legend>${t("inbox.answers_how")}</legend>
      ${KINDS.map((kind) => html`<label><input type="radio" name="kind" .checked=${answer.kind === kind} @change=${() => acts.answer(kind, answer.delay_s)}>
        ${t(`inbox.kind_${kind}`)} <span class="quiet">${t(`inbox.then_${kind}`)}</span></label>`)}</fieldset>
    ${answer.kind === "slow" ? html`<label>${t("inbox.delay")} <input type="number" min="0" max="120" step="1" .value=${String(answer.delay_s)}
      @change=${(event) => acts.answer("slow", Number(event.target.value))}></label>` : nothing}`;
}

// Beside answers come events for operators, which have no other name than their type.
function titleOf(type) {
  if (!type) return t("inbox.unknown_type");
  const key = `queries.outcome_${type.replace("query.", "")}`;
  return has(key) ? t(key) : html`<code>${type}</code>`;
}

function post(one, all) {
  const before = all.filter((other) => other.webhook_id === one.webhook_id && other.at < one.at).map((other) => other.at).sort().at(-1);
  const header = (name) => one.headers.find(([key]) => key.toLowerCase() === name)?.[1] ?? "";
  const isCut = new TextEncoder().encode(one.body).length < one.body_bytes;
  const check = () => signatureDialog({
    id: one.webhook_id, timestamp: header("webhook-timestamp"), signatures: header("webhook-signature"), body: one.body, isCut,
  });
  const signature = one.signature_ok === null ? ["quiet", "?", "unchecked"] : one.signature_ok ? ["good", "✓", "signed"] : ["bad", "✕", "not_signed"];
  return html`<li class="card">
    <p class="row"><time datetime=${one.at} title=${date(one.at)}>${clock(one.at)}</time>
      <b>${titleOf(one.type)}</b>
      <span>${t("inbox.attempt", { n: one.attempt_seen })}${before ? html` <span class="quiet">+${duration((Date.parse(one.at) - Date.parse(before)) / 1000)}</span>` : nothing}</span>
      ${mark(signature[0], signature[1], t(`inbox.${signature[2]}`))}
      <span class="quiet">${one.answered ? t("inbox.answered", { answer: String(one.answered) }) : t("inbox.no_answer")}</span>
      <span class="quiet">${moment(one.at)}</span></p>
    <div class="row">
      ${one.image_id ? html`<a href=${link("photos", one.image_id)}>${thumb({ image_id: one.image_id }, t("inbox.photo"))}</a>` : nothing}
      ${one.query_id ? html`<a href=${link("queries", one.query_id)}>${t("inbox.to_query")}</a>` : nothing}
      <button type="button" @click=${check}>${t("signature.open")}</button>
      <details><summary>${t("inbox.headers")}</summary><dl>${one.headers.map(([name, value]) => html`<dt><code>${name}</code></dt><dd><code>${value}</code></dd>`)}</dl></details>
      <details><summary>${t("inbox.body")}</summary><pre tabindex="0" role="group" aria-label=${t("inbox.body")}>${pretty(one.body)}</pre>
        ${isCut ? html`<p class="quiet">${t("query.body_cut")}</p>` : nothing}</details>
    </div></li>`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
