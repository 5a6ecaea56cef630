// Pipeline: what moves, what waits, what is wrong and what to do about it.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, may } from "./api.js";
import { diagnose, OLD_AFTER_S, since } from "./diagnosis.js";
import { jobList } from "./jobs.js";
import { letterGroups } from "./letters.js";
import { watch } from "./live.js";
import { busy, mark, none, timed } from "./marks.js";
import { apiButton, problemStrip, say, scopeGate } from "./parts.js";
import { sparkline } from "./charts.js";
import { targetList } from "./targets.js";
import { duration, has, number, t, time } from "./words.js";

/** State of a stage or process: its colour's name and its shape, beside the word. */
const MARKS = {
  keeps_up: ["good", "✓"], moving: ["good", "✓"], idle: ["quiet", "–"], grows: ["warn", "▲"],
  stopped: ["bad", "■"], never: ["bad", "■"], halted: ["bad", "■"], alive_not_moving: ["bad", "■"], silent: ["bad", "?"],
};

export async function open(root) {
  const state = { doc: null, at: 0, problem: null, isHeld: false, told: "" };
  const rooms = {};
  const draw = () => render(page(state, rooms, acts), root);
  const take = (doc) => {
    if (state.isHeld && state.doc) {
      return;
    }
    Object.assign(state, { doc, at: Date.now(), problem: null });
    rooms.jobs.take(doc.jobs);
    rooms.letters.take(doc.dead_letters);
    rooms.targets.take(doc.targets, doc.stages.find((one) => one.name === "deliveries"));
    announce(state);
    draw();
  };
  const load = async () => {
    try {
      take(await get("/stats/pipeline"));
    } catch (problem) {
      state.problem = problem;
      draw();
    }
  };
  const acts = {
    load,
    hold() {
      state.isHeld = !state.isHeld;
      draw();
    },
  };
  Object.assign(rooms, {
    jobs: jobList(draw), letters: letterGroups(draw), targets: targetList(draw),
  });
  draw();
  if (may("read")) {
    await load();
  }
  const stops = [
    watch("pipeline", take),
    watch("jobs", ({ jobs }) => {
      if (state.isHeld) return;
      rooms.jobs.take(jobs);
      draw();
    }),
  ];
  const clock = setInterval(draw, 1000);
  return {
    update() {},
    close() {
      clearInterval(clock);
      rooms.jobs.close();
      stops.forEach((stop) => stop());
    },
  };
}

/** Return what time it is for the archive: the browser's clock may be wrong. */
const nowOf = ({ doc, at }) => Date.parse(doc.at) + Date.now() - at;

/** Tell by ear what is wrong, when that changes. */
function announce(state) {
  const [first] = diagnose(state.doc, nowOf(state));
  const told = first ? `${first.key} ${first.values.stage ?? first.values.target ?? ""}` : "well";
  if (state.told && told !== state.told) {
    say(first ? sentence(first) : t("pipeline.all_well"));
  }
  state.told = told;
}

function page(state, rooms, acts) {
  if (!may("read")) {
    return html`<h1>${t("pipeline.title")}</h1>${scopeGate("read", html`<p></p>`)}`;
  }
  const { doc } = state;
  const age = doc ? (Date.now() - state.at) / 1000 : 0;
  return html`
    <header class="row spread">
      <h1>${t("pipeline.title")}</h1>
      <span class="row">
        ${doc ? freshness(age, state) : nothing}
        <button type="button" aria-pressed=${state.isHeld} @click=${acts.hold}>
          ${t("pipeline.hold")}</button>
        ${apiButton(() => ({ path: "/stats/pipeline" }))}
      </span>
    </header>
    ${state.problem ? problemStrip(state.problem, acts.load) : nothing}
    ${doc ? figures(state, age > OLD_AFTER_S, rooms)
      : state.problem ? nothing : busy()}`;
}

function freshness(age, { isHeld, doc }) {
  const isOld = age > OLD_AFTER_S;
  const at = time(doc.at);
  return html`<span class=${isOld ? "warn old" : "quiet"}>
    ${isOld || isHeld ? t("pipeline.old", { at, age: duration(Math.floor(age)) }) : t("pipeline.live", { at })}
  </span>`;
}

function figures(state, isOld, rooms) {
  const { doc } = state;
  const now = nowOf(state);
  return html`<div class=${isOld ? "figures old" : "figures"}>
    ${verdict(diagnose(doc, now), doc)}
    ${stages(doc, now)}
    ${rooms.jobs.view()}
    ${rooms.targets.view()}
    ${rooms.letters.view()}
    ${processes(doc, now)}
  </div>`;
}

/** The plain sentence on top, so that a stranger knows within seconds. */
function verdict(found, doc) {
  const [first, ...others] = found;
  if (!first) {
    const waits = doc.stages.reduce((sum, one) => sum + (one.waiting ?? 0), 0);
    return html`<section class="card verdict good" aria-label=${t("pipeline.verdict")}>
      <p class="big" data-shape="✓">${t(waits ? "pipeline.all_well" : "pipeline.nothing_waits")}</p></section>`;
  }
  return html`<section class="card verdict ${first.level}" aria-label=${t("pipeline.verdict")}>
    <p class="big" data-shape=${shape(first.level)}>${sentence(first)}</p>
    <p>${advice(first)}</p>
    ${others.length ? html`<ul>${others.slice(0, 6).map((one) => html`<li data-shape=${shape(one.level)}>${sentence(one)}
      <span class="quiet">${advice(one)}</span></li>`)}</ul>` : nothing}
  </section>`;
}

function shape(level) {
  return { bad: "■", warn: "▲", note: "●" }[level];
}

function sentence({ key, values }) {
  return t(`pipeline.is_${key}`, worded(values));
}

function advice({ key, values }) {
  return t(key === "silent" && !values.n ? "pipeline.do_silent_idle" : `pipeline.do_${key}`, worded(values));
}

/** Return the values of a sentence with times and names in words. */
function worded(values) {
  return {
    ...values,
    ...(values.stages ? { stages: values.stages.map((one) => t(`pipeline.stage_${one}`)).join(", ") } : {}),
    ...(values.stage ? { stage: t(`pipeline.stage_${values.stage}`) } : {}),
    ...("s" in values ? { time: duration(Math.floor(values.s)) } : {}),
    ...("oldest" in values ? { oldest: values.oldest === null ? t("pipeline.unknown") : duration(values.oldest) } : {}),
    ...("from" in values ? { at: values.from ? time(values.from) : t("pipeline.unknown") } : {}),
  };
}

function stages(doc, now) {
  const hasGaps = doc.stages.some((one) => measured(one).includes(null));
  return html`<section>
    <h2>${t("pipeline.stages")}</h2>
    <table class="cards stages">
      <thead><tr>${["stage", "rates", "waiting", "oldest", "trend", "state"].map(
        (key) => html`<th scope="col">${t(`pipeline.col_${key}`)}</th>`)}</tr></thead>
      <tbody>${repeat(doc.stages, (one) => one.name, (one) => stage(one, now))}</tbody>
    </table>
    ${hasGaps ? html`<p class="quiet"><i class="key gap"></i> ${t("pipeline.gaps")}</p>` : nothing}
  </section>`;
}

const SAMPLE_MS = 15_000; // of one figure in a line, as `GET /stats/pipeline` has it

/** The figures of a stage's line; the present one comes within seconds, and is no gap before. */
const measured = ({ trend }) => (trend.at(-1) === null ? trend.slice(0, -1) : trend);

function stage(one, now) {
  const began = (at) => (Math.floor(now / SAMPLE_MS) - one.trend.length + 1 + at) * SAMPLE_MS;
  const name = t(`pipeline.stage_${one.name}`);
  const unknown = html`<span class="quiet">${t("pipeline.unknown")}</span>`;
  return html`<tr>
    <th scope="row">${name}</th>
    <td class="number" data-label=${t("pipeline.col_rates")}>${rate(one.in_per_s)} → ${rate(one.out_per_s)}</td>
    <td class="number" data-label=${t("pipeline.col_waiting")}>${one.waiting === null ? unknown : number(one.waiting)}</td>
    <td class="number" data-label=${t("pipeline.col_oldest")}>${one.oldest_waiting_s === null
      ? one.waiting ? unknown : none : duration(one.oldest_waiting_s)}</td>
    <td data-label=${t("pipeline.col_trend")}>${sparkline(measured(one), {
      title: t("pipeline.trend_of", { stage: name }), textOf: duration, labelOf: (at) => time(new Date(began(at)).toISOString()),
    })}</td>
    <td data-label=${t("pipeline.col_state")}>${stageState(one, now)}</td>
  </tr>`;
}

function stageState(one, now) {
  const grows = one.is_growing && one.state !== "grows"; // a stage that has stopped grows too
  return html`${stateOf(one.state === "stopped" && !one.since ? "never" : one.state, one.since, now)}
    ${grows ? mark("warn", MARKS.grows[1], t("pipeline.state_grows")) : nothing}
    ${one.detail ? html`<span class="quiet" lang="en">${one.detail}</span>` : nothing}`;
}

/** A state with the time since when it is so, and what it means where the word alone would not say. */
function stateOf(state, from, now) {
  const [kind, glyph] = MARKS[state] ?? ["quiet", "?"];
  const values = { at: from ? time(from) : t("pipeline.unknown"), time: duration(Math.floor(since(from, now))) };
  return html`${mark(kind, glyph, t(`pipeline.state_${state}`, values))}
    ${has(`pipeline.means_${state}`) ? html`<span class="quiet">${t(`pipeline.means_${state}`)}</span>` : nothing}`;
}

function rate(perSecond) {
  return perSecond === null ? none : number(Math.round(perSecond * 10) / 10);
}

/** Processes, those first that do not work. */
const byTrouble = (all) => [...all].sort((one, other) => (MARKS[other.state]?.[0] === "bad") - (MARKS[one.state]?.[0] === "bad"));

function processes(doc, now) {
  return html`<section>
    <h2>${t("pipeline.processes")}</h2>
    ${doc.processes.length ? html`<table class="cards">
      <thead><tr>${["process", "state", "progressed", "seen", "started"].map(
        (key) => html`<th scope="col">${t(`pipeline.col_${key}`)}</th>`)}</tr></thead>
      <tbody>${repeat(byTrouble(doc.processes), (one) => `${one.role} ${one.instance}`, (one) => process(one, now))}</tbody>
    </table>` : html`<p class="quiet">${t("pipeline.no_process")}</p>`}
  </section>`;
}

function process(one, now) {
  return html`<tr>
    <th scope="row">${one.role} <span class="quiet">${one.instance}</span></th>
    <td data-label=${t("pipeline.col_state")}>
      ${stateOf(one.state, one.seen_at, now)}
      ${one.detail ? html`<span class="quiet" lang="en">${one.detail}</span>` : nothing}</td>
    <td data-label=${t("pipeline.col_progressed")}>${timed(one.progressed_at, now)}</td>
    <td data-label=${t("pipeline.col_seen")}>${timed(one.seen_at, now)}</td>
    <td data-label=${t("pipeline.col_started")}>${timed(one.started_at, now)}</td>
  </tr>`;
}
