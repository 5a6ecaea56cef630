// The shell: bar, places, search, upload, account; opens the screen that the address names.
import { html, nothing, render } from "./lit/lit-html.js";
import * as api from "./api.js";
import { connection, hush, onConnection, watch } from "./live.js";
import { loadWork, wear } from "./look.js";
import { closeDialogs, icon, problemStrip, undoToast } from "./parts.js";
import { go, link, onPlace, place } from "./routing.js";
import * as words from "./words.js";

const { t } = words;
const PLACES = ["photos", "duplicates", "labels", "queries", "pipeline"];
const STEPS = { photos: () => import("./photos.js"), photo: () => import("./photo.js"), search: () => import("./search.js"), duplicates: () => import("./duplicates.js"), labels: () => import("./labels.js"), queries: () => import("./queries.js"), query: () => import("./query.js"), pipeline: () => import("./pipeline.js"), inbox: () => import("./inbox.js") };
const TROUBLES = [["stands", ["halted", "silent", "stopped"]], ["behind", ["grows"]]]; // the worst first

const root = document.getElementById("app");
const open = new Map(); // what is shown, or kept behind a photo: name -> {section, screen}
let turn = 0; // of several openings under way the last one counts
let trouble = null;
let stage = null;
let isNoteShown = words.remembered("note") === null;
let tray = null;
const noAccount = () => nothing;
let account = noAccount;

const ONE_OF = { photos: "photo", queries: "query" };
const nameOf = (here) => (here.id && ONE_OF[here.screen]) || here.screen;

function shell() {
  const here = place();
  render(html`
    <a class="skip" href="#main" @click=${(event) => {
      event.preventDefault();
      document.getElementById("main").focus();
    }}>${t("shell.skip")}</a>
    <header class="bar">
      <form class="seek" role="search" @submit=${seek}>
        <label class="sr" for="seek">${t("shell.search")}</label>
        <input id="seek" name="text" type="search" placeholder=${t("shell.searchHint")} autocomplete="off" maxlength="1000" aria-keyshortcuts="/" .value=${here.params.get("text") ?? ""}>
        <button class="bare" aria-label=${t("shell.search")}>${icon("search")}</button>
      </form>
      <button class="filled upload" aria-label=${t("shell.upload")} ?disabled=${!api.may("upload")} title=${api.may("upload") ? nothing : t("parts.needsScope", { scope: "upload" })} @click=${async () => (await uploads()).choose()}>${icon("upload")}<span>${t("shell.upload")}</span></button>
      <button class="bare account" popovertarget="account" aria-label=${t("shell.account")}>${icon("user")}</button>
      <div id="account" popover class="menu" @beforetoggle=${openAccount}>${account()}</div>
    </header>
    <nav class="places" aria-label=${t("shell.places")}>
      <a class="brand" href="#/photos" aria-label=${t("shell.title")}><img src=${new URL("./icon.svg", import.meta.url).pathname} alt="" width="28" height="28"></a>
      ${PLACES.map((name) => html`<a href=${link(name)} aria-current=${here.screen === name || (name === "queries" && here.screen === "inbox") ? "page" : nothing}>${icon(name)}<span>${t(`shell.${name}`)}</span>${name === "pipeline" ? lamp() : nothing}</a>`)}
    </nav>
    <main id="main" tabindex="-1">
      ${note()}
      <div id="trouble">${problemStrip(trouble, () => (["stale", "page_broken"].includes(trouble.code) ? location.reload() : show(place())))}</div>
      <div id="screens"></div>
      <footer class="foot">
        ${[["docs", "/docs"], ["problems", "/docs/problems"], ["openapi", "/openapi.json"], ["asyncapi", "/asyncapi.json"], ["health", "/health"]].map(([name, path]) => html`<a href=${path}>${t(`shell.${name}`)}</a>`)}
        <span>${t("shell.version", { version: api.session()?.instance.version ?? "" })}</span>
      </footer>
    </main>
    <div id="tray"></div>
    <div id="toasts" role="region" aria-label=${t("shell.notes")}></div>
    <div id="said" class="sr" role="status" aria-live="polite"></div>
    <div id="drop" class="drop" hidden><p>${icon("upload")} ${t("shell.drop")}</p></div>
  `, root);
}

// Where nothing is wrong, nothing is shown; else a word, not a colour alone.
function lamp() {
  const { state } = connection();
  if (state === "away") return html`<em class="lamp bad">${t("shell.away")}</em>`;
  if (stage) return html`<em class="lamp warn">${t(`shell.stage_${stage}`)}</em>`;
  return state === "polling" || state === "paused" ? html`<em class="lamp">${t(`shell.${state}`)}</em>` : nothing;
}

function note() {
  const { instance } = api.session();
  if (!instance.is_demo_model || !isNoteShown) return nothing;
  const unknown = instance.unknown_labels ?? [];
  const close = () => {
    isNoteShown = false;
    words.remember("note", "read");
    shell();
  };
  return html`<aside class="strip note"><div><b>${t("shell.demo", { known: instance.labels - unknown.length, n: instance.labels })}</b>
    <details><summary>${t("shell.demoWhat")}</summary><p>${t("shell.demoWhy", { names: unknown.map((tag) => words.tagName(tag).text).join(", ") || "–" })}</p></details></div>
    <button class="bare" aria-label=${t("parts.close")} @click=${close}>${icon("close")}</button></aside>`;
}

// Of those who never open it nothing is asked.
async function openAccount() {
  if (account !== noAccount) return;
  const [it] = await Promise.all([import("./account.js"), loadWork()]);
  account = () => it.account({ renew, shell, tray: () => tray });
  shell();
}

function seek(event) {
  event.preventDefault();
  const text = event.target.elements.text.value.trim();
  if (text) go(link("search", null, { text }));
}

const uploads = async () => {
  [tray] = await Promise.all([tray ?? import("./upload.js"), loadWork()]);
  tray.mount(document.getElementById("tray"));
  return tray;
};

/** Opens a place. The list of photos stays alive behind one of its photos, with its scroll position. */
async function show(here) {
  const mine = (turn += 1);
  const name = nameOf(here);
  const isShown = open.has(name) && !open.get(name).section.hidden;
  closeDialogs(); // a dialog belongs to the screen that it was opened on
  trouble = null;
  for (const other of [...open.keys()]) {
    if (other === name) continue;
    const { section, screen } = open.get(other);
    if (other === "photos" && name === "photo") {
      screen?.hide?.();
      section.hidden = true;
    } else {
      open.delete(other);
      screen?.close();
      section.remove();
    }
  }
  shell();
  document.title = `${t(`shell.${name}`)} · ${t("shell.title")}`;
  const known = open.get(name);
  if (known) {
    known.section.hidden = false;
    if (!isShown) known.screen?.show?.();
    known.screen?.update(here);
    return;
  }
  const section = document.createElement("section");
  section.className = `screen ${name}`;
  const entry = { section, screen: null };
  open.set(name, entry);
  document.getElementById("screens").append(section);
  let module = null;
  try {
    [module] = await Promise.all([STEPS[name](), ...(name === "photos" ? [] : [loadWork()])]);
    if (mine !== turn && open.get(name) !== entry) return;
    document.getElementById("main").scrollTop = 0;
    const asked = location.hash;
    entry.screen = await module.open(section, place());
    if (open.get(name) !== entry) return entry.screen.close();
    if (location.hash !== asked && nameOf(place()) === name) entry.screen.update(place()); // it changed meanwhile
    if (!document.activeElement || document.activeElement === document.body) document.getElementById("main").focus({ preventScroll: true });
  } catch (error) {
    if (open.get(name) !== entry) return;
    open.delete(name);
    section.remove();
    // A server started anew serves other modules under another address: the page must be loaded again.
    const code = module ? "page_broken" : "stale";
    trouble = error instanceof api.Problem ? error : new api.Problem({ code, detail: error.message });
    shell();
  }
}

/** Draws everything anew, as after another language. */
async function renew() {
  closeAll();
  const notes = [...document.getElementById("toasts").children]; // one may hold what can still be undone
  render(nothing, root);
  shell();
  document.getElementById("toasts").append(...notes);
  tray?.mount(document.getElementById("tray"));
  await show(place());
}

function closeAll() {
  for (const { section, screen } of open.values()) {
    screen?.close();
    section.remove();
  }
  open.clear();
}

async function begin() {
  render(nothing, root);
  shell();
  api.get("/labels").then(({ labels }) => {
    words.setTagNames(labels);
    shell();
  }).catch(() => {});
  watch("pipeline", ({ stages }) => {
    const [worst = null] = TROUBLES.find(([, states]) => stages.some((one) => states.includes(one.state))) ?? [];
    if (worst === stage) return;
    stage = worst;
    shell();
  });
  await show(place());
  // An upload that was broken off says what is left.
  if (api.may("upload")) setTimeout(async () => (await (await import("./remembering.js")).keptFiles()).length && uploads(), 500);
}

function end(problem = null) {
  hush();
  closeDialogs();
  closeAll();
  tray?.unmount();
  tray = null;
  render(nothing, root);
  Promise.all([import("./signin.js"), loadWork()]).then(([{ askForKey }]) => askForKey(root, begin, problem));
}

function listenForFiles() {
  const holds = (event) => api.session() && api.may("upload") && [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = (isOver) => {
    const area = document.getElementById("drop");
    if (area) area.hidden = !isOver;
  };
  addEventListener("dragover", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  addEventListener("drop", async (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    mark(false);
    // What was dropped can be read in this very step only: the folders' entries are taken first.
    const entries = [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    (await uploads()).take(entries, files);
  });
}

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable], dialog");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey || words.remembered("keys") === "off") return;
  const field = document.getElementById("seek");
  if (!field) return;
  event.preventDefault();
  field.focus();
});

wear();
// What the first screen needs comes while the session is asked for.
STEPS[nameOf(place())]().catch(() => {});
const resuming = location.hash.startsWith("#code=") ? null : api.resume();
resuming?.catch(() => {}); // told below
await words.loadLanguage();
onPlace((here) => {
  if (location.hash.startsWith("#code=")) location.reload();
  else if (api.session()) show(here);
});
onConnection(() => api.session() && shell());
api.onEnd(end);
listenForFiles();
root.replaceChildren(); // the word for the time of loading
const { takeCode } = location.hash.startsWith("#code=") ? await import("./signin.js") : {};
const refused = await takeCode?.();
const isByLink = Boolean(api.session());
try {
  if (!api.session()) await (resuming ?? api.resume());
  if (api.session()) begin();
  else end(refused);
  if (isByLink) undoToast(t("shell.signedIn", { owner: api.session().owner }));
} catch (problem) {
  render(html`<main class="door">${problemStrip(problem, () => location.reload())}</main>`, root);
}
