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

/** A line through values of equal steps; null leaves a gap. `textOf` writes a value with its unit. */
export function sparkline(values, { title = "", textOf = number, labelOf = (at) => at + 1, kind = "" } = {}) {
  const known = values.filter((one) => one !== null);
  const most = Math.max(1e-9, ...known);
  const x = (at) => (at / Math.max(1, values.length - 1)) * 100;
  let path = "";
  values.forEach((one, at) => {
    if (one === null) return;
    const isStart = at === 0 || values[at - 1] === null;
    path += `${isStart ? "M" : "L"}${x(at).toFixed(1)} ${(23 - (one / most) * 21).toFixed(1)}`;
  });
  const summary = known.length ? `${title} ${textOf(Math.min(...known))} – ${textOf(most)}` : `${title} ${t("parts.noFigures")}`;
  return html`<figure class="chart spark ${kind}">
    <svg viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${summary}>
      ${svg`<path class="line" d=${path || "M0 23"} vector-effect="non-scaling-stroke"></path>`}
    </svg>
    ${behind([t("parts.time"), t("parts.value")], values.map((one, at) => [labelOf(at), one === null ? "–" : textOf(one)]))}
  </figure>`;
}
