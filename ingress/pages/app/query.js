// One query: how it was read, its answer, each attempt to deliver it, and the thread of its stages.
import { html, nothing, render } from "./lit/lit-html.js";
import { get, lastOnly, may, send } from "./api.js";
import { deliveryView } from "./attempts.js";
import { lemmaChips } from "./explain.js";
import { watch } from "./live.js";
import { busy, mark, reasonText, wordsOf } from "./marks.js";
import { confirmBy } from "./dialogs.js";
import { apiButton, problemStrip, say, scopeGate } from "./parts.js";
import { confidence } from "./pieces.js";
import { stateOf } from "./queries.js";
import { go, link } from "./routing.js";
import { clock, date, duration, number, t } from "./words.js";

const SETTLE_MS = 150;

export async function open(root, place) {
  const state = { id: place.id, query: null, words: null, problem: null, isBusy: false };
  const draw = () => render(screen(state, acts), root);
  let timer = 0;
  const look = lastOnly(() => get(`/queries/${encodeURIComponent(state.id)}`));
  const load = async () => {
    try {
      const query = await look();
      const isFirst = !state.query;
      Object.assign(state, { query, problem: null });
      const { id } = state;
      if (isFirst && may("read")) get("/lemmas", { text: query.text }).then((read) => {
        if (id === state.id) state.words = wordsOf(read);
        draw();
      }, () => {});
    } catch (problem) {
      state.problem = problem;
    }
    draw();
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(load, SETTLE_MS);
  };
  const act = async (verb, said) => {
    Object.assign(state, { isBusy: true, problem: null });
    draw();
    try {
      const answer = await send("POST", `/queries/${state.id}/${verb}`);
      say(t(said, { n: answer?.attempt ?? "" }));
      await load();
    } catch (problem) {
      state.problem = problem;
    }
    state.isBusy = false;
    draw();
  };
  const acts = {
    load,
    now: () => act("redeliver", "query.queued"),
    stop: () => act("stop", "query.stopped"),
    async forget() {
      if (!await confirmBy(t("query.forget_sure"))) return;
      try {
        await send("DELETE", `/queries/${state.id}`);
        go("#/queries");
      } catch (problem) {
        state.problem = problem;
        draw();
      }
    },
  };
  draw();
  // Heard before it is asked for, and asked for again at each new stream: no change falls between.
  const stop = watch("queries", ({ changed, truncated }, { isSnapshot }) => {
    if (isSnapshot || truncated || changed.some((one) => one.query_id === state.id)) soon();
  });
  if (may("query")) await load();
  const ticking = setInterval(draw, 1000);
  return {
    update(now) {
      if (!now.id || now.id === state.id) return;
      Object.assign(state, { id: now.id, query: null, words: null, problem: null });
      load();
    },
    close() {
      stop();
      clearInterval(ticking);
      clearTimeout(timer);
    },
  };
}

function screen(state, acts) {
  const { query, problem } = state;
  const path = `/queries/${state.id}`;
  return html`
    <p><a href="#/queries">← ${t("queries.title")}</a></p>
    <header class="row spread"><h1 dir="auto">${query ? t("parts.quoted", { text: query.text }) : t("query.title")}</h1>
      <span class="row">${apiButton(() => ({ method: "GET", path }))}</span></header>
    ${may("query") ? nothing : scopeGate("query", html`<p>${t("queries.what")}</p>`)}
    ${problem ? problemStrip(problem, acts.load) : nothing}
    ${query ? found(query, state, acts) : problem || !may("query") ? nothing : busy()}`;
}

function found(query, state, acts) {
  const word = query.state;
  const last = query.deliveries.at(-1);
  const isOpen = ["waiting", "will_retry", "in_flight"].includes(word);
  return html`
    <div class="row spread card">
      <span class="row">${stateOf(query)}
        <span class="quiet">→ ${query.callback_url}</span></span>
      ${scopeGate("query", html`<span class="row">
        <button type="button" class="filled" ?disabled=${state.isBusy || !last || word === "in_flight"} @click=${acts.now}>
          ${t(isOpen ? "query.try_now" : "query.again")}</button>
        <button type="button" ?disabled=${state.isBusy || !isOpen || !last} @click=${acts.stop}>${t("query.stop")}</button>
        <button type="button" ?disabled=${state.isBusy} @click=${acts.forget}>${t("query.forget")}</button></span>`)}
    </div>
    ${state.words ? html`<section><h2>${t("query.read_as")}</h2>${lemmaChips(state.words)}</section>` : nothing}
    <section><h2>${t("query.answer")}</h2>${answer(query)}</section>
    <section><h2>${t("query.attempts")}</h2>
      ${query.deliveries.length ? query.deliveries.map(deliveryView) : html`<p class="quiet">${t("query.no_delivery")}</p>`}</section>
    <section><h2>${t("query.thread")}</h2>${thread(query)}</section>`;
}

function answer({ answer: given, outcome }) {
  if (!given) return html`<p>${mark("quiet", "…", t("query.not_answered"))}</p>`;
  const kind = (given.type ?? outcome ?? "").replace("query.", "");
  if (kind === "failed") {
    const code = given.error?.code ?? given.error?.reason ?? "";
    return html`<p>${mark("bad", "■", t("queries.outcome_failed"))} ${reasonText(code)}
      <span class="quiet" lang="en">${given.error?.detail ?? given.error?.message ?? ""}</span></p>`;
  }
  if (kind === "no_match" || !given.image_id) return html`<p>${mark("warn", "–", t("queries.outcome_no_match"))} ${t("query.no_match_why")}</p>`;
  const matched = given.matched ?? [];
  const address = link("photos", given.image_id);
  return html`<div class="row">
    <a href=${address}><img class="answer" alt=${matched.map((one) => one.tag).join(", ")} src=${`/images/${given.image_id}/thumb`}></a>
    <div>
      <p><b>${number(given.score ?? 0)}</b> = ${matched.map((one, at) => html`${at ? html`<span data-shape="+"></span>` : nothing}${confidence(one.tag, one.score)}
        <span class="quiet">${one.words?.length ? `(${one.words.join(", ")})` : ""}</span>`)}</p>
      <p class="quiet">${t("query.sum_note")}</p>
      ${given.others?.length ? html`<p>${t("query.others")} ${given.others.map((one) => html`
        <a href=${link("photos", one.image_id)}>${number(one.score)}</a> `)}</p>` : nothing}
      <a href=${address}>${t("query.open_photo")}</a>
    </div></div>`;
}

/** One thread from the request to the last webhook, with the time between the stages. */
function thread(query) {
  const steps = [{ at: query.accepted_at, text: t("query.step_accepted") }];
  if (query.answered_at) steps.push({ at: query.answered_at, text: t("query.step_answered") });
  for (const delivery of query.deliveries) {
    for (const one of delivery.attempts) {
      steps.push({ at: one.started_at, text: t("query.step_attempt", { n: one.attempt }) });
    }
    if (delivery.finished_at) {
      steps.push({ at: delivery.finished_at, text: t(`queries.state_${delivery.state}`) });
    }
  }
  steps.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  return html`<ol class="thread">${steps.map((step, at) => html`<li>
    <time datetime=${step.at} title=${date(step.at)}>${clock(step.at)}</time> ${step.text}
    ${at ? html`<span class="quiet">+${duration((Date.parse(step.at) - Date.parse(steps[at - 1].at)) / 1000)}</span>` : nothing}</li>`)}</ol>`;
}
