// The bar above the photos: filter, count, order, grid or list.
import { html, nothing } from "./lit/lit-html.js";
import { ORDERS, filterChips, hasTags } from "./filters.js";
import { loadWork } from "./look.js";
import { apiButton, icon } from "./parts.js";
import { t } from "./words.js";

const countOf = ({ total, isExact }) => t(isExact ? "photos.count" : "photos.totalAbout", { n: total });

export function filterBar(photos) {
  const { filter, timeline, order: chosen, isList } = photos;
  const change = (next) => photos.to({ filter: next });
  const ask = (name) => async () => {
    const [form] = await Promise.all([import("./filterform.js"), loadWork()]);
    const next = await form[name](filter);
    if (next) change(next);
  };
  return html`<div class="row filter-bar">
    <button @click=${ask("askFilter")}>${icon("filter")}<span>${t("filter.title")}</span></button>
    ${filterChips(filter, change)}
    <b class="total" role="status">${timeline ? countOf(timeline) : nothing}</b>
    <span class="grow"></span>
    <button class="quiet-button" title=${t("photos.recentChanges")} aria-label=${t("photos.recentChanges")} @click=${async () => (await photos.bulk()).recentChanges(() => photos.changed())}>${icon("undo")}</button>
    <button class="quiet-button" aria-label=${t("filter.saved")} @click=${ask("askSaved")}>${icon("star")}<span>${t("filter.saved")}</span></button>
    <select aria-label=${t("filter.order")} @change=${(event) => photos.to({ order: event.target.value })}>${ORDERS.map((one) => html`<option value=${one} ?selected=${chosen === one} ?disabled=${one === "score" && !hasTags(filter)}>${t(`filter.order_${one}`)}</option>`)}</select>
    <span class="segmented" role="group" aria-label=${t("photos.view")}>
      ${["grid", "list"].map((view) => html`<button aria-pressed=${isList === (view === "list")} aria-label=${t(`photos.view_${view}`)} title=${view === "grid" && chosen !== "taken" ? t("photos.gridByTaken") : nothing} @click=${() => photos.to(view === "grid" ? { view, order: "taken" } : { view })}>${icon(view)}</button>`)}
    </span>
    ${apiButton(() => ({ method: "GET", path: "/images", params: { ...filter, order: chosen, total: "true", limit: 50 } }))}
  </div>`;
}
