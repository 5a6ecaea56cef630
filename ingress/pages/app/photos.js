// Photos: the archive by month, filtered, selected, changed; as a grid or as a plain list.
import { html, nothing, render } from "./lit/lit-html.js";
import { Choice } from "./choosing.js";
import { ORDERS, filterOf, hasTags, isEmpty } from "./filters.js";
import { emptyArchive, noMatch } from "./nothing.js";
import { filterBar } from "./filterbar.js";
import { Grid } from "./grid.js";
import { watch } from "./live.js";
import { loadWork } from "./look.js";
import { problemStrip, say } from "./parts.js";
import { go, link } from "./routing.js";
import { Scrubber } from "./scrubber.js";
import { TileWords, made } from "./tiles.js";
import { Timeline, shown } from "./timeline.js";
import { t } from "./words.js";

const SOON_MS = 100; // several photos that come together are looked at once
const PAUSE_MS = 1200; // while photos come all the time, it is looked so often, or a third of the time

export async function open(root, place) {
  const screen = new Photos(root);
  await screen.update(place);
  return screen;
}

class Photos {
  constructor(root) {
    this.root = root;
    this.scroller = document.getElementById("main");
    this.choice = new Choice(this);
    this.filter = null;
    this.words = new TileWords((ids) => this.grid.rewrite(ids));
    this.head = made("div", "photos-head", root);
    this.side = made("div", "", root);
    this.host = made("div", "grid", root);
    this.body = made("div", "plain", root);
    this.foot = made("div", "picked-host", root);
    this.grid = new Grid({
      scroller: this.scroller,
      host: this.host,
      words: this.words,
      hrefOf: (id) => link("photos", id, this.params),
      isPicked: (id) => this.choice.has(id),
      onPick: (tile, isRange) => this.choice.pick(tile, isRange),
      onView: () => {
        if (this.grid.tiles.size) this.root.ariaBusy = "false";
        this.scrubber.follow();
      },
    });
    this.grid.bar = () => (getComputedStyle(this.head).position === "sticky" ? this.head.offsetHeight : 0);
    this.grid.foot = () => this.foot.offsetHeight;
    this.grid.onTrouble = (problem) => this.failed(problem);
    this.grid.onArrival = () => this.problem && this.failed(null); // the trouble is over
    this.scrubber = new Scrubber(this.side, this.grid);
    this.grid.onRest = () => this.scrubber.measure();
    this.stops = [watch("images", (data, about) => this.hear(data, about))];
    root.addEventListener("keydown", (event) => event.key === "Escape" && this.choice.isAny && this.choice.clear());
  }

  close() {
    this.isClosed = true;
    for (const stop of this.stops) stop();
    clearTimeout(this.later);
    this.abort?.abort();
    this.words.close();
    this.grid.close();
    this.list?.close();
    Object.assign(shown, { timeline: null, index: -1 });
  }

  hide() {
    this.kept = { top: this.scroller.scrollTop };
  }

  // Back from a photo: the same photos under the same eyes, and the focus on the last one seen.
  show() {
    this.isBack = true;
  }

  async update(place) {
    const filter = filterOf(place.params);
    const asked = place.params.get("order");
    const order = ORDERS.includes(asked) && (asked !== "score" || hasTags(filter)) ? asked : "taken";
    const isList = place.params.get("view") === "list" || order !== "taken";
    const key = JSON.stringify([filter, order, isList]);
    this.params = place.params;
    if (this.isBack) {
      this.isBack = false;
      if (key === this.key) return this.#return();
    }
    if (key === this.key) return this.draw();
    const isOther = this.filter !== null;
    Object.assign(this, { key, filter, order, isList, problem: null });
    this.choice.clear();
    if (isOther) this.scroller.scrollTop = 0;
    await this.load();
  }

  async #return() {
    this.scroller.scrollTop = this.kept?.top ?? 0;
    this.grid.render();
    if (shown.timeline !== this.timeline) Object.assign(shown, { timeline: this.timeline, index: -1 });
    if (!this.isList && shown.index >= 0) await this.grid.reveal(shown.index);
    if (this.isStale) this.look();
  }

  async load() {
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.root.ariaBusy = "true"; // until there is something to be seen
    this.draw();
    try {
      const timeline = await new Timeline(this.filter).load(signal);
      this.problem = null;
      await this.#show(timeline);
    } catch (problem) {
      if (problem.name !== "AbortError") this.failed(problem);
    }
  }

  async #show(timeline, anchor = null) {
    if (this.isClosed) return;
    this.#take(timeline);
    if (this.isList) {
      const [{ PhotoList }] = await Promise.all([import("./list.js"), loadWork()]);
      if (timeline !== this.timeline) return;
      this.list ??= new PhotoList(this.body, this);
      this.list.open(this.filter, this.order);
      this.root.ariaBusy = "false";
    } else {
      this.list?.close();
      this.list = null;
      this.grid.setTimeline(timeline, anchor);
      this.scrubber.measure();
    }
    this.draw();
  }

  failed(problem) {
    this.problem = problem;
    this.root.ariaBusy = "false";
    this.draw();
  }

  /** What the stream says: tags appear on their tiles, new photos in their month. */
  hear({ changed, truncated, statuses }, { isSnapshot }) {
    this.words.put(changed);
    this.list?.hear(changed);
    // A new stream says nothing of what was tagged while there was none.
    const isAgain = isSnapshot && this.count !== undefined;
    if (isAgain || truncated) this.words.doubt();
    // A month may have as many photos as before, and others.
    this.isDoubted ||= isAgain || truncated || changed.some((one) => one.status === "deleted");
    const count = statuses ? Object.values(statuses).reduce((sum, one) => sum + one, 0) : this.count;
    const isOther = count !== this.count && this.count !== undefined;
    this.count = count;
    if (isOther || this.isDoubted || (changed.length && !isEmpty(this.filter))) this.plan();
  }

  plan() {
    if (this.later) return;
    this.later = setTimeout(() => {
      this.later = 0;
      // One look at a time: where the archive is slow, they would pile up.
      if (this.root.hidden || this.isLooking) this.isStale = true;
      else this.look();
    }, Math.max(SOON_MS, (this.lookedAt ?? 0) + (this.pause ?? PAUSE_MS) - performance.now()));
  }

  /** Looks again; what is under the eye, and the focus, stay where they are. */
  async look({ isChanged = false } = {}) {
    const begunAt = performance.now();
    isChanged ||= this.isDoubted;
    Object.assign(this, { isStale: false, isDoubted: false, isLooking: true });
    const { filter } = this;
    try {
      const next = await new Timeline(filter).load();
      const before = this.timeline;
      if (this.isClosed || filter !== this.filter) return undefined;
      this.problem = null;
      if (!before) return await this.#show(next);
      if (!isChanged) next.inherit(before);
      else if (!this.isList) await this.#fetchSeen(before, next);
      const anchor = this.isList ? null : await this.#keep(before, next);
      const focused = this.grid.tiles.get(this.grid.active);
      const hasFocus = focused?.anchor === document.activeElement;
      const { id, month, index: was } = focused ?? {};
      if (this.list) {
        this.#take(next);
        return await this.list?.again(); // it went where nothing is left
      }
      await this.#show(next, anchor);
      if (hasFocus) {
        const index = await next.placeOf(id, month, before.sections[before.sectionOf(was)].part);
        if (index >= 0) await this.grid.reveal(index);
      }
      if (next.total > before.total) say(t("photos.came", { n: next.total - before.total }));
    } catch (problem) {
      if (problem.name !== "AbortError") this.failed(problem);
    } finally {
      this.isLooking = false;
      this.lookedAt = performance.now();
      this.pause = Math.max(PAUSE_MS, 2 * (this.lookedAt - begunAt));
      if (this.isStale && !this.root.hidden && !this.isClosed) this.plan();
    }
    return undefined;
  }

  // What is in sight is fetched before it takes the place of what was: else the grid would blink.
  async #fetchSeen(before, next) {
    const nameOf = ({ month, part }) => `${month} ${part}`;
    const seen = new Set([...this.grid.tiles.keys()].map((index) => nameOf(before.sections[before.sectionOf(index)])));
    await Promise.all(next.sections.map((one, at) => seen.has(nameOf(one)) && next.columns(at, { isNeeded: true })));
  }

  #take(timeline) {
    this.timeline = timeline;
    shown.timeline = timeline;
    this.draw();
  }

  async #keep(before, next) {
    const anchor = this.grid.anchor();
    if (!anchor) return null;
    const { month, part } = before.sections[before.sectionOf(anchor.index)];
    const id = await before.idAt(anchor.index);
    const index = id ? await next.placeOf(id, month, part) : -1;
    return index < 0 ? anchor : { ...anchor, index };
  }

  redraw() {
    this.grid.rewrite();
    this.list?.draw();
    return this.drawFoot();
  }

  /** A change is under way: the bar that was pressed goes, and the keys go on from the photo they were on. */
  async begun(filter) {
    await this.choice.drop(filter);
    this.#focus();
  }

  /** A change has come to its end, or was taken back; `gone` names the photos that it deleted. */
  async changed(gone = { ids: [] }) {
    if (this.isClosed) return;
    this.choice.drop(gone);
    this.words.known.clear();
    await this.look({ isChanged: true });
    this.#focus();
  }

  #focus() {
    if (!this.isClosed && !this.isList && !this.root.hidden && document.activeElement === document.body) this.grid.reveal(this.grid.active).catch(() => {});
  }

  // Drawing

  to(changes) {
    const { filter = this.filter, order = this.order, view = this.params.get("view") } = changes;
    go(link("photos", null, { ...filter, order: order === "taken" ? null : order, view: view === "list" ? "list" : null }));
  }

  draw() {
    const { filter, timeline, problem } = this;
    const isBare = timeline?.total === 0;
    this.host.hidden = this.isList || isBare;
    this.side.hidden = this.isList || isBare;
    this.body.hidden = !this.isList && !isBare;
    render(html`<h1 class="sr">${t("shell.photos")}</h1>
      ${isBare && isEmpty(filter) ? nothing : filterBar(this)}
      ${problemStrip(problem, () => this.load())}`, this.head);
    if (isBare) {
      this.list?.close();
      this.list = null;
      this.root.ariaBusy = "false";
      render(isEmpty(filter) ? emptyArchive() : noMatch(() => this.to({ filter: {} })), this.body);
    } else if (!this.isList) render(nothing, this.body);
  }

  bulk = async () => (await Promise.all([import("./bulk.js"), loadWork()]))[0];

  async drawFoot() {
    if (!this.choice.isAny) return render(nothing, this.foot);
    const { bulkBar } = await this.bulk();
    return render(this.choice.many ? bulkBar(this) : nothing, this.foot);
  }
}
