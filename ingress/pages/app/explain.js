// Why a photo is an answer to some words, or isn't: the same sum that the archive makes.
import { html, nothing } from "./lit/lit-html.js";
import { chip, lemmaChips, thumb } from "./parts.js";
import { link } from "./routing.js";
import { has, number, t, tagName } from "./words.js";

const SIX = { minimumFractionDigits: 2, maximumFractionDigits: 6 };
export const score = (value) => number(value, SIX);

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
