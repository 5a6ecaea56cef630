// What the first view does without: tags with their confidence, small pictures, empty states.
import { html, nothing } from "./lit/lit-html.js";
import { icon } from "./parts.js";
import { percent, tagName } from "./words.js";

/** A tag with its confidence, in the reader's language. */
export function confidence(tag, score) {
  const { text, lang } = tagName(tag);
  return html`<span class="chip tag"><span lang=${lang}>${text}</span> <b>${percent(score)}</b></span>`;
}

/** The picture of an image, small; `v` in its link lets the browser keep it. What has none isn't asked for. */
export function thumb(image, alt = "") {
  const shape = image.width && image.height ? Math.min(2, Math.max(0.5, image.width / image.height)) : 1;
  if (image.status === "failed" || image.status === "missing") return html`<span class="thumb gone" role=${alt ? "img" : nothing} aria-label=${alt || nothing}>${icon("warn")}</span>`;
  return html`<img class="thumb" loading="lazy" decoding="async" alt=${alt} src=${image.links?.thumb ?? `/images/${image.image_id}/thumb`} width=${Math.round(96 * shape)} height="96" @error=${(event) => event.target.classList.add("gone")}>`;
}

export const emptyState = ({ title, text = "", actions = nothing }) => html`<div class="empty"><h2>${title}</h2>${text ? html`<p>${text}</p>` : nothing}<div class="row">${actions}</div></div>`;
