// A preview of other labels: asked for, waited for, shown. Nothing is changed by it.
import { html, nothing } from "./lit/lit-html.js";
import { get, send } from "./api.js";
import { bodyOf } from "./labelset.js";
import { bar } from "./charts.js";
import { confidence, thumb } from "./pieces.js";
import { link } from "./routing.js";
import { number, t, tagName } from "./words.js";

const LOOK_MS = 1000;
export const SAMPLE = 2000;

/** Return the outcome; `signal` ends the waiting, `waiting()` is called at each look in vain. */
export async function preview(labels, version, { signal, waiting }) {
  let seen = await send("POST", "/labels/preview", { labels: labels.map(bodyOf), version, sample: SAMPLE }, { signal });
  while (seen.state === "waiting") {
    waiting(seen);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    signal.throwIfAborted();
    seen = await get(`/labels/preview/${seen.preview_id}`, {}, { signal });
  }
  return seen;
}

export function outcomeView({ outcome, error }, all) {
  if (!outcome) return html`<p class="bad">■ ${t("labels.preview_failed")} <span lang="en">${error}</span></p>`;
  const share = outcome.images ? outcome.changed / outcome.images : 0;
  const moved = outcome.labels.filter((one) => one.gained || one.lost);
  const most = Math.max(1, ...moved.map((one) => Math.max(one.before, one.after)));
  return html`
    <p class="big">${t("labels.outcome", { n: outcome.images, changed: outcome.changed, best: outcome.changed_best })}</p>
    ${all && outcome.images && outcome.images < all ? html`<p class="quiet">${t("labels.of_all", { n: all, about: Math.round(share * all) })}</p>` : nothing}
    ${moved.length ? html`<table class="cards">
      <thead><tr>${["label", "gained", "lost", "before", "after"].map((key) => html`<th scope="col">${t(`labels.col_${key}`)}</th>`)}</tr></thead>
      <tbody>${moved.slice(0, 100).map((one) => html`<tr>
        <th scope="row" lang=${tagName(one.name).lang}>${tagName(one.name).text}</th>
        <td class="good" data-label=${t("labels.col_gained")}>${one.gained ? `+${number(one.gained)}` : number(0)}</td>
        <td class="bad" data-label=${t("labels.col_lost")}>${one.lost ? `−${number(one.lost)}` : number(0)}</td>
        <td data-label=${t("labels.col_before")}>${number(one.before)} ${bar(one.before / most)}</td>
        <td data-label=${t("labels.col_after")}>${number(one.after)} ${bar(one.after / most)}</td></tr>`)}</tbody></table>` : nothing}
    ${outcome.examples.length ? html`<h3>${t("labels.examples", { n: outcome.examples.length })}</h3>
      <ul class="beside">${outcome.examples.map((one) => html`<li class="card row">
        <a href=${link("photos", one.image_id)}>${thumb(one, t("labels.example_alt", { path: one.image_path }))}</a>
        <span>${tags(one.before)} <span class="mark" data-shape="→"><span class="sr">${t("labels.becomes")}</span></span> ${tags(one.after)}</span></li>`)}</ul>` : nothing}`;
}

const tags = (given) => (given.length ? given.slice(0, 4).map((one) => confidence(one.tag, one.score)) : html`<span class="quiet">${t("labels.no_tag")}</span>`);
