// Labels: what the archive can see, and other labels as an experiment before anything is written.
import { html, nothing, render } from "./lit/lit-html.js";
import { get, lastOnly, may, send, session } from "./api.js";
import { labelDialog, table } from "./labeltable.js";
import { outcomeView, preview } from "./experiment.js";
import { bodyOf, compare, isSame, labelOf, parse, placeOf, textOf } from "./labelset.js";
import { watch } from "./live.js";
import { busy, dated, progress } from "./marks.js";
import { apiButton, problemStrip, say, scopeGate } from "./parts.js";
import { go, link } from "./routing.js";
import { duration, number, remember, remembered, setTagNames, t } from "./words.js";

/** Sets that this browser saw replaced: the archive keeps only the one in force. */
const KEPT = "labels.previous";
const KEPT_SETS = 5;
const SLOW_MS = 15_000;

export async function open(root, place) {
  const state = {
    now: null, counts: new Map(), all: 0, draft: [], text: "", faults: [], isText: false, filter: "",
    preview: null, asking: null, isSlow: false, problem: null, isBusy: false, isOld: false, pace: null,
  };
  const draw = () => render(screen(state, acts), root);
  const look = lastOnly(() => Promise.all([get("/labels"), get("/tags", { pairs: 0 }), get("/stats")]));
  const load = async () => {
    try {
      const [now, tags, stats] = await look();
      const isFirst = !state.now;
      state.counts = new Map(tags.tags.map((one) => [one.tag, one]));
      Object.assign(state, { all: stats.statuses.tagged ?? 0, problem: null });
      if (isFirst || (!state.faults.length && isSame(state.draft, state.now.labels.map(labelOf)))) adopt(state, now);
      else Object.assign(state, { now: { ...now }, isOld: state.isOld || now.version !== state.now.version });
      setTagNames(now.labels);
    } catch (problem) {
      state.problem = problem;
    }
    draw();
  };
  const acts = actsOf(state, draw, load);
  draw();
  if (may("read")) await load();
  const teach = (at) => {
    const photos = at?.params.getAll("photo") ?? [];
    if (!photos.length || !state.now || !may("admin")) return;
    go(link("labels"), { replace: true }); // Back, or loading it again, is not to ask again
    acts.edit(null, photos);
  };
  teach(place);
  const stop = watch("labels", (news) => {
    if (!state.now) return;
    const { version, ...rescoring } = news;
    const isDone = rescoring.is_done && !state.now.rescoring.is_done;
    state.pace = paceOf(state.pace, rescoring);
    state.now = { ...state.now, rescoring };
    if (version !== state.now.version || isDone) load();
    if (isDone) say(t("labels.applied"));
    draw();
  });
  return {
    update: teach,
    close() {
      stop();
      state.asking?.abort();
    },
  };
}

function adopt(state, now) {
  state.asking?.abort();
  Object.assign(state, { asking: null, now, draft: now.labels.map(labelOf), text: textOf(now.labels.map(labelOf)), faults: [], preview: null, isOld: false });
}

/** Photos a second between the first and the newest word, for the time that is left. */
function paceOf(pace, { rescored, is_done: isDone }) {
  if (isDone) return null;
  if (!pace || rescored < pace.from) return { from: rescored, at: Date.now(), perSecond: 0 };
  return { ...pace, perSecond: (rescored - pace.from) / Math.max(1, (Date.now() - pace.at) / 1000) };
}

function actsOf(state, draw, load) {
  const change = (draft) => {
    state.asking?.abort();
    Object.assign(state, { draft, text: textOf(draft), faults: [], preview: null, asking: null, problem: null });
    draw();
  };
  const without = (name) => state.draft.filter((one) => one.name !== name);
  return {
    load, change,
    find(event) {
      state.filter = event.target.value.trim().toLowerCase();
      draw();
    },
    edit: (label, photos) => labelDialog(label, state.draft, (made) => change(label
      ? state.draft.map((one) => (one.name === label.name ? made : one))
      : [...state.draft, made]), photos),
    remove: (name) => change(without(name)),
    restore(name) {
      change([...state.draft, labelOf(state.now.labels.find((one) => one.name === name))]);
    },
    asText() {
      state.isText = !state.isText;
      draw();
    },
    type(event) {
      const { labels, faults } = parse(event.target.value);
      state.asking?.abort(); // what was asked for is of the labels of before
      Object.assign(state, { text: event.target.value, faults, preview: null, asking: null });
      if (!faults.length) state.draft = labels;
      draw();
    },
    discard() {
      adopt(state, state.now);
      say(t("labels.discarded"));
      draw();
    },
    async preview() {
      const asking = (state.asking = new AbortController());
      const begun = Date.now();
      Object.assign(state, { preview: null, problem: null, isSlow: false });
      draw();
      try {
        state.preview = await preview(state.draft, state.now.version, {
          signal: asking.signal,
          waiting() {
            state.isSlow = Date.now() - begun > SLOW_MS;
            draw();
          },
        });
        say(t("labels.previewed"));
      } catch (problem) {
        if (problem.name === "AbortError") return;
        state.problem = problem;
      }
      state.asking = null;
      draw();
    },
    async apply() {
      Object.assign(state, { isBusy: true, problem: null });
      draw();
      const { labels, version, changed_at: changedAt } = state.now;
      try {
        const now = await send("PUT", "/labels", { labels: state.draft.map(bodyOf) }, { headers: { "If-Match": `"${version}"` } });
        keep({ version, changedAt, labels: labels.map(labelOf).map(bodyOf) });
        adopt(state, now);
        setTagNames(now.labels);
        state.pace = null;
        say(t("labels.in_force"));
      } catch (problem) {
        state.problem = problem;
      }
      state.isBusy = false;
      draw();
    },
  };
}

function kept() {
  try {
    return JSON.parse(remembered(KEPT) ?? "[]");
  } catch {
    return [];
  }
}

function keep(set) {
  remember(KEPT, JSON.stringify([set, ...kept()].slice(0, KEPT_SETS)));
}

function screen(state, acts) {
  const { now, problem } = state;
  return html`
    <header class="row spread"><h1>${t("labels.title")}</h1>
      <span class="row">${now ? html`<span class="quiet">${t("labels.version", { n: now.labels.length, version: String(now.version) })} · ${dated(now.changed_at)}</span>` : nothing}
        ${apiButton(() => ({ path: "/labels", cli: "photo-archive labels list --json > labels.json" }))}</span></header>
    ${may("read") ? nothing : scopeGate("read", html`<p>${t("labels.what")}</p>`)}
    ${problem ? problemStrip(problem, now ? null : acts.load) : nothing} ${problem ? faultsOf(problem, state) : nothing}
    ${now ? found(state, acts) : problem || !may("read") ? nothing : busy()}`;
}

function found(state, acts) {
  const { now, draft } = state;
  return html`
    <p>${t("labels.what")}</p>
    <details><summary>${t("labels.meaning")}</summary><p>${t(`labels.means_${session()?.instance.scoring ?? "softmax"}`)}</p></details>
    ${rescoring(state)}
    ${isSame(draft, now.labels.map(labelOf)) && !state.faults.length ? nothing : experiment(state, acts)}
    <div class="row spread">
      <label>${t("labels.filter")} <input type="search" maxlength="200" @input=${acts.find}></label>
      <span class="row">${scopeGate("admin", html`<button type="button" @click=${() => acts.edit(null)}>+ ${t("labels.add")}</button>`)}
        <button type="button" aria-pressed=${state.isText} @click=${acts.asText}>${t("labels.as_text")}</button></span></div>
    ${state.isText ? editor(state, acts) : table(state, acts)}
    ${older(state, acts)}`;
}

/** How far the archive has come with the labels in force. */
function rescoring({ now, pace }) {
  const { is_done: isDone, rescored, older: rest } = now.rescoring;
  const total = Math.max(now.rescoring.total, rescored + rest);
  if (isDone) return nothing;
  const time = pace?.perSecond > 0 ? ` · ${t("labels.rest", { time: duration((total - rescored) / pace.perSecond) })}` : "";
  return html`<section class="card" aria-label=${t("labels.job")}><p><b>${t("labels.job")}</b>
      ${t("labels.job_progress", { n: rest, rescored: number(rescored), total: number(total) })}${time}</p>
    ${progress(rescored, total, t("labels.job"))}
    <p class="quiet">${t("labels.job_note")}</p></section>`;
}

function experiment(state, acts) {
  const { added, removed, changed } = compare(state.now.labels.map(labelOf), state.draft);
  const part = (key, names) => (names.length ? html`<span>${t(`labels.${key}`, { n: names.length, names: names.slice(0, 6).join(", ") + (names.length > 6 ? " …" : "") })}</span>` : nothing);
  const isFaulty = state.faults.length > 0 || !state.draft.length;
  return html`<section class="card stack" aria-label=${t("labels.experiment")}>
    <h2>${t("labels.experiment")}</h2>
    <p class="row">${part("added", added)} ${part("removed", removed)} ${part("changed", changed)}
      ${added.length + removed.length + changed.length ? nothing : t("labels.reordered")}</p>
    ${state.isOld ? html`<p class="warn">▲ ${t("labels.is_old")}</p>` : nothing}
    ${scopeGate("admin", html`<span class="row">
      <button type="button" class=${state.preview ? "" : "filled"} ?disabled=${isFaulty || state.asking !== null} @click=${acts.preview}>${t("labels.preview")}</button>
      <button type="button" class=${state.preview ? "filled" : ""} ?disabled=${isFaulty || state.isBusy} @click=${acts.apply}>${t("labels.apply", { n: state.all })}</button>
      <button type="button" @click=${acts.discard}>${t("labels.discard")}</button>
      ${apiButton(() => ({ method: "POST", path: "/labels/preview", body: { labels: state.draft.map(bodyOf), sample: 2000 }, cli: "photo-archive labels set labels.json" }))}
    </span>`)}
    ${state.asking ? html`<p class="quiet" aria-busy="true">${t("labels.asking")} ${state.isSlow ? html`<a href="#/pipeline">${t("labels.asking_slow")}</a>` : nothing}</p>` : nothing}
    ${state.preview ? outcomeView(state.preview, state.all) : nothing}</section>`;
}

function editor(state, acts) {
  return html`<label class="stack">${t("labels.lines")}
      <textarea rows="16" spellcheck="false" aria-describedby="label-faults" aria-invalid=${state.faults.length > 0} ?readonly=${!may("admin")}
        .value=${state.text} @input=${acts.type}></textarea></label>
    <ul id="label-faults" role="status">${state.faults.slice(0, 20).map((one) => html`<li class="bad">✕ ${t("labels.at", { line: String(one.line), column: String(one.column) })}
      ${t(`labels.fault_${one.code}`, { text: one.text })}</li>`)}</ul>`;
}

/** The server's complaints, by line and column of the labels as text. */
function faultsOf({ errors }, { draft }) {
  const places = (errors ?? []).map((one) => ({ ...one, place: placeOf(one.pointer, draft) })).filter((one) => one.place);
  return html`<ul>${places.map(({ place, detail }) => html`<li class="bad">${t("labels.at", { line: String(place.line), column: String(place.column) })}
    (${place.name}) <span lang="en">${detail}</span></li>`)}</ul>`;
}

function older(state, acts) {
  const sets = kept();
  if (!sets.length) return nothing;
  return html`<section><h2>${t("labels.older")}</h2><p class="quiet">${t("labels.older_note")}</p>
    <ul>${sets.map((set) => html`<li class="row">${t("labels.version", { n: set.labels.length, version: String(set.version) })} ${dated(set.changedAt)}
      ${scopeGate("admin", html`<button type="button" @click=${() => acts.change(set.labels.map(labelOf))}>${t("labels.bring_back")}</button>`)}</li>`)}</ul></section>`;
}
