// The filter: what the address says, as chips.
import { html, nothing } from "./lit/lit-html.js";
import { chip } from "./parts.js";
import { reasonOf } from "./tiles.js";
import { STATUSES } from "./timeline.js";
import { day, percent, t, tagName } from "./words.js";

export const LISTS = ["all", "any", "not"];
const SINGLE = ["text", "from", "to", "min_score", "folder", "camera", "status", "reason", "job", "excluded", "hand_tagged", "has_tags", "has_date"];
export const CHOICES = { excluded: ["", "true", "false"], hand_tagged: ["", "true", "false"], has_tags: ["", "true", "false"], has_date: ["", "true", "false"], status: ["", ...STATUSES] };
export const ORDERS = ["taken", "taken_asc", "arrival", "score"];
const DAY_MS = 86_400_000;

/** The filter that an address names, as the API takes it. `tag` is one of `all`. */
export function filterOf(params) {
  const filter = {};
  for (const name of LISTS) {
    const tags = params.getAll(name).concat(name === "all" ? params.getAll("tag") : []);
    if (tags.length) filter[name] = [...new Set(tags)];
  }
  for (const name of SINGLE) if (params.get(name)) filter[name] = params.get(name);
  return filter;
}

/** The same filter as JSON, where numbers and booleans are no texts. */
export function asJson(filter) {
  const typed = { ...filter };
  for (const name of ["excluded", "hand_tagged", "has_tags", "has_date"]) if (name in typed) typed[name] = String(typed[name]) === "true";
  if ("min_score" in typed) typed.min_score = Number(typed.min_score);
  return typed;
}

/** Whether photos can be ordered by how sure the tags are that are asked for. */
export const hasTags = (filter) => Boolean(filter.all || filter.any || filter.text);

export const isEmpty = (filter) => Object.keys(filter).length === 0;

/** `to` is the first moment that counts no more; people mean the last day that does. */
export const lastDay = (to) => moved(to.slice(0, 10), -DAY_MS);
export const dayAfter = (last) => moved(last, DAY_MS);

function moved(day, by) {
  const at = Date.parse(day) + by;
  return Number.isNaN(at) ? day : new Date(at).toISOString().slice(0, 10);
}

export function without(filter, name, value = null) {
  const rest = { ...filter };
  if (value === null) delete rest[name];
  else {
    rest[name] = rest[name].filter((one) => one !== value);
    if (!rest[name].length) delete rest[name];
  }
  if (name === "status") delete rest.reason;
  return rest;
}

function textOf(name, value) {
  if (name === "from") return t("filter.chip_from", { day: day(value) });
  if (name === "to") return t("filter.chip_to", { day: day(lastDay(value)) });
  if (name === "min_score") return t("filter.chip_min_score", { score: percent(Number(value)) });
  if (name === "status") return t(`photos.status_${value}`);
  if (name === "reason") return reasonOf({ code: value, title: value });
  if (CHOICES[name]) return t(`filter.${name}_${value}`);
  return t(`filter.chip_${name}`, { value });
}

/** The parts of a filter as chips; each goes by its button. */
export function filterChips(filter, change) {
  const chips = [];
  for (const name of LISTS) {
    for (const tag of filter[name] ?? []) {
      const { text, lang } = tagName(tag);
      const word = name === "all" ? "" : t(`filter.chip_${name}`);
      chips.push(html`<li>${chip(word ? `${word} ${text}` : text, { lang: word ? "" : lang, kind: name === "not" ? "bad" : "", remove: () => change(without(filter, name, tag)) })}</li>`);
    }
  }
  for (const name of SINGLE) if (filter[name]) chips.push(html`<li>${chip(textOf(name, filter[name]), { remove: () => change(without(filter, name)) })}</li>`);
  return chips.length ? html`<ul class="row chips" aria-label=${t("filter.title")}>${chips}</ul>` : nothing;
}
