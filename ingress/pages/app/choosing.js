// Which photos are chosen: one by one, as a range, or all that the filter matches.
import { failure, say, undoToast } from "./parts.js";
import { t } from "./words.js";

const MOST_PICKED = 5000; // one by one or as a range; beyond it there is "all that match"

export class Choice {
  constructor(photos) {
    this.photos = photos;
    this.picked = new Set();
    this.isAll = false;
  }

  has(id) {
    return this.isAll || this.picked.has(id);
  }

  get isAny() {
    return this.isAll || this.picked.size > 0;
  }

  get many() {
    return this.isAll ? this.photos.timeline?.total ?? 0 : this.picked.size;
  }

  async pick(tile, isRange) {
    if (this.isAll) return this.notAll();
    const { last, photos: { timeline } } = this;
    try {
      // Places move when photos come: the one that was picked last is looked for.
      const from = isRange && last ? await timeline.placeOf(last.id, last.month, last.part) : -1;
      if (from >= 0 && Math.abs(tile.index - from) >= MOST_PICKED) return undoToast(t("photos.tooMany", { n: MOST_PICKED }));
      if (from >= 0) for (const id of await timeline.range(from, tile.index)) this.picked.add(id);
      else if (!this.picked.delete(tile.id)) this.picked.add(tile.id);
    } catch (problem) {
      return undoToast(failure(problem));
    }
    this.last = { id: tile.id, month: tile.month, part: timeline.sections[timeline.sectionOf(tile.index)].part };
    return this.chosen();
  }

  toggle(id) {
    if (this.isAll) return this.notAll();
    if (!this.picked.delete(id)) this.picked.add(id);
    return this.chosen();
  }

  // No filter says "all but this one": whoever takes one away must not have it changed with the others.
  notAll() {
    this.clear();
    undoToast(t("photos.notAll"));
  }

  /** What a change was asked for is chosen no longer; what was chosen beside it, or since, stays. */
  drop({ ids }) {
    if (!ids && this.isAll) {
      this.isAll = false;
      this.picked.clear();
    }
    for (const id of ids ?? []) this.picked.delete(id);
    return this.photos.redraw();
  }

  pickAll() {
    this.isAll = true;
    this.chosen();
  }

  chosen() {
    this.photos.redraw();
    say(t("photos.chosen", { n: this.many }));
  }

  clear() {
    this.picked.clear();
    this.isAll = false;
    this.last = undefined;
    return this.photos.redraw();
  }
}
