// The labels as a table, and the dialogs of one label: change it, see how sure its photos are.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, may, session } from "./api.js";
import { folded, labelOf } from "./labelset.js";
import { busy, dialog, mark, none, pictureOf } from "./marks.js";
import { histogram } from "./charts.js";
import { problemStrip } from "./parts.js";
import { link } from "./routing.js";
import { number, percent, t } from "./words.js";

const isRussian = (word) => /[а-яё]/i.test(word);
const STEPS = 10;
const SHOWN = 500;

export function table(state, acts) {
  const old = new Map(state.now.labels.map((one) => [one.name, labelOf(one)]));
  const names = new Set(state.draft.map((one) => one.name));
  const gone = [...old.values()].filter((one) => !names.has(one.name));
  const fits = (one) => !state.filter || [one.name, ...one.aliases].some((word) => word.toLowerCase().includes(state.filter));
  const rows = [...state.draft, ...gone].filter(fits);
  const hasThreshold = session()?.instance.scoring === "threshold" || state.draft.some((one) => one.threshold !== null);
  const columns = ["label", "words", "templates", ...(hasThreshold ? ["threshold"] : []), "photos", "mean", "act"];
  return html`${rows.length ? html`<table class="cards">
    <thead><tr>${columns.map((key) => html`<th scope="col">${t(`labels.col_${key}`)}</th>`)}</tr></thead>
    <tbody>${repeat(rows.slice(0, SHOWN), (one) => one.name, (one) => row(one, { old, isGone: !names.has(one.name), hasThreshold, counts: state.counts, taught: state.now.labels.find((other) => other.name === one.name)?.teaching }, acts))}</tbody></table>`
    : html`<p>${t("labels.no_match")}</p>`}
    ${rows.length > SHOWN ? html`<p class="quiet">${t("labels.more", { n: rows.length - SHOWN })}</p>` : nothing}`;
}

function row(one, { old, isGone, hasThreshold, counts, taught }, acts) {
  const before = old.get(one.name);
  const isChanged = before && JSON.stringify(before) !== JSON.stringify(one);
  const count = counts.get(one.name);
  const cell = (key, value) => html`<td data-label=${t(`labels.col_${key}`)}>${value}</td>`;
  return html`<tr class=${isGone ? "gone" : ""}>
    <th scope="row"><span lang=${isRussian(one.name) ? "ru" : "en"}>${one.name}</span>
      ${isGone ? mark("bad", "−", t("labels.is_removed")) : !before ? mark("good", "+", t("labels.is_new")) : isChanged ? mark("warn", "~", t("labels.is_changed")) : nothing}</th>
    ${cell("words", html`<span>${one.aliases.map((word, at) => html`${at ? ", " : ""}<span lang=${isRussian(word) ? "ru" : "en"}>${word}</span>`)}${one.aliases.length ? nothing : none}</span>`)}
    ${cell("templates", html`<span>${!one.by_words ? nothing : one.templates.length ? number(one.templates.length) : html`<span class="quiet">${t("labels.default")}</span>`}
      ${teachers(one, { taught, isNew: !before || isChanged })}</span>`)}
    ${hasThreshold ? cell("threshold", one.threshold === null ? none : number(one.threshold)) : nothing}
    ${cell("photos", html`<a href=${link("photos", null, { tag: one.name })}>${number(count?.images ?? 0)}</a>`)}
    ${cell("mean", count ? html`<button type="button" class="quiet-button" aria-label=${t("labels.sure_of", { name: one.name })} @click=${() => sureness(one.name)}>${percent(count.mean_confidence)} ▁▃▅</button>` : none)}
    ${cell("act", html`<span class="row">${isGone
      ? html`<button type="button" ?disabled=${!may("admin")} @click=${() => acts.restore(one.name)}>${t("labels.restore")}</button>`
      : html`<button type="button" aria-label=${t("labels.edit_of", { name: one.name })} ?disabled=${!may("admin")} @click=${() => acts.edit(one)}>${t("labels.edit")}</button>
        <button type="button" aria-label=${t("labels.remove_of", { name: one.name })} ?disabled=${!may("admin")} @click=${() => acts.remove(one.name)}>${t("labels.remove")}</button>`}</span>`)}
  </tr>`;
}

// Photos may be deleted under a label. What they taught holds until the labels change; after that a
// label without words is given to no photo, and waits for nothing that comes by itself.
function teachers({ photos: { length: n }, by_words: byWords }, { taught, isNew }) {
  if (n) return html`${t("labels.taught_by", { n })} ${taught?.is_known || isNew ? nothing : mark("warn", "…", t("labels.waits"))}`;
  const seesAll = may("admin"); // others see their own photos alone
  if (taught?.is_known) return seesAll ? mark("warn", "!", t("labels.photos_gone")) : t("labels.taught_by", { n: taught.photos });
  return byWords ? nothing : mark("warn", "!", t(seesAll ? "labels.photos_none" : "labels.photos_unseen"));
}

/** Ask for a label's words and photos; `made(label)` gets it. `photos`: those that are to teach a new one. */
export function labelDialog(label, all, made, photos = label?.photos ?? []) {
  const state = { fault: "", photos, byWords: label?.by_words ?? true };
  const lines = (text) => text.split("\n").map((one) => one.trim()).filter(Boolean);
  const save = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    const name = given.name.trim();
    const taken = all.some((one) => one !== label && folded(one.name) === folded(name));
    const { length: n } = state.photos;
    const isWrong = n > 10 || (n < 3 && state.photos.some((one) => !label?.photos.includes(one)));
    state.fault = !name ? t("labels.fault_no_name") : taken ? t("labels.taken") : isWrong ? t("labels.photos_number", { n }) : "";
    if (state.fault) return shown.draw();
    shown.close();
    made({ name, aliases: lines(given.aliases), templates: lines(given.templates), threshold: given.threshold === "" ? null : Number(given.threshold), photos: state.photos, by_words: !state.photos.length || !given.alone });
  };
  const without = (photo) => {
    state.photos = state.photos.filter((one) => one !== photo);
    shown.draw();
  };
  const teachers = () => html`<fieldset><legend>${t("labels.taught_by", { n: state.photos.length })}</legend>
    <span class="row">${state.photos.map((photo, at) => html`<button type="button" class="bare" title=${t("labels.photo_away", { n: at + 1 })} aria-label=${t("labels.photo_away", { n: at + 1 })} @click=${() => without(photo)}><img class="thumb" alt="" src=${pictureOf({ image_id: photo })}></button>`)}</span>
    <label class="row"><input type="checkbox" name="alone" value="1" .defaultChecked=${!state.byWords}> ${t("labels.alone")}</label></fieldset>`;
  const shown = dialog(label ? t("labels.edit_of", { name: label.name }) : t("labels.add"), () => html`<form class="stack" @submit=${save}>
    ${state.fault ? html`<p class="bad" role="alert">✕ ${state.fault}</p>` : nothing}
    <label class="stack">${t("labels.name")} <input name="name" required maxlength="200" autofocus .defaultValue=${label?.name ?? ""}></label>
    <label class="stack">${t("labels.words_help")} <textarea name="aliases" rows="3" .defaultValue=${(label?.aliases ?? []).join("\n")}></textarea></label>
    <label class="stack">${t("labels.templates_help")} <textarea name="templates" rows="3" placeholder="a photo of a {}" .defaultValue=${(label?.templates ?? []).join("\n")}></textarea></label>
    <label class="stack">${t("labels.threshold_help")} <input name="threshold" type="number" min="-1" max="1" step="0.001" .defaultValue=${label?.threshold ?? ""}></label>
    ${state.photos.length ? teachers() : html`<p class="quiet">${t("labels.teach_help")}</p>`}
    <span class="row"><button class="filled">${t("labels.to_experiment")}</button><span class="quiet">${t("labels.nothing_yet")}</span></span>
  </form>`);
}

/** Show how many photos have this tag at which confidence: counted from the surest down. */
function sureness(name) {
  const state = { counts: null, isExact: true, problem: null };
  const shown = dialog(t("labels.sure_of", { name }), () => html`
    ${state.problem ? problemStrip(state.problem) : nothing}
    ${state.counts ? html`${histogram(state.counts, { title: t("labels.sure_of", { name }) })}
      <p class="row spread quiet"><span>${percent(0)}</span><span>${percent(1)}</span></p>
      ${state.isExact ? nothing : html`<p class="warn">${t("labels.not_exact")}</p>`}`
      : state.problem ? nothing : busy()}`);
  const atLeast = (step) => get("/images", { tag: name, min_score: step / STEPS, total: true, limit: 1 });
  Promise.all(Array.from({ length: STEPS }, (_, step) => atLeast(step))).then((pages) => {
    const sums = [...pages.map((page) => page.total.images), 0];
    state.isExact = pages.every((page) => page.total.is_exact);
    state.counts = sums.slice(0, STEPS).map((sum, at) => Math.max(0, sum - sums[at + 1]));
  }, (problem) => (state.problem = problem)).then(() => shown.draw());
}
