// Directory jobs of the pipeline: progress, failures with their reasons, pause, resume, cancel.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, send } from "./api.js";
import { mark, pagedDialog, progress, reasonText } from "./marks.js";
import { confirmBy, problemStrip, scopeGate } from "./parts.js";
import { duration, number, t } from "./words.js";

const ENDED = ["done", "failed", "cancelled"];
const MARKS = {
  waiting: ["quiet", "–"], running: ["good", "▶"], paused: ["warn", "‖"], done: ["good", "✓"],
  failed: ["bad", "■"], cancelled: ["quiet", "×"],
};
const PAGE = 100;

/** Return the jobs as a part of the page: `take(jobs)` and `view()`. */
export function jobList(draw) {
  const state = {jobs: new Map(), problem: null};
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
    if (await confirmBy(t("jobs.cancel_sure", {directory: job.directory, n: left}), left)) {
      await act(job, "cancel");
    }
  };
  const take = (jobs) => jobs.forEach((job) => state.jobs.set(job.job_id, job));
  return {take, view: () => view([...state.jobs.values()], state.problem, {act, cancel})};
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
  const {tagged = 0, failed = 0} = job.images ?? {};
  const made = job.images ? tagged + failed : job.announced;
  const counts = job.total === null
    ? t("jobs.counting", {n: made})
    : t("jobs.progress", {made: number(made), total: number(job.total)});
  return html`<li class="stack">
    <strong>${job.directory}</strong> ${mark(...MARKS[job.state], t(`jobs.state_${job.state}`))}
    ${progress(made, job.total, t("jobs.of", {directory: job.directory}))}
    <span>${counts}
      ${failed ? html` · <button type="button" @click=${() => showFailures(job)}>
        ${t("jobs.failed_why", {n: failed})}</button>` : nothing}
      ${job.skipped ? html` · ${t("jobs.skipped", {n: job.skipped})}` : nothing}
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
  if (ENDED.includes(job.state) || !job.rate_per_s) {
    return nothing;
  }
  const rest = job.eta_s === null ? "" : ` · ${t("jobs.rest", {time: duration(job.eta_s)})}`;
  return html` · ${t("jobs.rate", {rate: number(Math.round(job.rate_per_s * 10) / 10)})}${rest}`;
}

/** Show a job's failures: how many of each reason, then the files, page by page. */
function showFailures(job) {
  pagedDialog(t("jobs.failures_of", { directory: job.directory }), (cursor) => get(`/jobs/${job.job_id}/failures`, { limit: PAGE, cursor }), (pages) => html`
    <ul>${Object.entries(pages[0]?.reasons ?? {}).map(([reason, n]) => html`<li><strong>${number(n)}</strong> ${reasonText(reason)}</li>`)}</ul>
    <ul class="files">${pages.flatMap((page) => page.failures).map((one) => html`<li>
      <a href="#/photos/${one.image_id}">${one.image_path}</a>
      <span class="quiet">${reasonText(one.reason)}${one.detail ? `: ${one.detail}` : ""}</span></li>`)}</ul>`);
}

