// Duplicates: three levels that never mix, the evidence of each group, and decisions that stay.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, may, send } from "./api.js";
import { compareDialog } from "./compare.js";
import { busy, dated, letterOf, none, pictureOf, tabs, wordOf } from "./marks.js";
import { apiButton, problemStrip, say, scopeGate, undoToast } from "./parts.js";
import { emptyState } from "./pieces.js";
import { go, link } from "./routing.js";
import { bytes, date, duration, number, t } from "./words.js";

const LEVELS = ["identical", "same_photo", "burst"];
const PAGE = 20;
const AHEAD = 3;
const DECIDED = 200; // a page of decisions is of all levels: most of it may be of others
const EMPTY = 5; // pages without a group, one after the other; then the reader says whether to go on

export async function open(root, place) {
  const state = { place, groups: [], page: null, next: null, at: 0, chosen: null, totals: null, done: [], problem: null, isBusy: false, compared: null };
  const draw = () => render(screen(state, acts), root);
  let loading = null;
  const load = async (more = false) => {
    loading?.abort();
    const mine = (loading = new AbortController());
    if (!more) Object.assign(state, { groups: [], page: null, next: null, at: 0, chosen: null });
    Object.assign(state, { isBusy: true, problem: null });
    draw();
    try {
      // A page of look-alikes may be empty and have a next one all the same.
      for (let pages = 0; pages < EMPTY && (pages === 0 || (state.next && state.groups.length <= state.at)); pages += 1) {
        const page = await get("/duplicates", { ...paramsOf(state.place), limit: isDecided(state.place) ? DECIDED : PAGE, cursor: state.next }, mine);
        state.groups.push(...page.groups);
        Object.assign(state, { page, next: page.next });
      }
      if (!state.groups.length && !state.next) await countCompared(state);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      state.problem = problem;
    }
    state.isBusy = false;
    draw();
  };
  const acts = actsOf(state, draw, load, () => root.querySelector(".deciding")?.focus({ preventScroll: true }));
  const keys = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const isElsewhere = event.target.closest?.("input, select, textarea, [role=tablist], pre") || document.querySelector("dialog[open]");
    if (!by || isElsewhere || event.altKey || event.ctrlKey || event.metaKey || isList(state.place)) return;
    acts.step(by);
  };
  document.addEventListener("keydown", keys);
  draw();
  if (may("read")) await Promise.all([load(), loadTotals(state, draw)]);
  return {
    update(now) {
      const before = JSON.stringify(paramsOf(state.place));
      state.place = now;
      if (JSON.stringify(paramsOf(now)) === before) draw();
      else load();
    },
    close() {
      document.removeEventListener("keydown", keys);
      loading?.abort();
    },
  };
}

const isList = ({ params }) => params.get("view") === "list";
const isDecided = ({ params }) => params.get("decided") === "true";

function paramsOf({ params }) {
  const level = LEVELS.includes(params.get("level")) ? params.get("level") : LEVELS[0];
  return { level, decided: params.get("decided") === "true" };
}

/** How many groups of each level are left: asked apart, since counting may take seconds. */
async function loadTotals(state, draw) {
  try {
    state.totals = (await get("/duplicates", { level: paramsOf(state.place).level, limit: 1, total: true })).totals;
    draw();
  } catch {
    state.totals = null; // the groups are there all the same
  }
}

async function countCompared(state) {
  try {
    state.compared = (await get("/stats")).statuses.tagged ?? 0;
  } catch {
    state.compared = null; // the count is a comfort, not the message
  }
}

function actsOf(state, draw, load, focus) {
  const show = (at) => {
    Object.assign(state, { at: Math.min(Math.max(0, at), Math.max(0, state.groups.length - 1)), chosen: null });
    if (state.next && !state.isBusy && state.at + AHEAD >= state.groups.length) load(true);
    draw();
  };
  const step = (by) => {
    show(state.at + by);
    say(t("duplicates.place", { at: state.at + 1, of: state.totals?.[paramsOf(state.place).level] ?? state.groups.length }));
  };
  const run = async (change) => {
    if (state.isBusy) return;
    Object.assign(state, { isBusy: true, problem: null });
    draw();
    try {
      await change();
    } catch (problem) {
      state.problem = problem;
    }
    state.isBusy = false;
    show(state.at);
    // The button that was pressed may be gone or disabled: what comes next is where one is.
    if (!document.activeElement || document.activeElement === document.body) focus();
  };
  const undo = (last) => run(async () => {
    if (!state.done.includes(last)) return; // it is undone already
    for (const pair of last.pairs) await send("DELETE", `/duplicates/${pair}`);
    state.done.splice(state.done.indexOf(last), 1);
    if (last.level === paramsOf(state.place).level && !isDecided(state.place)) {
      state.groups.splice(Math.min(last.at, state.groups.length), 0, last.group);
      state.at = last.at;
      count(state, last.level, 1);
    }
    say(t("duplicates.undone"));
  });
  const decide = (keep, text) => run(async () => {
    const group = state.groups[state.at];
    const { level } = paramsOf(state.place);
    const pairs = group.pairs.map((one) => one.pair);
    // Each pair is the first image beside another: where it is not about the kept one, the other goes.
    const ofPair = (pair) => (keep === "both" || pair.includes(keep) ? keep : group.images[0].image_id);
    for (const pair of pairs) await send("PUT", `/duplicates/${pair}`, { keep: ofPair(pair) });
    state.groups.splice(state.at, 1);
    const made = { pairs, group, level, at: state.at };
    state.done.push(made);
    count(state, level, -1);
    undoToast(text, () => undo(made));
  });
  return {
    load, show, step,
    undo: () => undo(state.done.at(-1)),
    choose(id) {
      state.chosen = id;
      draw();
    },
    keep: () => decide(state.chosen, t("duplicates.kept", { n: state.groups[state.at].images.length - 1 })),
    both: () => decide("both", t("duplicates.kept_both")),
    takeBack: () => run(async () => {
      const group = state.groups[state.at];
      for (const { pair } of group.pairs) await send("DELETE", `/duplicates/${pair}`);
      state.groups.splice(state.groups.indexOf(group), 1);
      loadTotals(state, draw);
      say(t("duplicates.undone"));
    }),
    compare: () => compareDialog(state.groups[state.at].images),
    turn: (change) => go(link("duplicates", null, { ...paramsOf(state.place), view: isList(state.place) ? "list" : null, ...change })),
  };
}

function count(state, level, by) {
  if (state.totals) state.totals[level] = Math.max(0, state.totals[level] + by);
}

function screen(state, acts) {
  const { level } = paramsOf(state.place);
  const { page, problem, groups, totals } = state;
  if (!may("read")) return html`<h1>${t("duplicates.title")}</h1>${scopeGate("read", html`<p>${t("duplicates.what")}</p>`)}`;
  return html`
    <header class="row spread"><h1>${t("duplicates.title")}</h1>
      <span class="row">${totals?.bytes_to_gain[level] ? html`<span class="quiet">${t("duplicates.to_gain", { size: bytes(totals.bytes_to_gain[level]) })}</span>` : nothing}
        ${apiButton(() => ({ path: "/duplicates", params: paramsOf(state.place) }))}</span></header>
    ${tabs({
      items: LEVELS.map((id) => ({ id, text: t(`duplicates.level_${id}`), count: totals ? number(totals[id]) + (totals.is_exact ? "" : "+") : null })),
      chosen: level, choose: (id) => acts.turn({ level: id }), label: t("duplicates.levels"),
    })}
    <p class="quiet">${t(`duplicates.what_${level}`)} ${page && !page.is_complete ? html`<span class="warn">${t("duplicates.not_all")}</span>` : nothing}</p>
    <div class="row spread">
      <span class="segmented" role="group" aria-label=${t("duplicates.which")}>
        ${[[false, "open"], [true, "decided"]].map(([is, word]) => html`<button type="button" aria-pressed=${isDecided(state.place) === is}
          @click=${() => acts.turn({ decided: is })}>${t(`duplicates.${word}`)}</button>`)}</span>
      <span class="row"><button type="button" aria-pressed=${isList(state.place)} @click=${() => acts.turn({ view: isList(state.place) ? null : "list" })}>${t("duplicates.list")}</button>
        <button type="button" ?disabled=${!state.done.length || state.isBusy} @click=${acts.undo}>${t("duplicates.undo")}</button></span>
    </div>
    ${problem ? problemStrip(problem, () => acts.load()) : nothing}
    ${groups.length ? isList(state.place) ? list(state, acts) : group(groups[state.at], state, acts)
      : state.isBusy ? busy()
      : page && !problem ? empty(state, acts) : nothing}`;
}

const more = (state, acts) => html`<button type="button" ?disabled=${state.isBusy} @click=${() => acts.load(true)}>${t("duplicates.more")}</button>`;

function empty(state, acts) {
  if (state.next) return emptyState({ title: t("duplicates.none_yet"), actions: more(state, acts) });
  if (isDecided(state.place)) return emptyState({ title: t("duplicates.none_decided") });
  const { compared } = state;
  return emptyState({
    title: t("duplicates.none"),
    text: compared === null ? "" : t("duplicates.compared", { n: compared }),
    actions: html`<a class="button" href="#/photos">${t("duplicates.to_photos")}</a>`,
  });
}

function list(state, acts) {
  const see = (at) => (event) => {
    event.preventDefault();
    acts.show(at);
    acts.turn({ view: null });
  };
  return html`<ol class="lines">${repeat(state.groups, (one) => one.pair, (one, at) => html`<li>
      <a class="row" href="#/duplicates" @click=${see(at)}>${one.images.slice(0, 4).map((image) => html`<img class="thumb" loading="lazy" alt="" height="80" src=${pictureOf(image)}>`)}
        <span>${one.images.map((image) => image.image_path).join(" · ")}</span></a> <span class="quiet">${evidence(one)}</span></li>`)}</ol>
    ${state.next ? more(state, acts) : nothing}`;
}

function group(one, state, acts) {
  const { level } = paramsOf(state.place);
  const all = isDecided(state.place) ? state.groups.length : Math.max(state.groups.length, state.totals?.[level] ?? 0);
  return html`<section class="deciding" tabindex="-1" aria-label=${t("duplicates.place", { at: state.at + 1, of: all })}>
    <div class="row spread"><b>${t("duplicates.place", { at: state.at + 1, of: all })}</b>
      <span class="row"><button type="button" ?disabled=${state.at === 0} @click=${() => acts.step(-1)}>← ${t("duplicates.previous")}</button>
        <button type="button" ?disabled=${state.at >= state.groups.length - 1} @click=${() => acts.step(1)}>${t("duplicates.next")} →</button></span></div>
    <div class="beside" role="radiogroup" aria-label=${t("duplicates.keep_which")}>
      ${repeat(one.images, (image) => image.image_id, (image, at) => picture(image, at, one, state, acts))}</div>
    <p>${evidence(one)}</p>
    ${suggestion(one)}
    <div class="row">${one.decision ? decided(one, acts) : scopeGate("upload", html`<span class="row">
      <button type="button" class="filled" ?disabled=${!state.chosen || state.isBusy} @click=${acts.keep}>${t("duplicates.keep", { n: one.images.length - 1 })}</button>
      <button type="button" ?disabled=${state.isBusy} @click=${acts.both}>${t("duplicates.both")}</button></span>`)}
      <button type="button" @click=${acts.compare}>${t("duplicates.compare")}</button></div>
    <p class="quiet">${t("duplicates.not_deleted")}</p>
  </section>`;
}

function picture(image, at, one, state, acts) {
  const name = letterOf(at);
  const isKept = one.decision?.keep === image.image_id;
  return html`<figure class="card">
    <a href=${link("photos", image.image_id)} aria-label=${t("duplicates.open_photo", { name })}>
      <img class="whole" alt=${t("duplicates.picture", { name })} src=${pictureOf(image, "large")}></a>
    <figcaption>
      ${one.decision ? html`<b>${name}</b> ${isKept ? html`✓ ${t("duplicates.is_kept")}` : nothing}`
        : html`<label><input type="radio" name="keep" .checked=${state.chosen === image.image_id} @change=${() => acts.choose(image.image_id)}>
          <b>${name}</b> ${t("duplicates.keep_this")}</label> ${image.excluded ? html`<span class="warn">${t("duplicates.is_aside")}</span>` : nothing}`}
      <dl>
        <dt>${t("duplicates.size")}</dt><dd>${image.width ? `${image.width} × ${image.height}` : none} · ${image.size_bytes === null ? none : bytes(image.size_bytes)}</dd>
        <dt>${t("duplicates.taken")}</dt><dd>${image.exif_datetime ? date(image.exif_datetime) : t("duplicates.unknown")}</dd>
        <dt>${t("duplicates.camera")}</dt><dd>${image.camera ?? t("duplicates.unknown")}</dd>
        <dt>${t("duplicates.path")}</dt><dd>${image.image_path}</dd>
      </dl></figcaption></figure>`;
}

function decided(one, acts) {
  const { decision } = one;
  const at = one.images.findIndex((image) => image.image_id === decision.keep);
  return html`<p>✓ ${decision.keep === "both" ? t("duplicates.was_both") : t("duplicates.was_kept", { name: letterOf(Math.max(0, at)) })}
      <span class="quiet">${decision.by} · ${dated(decision.at)}</span></p>
    ${scopeGate("upload", html`<button type="button" @click=${acts.takeBack}>${t("duplicates.take_back")}</button>`)}`;
}

function evidence(one) {
  return [
    one.sha256 ? t("duplicates.same_bytes") : null,
    one.hash_distance === null || one.hash_distance === undefined ? null : t("duplicates.hash", { n: one.hash_distance }),
    one.texts_differ ? t("duplicates.texts") : null,
    one.cosine === null || one.cosine === undefined ? null : t("duplicates.cosine", { cosine: number(one.cosine, { maximumFractionDigits: 3 }) }),
    one.seconds_apart === null || one.seconds_apart === undefined ? null : one.seconds_apart ? t("duplicates.apart", { time: duration(one.seconds_apart) }) : t("duplicates.same_moment"),
  ].filter(Boolean).join(" · ");
}

function suggestion({ suggestion: given, images }) {
  const at = images.findIndex((image) => image.image_id === given?.keep);
  if (at < 0) return nothing;
  const why = given.why.map((code) => wordOf("duplicates.why", code)).join(", ");
  return html`<p>${t("duplicates.suggested", { name: letterOf(at), why })}</p>`;
}
