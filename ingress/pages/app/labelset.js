// Labels as lines of text: `name: other words`, or JSON where a label has more than words.
// A fault has its line and column.

const FIELDS = { name: "string", aliases: "array", templates: "array", threshold: "number", photos: "array", by_words: "boolean" };

/** Names that look the same are one label. */
export const folded = (name) => name.normalize("NFKC").toLowerCase().trim().replace(/\s+/g, " ");

export const labelOf = ({ teaching: _, ...given }) => ({ aliases: [], templates: [], threshold: null, photos: [], by_words: true, ...given });

const isPlain = ({ name, aliases, templates, threshold, photos, by_words: byWords }) =>
  !templates.length && threshold === null && !photos.length && byWords && ![name, ...aliases].some((word) => /[:,\n]|^[{\s]|\s$/.test(word));

export const textOf = (labels) => labels.map((label) => {
  if (!isPlain(label)) return JSON.stringify(bodyOf(label));
  return label.aliases.length ? `${label.name}: ${label.aliases.join(", ")}` : label.name;
}).join("\n");

/** A label as `PUT /labels` takes it, without what is empty. */
export const bodyOf = ({ name, aliases, templates, threshold, photos, by_words: byWords }) => ({
  name,
  ...(aliases.length ? { aliases } : {}), ...(templates.length ? { templates } : {}),
  ...(threshold === null ? {} : { threshold }), ...(photos.length ? { photos } : {}), ...(byWords ? {} : { by_words: false }),
});

/** Return `{labels, faults}`; a fault is `{line, column, code, text}`, counted from one. */
export function parse(text) {
  const labels = [];
  const faults = [];
  const seen = new Map();
  text.split("\n").forEach((raw, at) => {
    if (!raw.trim()) return;
    const fault = (column, code, more = "") => {
      faults.push({ line: at + 1, column, code, text: more });
    };
    const label = raw.trim().startsWith("{") ? fromJson(raw, fault) : fromWords(raw, fault);
    if (!label) return;
    const key = folded(label.name);
    if (seen.has(key)) return fault(raw.indexOf(label.name) + 1, "twice", String(seen.get(key)));
    seen.set(key, at + 1);
    labels.push(label);
  });
  return { labels, faults };
}

function fromWords(raw, fault) {
  const [name, ...rest] = raw.split(":");
  if (!name.trim()) return fault(1, "no_name");
  const aliases = rest.join(":").split(",").map((one) => one.trim()).filter(Boolean);
  return labelOf({ name: name.trim(), aliases });
}

function fromJson(raw, fault) {
  let given;
  try {
    given = JSON.parse(raw);
  } catch (error) {
    const place = /column (\d+)/.exec(error.message)?.[1] ?? /position (\d+)/.exec(error.message)?.[1];
    return fault(place === undefined ? raw.length : Number(place) + (error.message.includes("column") ? 0 : 1), "not_json");
  }
  for (const [field, value] of Object.entries(given)) {
    const kind = Array.isArray(value) ? "array" : typeof value;
    const isWords = kind !== "array" || value.every((one) => typeof one === "string");
    if (!(field in FIELDS)) return fault(columnOf(raw, field), "unknown_field", field);
    if ((kind !== FIELDS[field] && value !== null) || !isWords) return fault(columnOf(raw, field), "wrong_kind", field);
  }
  if (!given.name?.trim()) return fault(columnOf(raw, "name"), "no_name");
  return labelOf({ ...given, aliases: given.aliases ?? [], templates: given.templates ?? [], threshold: given.threshold ?? null, photos: given.photos ?? [], by_words: given.by_words ?? true });
}

const columnOf = (raw, field) => Math.max(0, raw.indexOf(`"${field}"`)) + 1;

/** Where the server's pointer (`/labels/3/aliases/0`) lies in the text of these labels. */
export function placeOf(pointer, labels) {
  const [, index, field, item] = /^\/?labels\/(\d+)(?:\/(\w+))?(?:\/(\d+))?/.exec(pointer ?? "") ?? [];
  const label = labels[Number(index)];
  if (!label) return null;
  const line = textOf([label]);
  const value = Array.isArray(label[field]) ? label[field][Number(item ?? 0)] : label[field ?? "name"];
  return { line: Number(index) + 1, column: Math.max(0, line.indexOf(String(value ?? label.name))) + 1, name: label.name };
}

/** What differs: names by `added`, `removed`, `changed`. */
export function compare(before, after) {
  const old = new Map(before.map((one) => [one.name, JSON.stringify(bodyOf(one))]));
  const names = new Set(after.map((one) => one.name));
  return {
    added: after.filter((one) => !old.has(one.name)).map((one) => one.name),
    removed: before.filter((one) => !names.has(one.name)).map((one) => one.name),
    changed: after.filter((one) => old.has(one.name) && old.get(one.name) !== JSON.stringify(bodyOf(one))).map((one) => one.name),
  };
}

/** Return whether two sets are the same, their order included. */
export const isSame = (before, after) => textOf(before) === textOf(after);
