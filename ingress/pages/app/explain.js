// Why a photo is an answer to some words, or isn't: the same sum that the archive makes.
import { html, nothing } from "./lit/lit-html.js";
import { chip } from "./parts.js";
import { thumb } from "./pieces.js";
import { link } from "./routing.js";
import { has, number, t, tagName } from "./words.js";

const to = (digits) => ({ minimumFractionDigits: 2, maximumFractionDigits: digits });
/** Three decimals; the six that decide between photos are there for whoever points at them. */
export const score = (value) => html`<span title=${number(value, to(6))}>${number(value, to(3))}</span>`;

/** "0.95 = cat 0.61 (кошки) + beach 0.34 (beach)". */
export const sumOf = (total, terms) => html`<span class="sum"><b>${score(total ?? 0)}</b>${terms.length ? " = " : nothing}${terms.map((one, at) => {
  const { text, lang } = tagName(one.tag);
  return html`${at ? " + " : nothing}<span lang=${lang}>${text}</span> ${score(one.score)} <span class="quiet">(${one.words.join(", ")})</span>`;
})}</span>`;

/** What `GET /images/{id}/explain` tells, in words. */
export function explained(found) {
  return html`<div class="stack">
    <p class="row">${found.is_found ? chip(t("search.isFound"), { kind: "good" }) : chip(t("search.isNotFound"), { kind: "warn" })} ${sumOf(found.score, found.terms)}</p>
    ${lemmaChips(found.words)}
    ${found.reasons.length ? html`<ul class="reasons">${found.reasons.map((one) => html`<li>${has(`search.why_${one.code}`) ? t(`search.why_${one.code}`) : one.code} ${one.detail ? html`<small lang="en">${one.detail}</small>` : nothing}</li>`)}</ul>` : nothing}
    ${found.missing.length ? html`<ul>${found.missing.map((one) => html`<li>${t(`search.missing_${one.why}`, { tag: tagName(one.tag).text })}</li>`)}</ul>` : nothing}
    ${found.best && found.best.image_id !== found.image_id ? html`<p class="row">${t("search.bestIs")} <a href=${link("photos", found.best.image_id)}>${thumb(found.best, t("search.best"))}</a> <b>${score(found.best.score)}</b></p>` : nothing}
  </div>`;
}

/** How a text is read: word → lemma → label. `words`: `[{text, lemmas, is_function, tags, nearest?}]`. */
export function lemmaChips(words) {
  const skipped = words.filter((one) => one.is_function && !one.tags?.length);
  const read = words.filter((one) => !skipped.includes(one));
  return html`<ul class="lemmas" aria-label=${t("search.readAs")}>
    ${read.map((one) => {
      const lemma = one.lemmas?.[0] ?? one.text;
      return html`<li>
        <span>${one.text}</span>
        ${lemma.toLowerCase() === one.text.toLowerCase() ? nothing : html`<span data-shape="→"></span> <i>${lemma}</i>`}
        <span data-shape="→"></span>
        ${one.tags?.length
          ? one.tags.map((tag) => html`<span class="chip good" lang=${tagName(tag).lang}>${tagName(tag).text}</span>`)
          : html`<span class="chip warn">${t("search.noLabel")}</span>${one.nearest?.length ? html`<small class="quiet">${t("search.nearest", { names: one.nearest.map((tag) => tagName(tag).text).join(", ") })}</small>` : nothing}`}
      </li>`;
    })}
    ${skipped.length ? html`<li class="quiet">${t("search.skipped", { words: skipped.map((one) => one.text).join(", ") })}</li>` : nothing}
  </ul>`;
}
