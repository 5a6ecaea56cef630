// Directory jobs of the pipeline: progress, failures with their reasons, pause, resume, cancel.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, send } from "./api.js";
import { mark, pagedDialog, progress, reasonText } from "./marks.js";
import { confirmBy } from "./dialogs.js";
import { problemStrip, scopeGate } from "./parts.js";
import { duration, number, t } from "./words.js";

const ENDED = ["done", "failed", "cancelled"];
const MARKS = {
  waiting: ["quiet", "–"], running: ["good", "▶"], paused: ["warn", "‖"], done: ["good", "✓"],
  failed: ["bad", "■"], cancelled: ["quiet", "×"],
};
const PAGE = 100;
const LOOK_MS = 5000;

const QUIET_MS = 120_000;

/** How many of a job's photos were worked on. */
const madeOf = ({ images, announced }) => (images
  ? Object.entries(images).reduce((sum, [status, n]) => (status === "accepted" ? sum : sum + n), 0)
  : announced);

/** A job is done when all its photos are announced; they are tagged a little later. */
const isTagging = (job) => job.state === "done" && madeOf(job) < job.announced
  && (job.rate_per_s > 0 || Date.now() - Date.parse(job.finished_at) < QUIET_MS);

/** Return the jobs as a part of the page: `take(jobs)`, `view()` and `close()`. */
export function jobList(draw) {
  const state = { jobs: new Map(), problem: null };
  const act = async (job, verb) => {
    try {
      take([await send("POST", `/jobs/${job.job_id}/${verb}`)]);
      state.problem = null;
    } catch (problem) {
      state.problem = problem;
    }
    draw();
  };
  const cancel = async (job) => {
    const left = Math.max(0, (job.total ?? 0) - job.announced);
    if (await confirmBy(t("jobs.cancel_sure", { directory: job.directory, n: left }), left || null)) {
      await act(job, "cancel");
    }
  };
  const take = (jobs) => jobs.forEach((job) => state.jobs.set(job.job_id, job));
  // The stream leaves an ended job out after a minute, though its photos may still be under way.
  const timer = setInterval(async () => {
    for (const job of [...state.jobs.values()].filter(isTagging)) await get(`/jobs/${job.job_id}`).then((one) => take([one]), () => {});
  }, LOOK_MS);
  return { close: () => clearInterval(timer), take, view: () => view([...state.jobs.values()], state.problem, { act, cancel }) };
}

function view(jobs, problem, acts) {
  return html`<section>
    <h2>${t("jobs.title")}</h2>
    ${problem ? problemStrip(problem) : nothing}
    ${jobs.length ? html`<ul class="lines">${repeat(jobs, (job) => job.job_id, (job) => row(job, acts))}</ul>`
      : html`<p class="quiet">${t("jobs.none")}</p>`}
  </section>`;
}

function row(job, acts) {
  const failed = job.images?.failed ?? 0;
  const made = madeOf(job);
  const counts = job.total === null
    ? t("jobs.counting", { n: made })
    : t("jobs.progress", { made: number(made), total: number(job.total) });
  return html`<li class="stack">
    <strong>${job.directory}</strong> ${mark(...(isTagging(job) ? MARKS.running : MARKS[job.state]), t(`jobs.state_${isTagging(job) ? "tagging" : job.state}`))}
    ${progress(made, job.total, t("jobs.of", { directory: job.directory }))}
    <span>${counts}
      ${failed ? html` · <button type="button" @click=${() => showFailures(job)}>
        ${t("jobs.failed_why", { n: failed })}</button>` : nothing}
      ${job.skipped ? html` · ${t("jobs.skipped", { n: job.skipped })}` : nothing}
      ${pace(job)}</span>
    ${job.error ? html`<span class="bad">${job.error}</span>` : nothing}
    ${ENDED.includes(job.state) ? nothing : scopeGate("paths", html`<span class="row">
      ${job.state === "paused"
        ? html`<button type="button" @click=${() => acts.act(job, "resume")}>${t("jobs.resume")}</button>`
        : html`<button type="button" @click=${() => acts.act(job, "pause")}>${t("jobs.pause")}</button>`}
      <button type="button" @click=${() => acts.cancel(job)}>${t("jobs.cancel")}</button>
    </span>`)}
  </li>`;
}

function pace(job) {
  const { rate_per_s: rate, total } = job;
  if ((ENDED.includes(job.state) && !isTagging(job)) || !rate) return nothing;
  const left = job.eta_s ?? (total === null ? null : (total - madeOf(job)) / rate);
  const rest = left === null ? "" : ` · ${t("jobs.rest", { time: duration(left) })}`;
  return html` · ${t("jobs.rate", { rate: number(Math.round(rate * 10) / 10) })}${rest}`;
}

/** Show a job's failures: how many of each reason, then the files, page by page. */
function showFailures(job) {
  pagedDialog(t("jobs.failures_of", { directory: job.directory }), (cursor) => get(`/jobs/${job.job_id}/failures`, { limit: PAGE, cursor }), (pages) => html`
    <ul>${Object.entries(pages[0]?.reasons ?? {}).map(([reason, n]) => html`<li><strong>${number(n)}</strong> ${reasonText(reason)}</li>`)}</ul>
    <ul class="files">${pages.flatMap((page) => page.failures).map((one) => html`<li>
      <a href="#/photos/${one.image_id}">${one.image_path}</a>
      <span class="quiet">${reasonText(one.reason)}${one.detail ? `: ${one.detail}` : ""}</span></li>`)}</ul>`);
}

