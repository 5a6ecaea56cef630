// What stands in the grid just now: tiles and the names of months, made and taken away as it scrolls.
import { drawTile, dropPicture, makeTile, reloadPicture } from "./tiles.js";
import { month as monthName, t } from "./words.js";

export class TilePool {
  constructor(grid) {
    this.grid = grid;
    this.tiles = new Map(); // index in the timeline -> tile
  }

  add({ index, section, columns, place, isActive }) {
    const { grid } = this;
    const tile = makeTile(columns.id(place), index, grid.timeline.total);
    tile.state = columns.states[place];
    tile.month = section.month;
    tile.item.style.backgroundColor = columns.colour(place);
    tile.anchor.href = grid.hrefOf(tile.id);
    tile.anchor.tabIndex = isActive ? 0 : -1;
    this.write(tile);
    // In the order of the photos, also for those who hear the page.
    grid.list.insertBefore(tile.item, this.#after(index)?.item ?? null);
    this.tiles.set(index, tile);
    return tile;
  }

  #after(index) {
    for (let at = index + 1; at < index + 30; at += 1) if (this.tiles.has(at)) return this.tiles.get(at);
    let best = null;
    for (const [at, tile] of this.tiles) if (at > index && (best === null || at < best.index)) best = tile;
    return best;
  }

  set(tile, { x, width, height }, y) {
    const key = `${x} ${y} ${width}`;
    if (tile.key === key) return;
    tile.key = key;
    const { style } = tile.item;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  }

  write(tile) {
    const image = this.grid.words.get(tile.id);
    tile.known = image;
    const isTagged = (tile.state & 15) === 0 && image?.status === "tagged";
    if (isTagged) tile.state += 1;
    if (tile.image) reloadPicture(tile, isTagged);
    drawTile(tile, { image, state: tile.state, month: tile.month, isPicked: this.grid.isPicked(tile.id) });
  }

  remove(index) {
    const tile = this.tiles.get(index);
    dropPicture(tile);
    tile.item.remove();
    this.tiles.delete(index);
  }

  clear() {
    for (const index of [...this.tiles.keys()]) this.remove(index);
  }
}

/** The names of the months in sight, each above its first row. */
export class MonthHeads {
  constructor(layer) {
    Object.assign(this, { layer, heads: new Map() });
  }

  draw({ timeline, offsets, origin }, first, last) {
    for (const [at, head] of this.heads) {
      if (at >= first && at <= last) continue;
      head.remove();
      this.heads.delete(at);
    }
    for (let at = first; at <= last; at += 1) {
      const { part, month, images } = timeline.sections[at];
      if (part) continue;
      if (!this.heads.has(at)) this.heads.set(at, this.#make(month, images));
      this.heads.get(at).style.transform = `translateY(${offsets[at] - origin}px)`;
    }
  }

  #make(month, images) {
    const head = Object.assign(document.createElement("h2"), { className: "month" });
    const count = Object.assign(document.createElement("span"), { className: "count", textContent: t("photos.count", { n: images }) });
    head.append(monthName(month), " ", count);
    this.layer.append(head);
    return head;
  }

  clear() {
    for (const head of this.heads.values()) head.remove();
    this.heads.clear();
  }
}
