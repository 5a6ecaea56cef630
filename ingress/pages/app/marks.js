// Small pieces of the screens about work: a state, a moment, a dialog that is drawn again.
import { html, nothing, svg } from "./lit/lit-html.js";
import { openDialog } from "./dialogs.js";
import { problemStrip } from "./parts.js";
import { ago, date, duration, has, t, time } from "./words.js";

/** A state: a shape, for the eye alone, and a word; the colour comes on top. */
export const mark = (kind, shape, word) => html`<span class="mark ${kind}" data-shape=${shape}>${word}</span>`;

/** Nothing to show: a dash for the eye, silence for the ear. */
export const none = html`<span class="quiet" data-shape="–"></span>`;

/** How long ago, with the exact time beneath the pointer and for screen readers of `<time>`. */
export const moment = (iso) => (iso ? html`<time datetime=${iso} title=${date(iso)}>${ago(iso)}</time>` : none);

/** The time of day, and beneath it how long ago that was. */
export const timed = (iso, now = Date.now()) => (iso ? html`<time datetime=${iso}>${time(iso)}</time> <span class="quiet">${t("parts.ago", { time: duration(Math.max(0, Math.floor((now - Date.parse(iso)) / 1000))) })}</span>` : none);

/** The same in a line of text. */
export const dated = (iso) => html`<time datetime=${iso}>${time(iso)}</time> (${ago(iso)})`;

/** A time ahead, counting down. */
export function countdown(iso) {
  const left = Math.ceil((Date.parse(iso) - Date.now()) / 1000);
  return html`<time datetime=${iso} title=${date(iso)}>${left > 0 ? `${t("queries.in", { time: duration(left) })} (${time(iso)})` : t("queries.now")}</time>`;
}

/** Why, in words: what came of an attempt, or why a photo could not be tagged. */
export const reasonText = (code) => (has(`reason.${code}`) ? t(`reason.${code}`) : wordOf("outcome", code));

/** How much of a whole is done; without a known whole the bar says only that it goes on. */
export const progress = (done, total, label) => (total === null
  ? html`<progress aria-label=${label}></progress>`
  : html`<progress aria-label=${label} max=${Math.max(1, total)} value=${Math.min(done, total)}></progress>`);

/** The words of a code; the code itself where there are none. */
export const wordOf = (key, code) => (has(`${key}.${code}`) ? t(`${key}.${code}`) : code);

/** A dialog that can be drawn again: `{draw, close, closed}`. */
export function dialog(title, content, options) {
  const shown = {};
  shown.closed = openDialog(title, (close, draw) => {
    Object.assign(shown, { close, draw });
    return content();
  }, options);
  return shown;
}

export const busy = () => html`<p class="quiet" aria-busy="true">${t("pipeline.loading")}</p>`;

/** A dialog over pages of an answer: `load(cursor)` gets one, `view(pages)` shows those that are there. */
export function pagedDialog(title, load, view) {
  const state = { pages: [], problem: null, isBusy: false };
  const more = async () => {
    Object.assign(state, { isBusy: true, problem: null });
    shown.draw();
    try {
      state.pages.push(await load(state.pages.at(-1)?.next));
    } catch (problem) {
      state.problem = problem;
    }
    state.isBusy = false;
    shown.draw();
  };
  const shown = dialog(title, () => html`
    ${state.problem ? problemStrip(state.problem, more) : nothing}
    ${view(state.pages)}
    ${state.isBusy ? busy() : state.pages.at(-1)?.next ? html`<button type="button" @click=${more}>${t("jobs.more")}</button>` : nothing}`);
  more();
}

/** What a text's words name, as `lemmaChips` shows it, from an answer of `GET /lemmas`. */
export const wordsOf = ({ tokens, matched }) => tokens.map((token) => ({
  ...token, tags: token.tags ?? matched.filter((one) => one.words.includes(token.text)).map((one) => one.tag),
}));

/** A bar of parts, side by side: `[{kind, value, text}]`, of one whole. */
export function split(parts, whole, label) {
  let x = 0;
  return html`<svg class="split" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=${label}>
    ${parts.map(({ kind, value, text }) => {
      const width = whole && value ? Math.max(0.5, (value / whole) * 100) : 0;
      x += width;
      return svg`<rect class=${kind} x=${x - width} width=${width} height="8"><title>${text}</title></rect>`;
    })}
  </svg>`;
}

/** Where an image's picture is; with the content in the address the browser may keep it. */
export const pictureOf = ({ image_id: id, sha256 }, size = "") => `/images/${id}/thumb?${size ? `size=${size}&` : ""}v=${sha256?.slice(0, 12) ?? ""}`;

/** The letter by which a picture of a group is called. */
export const letterOf = (at) => String.fromCharCode(65 + (at % 26));

/** Tabs by arrow keys: `items` are `{id, text, count?}`. */
export function tabs({ items, chosen, choose, label = "" }) {
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const at = items.findIndex((one) => one.id === chosen);
    const next = items[(at + by + items.length) % items.length];
    choose(next.id);
    event.currentTarget.querySelector(`[data-id="${next.id}"]`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label || nothing} @keydown=${step}>
    ${items.map((one) => html`<button role="tab" data-id=${one.id} aria-selected=${one.id === chosen} tabindex=${one.id === chosen ? 0 : -1} @click=${() => choose(one.id)}>${one.text}${one.count === undefined || one.count === null ? nothing : html` <span class="count">${one.count}</span>`}</button>`)}
  </div>`;
}
