// The archive by month: how many photos each has, and of the months in sight compact columns.
import { get, getBytes } from "./api.js";

export const PART = 6000; // photos of a full part, as the archive cuts them
const KEPT = 24; // parts in memory: 22 bytes a photo, 132 kB a full part
const HEAD = 16;
export const EXCLUDED = 16;
export const BY_HAND = 32;
export const WAITS = 64;
export const STATUSES = ["accepted", "tagged", "failed", "missing"];

/** The columns of one part of a month, as `GET /timeline/{month}` packs them. */
export class Columns {
  constructor(buffer) {
    const head = new DataView(buffer);
    if (head.getUint32(0) !== 0x50415431) throw new Error("not a part of a timeline");
    this.n = head.getUint32(4, true);
    let at = HEAD;
    const take = (kind, size) => {
      const column = new kind(buffer, at, size);
      at += column.byteLength;
      return column;
    };
    this.ids = take(Uint8Array, this.n * 16);
    this.ratios = take(Uint16Array, this.n);
    this.colours = take(Uint8Array, this.n * 3);
    this.states = take(Uint8Array, this.n);
  }

  id(at) {
    let hex = "";
    for (let step = at * 16; step < at * 16 + 16; step += 1) hex += this.ids[step].toString(16).padStart(2, "0");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }

  colour(at) {
    return `rgb(${this.colours[at * 3]} ${this.colours[at * 3 + 1]} ${this.colours[at * 3 + 2]})`;
  }

  indexOf(id) {
    const bytes = id.replaceAll("-", "").match(/../g).map((one) => Number.parseInt(one, 16));
    for (let at = 0; at < this.n; at += 1) {
      let step = 0;
      while (step < 16 && this.ids[at * 16 + step] === bytes[step]) step += 1;
      if (step === 16) return at;
    }
    return -1;
  }
}

/** The photos that a filter matches, the last taken first. A month of many photos comes in parts. */
export class Timeline {
  constructor(filter) {
    this.filter = filter;
    this.sections = [];
    this.firsts = new Map(); // month -> its first section
    this.total = 0;
    this.isExact = true;
    this.known = new Map(); // section -> Columns, the last used last
    this.coming = new Map(); // section -> {promise, abort}
  }

  async load(signal) {
    const found = await get("/timeline", this.filter, { signal });
    this.total = found.total;
    this.isExact = found.is_exact;
    let start = 0;
    for (const { month, images, mean_ratio: ratio, parts } of found.months) {
      const size = Math.ceil(images / Math.max(1, parts));
      const full = parts > 1 ? PART : size;
      this.firsts.set(month, this.sections.length);
      for (let part = 0; part < parts; part += 1) {
        const count = Math.max(0, Math.min(full, images - part * full));
        this.sections.push({ month, part, parts, start, count, images, ratio: ratio || 1.33 });
        start += count;
      }
    }
    this.count = start;
    return this;
  }

  /** Takes over the columns of months that another timeline of the same filter has, and that did not change. */
  inherit(other) {
    const old = new Map(other.sections.map((one, at) => [`${one.month} ${one.part} ${one.images}`, at]));
    this.sections.forEach((one, at) => {
      const before = old.get(`${one.month} ${one.part} ${one.images}`);
      if (other.known.has(before)) this.known.set(at, other.known.get(before));
    });
  }

  /** The columns of a section; those that somebody needs are fetched though they are out of sight. */
  columns(at, { isNeeded = false } = {}) {
    const known = this.known.get(at);
    if (known) {
      this.known.delete(at);
      this.known.set(at, known);
      return Promise.resolve(known);
    }
    if (!this.coming.has(at)) this.coming.set(at, this.#fetch(at));
    const coming = this.coming.get(at);
    coming.isNeeded ||= isNeeded;
    return coming.promise;
  }

  #fetch(at) {
    const abort = new AbortController();
    const { month, part } = this.sections[at];
    const promise = getBytes(`/timeline/${month}`, { part, ...this.filter }, { signal: abort.signal })
      .then((buffer) => {
        const columns = new Columns(buffer);
        this.known.set(at, columns);
        this.#trim(at);
        return columns;
      })
      .finally(() => this.coming.delete(at));
    promise.catch(() => {}); // who waits for it hears of it; nobody may wait any more
    return { promise, abort };
  }

  /** Ends the fetches of all sections but those from `first` to `last`, and those that somebody needs. */
  abortBeyond(first, last) {
    for (const [at, { abort, isNeeded }] of this.coming) if (!isNeeded && (at < first || at > last)) abort.abort();
  }

  #trim(near) {
    for (const at of this.known.keys()) {
      if (this.known.size <= KEPT) return;
      if (Math.abs(at - near) > 2) this.known.delete(at);
    }
  }

  sectionOf(index) {
    let low = 0;
    let high = this.sections.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.sections[middle].start <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The id of the photo at a place in the whole timeline. */
  async idAt(index) {
    if (index < 0 || index >= this.count) return null;
    const at = this.sectionOf(index);
    const columns = await this.columns(at, { isNeeded: true });
    const place = index - this.sections[at].start;
    return place < columns.n ? columns.id(place) : null;
  }

  /**
   * The place of a photo of a month in the whole timeline, or -1. Looked through are the parts that are here, then
   * those around the one where it may be: what came meanwhile moves it on, and what went moves it back.
   */
  async placeOf(id, month, part = 0) {
    const first = this.firsts.get(month);
    if (first === undefined) return -1;
    const away = (at) => Math.abs(at - first - part) + (this.known.has(at) ? 0 : this.sections.length);
    const order = Array.from({ length: this.sections[first].parts }, (_, nth) => first + nth).sort((a, b) => away(a) - away(b) || b - a);
    for (const at of order) {
      const found = (await this.columns(at, { isNeeded: true })).indexOf(id);
      if (found >= 0) return this.sections[at].start + found;
    }
    return -1;
  }

  /** The ids from one place to another, both included. */
  async range(from, to) {
    const ids = [];
    for (let index = Math.min(from, to); index <= Math.max(from, to); ) {
      const at = this.sectionOf(index);
      const columns = await this.columns(at, { isNeeded: true });
      const { start, count } = this.sections[at];
      const end = Math.min(Math.max(from, to), start + count - 1);
      for (; index <= end; index += 1) if (index - start < columns.n) ids.push(columns.id(index - start));
      if (count === 0) break;
    }
    return ids;
  }
}

/** What the list of photos shows just now, so that one of its photos knows its neighbours. */
export const shown = { timeline: null, index: -1 };
