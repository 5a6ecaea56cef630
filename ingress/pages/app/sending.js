// Sends files: the hash first, so that what is here already isn't sent; one request a file, three at once.
import { address, get, problemIn, renew, session, token } from "./api.js";
import { keepFiles } from "./remembering.js";

const AT_ONCE = 3;
const TRIES = 4;
const RETRY_S = 5;
const KEEP_MS = 400;
const RATE_MS = 6000;
const NAMESPACE = "6f1b1f2e3f0c5d3a9a577d0f6c0a4c11"; // of the archive's identities: UUIDv5
export const ENDS = new Set(["done", "here", "refused"]);

const bytesOf = (hex) => Uint8Array.from(hex.match(/../g), (one) => Number.parseInt(one, 16));
const hexOf = (buffer) => [...new Uint8Array(buffer)].map((one) => one.toString(16).padStart(2, "0")).join("");

/** The id that the archive gives a photo with these bytes; null where browsers don't hash (plain http). */
export async function idOf(content) {
  if (!crypto.subtle) return null;
  const uri = new TextEncoder().encode(`sha256:${hexOf(await crypto.subtle.digest("SHA-256", content))}`);
  const name = new Uint8Array(16 + uri.length);
  name.set(bytesOf(NAMESPACE));
  name.set(uri, 16);
  const id = new Uint8Array(await crypto.subtle.digest("SHA-1", name)).slice(0, 16);
  id[6] = (id[6] & 0x0f) | 0x50;
  id[8] = (id[8] & 0x3f) | 0x80;
  return hexOf(id).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export class Sending {
  constructor(onChange) {
    Object.assign(this, { onChange, items: [], byKey: new Map(), busy: 0, isPaused: false, sent: [], total: 0, cursor: 0, lastToken: null, waitUntil: 0 });
    this.dirty = new Set();
  }

  /** Adds files; those that this upload has finished already are passed over. */
  add(files) {
    for (const { file, name } of files) {
      const key = `${session().owner}|${name}|${file.size}|${file.lastModified}`;
      const known = this.byKey.get(key);
      if (known && (ENDS.has(known.state) ? known.state !== "refused" : known.state !== "left")) continue;
      const item = known ?? { key, name, size: file.size, owner: session().owner };
      Object.assign(item, { file, state: "waiting", reason: null, tries: 0, progress: 0 });
      if (!known) this.#enter(item);
      this.#touch(item);
    }
    this.cursor = 0;
    this.fill();
  }

  #enter(item) {
    this.items.push(item);
    this.byKey.set(item.key, item);
  }

  /** Takes up what was kept before the page was loaded again; unfinished files must be given once more. */
  recall(rows) {
    for (const row of rows) {
      if (row.owner !== session().owner || this.byKey.has(row.key)) continue;
      this.#enter({ ...row, state: ENDS.has(row.state) ? row.state : "left", progress: 0 });
    }
    this.onChange();
  }

  counts() {
    const counts = { done: 0, here: 0, refused: 0, waiting: 0, left: 0, again: 0, all: this.items.length };
    let rest = 0;
    for (const { state, size, progress, file } of this.items) {
      const kind = state in counts ? state : "waiting";
      counts[kind] += 1;
      if (kind === "refused" && file) counts.again += 1; // after a reload there is only its name
      if (kind === "waiting") rest += size - (progress ?? 0);
    }
    const now = performance.now();
    this.sent = this.sent.filter(([at]) => now - at < RATE_MS);
    const span = this.sent.length ? Math.max(1000, now - this.sent[0][0]) : 1000;
    const rate = this.sent.reduce((sum, [, size]) => sum + size, 0) / (span / 1000);
    return { ...counts, rest, rate, left_s: rate > 0 ? rest / rate : null };
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    this.fill();
    this.onChange();
  }

  retry() {
    for (const item of this.items) if (item.state === "refused" && item.file) this.#touch(Object.assign(item, { state: "waiting", reason: null, tries: 0 }));
    this.cursor = 0;
    this.fill();
  }

  /** Forgets what has come to its end. */
  tidy() {
    this.items = this.items.filter(({ state }) => !ENDS.has(state) && state !== "left");
    this.byKey = new Map(this.items.map((one) => [one.key, one]));
    this.onChange();
  }

  stop() {
    this.isPaused = true;
    this.isOver = true; // names of files are kept no longer
    clearTimeout(this.keeping);
    clearTimeout(this.timer);
    for (const { request } of this.items) request?.abort();
  }

  fill() {
    const wait = this.waitUntil - Date.now();
    if (wait > 0) {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.fill();
      }, wait);
      return;
    }
    while (!this.isPaused && this.busy < AT_ONCE) {
      while (this.cursor < this.items.length && this.items[this.cursor].state !== "waiting") this.cursor += 1;
      const item = this.items[this.cursor];
      if (!item) return;
      this.busy += 1;
      this.#one(item).finally(() => {
        this.busy -= 1;
        this.#touch(item);
        this.fill();
      });
    }
  }

  async #one(item) {
    const { instance } = session();
    this.#touch(Object.assign(item, { state: "looking" }));
    if (item.file.size > instance.max_upload_bytes) return refuse(item, "image_too_large");
    if (item.file.type && !item.file.type.startsWith("image/")) return refuse(item, "not_an_image");
    try {
      const id = await idOf(await item.file.arrayBuffer());
      const found = id ? (await get("/images", { id: [id] })).images[0] : null;
      // What could not be read may be by now, and a file that is gone is sent again.
      if (found && !["missing", "failed"].includes(found.status)) return Object.assign(item, { state: "here", imageId: id, tags: found.tags, file: null });
    } catch (error) {
      // A file that can't be read any more is gone; an answer that didn't come is asked for by sending.
      if (error.name === "NotReadableError" || error.name === "NotFoundError") return refuse(item, "unreadable_file");
    }
    return this.#send(item);
  }

  #send(item) {
    this.#touch(Object.assign(item, { state: "sending", progress: 0 }));
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      item.request = request;
      request.open("POST", address("/images/upload", { filename: item.name.split("/").at(-1) }));
      request.setRequestHeader("Content-Type", item.file.type || "application/octet-stream");
      request.setRequestHeader("X-CSRF-Token", token() ?? "");
      request.upload.onprogress = ({ loaded }) => {
        this.sent.push([performance.now(), loaded - (item.progress ?? 0)]);
        item.progress = loaded;
        this.onChange();
      };
      request.onloadend = () => {
        item.request = null;
        this.#answered(item, request);
        resolve();
      };
      request.send(item.file);
    });
  }

  #answered(item, request) {
    if (request.status === 202) {
      const [image] = JSON.parse(request.responseText).images;
      if (image.status === "accepted") {
        this.lastToken = image.token;
        Object.assign(item, { state: image.duplicate ? "here" : "done", imageId: image.image_id, file: null });
        return;
      }
      refuse(item, image.error.code, image.error.detail);
      return;
    }
    const problem = problemIn(request);
    item.tries += 1;
    if (problem.code === "cross_site" && session()) renew().catch(() => {}); // the next try has its token
    if (([0, 429, 503].includes(request.status) || problem.code === "cross_site") && item.tries < TRIES && session()) {
      this.waitUntil = Date.now() + 1000 * (problem.retryAfter ?? RETRY_S);
      this.cursor = 0;
      Object.assign(item, { state: "waiting", progress: 0 });
    } else refuse(item, problem.code, problem.detail);
  }

  #touch(item) {
    if (this.isOver) return;
    this.dirty.add(item);
    this.onChange();
    this.keeping ??= setTimeout(() => {
      this.keeping = null;
      const rows = [...this.dirty].map(({ key, name, size, owner, state, reason, detail, imageId }) => ({ key, name, size, owner, state, reason, detail, imageId }));
      this.dirty.clear();
      keepFiles(rows);
    }, KEEP_MS);
  }
}

function refuse(item, reason, detail = "") {
  Object.assign(item, { state: "refused", reason, detail, progress: 0 });
}
