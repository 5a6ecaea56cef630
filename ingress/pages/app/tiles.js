// One tile of the grid, and the words on it.
import { get } from "./api.js";
import { BY_HAND, EXCLUDED, STATUSES, WAITS } from "./timeline.js";
import { day, has, isGuess, loadWorkWords, month as monthName, percent, t, tagName } from "./words.js";

const KEPT = 4000;
const AT_ONCE = 100; // ids that one request takes
const WAIT_MS = 60;

/** Where a photo doesn't say when it was taken: when it came, in words. */
export const undated = (image) => (image?.arrived_at && image.status === "tagged" && !image.exif_datetime ? t("photos.undatedSince", { day: day(image.arrived_at) }) : "");

/** A photo in words: "cat 61 %, beach 14 % (a guess), 15 May 2024". */
export function describe(image, month = null) {
  const date = image?.exif_datetime ? day(image.exif_datetime) : undated(image) || (month && monthName(month)) || "";
  // What would be said as "0 %" says nothing.
  const tags = (image?.tags ?? []).slice(0, 3).filter(({ score }, at) => !at || score >= 0.01).map(({ tag, score }) => `${tagName(tag).text} ${percent(score)}${isGuess(score) ? ` (${t("photos.guess")})` : ""}`);
  if (image?.status === "failed") tags.push(t("photos.cannotRead"));
  return [...(tags.length ? tags : [t("photos.aPhoto")]), date].filter(Boolean).join(", ");
}

const versionOf = (image) => image?.version ?? (/[?&]v=([^&]+)/.exec(image?.links?.thumb ?? "")?.[1] || null);

/** What is known of a photo and the news of it. Where its file became another one, so does its picture. */
export function merged(before, news) {
  const [was, is] = [versionOf(before), versionOf(news)];
  const isOther = Boolean(before?.isOther || (was && is && was !== is));
  const links = is && isOther ? { ...before?.links, ...news.links, thumb: `/images/${news.image_id}/thumb?v=${is}` } : news.links ?? before?.links;
  return { ...before, ...news, links, isOther };
}

/** Why a photo could not be tagged, in the reader's words. */
export const reasonOf = (error) => (error ? (has(`reason.${error.code}`) ? t(`reason.${error.code}`) : error.title) : "");

/** What is known of the photos in sight: fetched when they are looked at, 100 at a time. */
export class TileWords {
  constructor(onWord) {
    this.onWord = onWord;
    this.known = new Map();
    this.wanted = new Set();
    this.asked = new Set(); // under way
    this.timer = 0;
    this.abort = new AbortController();
  }

  get(id) {
    return this.known.get(id);
  }

  /** Keeps what is known of some photos, and tells their ids together. */
  put(images) {
    for (const image of images) {
      const before = this.known.get(image.image_id);
      this.known.delete(image.image_id);
      this.known.set(image.image_id, merged(before, image));
    }
    for (const id of this.known.keys()) {
      if (this.known.size <= KEPT) break;
      this.known.delete(id);
    }
    const ids = new Set(images.map((one) => one.image_id));
    this.onWord(ids);
    // Most archives have no photo of which a reason is to be told.
    if (images.some(({ error }) => error && !has(`reason.${error.code}`))) loadWorkWords().then(() => this.onWord(ids), () => {});
  }

  /** Asks for these instead of what was wanted before: of a fast scroll only the end counts. */
  want(ids) {
    this.wanted = new Set(ids.filter((id) => this.known.get(id)?.image_path === undefined)); // the stream tells a part
    clearTimeout(this.timer);
    if ([...this.wanted].some((id) => !this.asked.has(id))) this.timer = setTimeout(() => this.#fetch(), WAIT_MS);
  }

  async #fetch() {
    this.abort.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const ids = [...this.wanted];
    this.asked = this.wanted;
    try {
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        const { images } = await get("/images", { id: ids.slice(at, at + AT_ONCE) }, { signal });
        this.put(images);
      }
    } catch {
      /* tiles do without words; the next look asks again */
    }
    if (this.abort.signal === signal) this.asked = new Set();
  }

  /** Has those asked for again that may have changed unheard: what waited for its tags. */
  doubt() {
    for (const [id, image] of this.known) if (image.status === "accepted") this.known.delete(id);
  }

  close() {
    clearTimeout(this.timer);
    this.abort.abort();
  }
}

export function made(name, kind, parent) {
  const node = document.createElement(name);
  node.className = kind;
  parent.append(node);
  return node;
}

/** The elements of a tile; they are filled by `drawTile`. */
export function makeTile(id, index, total) {
  const item = document.createElement("li");
  item.className = "tile";
  item.setAttribute("aria-setsize", total);
  item.setAttribute("aria-posinset", index + 1);
  const anchor = document.createElement("a");
  anchor.tabIndex = -1;
  const label = document.createElement("span");
  label.className = "chip tag";
  label.setAttribute("aria-hidden", "true");
  label.append(document.createElement("span"), document.createElement("b"));
  const pick = document.createElement("button");
  pick.className = "pick";
  pick.tabIndex = -1;
  pick.append(document.createElement("span"));
  const date = document.createElement("span");
  date.className = "chip undated";
  date.setAttribute("aria-hidden", "true");
  item.append(anchor, label, date, pick);
  return { id, index, item, anchor, label, date, pick, image: null, state: 0 };
}

/** Loads the picture of a tile; one that fails is asked for once more, as the server may be busy. */
export function loadPicture(tile) {
  if (tile.image) return;
  const image = new Image();
  image.decoding = "async";
  image.draggable = false;
  tile.image = image;
  image.alt = tile.words ?? "";
  const source = sourceOf(tile);
  tile.source = source;
  let tries = 0;
  image.onload = () => image.classList.add("here");
  image.onerror = () => {
    tries += 1;
    if (tries === 1) setTimeout(() => {
      if (tile.image === image) image.src = `${source}${source.includes("?") ? "&" : "?"}again=1`;
    }, 2500);
    else image.remove();
  };
  image.src = source;
  tile.anchor.replaceChildren(image);
}

// The plain address may be kept no longer than it is right; that of a version for ever.
const sourceOf = ({ id, known }) => (known?.isOther ? known.links.thumb : `/images/${id}/thumb`);

/** Has a picture asked for again that was not there before the photo was tagged, or is another one. */
export function reloadPicture(tile, isTagged) {
  if (tile.source === sourceOf(tile) && (tile.image.isConnected || !isTagged)) return;
  tile.image = null;
  loadPicture(tile);
}

/** Ends the loading of a tile that is gone. */
export function dropPicture(tile) {
  if (tile.image && !tile.image.complete) tile.image.src = "";
  tile.image = null;
}

/** Writes the words of a tile: what it shows, and what it says to those who hear it. */
export function drawTile(tile, { image, state, month, isPicked }) {
  const status = image?.status ?? STATUSES[state & 15];
  const isExcluded = image?.excluded ?? Boolean(state & EXCLUDED); // the columns are older than the word
  const best = image?.tags?.[0];
  const words = describe(image ?? { status }, month);
  tile.words = words;
  tile.item.classList.toggle("picked", isPicked);
  tile.item.classList.toggle("failed", status === "failed" || status === "missing");
  tile.item.classList.toggle("excluded", isExcluded);
  if (tile.image) tile.image.alt = words;
  tile.anchor.setAttribute("aria-label", `${words}${status === "tagged" ? "" : `, ${t(`photos.status_${status}`)}`}${isExcluded ? `, ${t("photos.isExcluded")}` : ""}`);
  tile.pick.setAttribute("aria-pressed", isPicked);
  tile.pick.setAttribute("aria-label", t("photos.pickNamed", { name: words }));
  const [text, figure = "", isUnsure = false] = labelOf({ status, best, image, state, isExcluded });
  const [name, sure] = tile.label.children;
  tile.label.hidden = !text;
  name.textContent = text;
  sure.textContent = isUnsure ? `${figure}\u00a0?` : figure;
  tile.label.classList.toggle("guess", isUnsure);
  tile.date.hidden = !undated(image);
  tile.date.textContent = t("photos.undated");
  tile.label.title = image?.error ? reasonOf(image.error) : "";
}

// The stream and the answers say it in other words.
function isByHand(image, state) {
  if (image?.by_hand !== undefined) return image.by_hand;
  if (image?.image_path !== undefined) return Boolean(image.hand_tags || image.added_tags?.length);
  return Boolean(state & BY_HAND);
}

// The words on a tile: a name that may be cut off, and a figure that may not.
function labelOf({ status, best, image, state, isExcluded }) {
  if (status === "failed") return [`✕ ${t("photos.cannotReadWhy")}`];
  if (status === "missing") return [`✕ ${t("photos.status_missing")}`];
  if (status === "accepted") return [`… ${t(state & WAITS || image?.waits_for ? "photos.waitsApart" : "photos.status_accepted")}`];
  // Not by the grey of the picture alone.
  const mark = (isExcluded ? "⊘ " : "") + (isByHand(image, state) ? "✎ " : "");
  if (best) return [mark + tagName(best.tag).text, percent(best.score), isGuess(best.score)];
  return [image ? mark + t("photos.noTag") : ""];
}
