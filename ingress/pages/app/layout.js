// Where tiles stand: rows of a month, months of the whole, and a spine that browsers can carry.
export const GAP = 4;
const NARROW = 640;
const COLUMNS = 3;

/** Heights and sizes for a width: three squares to a row where it is narrow, else justified rows. */
export function measures(width) {
  const isNarrow = width < NARROW;
  const side = (width - GAP * (COLUMNS - 1)) / COLUMNS;
  return { width, isNarrow, head: 44, target: isNarrow ? side : Math.min(320, Math.max(170, width / 7)) };
}

const shape = (ratio) => Math.min(4, Math.max(0.4, ratio / 1000 || 1));

/** Rows of a month's photos, packed greedily: each as high as makes it as wide as the page. */
export function rowsOf({ ratios, n }, { width, target, isNarrow }, isLastPart = true) {
  const starts = [];
  const heights = [];
  const tops = [];
  let top = 0;
  const close = (start, height) => {
    starts.push(start);
    heights.push(height);
    tops.push(top);
    top += height + GAP;
  };
  let start = 0;
  let sum = 0;
  for (let at = 0; at < n; at += 1) {
    sum += isNarrow ? 1 : shape(ratios[at]);
    const room = width - GAP * (at - start);
    const isFull = isNarrow ? at - start === COLUMNS - 1 : sum * target >= room;
    if (!isFull && at < n - 1) continue;
    // The last row keeps the common height, unless more of the month follows in the next part.
    close(start, isNarrow || (!isFull && isLastPart) ? target : Math.min(room / sum, target * 1.5));
    start = at + 1;
    sum = 0;
  }
  starts.push(n);
  return { starts: Uint32Array.from(starts), heights: Float32Array.from(heights), tops: Float64Array.from(tops), height: top };
}

/** Where each tile of a row begins, and how wide it is. */
export function* tilesOf(rows, row, { ratios }, { isNarrow, target, width }) {
  let x = 0;
  const height = rows.heights[row];
  for (let at = rows.starts[row]; at < rows.starts[row + 1]; at += 1) {
    const wide = isNarrow ? target : Math.min(shape(ratios[at]) * height, width);
    yield { at, x, width: wide, height };
    x += wide + GAP;
  }
}

/** The last of sorted values that is not above `value`. */
export function lastAtMost(values, value, count = values.length) {
  let low = 0;
  let high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

export const estimate = ({ count, ratio }, { width, target, isNarrow }) => {
  const perRow = isNarrow ? COLUMNS : Math.max(1, width / (Math.min(4, Math.max(0.4, ratio)) * target));
  return Math.ceil(count / perRow) * (target + GAP);
};

// Browsers cut boxes off at 33.5 M px (half of it where a pixel is two, a third where it is three).
const MOST = 8e6;
const EDGE = 2e6; // there a step of the bar is a step of the page, so that both ends are reached

/** Maps a box that browsers can carry to the true height, and back. */
export class Spine {
  constructor(height) {
    this.height = height;
    this.box = Math.min(height, MOST);
    this.scale = this.box === height ? 1 : (height - 2 * EDGE) / (this.box - 2 * EDGE);
  }

  toTrue(y) {
    if (this.scale === 1 || y <= EDGE) return y;
    if (y >= this.box - EDGE) return this.height - (this.box - y);
    return EDGE + (y - EDGE) * this.scale;
  }

  toBox(y) {
    if (this.scale === 1 || y <= EDGE) return y;
    if (y >= this.height - EDGE) return this.box - (this.height - y);
    return EDGE + (y - EDGE) / this.scale;
  }
}
