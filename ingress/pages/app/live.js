// One stream of changes for all topics that this tab shows. Browsers keep six connections to a host
// for all tabs together, so a hidden tab has none; on return it begins with a snapshot.
import { get, session } from "./api.js";

const POLL_MS = 5000;
const TRIES = 3;
const watchers = new Map(); // topic -> Set of functions
const listeners = new Set();
let stream = null;
let topics = "";
let failures = 0;
let retryTimer = 0;
let pollTimer = 0;
let heardAt = 0;
let state = "away";
let planned = false;
let isPaused = false;

/** Calls `fn(data, {isSnapshot})` at each word on a topic; returns how to stop. */
export function watch(topic, fn) {
  if (!watchers.has(topic)) watchers.set(topic, new Set());
  watchers.get(topic).add(fn);
  plan();
  return () => {
    watchers.get(topic)?.delete(fn);
    if (!watchers.get(topic)?.size) watchers.delete(topic);
    plan();
  };
}

/** `live`: by the stream; `polling`: asked every 5 s; `away`: no word; `paused`. */
export const connection = () => ({ state, heardAt });

export function onConnection(fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

/** Holds all changes back, for those whom moving things disturb. */
export function pause(isHeld) {
  isPaused = isHeld;
  if (isHeld) {
    close();
    told("paused");
  } else plan();
}

/** Ends the stream and all timers, as when the session has ended. */
export function hush() {
  close();
  watchers.clear();
  told("away");
}

// Several screens' watches in one step open one stream.
function plan() {
  if (planned) return;
  planned = true;
  queueMicrotask(() => {
    planned = false;
    connect();
  });
}

function connect() {
  const wanted = [...watchers.keys()].sort().join(",");
  if (document.hidden || isPaused || !wanted || !session()) return close();
  if (stream && wanted === topics && stream.readyState !== EventSource.CLOSED) return;
  close();
  topics = wanted;
  const fresh = new Set(watchers.keys());
  stream = new EventSource(`/events?topics=${encodeURIComponent(wanted)}`);
  for (const topic of fresh) {
    stream.addEventListener(topic, (event) => {
      heard();
      hand(topic, JSON.parse(event.data), fresh.delete(topic));
    });
  }
  stream.addEventListener("hello", heard);
  stream.onerror = failed;
}

function heard() {
  failures = 0;
  heardAt = Date.now();
  clearInterval(pollTimer);
  pollTimer = 0;
  told("live");
}

// The browser tries again by itself where the connection broke, and gives up on an error status.
function failed() {
  failures += 1;
  if (state === "live") told("away");
  if (failures >= TRIES && !pollTimer) pollTimer = setInterval(poll, POLL_MS);
  if (stream?.readyState !== EventSource.CLOSED) return;
  get("/session").catch(() => {}); // an error status: where the session has ended, this tells
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, failures < TRIES ? 1000 * failures : 30_000);
}

function close() {
  stream?.close();
  stream = null;
  topics = "";
  clearTimeout(retryTimer);
  clearInterval(pollTimer);
  pollTimer = 0;
}

function hand(topic, data, isSnapshot) {
  for (const fn of watchers.get(topic) ?? []) fn(data, { isSnapshot });
}

const LOOK_AGAIN = { changed: [], truncated: true };
const PLAIN = {
  pipeline: () => get("/stats/pipeline"),
  jobs: () => get("/jobs", { limit: 50 }),
  labels: async () => {
    const { rescoring, version } = await get("/labels");
    return { ...rescoring, version };
  },
  images: async () => LOOK_AGAIN,
  queries: async () => LOOK_AGAIN,
  inbox: async () => ({ inboxes: {}, truncated: true }),
};

async function poll() {
  try {
    await get("/session");
    for (const topic of watchers.keys()) {
      try {
        hand(topic, await PLAIN[topic](), true);
      } catch (error) {
        if (error.code === "unreachable") throw error;
      }
    }
    heardAt = Date.now();
    told("polling");
  } catch {
    told("away");
  }
}

function told(now) {
  if (state === now) return;
  state = now;
  for (const fn of listeners) fn(connection());
}

document.addEventListener("visibilitychange", () => {
  failures = 0;
  plan();
});
