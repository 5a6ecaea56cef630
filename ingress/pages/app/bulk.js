// Changes to many photos: count first, then one change that the archive works off, with undo.
import { html } from "./lit/lit-html.js";
import { get, may, send } from "./api.js";
import { asJson } from "./filters.js";
import { confirmBy, openDialog } from "./dialogs.js";
import { dated } from "./marks.js";
import { failure, icon, scopeGate, undoToast } from "./parts.js";
import { go, link } from "./routing.js";
import { duration, knownTags, labelNamed, t, tagName } from "./words.js";

const LOOK_MS = 700;
const GRACE_S = 12; // what has been deleted can't be undone: the archive waits so long before it begins
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Asks the archive for one change to the photos of `filter`; `after(change, ended)` runs when it has
 * ended or was undone. One tag of one photo goes in one stroke; all else is counted and asked first.
 * Resolves to whether the archive has taken it on: by then the page may be left.
 */
export async function apply(filter, change, after) {
  try {
    const count = await send("POST", "/images/changes", { filter, change, dry_run: true });
    if (!count.would_change) return told(t("bulk.nothing"));
    const isDeletion = Boolean(change.delete);
    const name = kindOf(change);
    const values = { n: count.would_change, tag: tagName(String(Object.values(change)[0])).text, time: duration(GRACE_S) };
    if (filter.ids?.length === 1 && !change.delete) return await run(filter, change, after, values, name);
    const about = count.is_exact ? "" : ` ${t("bulk.about")}`;
    const isSure = await confirmBy(t(`bulk.ask_${name}`, values) + about, count.would_change, { action: t(`bulk.do_${name}`), kind: isDeletion ? "bad" : "" });
    return isSure && await run(filter, change, after, values, name);
  } catch (problem) {
    return told(failure(problem));
  }
}

function told(text) {
  undoToast(text);
  return false;
}

async function run(filter, change, after, values, name) {
  const asked = { filter, change, dry_run: false, delay_s: change.delete ? GRACE_S : 0 };
  conclude(await send("POST", "/images/changes", asked), { change, after, values, name });
  return true;
}

/** Has a change taken back; what became of it is told. */
async function takeBack(changeId) {
  const ended = await follow(await send("POST", `/images/changes/${changeId}/undo`));
  if (ended.state === "failed") undoToast(ended.error ?? t("problem.internal_error"));
  else undoToast(t("bulk.undone") + (ended.failed ? ` ${t("bulk.left", { n: ended.failed })}` : ""));
  return ended;
}

async function conclude(begun, { change, after, values, name }) {
  const undo = async () => {
    try {
      after(change, await takeBack(begun.change_id));
    } catch (problem) {
      undoToast(failure(problem));
    }
  };
  const close = change.delete ? undoToast(t("bulk.deletesSoon", values), undo, { ms: GRACE_S * 1000 }) : null;
  try {
    const ended = await follow(begun);
    close?.();
    if (ended.state === "undone") return null; // whoever took it back has told so
    after(change, ended);
    const back = canUndo(ended) ? undo : null; // also of what has failed on the way
    if (ended.state === "failed") return undoToast(ended.error ?? t("problem.internal_error"), back);
    if (change.delete) return undoToast(t("bulk.deleted", { n: ended.changed }));
    return undoToast(t(`bulk.done_${name}`, { ...values, n: ended.changed }), back);
  } catch (problem) {
    return undoToast(failure(problem));
  }
}

const canUndo = (change) => Boolean(change.can_undo_until) && new Date(change.can_undo_until) > Date.now();

async function follow(change) {
  let now = change;
  while (["waiting", "running", "undoing"].includes(now.state)) {
    await pause(LOOK_MS);
    now = await get(`/images/changes/${change.change_id}`);
  }
  return now;
}

/** Lists the last changes; what can be undone still has its button. */
export function recentChanges(after) {
  let changes = null;
  let problem = null;
  const load = async (draw, before = null) => {
    problem = before;
    try {
      ({ changes } = await get("/images/changes"));
    } catch (error) {
      problem = error;
    }
    draw();
  };
  openDialog(t("photos.recentChanges"), (close, draw) => {
    if (!changes && !problem) load(draw);
    const undo = async (one) => {
      problem = null;
      try {
        await takeBack(one.change_id);
        after();
      } catch (error) {
        problem = error;
      }
      await load(draw, problem);
    };
    return html`${problem ? html`<p class="bad" role="alert">${failure(problem)}</p>` : ""}
      ${changes?.length === 0 ? html`<p class="quiet">${t("bulk.noneRecent")}</p>` : ""}
      <ul class="stack">${(changes ?? []).map((one) => html`<li class="row spread"><span>${named(one)} <small>${dated(one.created_at)} · ${t(`bulk.state_${one.state}`)}</small></span>
        ${canUndo(one) ? html`<button @click=${() => undo(one)}>${t("parts.undo")}</button>` : ""}</li>`)}</ul>`;
  });
}

function named({ change, changed }) {
  const kind = kindOf(change);
  if (kind === "delete") return t("bulk.deleted", { n: changed });
  const [tag] = Object.values(change);
  return t(`bulk.done_${kind}`, { n: changed }) + (typeof tag === "string" ? ` ${t("parts.quoted", { text: tagName(tag).text })}` : "");
}

const kindOf = (change) => {
  const [kind] = Object.keys(change);
  return kind === "excluded" && !change.excluded ? "included" : kind;
};

const askTag = (title) => openDialog(title, (close) => html`<form class="row" @submit=${(event) => {
  event.preventDefault();
  close(labelNamed(event.target.elements.tag.value.trim()));
}}><input name="tag" class="grow" autofocus required maxlength="200" list="all-tags" aria-label=${t("filter.tag")}><datalist id="all-tags">${knownTags().map((one) => html`<option value=${tagName(one).text}></option>`)}</datalist><button class="filled">${t("bulk.go")}</button></form>`);

/** The bar of what can be done with the chosen of these photos. */
export function bulkBar(photos) {
  const { isAll, picked } = photos.choice;
  const total = photos.timeline?.total ?? 0;
  const n = isAll ? total : picked.size;
  const tags = photos.filter?.all ?? [];
  const tag = tags.length === 1 ? tags[0] : null; // each of them has it
  const chosen = () => (isAll ? asJson(photos.filter) : { ids: [...picked] });
  const act = async (change) => {
    const filter = chosen();
    const isBegun = await apply(filter, change, (made, { state }) => photos.changed(made.delete && state === "done" ? filter : undefined));
    if (isBegun) photos.begun(filter);
  };
  const withTag = async (kind) => {
    const found = await askTag(t(`bulk.${kind}`));
    if (found) act({ [kind]: found });
  };
  const teach = () => {
    const { ids } = chosen();
    if (!ids || n < 3 || n > 10) return undoToast(t("bulk.teachNumber"));
    return go(link("labels", null, { photo: ids }));
  };
  return html`<div class="picked-bar row" role="region" aria-label=${t("bulk.title")}>
    <b>${t("bulk.chosen", { n })}</b>
    <details class="acts grow" ?open=${innerWidth > 640}><summary class="button">${t("bulk.acts")}</summary><div class="row">${isAll || n >= total ? "" : html`<button @click=${() => photos.choice.pickAll()}>${t("bulk.all", { n: total })}</button>`}
    ${scopeGate("upload", html`<span class="row">
      ${tag ? html`<button @click=${() => act({ remove_tag: tag })}>${t("bulk.removeNamed", { tag: tagName(tag).text })}</button>` : html`<button @click=${() => withTag("remove_tag")}>${t("bulk.remove_tag")}</button>`}
      <button @click=${() => withTag("add_tag")}>${t("bulk.add_tag")}</button>
      <button @click=${() => act({ excluded: true })}>${t("bulk.exclude")}</button>
      <button @click=${() => act({ excluded: false })}>${t("bulk.include")}</button>
      ${may("admin") ? html`<button @click=${teach}>${t("bulk.teach")}</button>` : ""}
      <button class="bad" @click=${() => act({ delete: true })}>${t("bulk.delete")}</button>
    </span>`)}</div></details>
    <button class="bare" aria-label=${t("bulk.clear")} @click=${() => photos.choice.clear()}>${icon("close")}</button>
  </div>`;
}
