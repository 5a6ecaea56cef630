// What is wrong in the pipeline and what to do, out of the document of `GET /stats/pipeline`.

/** Older figures are called old: the document comes once a second. */
export const OLD_AFTER_S = 6;
const RECENT_S = 3600;

/** Return the findings, the worst first: `{level, key, values}`; words are the page's. */
export function diagnose(doc, now) {
  const ofStages = together(doc.stages.flatMap((stage) => ofStage(stage, doc, now)));
  const blamed = new Set(ofStages.map(({ values }) => values.target));
  const found = [
    ...(doc.processes.length ? [] : [{ level: "bad", key: "nobody", values: {} }]),
    ...doc.halted.map(halted),
    ...ofStages,
    ...doc.processes.filter((one) => one.state === "alive_not_moving").map((one) => stuck(one, now)),
    ...doc.targets.filter((one) => !blamed.has(one.target)).flatMap(ofTarget),
    ...letters(doc.dead_letters, now),
  ];
  const order = ["bad", "warn", "note"];
  return found.sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));
}

/** Return seconds since a time; 0 where it is in the future. */
export function since(iso, now) {
  return iso ? Math.max(0, (now - Date.parse(iso)) / 1000) : 0;
}

function halted({ group, topic, partition, reason, since: from }) {
  return { level: "bad", key: "halted", values: { group, topic, partition, reason, from } };
}

function ofStage(stage, doc, now) {
  const waits = { n: stage.waiting ?? 0, oldest: stage.oldest_waiting_s };
  const values = { stage: stage.name, s: since(stage.since, now), from: stage.since, ...waits };
  if (stage.state === "silent") {
    return [{ level: "bad", key: "silent", values }];
  }
  // Who has never been heard of has no time of its end.
  if (stage.state === "stopped") return [{ level: waits.n ? "bad" : "warn", key: stage.since ? "stopped" : "never", values }];
  if (stage.state === "halted" && !doc.halted.length) {
    return [{ level: "bad", key: "stage_halted", values: { ...values, detail: stage.detail } }];
  }
  if (stage.state !== "grows") {
    return [];
  }
  const worst = stage.name === "deliveries" ? blame(doc.targets, waits.n) : null;
  return [worst
    ? { level: "warn", key: "one_target", values: { ...values, ...worst } }
    : { level: "warn", key: "grows", values }];
}

const BEAT_S = 6; // the parts of a process are heard of one after the other, every five seconds

/** One process ends, several stages stop: the one where most waits is told, the others are named. */
function together(found) {
  return found.flatMap((one) => {
    const isSame = ({ key, values }) => key === one.key && Math.abs(values.s - one.values.s) <= BEAT_S;
    const same = ["silent", "stopped", "never"].includes(one.key) ? found.filter(isSame) : [one];
    if (same.length < 2) return [one];
    const most = same.reduce((a, b) => (b.values.n > a.values.n ? b : a));
    if (one !== most) return [];
    const stages = same.filter((other) => other !== most).map(({ values }) => values.stage);
    return [one, { level: one.level, key: "same", values: { stages } }];
  });
}

/** Return the target that holds most of what waits, if one does. */
function blame(targets, total) {
  const [first] = [...targets].sort((a, b) => b.waiting - a.waiting);
  return first && total && first.waiting > total / 2
    ? { target: first.target, held: first.waiting, total }
    : null;
}

function stuck(one, now) {
  const values = { role: one.role, instance: one.instance, s: since(one.progressed_at, now), from: one.progressed_at };
  return { level: "bad", key: "stuck", values };
}

function ofTarget(one) {
  if (!one.waiting || !["broken", "disabled"].includes(one.state)) {
    return [];
  }
  const key = one.state === "broken" ? "target_broken" : "target_disabled";
  return [{ level: "warn", key, values: { target: one.target, n: one.waiting } }];
}

function letters(groups, now) {
  const recent = groups.filter((one) => since(one.newest_at, now) < RECENT_S);
  const n = recent.reduce((sum, one) => sum + one.letters, 0);
  return n ? [{ level: "note", key: "letters", values: { n, from: recent.map((one) => one.newest_at).sort().at(-1) } }] : [];
}
