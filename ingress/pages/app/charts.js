// Charts as SVG, each with its figures as a table behind it, for eyes that can't read bars.
import { html, svg } from "./lit/lit-html.js";
import { number, percent, t } from "./words.js";

const behind = (head, rows) => html`<details class="behind">
  <summary>${t("parts.asTable")}</summary>
  <table>
    <thead><tr>${head.map((one) => html`<th scope="col">${one}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((one) => html`<td>${one}</td>`)}</tr>`)}</tbody>
  </table>
</details>`;

/** One bar for a share in 0..1; its figure stands beside it. */
export const bar = (share, kind = "") => html`<svg class="meter ${kind}" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
  <rect class="meter-ground" width="100" height="8"></rect>
  <rect class="meter-fill" width=${Math.max(0, Math.min(1, share)) * 100} height="8"></rect>
</svg>`;

/** A histogram of counts over equal steps of 0..1 (or of what `labelOf(index)` says). */
export function histogram(counts, { title = "", labelOf } = {}) {
  const most = Math.max(1, ...counts);
  const step = 100 / Math.max(1, counts.length);
  const label = labelOf ?? ((at) => `${percent(at / counts.length)} – ${percent((at + 1) / counts.length)}`);
  return html`<figure class="chart">
    <svg viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${title}>
      ${counts.map((count, at) => {
        const height = (count / most) * 29;
        return svg`<rect class="meter-fill" x=${at * step + 0.4} y=${30 - height} width=${Math.max(0.2, step - 0.8)} height=${height}><title>${label(at)}: ${number(count)}</title></rect>`;
      })}
    </svg>
    ${behind([t("parts.range"), t("parts.count")], counts.map((count, at) => [label(at), number(count)]))}
  </figure>`;
}

/** Grounds of a line where nothing was measured. */
function gapsOf(values, x) {
  const half = x(0.5);
  const grounds = [];
  values.forEach((one, at) => {
    if (one !== null) return;
    if (at && values[at - 1] === null) grounds.at(-1).to = at;
    else grounds.push({ from: at, to: at });
  });
  return grounds.map(({ from, to }) => {
    const [left, right] = [Math.max(0, x(from) - half), Math.min(100, x(to) + half)];
    return svg`<rect class="gap" x=${left.toFixed(1)} width=${(right - left).toFixed(1)} height="24"><title>${t("parts.noSample")}</title></rect>`;
  });
}

/** A line through values of equal steps; where one is null nothing was measured. `textOf` writes a value with its unit. */
export function sparkline(values, { title = "", textOf = number, labelOf = (at) => at + 1, kind = "" } = {}) {
  const known = values.filter((one) => one !== null);
  const most = Math.max(1e-9, ...known);
  const x = (at) => (at / Math.max(1, values.length - 1)) * 100;
  let path = "";
  values.forEach((one, at) => {
    if (one === null) return;
    const isStart = at === 0 || values[at - 1] === null;
    path += `${isStart ? "M" : "L"}${x(at).toFixed(1)} ${(23 - (one / most) * 21).toFixed(1)}${isStart ? "h0" : ""}`; // one alone is a dot
  });
  const lacking = values.length - known.length;
  const range = known.length ? `${textOf(Math.min(...known))} – ${textOf(Math.max(...known))}` : t("parts.noFigures");
  const summary = [title, range, ...(known.length && lacking ? [`(${t("parts.lacking", { n: lacking, of: values.length })})`] : [])].join(" ");
  return html`<figure class="chart spark ${kind}">
    <svg viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${summary}>
      ${gapsOf(values, x)}
      ${svg`<path class="line" d=${path} vector-effect="non-scaling-stroke"></path>`}
    </svg>
    ${behind([t("parts.time"), t("parts.value")], values.map((one, at) => [labelOf(at), one === null ? t("parts.noSample") : textOf(one)]))}
  </figure>`;
}
