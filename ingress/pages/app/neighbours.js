// Which photos stand beside one, in the list that it was opened from or in that of an address.
import { get } from "./api.js";
import { PART, Timeline, shown } from "./timeline.js";

/** When the archive may say that a photo was taken: by EXIF, and by its arrival where that says nothing or lies ahead. */
const momentsOf = ({ exif_datetime: exif, arrived_at: arrived }) => [exif && `${exif.slice(0, 10).replaceAll(":", "-")}T${exif.slice(11)}Z`, arrived].filter(Boolean);

/** What Search found last: its filter as text, the photos in its order so far, how many there are. */
export const hits = { key: "", ids: [], total: 0 };

/** Whether a photo was opened from there. */
export const isHit = (id, filter) => hits.key === JSON.stringify(filter) && hits.ids.includes(id);

function monthAfter(month) {
  const [year, nth] = month.split("-").map(Number);
  return new Date(Date.UTC(year, nth, 1)).toISOString();
}

const ordered = (...moments) => moments.filter(Boolean).sort((a, b) => Date.parse(a) - Date.parse(b));

/** The part of a month where a photo is that was taken at a moment: those taken since are counted, in one request. */
async function partOf({ filter, sections, firsts }, month, taken, signal) {
  const first = sections[firsts.get(month)];
  if (!first || first.parts < 2) return 0;
  const within = { ...filter, from: ordered(filter.from, taken).at(-1), to: ordered(filter.to, monthAfter(month))[0] };
  const { total } = await get("/timeline", within, { signal });
  return Math.min(first.parts - 1, Math.floor(Math.max(0, total - 1) / PART));
}

async function indexOf(image, timeline, signal) {
  const near = shown.index >= 0 ? [shown.index, shown.index + 1, shown.index - 1] : [];
  for (const at of near) if ((await timeline.idAt(at)) === image.image_id) return at;
  for (const taken of momentsOf(image)) {
    const month = taken.slice(0, 7);
    const index = await timeline.placeOf(image.image_id, month, await partOf(timeline, month, taken, signal));
    if (index >= 0) return index;
  }
  return -1;
}

/** Return `{index, total, around}` of a photo among those that a filter matches, or null; it is then the one shown. */
export async function neighboursOf(image, filter, signal) {
  if (isHit(image.image_id, filter)) {
    const at = hits.ids.indexOf(image.image_id);
    return { index: at, total: hits.total, around: [hits.ids[at - 1], hits.ids[at + 1]] };
  }
  let { timeline } = shown;
  if (JSON.stringify(timeline?.filter) !== JSON.stringify(filter)) timeline = await new Timeline(filter).load(signal);
  signal.throwIfAborted();
  if (timeline !== shown.timeline) Object.assign(shown, { timeline, index: -1 });
  const index = await indexOf(image, timeline, signal);
  signal.throwIfAborted();
  if (index < 0) return null;
  shown.index = index;
  return { index, total: timeline.total, around: await Promise.all([timeline.idAt(index - 1), timeline.idAt(index + 1)]) };
}
