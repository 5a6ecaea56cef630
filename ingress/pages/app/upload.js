// The upload's tray: counts first, then the files, refused ones on top.
import { html, nothing, render } from "./lit/lit-html.js";
import { get, session } from "./api.js";
import { watch } from "./live.js";
import { confirmBy } from "./dialogs.js";
import { icon, say } from "./parts.js";
import { confidence } from "./pieces.js";
import { link } from "./routing.js";
import { forgetFiles, keptFiles } from "./remembering.js";
import { Sending } from "./sending.js";
import { bytes, duration, has, t } from "./words.js";

const MANY = 5000; // above it the command does it better: it needs no tab to stay open
const ROW = 52;
const DRAW_MS = 200;
const ORDER = ["refused", "sending", "looking", "waiting", "left", "done", "here"];

let root = null;
let sending = null;
let isOpen = false;
let timer = 0;
let stop = null;
let mine = new Map(); // image id -> item, for those whose tags are still to come
let tagged = 0;
const heard = new Map(); // what the stream said before the answer to the upload was here
const HEARD = 500;
const ASK_MS = 3000;
let asking = 0;

/** Puts the tray on the page; it shows itself when there is something to send. */
export async function mount(where = document.getElementById("tray")) {
  root = where;
  if (sending) return draw();
  sending = new Sending(plan);
  sending.recall(await keptFiles());
  return draw();
}

export function unmount() {
  sending?.stop();
  stop?.();
  stop = null;
  clearTimeout(asking);
  asking = 0;
  heard.clear();
  sending = null;
  mine = new Map();
  isOpen = false;
  if (root) render(nothing, root);
}

/** Forgets the names of files, as when somebody signs out. */
export const forget = forgetFiles;

/** The token of the last upload, for the option `after` of a query. */
export const lastToken = () => sending?.lastToken ?? null;

/** Opens the browser's choice of files, or of a folder. */
export async function choose(asFolder = false) {
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  if (asFolder) input.webkitdirectory = true;
  else input.accept = `${(session().instance.media_types ?? ["image/*"]).join(",")},image/*`;
  input.addEventListener("change", () => add([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }))));
  input.click();
}

/** Takes what was dropped: files, and folders with all that is in them. */
export async function take(entries, files) {
  if (!entries.length) return add(files.map((file) => ({ file, name: file.name })));
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return add(found);
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return;
    for (const one of some) if (!one.name.startsWith(".")) await walk(one, found);
  }
}

async function add(files) {
  if (!files.length) return;
  if (!sending) await mount();
  if (files.length > MANY) {
    const isSure = await confirmBy(t("upload.many", { n: files.length, command: "photo-archive images DIR" }), null, { action: t("upload.anyway"), kind: "" });
    if (!isSure) return;
  }
  stop ??= watch("images", hear);
  sending.add(files);
  draw();
}

// Tags of the photos just sent appear in their rows.
function hear({ changed }) {
  for (const one of changed) if (one.status !== "accepted") heard.set(one.image_id, one);
  for (const id of heard.keys()) {
    if (heard.size <= HEARD) break;
    heard.delete(id);
  }
  plan();
}

function match() {
  for (const item of sending.items) {
    if (item.state !== "done" || !item.imageId || item.isAnswered) continue;
    const found = heard.get(item.imageId);
    if (found) answer(item, found);
    else mine.set(item.imageId, item);
  }
  // Of a long list the stream tells the first only: the rest is asked for.
  if (mine.size && !asking && !sending.busy) asking = setTimeout(ask, ASK_MS);
}

function answer(item, { image_id: id, status, tags }) {
  mine.delete(id);
  Object.assign(item, { tags, isAnswered: true, isFailed: status === "failed" });
  if (status === "tagged") tagged += 1;
}

async function ask() {
  const ids = [...mine.keys()].slice(0, 100);
  try {
    const { images } = await get("/images", { id: ids });
    for (const one of images) if (one.status !== "accepted" && mine.has(one.image_id)) answer(mine.get(one.image_id), one);
  } catch {
    /* the next look asks again */
  }
  asking = 0;
  plan();
}

function plan() {
  timer ||= setTimeout(() => {
    timer = 0;
    draw();
  }, DRAW_MS);
}

let wasBusy = false;
function announce(counts) {
  const isBusy = counts.waiting > 0;
  if (wasBusy && !isBusy) say(t("upload.ended", { n: counts.done, here: counts.here, refused: counts.refused }));
  wasBusy = isBusy;
}

function draw() {
  if (!root || !sending) return;
  match();
  const counts = sending.counts();
  announce(counts);
  render(counts.all ? tray(counts) : nothing, root);
  const list = root.querySelector(".files ul");
  if (list) list.style.transform = `translateY(${firstRow() * ROW}px)`;
}

function tray(counts) {
  const parts = [["done", "good"], ["here", ""], ["refused", "bad"], ["waiting", ""], ["left", "warn"]].filter(([name]) => counts[name]);
  const total = counts.all - counts.left;
  return html`<section class="tray" aria-label=${t("shell.upload")}>
    <div class="row">
      <button class="quiet-button" aria-expanded=${isOpen} @click=${() => {
        isOpen = !isOpen;
        draw();
      }}>${icon(isOpen ? "down" : "up")}<b>${t("shell.upload")}</b></button>
      <span class="row counts">${parts.map(([name, kind]) => html`<span class=${kind}>${t(`upload.count_${name}`, { n: counts[name] })}</span>`)}
        ${counts.waiting ? html`<span class="quiet">${bytes(counts.rate)}/${t("upload.second")}${counts.left_s === null ? "" : ` · ~${duration(counts.left_s)}`}</span>` : tagged ? html`<span class="quiet">${t("upload.tagged", { n: tagged })}</span>` : nothing}</span>
      <span class="grow"></span>
      ${counts.again ? html`<button @click=${() => sending.retry()}>${t("upload.retry", { n: counts.again })}</button>` : nothing}
      ${counts.waiting ? html`<button @click=${() => sending.pause(!sending.isPaused)}>${t(sending.isPaused ? "upload.resume" : "upload.pause")}</button>` : nothing}
      ${counts.waiting ? nothing : html`<button class="bare" aria-label=${t("parts.close")} @click=${tidy}>${icon("close")}</button>`}
    </div>
    ${counts.waiting ? html`<progress max=${Math.max(1, total)} value=${total - counts.waiting} aria-label=${t("shell.upload")}></progress>` : nothing}
    ${isOpen ? details(counts) : nothing}
  </section>`;
}

function tidy() {
  sending.tidy();
  forgetFiles();
  stop?.();
  stop = null;
  tagged = 0;
  mine = new Map();
  isOpen = false;
  draw();
}

const firstRow = () => Math.max(0, Math.floor((root.querySelector(".files")?.scrollTop ?? 0) / ROW) - 3);

function details(counts) {
  const rows = [...sending.items].sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
  const first = firstRow();
  const some = rows.slice(first, first + 20);
  return html`${counts.left ? html`<p class="warn">${t("upload.leftHelp", { n: counts.left })}</p>` : nothing}
    ${window.isSecureContext ? nothing : html`<p class="quiet">${t("upload.noHash")}</p>`}
    <div class="files" tabindex="0" role="group" aria-label=${t("upload.files")} @scroll=${plan}>
      <svg class="files-spine" width="1" height=${rows.length * ROW} aria-hidden="true"></svg>
      <ul>${some.map((item, at) => html`<li .ariaSetSize=${String(rows.length)} .ariaPosInSet=${String(first + at + 1)} class="file">${row(item)}</li>`)}</ul>
    </div>
    <p class="row"><button @click=${save}>${t("upload.save")}</button></p>`;
}

const STATE_KIND = { refused: "bad", done: "good", left: "warn" };

function row(item) {
  const { name, size, state, progress } = item;
  const reason = state === "refused" ? (has(`upload.why_${item.reason}`) ? t(`upload.why_${item.reason}`) : has(`problem.${item.reason}`) ? t(`problem.${item.reason}`) : item.reason) : "";
  return html`<span class="file-name" title=${name}>${item.imageId ? html`<a href=${link("photos", item.imageId)}>${name}</a>` : name}</span>
    <small>${bytes(size)}${state === "sending" && progress ? ` · ${Math.round((100 * progress) / Math.max(1, size))} %` : ""}</small>
    <span class=${STATE_KIND[state] ?? "quiet"} title=${item.detail ?? ""}>${reason || t(`upload.state_${state}`)}</span>
    <span class="row">${(item.tags ?? []).slice(0, 1).map(({ tag, score }) => confidence(tag, score))}${item.isFailed ? html`<span class="bad">${t("photos.cannotRead")}</span>` : nothing}</span>`;
}

function save() {
  const lines = sending.items.map(({ name, size, state, reason, detail, imageId }) => [state, reason, name, size, imageId, detail].map((one) => `"${String(one ?? "").replaceAll('"', '""')}"`).join(","));
  const url = URL.createObjectURL(new Blob([`state,reason,name,bytes,image_id,detail\n${lines.join("\n")}\n`], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: url, download: "photos-sent.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
