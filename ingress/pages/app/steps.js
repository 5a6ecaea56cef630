// What keys and clicks do in the grid.
import { lastAtMost, tilesOf } from "./layout.js";

/** The place that a key leads to from `index`, or null. */
function stepOf(grid, { key, ctrlKey }, index) {
  const { sections, count } = grid.timeline;
  const at = grid.timeline.sectionOf(index);
  const { start } = sections[at];
  switch (key) {
    case "ArrowRight": return index + 1;
    case "ArrowLeft": return index - 1;
    case "Home": return ctrlKey ? 0 : start;
    case "End": return ctrlKey ? count - 1 : start + sections[at].count - 1;
    case "PageDown": return sections[Math.min(at + 1, sections.length - 1)].start;
    case "PageUp": return sections[Math.max(at - 1, 0)].start;
    case "ArrowDown": return besides(grid, { at, place: index - start, by: 1 });
    case "ArrowUp": return besides(grid, { at, place: index - start, by: -1 });
    default: return null;
  }
}

const middleOf = ({ x, width }) => x + width / 2;

function spotsOf(grid, at, row) {
  return [...tilesOf(grid.rows.get(at), row, grid.timeline.known.get(at), grid.measured)];
}

// The photo above or below whose middle is nearest to this one's.
function besides(grid, { at, place, by }) {
  const rows = grid.rows.get(at);
  // A month out of sight may be forgotten, but for the tile with the focus: it comes back first.
  if (!rows || !grid.timeline.known.has(at)) return grid.timeline.sections[at].start + place;
  const row = lastAtMost(rows.starts, place, rows.tops.length);
  const middle = middleOf(spotsOf(grid, at, row)[place - rows.starts[row]]);
  const isInside = row + by >= 0 && row + by < rows.tops.length;
  const section = isInside ? at : at + by;
  const other = grid.timeline.sections[section];
  if (!other) return null;
  const found = grid.rows.get(section);
  if (!found || !grid.timeline.known.has(section)) return other.start + (by < 0 ? other.count - 1 : 0);
  const next = isInside ? row + by : by < 0 ? found.tops.length - 1 : 0;
  const spots = spotsOf(grid, section, next);
  const best = spots.reduce((near, one) => (Math.abs(middleOf(one) - middle) < Math.abs(middleOf(near) - middle) ? one : near));
  return other.start + best.at;
}

function tileOf({ tiles }, node) {
  const item = node.closest?.(".tile");
  for (const tile of tiles.values()) if (tile.item === item) return tile;
  return null;
}

function activate(grid, tile) {
  if (!tile || tile.index === grid.active) return;
  const before = grid.tiles.get(grid.active);
  if (before) before.anchor.tabIndex = -1;
  tile.anchor.tabIndex = 0;
  grid.active = tile.index;
}

function onClick(grid, event) {
  const tile = tileOf(grid, event.target);
  if (!tile) return;
  activate(grid, tile);
  if (!tile.pick.contains(event.target) && !event.shiftKey) return;
  event.preventDefault();
  grid.onPick(tile, event.shiftKey);
}

async function onKey(grid, event) {
  const tile = tileOf(grid, event.target);
  if (!tile || event.altKey || event.metaKey) return;
  const { shiftKey } = event;
  const to = event.key === " " ? null : stepOf(grid, event, tile.index);
  if (to === null && event.key !== " ") return;
  event.preventDefault();
  if (to === null) return void grid.onPick(tile, shiftKey);
  try {
    await grid.reveal(to);
  } catch (problem) {
    return void grid.onTrouble?.(problem);
  }
  const active = grid.tiles.get(grid.active);
  if (shiftKey && active) grid.onPick(active, true);
}

export function listen(grid) {
  grid.list.addEventListener("keydown", (event) => onKey(grid, event));
  grid.list.addEventListener("click", (event) => onClick(grid, event));
  grid.list.addEventListener("focusin", (event) => activate(grid, tileOf(grid, event.target)));
}
