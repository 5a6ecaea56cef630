// The grid: of two million photos it holds the few hundred in sight, and reaches the last of them.
import { GAP, Spine, estimate, lastAtMost, measures, rowsOf, tilesOf } from "./layout.js";
import { MonthHeads, TilePool } from "./pool.js";
import { listen } from "./steps.js";
import { dropPicture, loadPicture, made } from "./tiles.js";
import { t } from "./words.js";

const MOST_TILES = 380; // alive at once; 400 is the bound, focus may hold one more
const IDLE_MS = 140;
const JUMP = 4; // screens in one step: a drag of the bar, not a turn of the wheel

export class Grid {
  constructor({ scroller, host, words, hrefOf, isPicked, onPick, onView }) {
    Object.assign(this, { scroller, host, words, hrefOf, isPicked, onPick, onView });
    this.timeline = null;
    this.rows = new Map(); // section -> rows of tiles, for the columns in memory
    this.heights = [];
    this.offsets = new Float64Array(1);
    this.spine = new Spine(0);
    this.shift = 0; // true height above the box's, as the bar has it
    this.lastTop = 0;
    this.tail = null; // at the end of the whole: how far above it the upper edge stays
    this.origin = 0;
    this.active = 0;
    this.isFast = false;
    this.hasMoved = false;
    this.#build();
  }

  #build() {
    this.box = made("div", "spine", this.host);
    this.layer = made("div", "layer", this.box);
    this.heads = new MonthHeads(made("div", "heads", this.layer));
    this.list = made("ol", "tiles", this.layer);
    this.pool = new TilePool(this);
    this.tiles = this.pool.tiles;
    this.list.setAttribute("role", "list");
    this.list.setAttribute("aria-label", t("shell.photos"));
    listen(this);
    this.onScroll = () => this.#scrolled();
    this.scroller.addEventListener("scroll", this.onScroll, { passive: true });
    this.sizes = new ResizeObserver(() => this.#resized());
    this.sizes.observe(this.host);
    this.sizes.observe(this.scroller);
  }

  close() {
    this.scroller.removeEventListener("scroll", this.onScroll);
    this.sizes.disconnect();
    clearTimeout(this.idle);
    cancelAnimationFrame(this.outer);
    this.timeline?.abortBeyond(1, 0);
    for (const tile of this.tiles.values()) dropPicture(tile);
  }

  /** Shows a timeline; `anchor` `{index, gap}` is the photo that stays where it is. */
  setTimeline(timeline, anchor = null) {
    this.timeline?.abortBeyond(1, 0);
    this.timeline = timeline;
    this.rows.clear();
    this.#clearTiles();
    this.tail = null;
    this.active = Math.min(anchor?.active ?? 0, Math.max(0, timeline.count - 1));
    this.#measure();
    this.#place(anchor ? this.#topOf(anchor.index) + anchor.gap : this.viewTop < 0 ? this.viewTop : 0, !anchor);
    this.render();
  }

  /** The first photo in sight, and how far it is from the upper edge. */
  anchor() {
    const at = lastAtMost(this.offsets, Math.max(0, this.viewTop), this.heights.length);
    const rows = this.rows.get(at);
    const section = this.timeline?.sections[at];
    if (!rows || !section || this.viewTop <= 0) return null;
    const inner = this.viewTop - this.offsets[at] - this.#head(at);
    const row = Math.max(0, lastAtMost(rows.tops, inner));
    return { index: section.start + rows.starts[row], gap: inner - rows.tops[row], active: this.active };
  }

  #head = (at) => (this.timeline.sections[at].part === 0 ? this.measured.head : 0);

  get viewTop() {
    return this.scroller.scrollTop - this.box.offsetTop + this.shift;
  }

  #measure() {
    this.measured = measures(this.host.clientWidth || 800);
    const { sections, known } = this.timeline;
    this.heights = sections.map((one, at) => {
      if (known.has(at)) this.rows.set(at, this.#rowsFor(at, known.get(at)));
      return this.#head(at) + (this.rows.get(at)?.height ?? estimate(one, this.measured));
    });
    this.#sum();
  }

  #rowsFor(at, columns) {
    const { part, parts } = this.timeline.sections[at];
    return rowsOf(columns, this.measured, part === parts - 1);
  }

  #sum() {
    const offsets = new Float64Array(this.heights.length + 1);
    this.heights.forEach((height, at) => {
      offsets[at + 1] = offsets[at] + height;
    });
    this.offsets = offsets;
    this.total = offsets[this.heights.length];
    this.spine = new Spine(this.total);
    this.box.style.height = `${this.spine.box}px`;
  }

  // Puts a true height under the upper edge, and the bar where it belongs.
  #place(top, isQuiet = false) {
    const boxTop = top <= 0 ? top : this.spine.toBox(Math.min(top, this.total));
    if (!isQuiet) this.scroller.scrollTop = boxTop + this.box.offsetTop;
    this.lastTop = this.scroller.scrollTop - this.box.offsetTop;
    this.shift = isQuiet ? 0 : Math.max(0, top) - Math.max(0, boxTop);
  }

  #scrolled() {
    if (!this.timeline || this.host.offsetParent === null) return;
    const top = this.scroller.scrollTop - this.box.offsetTop;
    const high = Math.max(1, this.scroller.clientHeight);
    const step = Math.abs(top - this.lastTop);
    this.hasMoved ||= step > 1;
    const screens = step / high;
    if (step > 1) this.tail = screens > JUMP && top + high >= this.spine.box ? this.spine.box - top : null;
    if (screens > JUMP || top <= 0) this.shift = top <= 0 ? 0 : this.spine.toTrue(Math.min(top, this.spine.box)) - Math.min(top, this.spine.box);
    this.lastTop = top;
    this.isFast = screens > 1.5;
    clearTimeout(this.idle);
    this.idle = setTimeout(() => this.#rest(), IDLE_MS);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.render();
    });
  }

  #rest() {
    this.isFast = false;
    if (this.viewTop > 0 && this.shift !== 0 && this.tail === null) this.#place(this.viewTop);
    this.onRest?.();
    this.render();
    this.words.want([...this.tiles.values()].map((tile) => tile.id));
  }

  #resized() {
    if (!this.timeline || !this.host.clientWidth) return;
    if (this.host.clientWidth !== this.measured?.width) {
      const anchor = this.anchor();
      this.tail = null;
      this.#clearTiles();
      this.#measure();
      if (anchor) this.#place(this.#topOf(anchor.index));
    }
    this.onRest?.();
    this.render();
  }

  /**
   * Draws what is in sight; in the frame after it a screen around it, so that no task is long. Until
   * somebody scrolls that is a row without pictures: who only looks in does not pay for what is below.
   */
  render() {
    if (!this.timeline || this.host.offsetParent === null) return;
    // All that is measured is measured before anything is written: else each frame is laid out twice.
    const high = this.scroller.clientHeight;
    const top = this.viewTop;
    Object.assign(this, { high, top });
    if (Math.abs(top - this.origin) > 1e6) this.#clearTiles(top);
    this.layer.style.transform = `translateY(${this.origin - this.shift}px)`;
    const around = this.isFast ? 0 : this.hasMoved ? high : this.measured.target;
    const [first, last] = this.#sectionsIn(top - around, top + high + around);
    this.#request(first, last);
    const alive = new Set();
    this.#draw({ first, last, from: top, to: top + high, alive, isSeen: true });
    // What is still there around it stays; what is not comes with the next frame.
    const margin = { first, last, from: top - around, to: top + high + around };
    this.#draw({ ...margin, alive, isKept: true });
    for (const [index, tile] of this.tiles) if (!alive.has(index) && !tile.item.contains(document.activeElement)) this.pool.remove(index);
    this.heads.draw(this, first, last);
    this.onView?.(this);
    cancelAnimationFrame(this.outer);
    this.outer = around && requestAnimationFrame(() => this.#draw({ ...margin, alive }));
    if (!this.isFast) this.words.want([...this.tiles.values()].map((tile) => tile.id));
  }

  #sectionsIn(from, to) {
    const count = this.heights.length;
    if (!count) return [0, -1];
    return [lastAtMost(this.offsets, Math.max(0, from), count), lastAtMost(this.offsets, Math.max(0, to), count)];
  }

  #request(first, last) {
    this.timeline.abortBeyond(first, last);
    for (let at = first; at <= last && at < first + 8; at += 1) {
      if (this.rows.has(at) && this.timeline.known.has(at)) continue;
      if (this.isFast && !this.timeline.known.has(at)) continue;
      const { timeline } = this;
      timeline.columns(at).then((columns) => timeline === this.timeline && this.#arrived(at, columns), (error) => {
        if (error.name !== "AbortError" && timeline === this.timeline) this.onTrouble?.(error);
      });
    }
  }

  // A month's true height takes the place of the estimate; what is under the eye stays there.
  #arrived(at, columns) {
    if (this.rows.has(at)) return this.render();
    const rows = this.#rowsFor(at, columns);
    const top = this.viewTop;
    const old = this.heights[at];
    const within = (top - this.offsets[at] - this.#head(at)) / Math.max(1, old - this.#head(at));
    this.rows.set(at, rows);
    this.heights[at] = this.#head(at) + rows.height;
    const isAbove = this.offsets[at + 1] <= top;
    this.#sum();
    const by = this.heights[at] - old;
    if (this.tail !== null) this.#place(this.total - this.tail);
    else if (isAbove) this.shift += by;
    else if (within > 0) this.shift += within * by;
    if (this.rows.size > 40) for (const one of this.rows.keys()) if (!this.timeline.known.has(one)) this.rows.delete(one);
    this.render();
    clearTimeout(this.idle);
    this.idle = setTimeout(() => this.#rest(), IDLE_MS);
  }

  #draw({ first, last, from, to, alive, isSeen = false, isKept = false }) {
    for (let at = first; at <= last; at += 1) {
      const rows = this.rows.get(at);
      const columns = this.timeline.known.get(at);
      if (!rows || !columns || !columns.n) continue;
      const base = this.offsets[at] + this.#head(at);
      for (let row = lastAtMost(rows.tops, from - base); row < rows.tops.length && base + rows.tops[row] < to; row += 1) {
        if (alive.size + (rows.starts[row + 1] - rows.starts[row]) > MOST_TILES) return;
        for (const spot of tilesOf(rows, row, columns, this.measured)) {
          const index = this.timeline.sections[at].start + spot.at;
          if (isKept && !this.tiles.has(index)) continue;
          alive.add(index);
          const tile = this.tiles.get(index) ?? this.pool.add({ index, section: this.timeline.sections[at], columns, place: spot.at, isActive: index === this.active });
          this.pool.set(tile, spot, base + rows.tops[row] - this.origin);
          if (!this.isFast && (isSeen || this.hasMoved) && (tile.state & 15) < 2) loadPicture(tile);
        }
      }
    }
  }

  /** Writes the words of some photos anew, or of all. */
  rewrite(ids = null) {
    for (const tile of this.tiles.values()) if (ids === null || ids.has(tile.id)) this.pool.write(tile);
  }

  #clearTiles(origin = this.origin) {
    this.pool.clear();
    this.heads.clear();
    this.origin = Math.max(0, Math.round(origin));
  }

  #topOf(index) {
    const at = this.timeline.sectionOf(index);
    const rows = this.rows.get(at);
    const place = index - this.timeline.sections[at].start;
    const inner = rows ? rows.tops[lastAtMost(rows.starts, place, rows.tops.length)] : 0;
    return this.offsets[at] + this.#head(at) + inner;
  }

  /** Goes to a section, or a share of the whole. */
  goTo({ section = null, share = null }) {
    const high = this.scroller.clientHeight;
    const top = section === null ? share * Math.max(0, this.total - high) : this.offsets[section];
    this.tail = share === 1 ? high : null;
    this.#place(Math.max(0.5, top));
    this.#scrolled();
  }

  /** Brings a photo into sight; with `focus` the keys go on from there. */
  async reveal(index, focus = true) {
    if (!this.timeline?.count) return;
    index = Math.max(0, Math.min(index, this.timeline.count - 1));
    const at = this.timeline.sectionOf(index);
    const { timeline } = this;
    const columns = await timeline.columns(at, { isNeeded: true });
    if (timeline !== this.timeline) return;
    if (!this.rows.has(at)) this.#arrived(at, columns);
    const top = this.#topOf(index);
    const bar = this.bar?.() ?? 0;
    const high = this.scroller.clientHeight - (this.foot?.() ?? 0);
    this.tail = null;
    if (top < this.viewTop + bar) this.#place(top - bar - GAP);
    else if (top + this.measured.target * 1.4 > this.viewTop + high) this.#place(top - high + this.measured.target * 1.5);
    this.active = index;
    this.isFast = false;
    this.render();
    for (const tile of this.tiles.values()) tile.anchor.tabIndex = tile.index === index ? 0 : -1;
    if (focus) this.tiles.get(index)?.anchor.focus({ preventScroll: true });
  }
}
