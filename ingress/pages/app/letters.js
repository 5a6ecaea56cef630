// Dead letters of the pipeline: grouped by reason, looked at, sent back after a dry run.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, lastOnly, may, send } from "./api.js";
import { dated, none, pagedDialog, reasonText } from "./marks.js";
import { confirmBy } from "./dialogs.js";
import { apiButton, problemStrip, say } from "./parts.js";
import { bytes, number, t } from "./words.js";

const PAGE = 20;
/** The most that one request puts back. */
const MOST = 1000;

/** Return the dead letters as a part of the page: `take(groups by reason)` and `view()`. */
export function letterGroups(draw) {
  const state = { byReason: [], groups: null, mark: "", problem: null, told: "" };
  const look = lastOnly(() => get("/dead-letters", { limit: 1 }));
  const load = async () => {
    try {
      state.groups = (await look()).groups;
      state.problem = null;
    } catch (problem) {
      state.problem = problem;
    }
    draw();
  };
  const take = (byReason) => {
    const mark = JSON.stringify(byReason);
    if (mark !== state.mark) {
      Object.assign(state, { byReason, mark });
      if (may("admin")) {
        load();
      }
    }
  };
  const sendBack = (group) => replay(group, state, () => load());
  return { take, view: () => view(state, { load, sendBack }) };
}

async function replay(group, state, after) {
  const body = { topic: group.topic, group: group.group, reason: group.reason, limit: MOST };
  try {
    const { matched, unreadable } = await send("POST", "/dead-letters/replay", { ...body, dry_run: true });
    const n = Object.values(matched).reduce((sum, one) => sum + one, 0);
    const will = Math.min(n, MOST);
    const gone = unreadable ? ` ${t("letters.unreadable", { n: unreadable })}` : "";
    if (!await confirmBy(t("letters.sure", { n: will, topic: group.topic }) + gone)) {
      return;
    }
    const done = await send("POST", "/dead-letters/replay", body, { idempotencyKey: crypto.randomUUID() });
    const count = (by) => Object.values(by).reduce((sum, one) => sum + one, 0);
    state.told = t("letters.done", { n: count(done.replayed), refused: number(count(done.refused)) });
    say(state.told);
    state.problem = null;
  } catch (problem) {
    state.problem = problem;
  }
  await after();
}

function view(state, acts) {
  const rows = state.groups ?? state.byReason;
  return html`<section>
    <h2>${t("letters.title")}</h2>
    ${state.problem ? problemStrip(state.problem, acts.load) : nothing}
    ${state.told ? html`<p class="good">✓ ${state.told}</p>` : nothing}
    ${rows.length ? html`<p class="quiet">${t("letters.what")} ${may("admin") ? nothing : t("parts.needsScope", { scope: "admin" })}</p>
      <ul class="lines">${repeat(rows, (one) => `${one.group} ${one.topic} ${one.reason}`, (one) => row(one, acts))}</ul>`
      : html`<p class="quiet">${t("letters.none")}</p>`}
  </section>`;
}

function row(one, acts) {
  return html`<li class="row">
    <strong>${number(one.letters)}</strong>
    <span class="grow">${reasonText(one.reason)} <code>${one.reason}</code>
      <span class="quiet">${one.topic ?? ""} · ${t("letters.newest")} ${dated(one.newest_at)}</span></span>
    <span class="row">
      <button type="button" ?disabled=${!may("admin")} @click=${() => look(one)}>${t("letters.look")}</button>
      <button type="button" ?disabled=${!one.topic} @click=${() => acts.sendBack(one)}>${t("letters.send_back", { n: one.letters })}</button>
      ${one.topic ? apiButton(() => ({
        method: "POST", path: "/dead-letters/replay", body: { topic: one.topic, group: one.group, reason: one.reason, dry_run: true },
        cli: `photo-archive letters replay ${one.topic} --group ${one.group} --reason ${one.reason} --dry-run`,
      })) : nothing}
    </span>
  </li>`;
}

/** Show the letters of one group: where each lay, its headers, why. */
function look({ topic, group, reason }) {
  pagedDialog(t("letters.of", { reason: reasonText(reason) }), (cursor) => get("/dead-letters", { topic, group, reason, limit: PAGE, cursor }),
    (pages) => pages.flatMap((page) => page.letters).map(letter));
}

function letter(one) {
  const rows = [[t("letters.key"), one.key ?? none], [t("letters.size"), bytes(one.size_bytes)], [t("letters.group"), one.group], ...Object.entries(one.headers)];
  return html`<details class="card">
    <summary>${one.topic} · ${one.partition} · ${one.offset} — ${one.detail || one.reason} <span class="quiet">${dated(one.set_aside_at)}</span></summary>
    <dl>${rows.map(([name, value]) => html`<dt>${name}</dt><dd><code>${value}</code></dd>`)}</dl></details>`;
}
