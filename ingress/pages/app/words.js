// Words, numbers and dates in the reader's language. One language is loaded at a time, and of it
// what all screens but the first view say only when one of them is opened.
const LANGUAGES = ["en", "ru"];
const FILES = {
  en: [() => import("./en.js"), () => import("./en-work.js")],
  ru: [() => import("./ru.js"), () => import("./ru-work.js")],
};
let words = {};
let isWhole = false; // whether the second file is wanted, too
let code = "en";
let place = "en"; // the language as this country writes numbers and dates
let plurals = new Intl.PluralRules("en");
let names = new Map(); // tag -> its name in the other language
const formats = new Map();

export const language = () => code;

/** Loads the reader's words: the remembered language, else the first of the browser's that we have. */
export function loadLanguage() {
  const wished = [remembered("language"), ...navigator.languages.map((one) => one.slice(0, 2))];
  return use(wished.find((one) => LANGUAGES.includes(one)) ?? "en");
}

export function setLanguage(wanted) {
  remember("language", wanted);
  return use(wanted);
}

/** Loads what all screens but the first view say. */
export function loadWorkWords() {
  isWhole = true;
  return use(code);
}

async function use(wanted) {
  const [first, work] = FILES[wanted];
  const loaded = await Promise.all([first(), isWhole ? work() : { words: {} }]);
  words = {};
  for (const [section, texts] of loaded.flatMap((one) => Object.entries(one.words))) words[section] = { ...words[section], ...texts };
  code = wanted;
  place = navigator.languages.find((one) => one.slice(0, 2) === wanted) ?? wanted;
  plurals = new Intl.PluralRules(code);
  formats.clear();
  document.documentElement.lang = code;
}

/** Storage may be forbidden: the page works without it. */
export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    /* see remembered */
  }
}

const found = (key) => key.split(".").reduce((place, part) => place?.[part], words);

export const has = (key) => found(key) !== undefined;

/** The text of a key; `values.n` chooses among plural forms, numbers are written in the reader's way. */
export function t(key, values = {}) {
  let text = found(key);
  if (text === undefined) return key;
  if (typeof text === "object") text = text[plurals.select(Number(values.n))] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined || value === null) return whole;
    return typeof value === "number" ? number(value) : String(value);
  });
}

function format(kind, options) {
  const key = kind.name + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new kind(place, options));
  return formats.get(key);
}

const DIGITS = { maximumFractionDigits: 2 };
export const number = (n, options = DIGITS) => format(Intl.NumberFormat, options).format(n);

export const percent = (x) =>
  number(x, { style: "percent", maximumFractionDigits: x > 0 && x < 0.01 ? 1 : 0 });

// A figure and its unit stay on one line.
const unit = (n, name, digits = 0) =>
  number(n, { style: "unit", unit: name, unitDisplay: name === "byte" ? "long" : "short", maximumFractionDigits: digits }).replace(" ", "\u00a0");

/** Whether a tag is a guess. Where labels are weighed against a background, none is given under one in four. */
export const isGuess = (score) => score < 0.25;

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
export function bytes(n) {
  let step = 0;
  for (; n >= 1000 && step < SIZES.length - 1; step += 1) n /= 1000;
  return unit(n, SIZES[step], n < 10 && step > 0 ? 1 : 0);
}

export function duration(s) {
  if (s === null || s === undefined) return "–";
  if (s < 0.995) return unit(s * 1000, "millisecond");
  if (s < 10) return unit(s, "second", 1);
  if (s < 60) return unit(s, "second");
  const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const at = steps.findIndex(([, size]) => s >= size);
  const [[large, size], small] = [steps[at], steps[at + 1]];
  const rest = small && Math.floor((s % size) / small[1]);
  return unit(Math.floor(s / size), large) + (rest ? `\u00a0${unit(rest, small[0])}` : "");
}

/** Dates come as ISO with a zone, or as EXIF writes them: the camera's own clock, without one. */
function moment(text) {
  const exif = /^(\d{4}):(\d\d):(\d\d) (.*)$/.exec(text);
  return new Date(exif ? `${exif[1]}-${exif[2]}-${exif[3]}T${exif[4]}` : text);
}

const DAY = { day: "numeric", month: "long", year: "numeric" };
const MINUTE = { ...DAY, month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" };
// What is no date (cameras write 0000:00:00, addresses are typed) is shown as it stands.
function shown(text, options) {
  if (!text) return "–";
  const at = moment(text);
  // A day alone is read as its midnight at Greenwich; west of it that is the day before.
  const zone = /^\d{4}-\d\d-\d\d$/.test(text) ? { timeZone: "UTC" } : {};
  return Number.isNaN(at.getTime()) ? text : format(Intl.DateTimeFormat, { ...options, ...zone }).format(at);
}
export const date = (text) => shown(text, MINUTE);
export const day = (text) => shown(text, DAY);
const SECOND = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DATED = { day: "numeric", month: "short", ...SECOND };

/** The time of day; of another day than today with its date. */
export const time = (text, more = {}) => shown(text, { ...(day(text) === day(new Date().toISOString()) ? SECOND : DATED), ...more });
export const clock = (text) => time(text, { fractionalSecondDigits: 3 });
export const month = (text) =>
  format(Intl.DateTimeFormat, { month: "long", year: "numeric", timeZone: "UTC" })
    .format(new Date(`${text}-01T00:00Z`));

const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];
export function ago(text) {
  if (!text) return "–";
  let away = (moment(text) - Date.now()) / 1000;
  for (const [name, size] of STEPS) {
    if (Math.abs(away) < size) {
      return format(Intl.RelativeTimeFormat, { numeric: "auto" }).format(Math.round(away), name);
    }
    away /= size;
  }
}

const folded = (text) => text.normalize("NFKC").trim().toLowerCase();
const isCyrillic = (text) => /[а-яё]/i.test(text);

/** Remembers the names of the archive's labels in both languages, from `GET /labels`. */
export function setTagNames(labels) {
  names = new Map();
  for (const { name, aliases } of labels) {
    const other = aliases.find((one) => isCyrillic(one) !== isCyrillic(name));
    if (other) names.set(name, other);
  }
}

export const knownTags = () => [...names.keys()];

/** The tag that is shown by this name in either language; else the text as it was typed. */
export const labelNamed = (text) => [...names].find((both) => both.map(folded).includes(folded(text)))?.[0] ?? text;

/** A tag's name in the reader's language, if the archive has one, and the other one beside it. */
export function tagName(tag) {
  const own = isCyrillic(tag) ? "ru" : "en";
  const other = names.get(tag);
  if (own === code || !other) return { text: tag, lang: own, other: other ?? null };
  return { text: other, lang: code, other: tag };
}
