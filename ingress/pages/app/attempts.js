// The attempts to deliver one webhook: when, how long each part took, what came back, what comes next.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { countdown, mark, split, reasonText } from "./marks.js";
import { copyButton } from "./dialogs.js";
import { signatureDialog } from "./signature.js";
import { clock, date, duration, number, t } from "./words.js";

const PARTS = ["dns", "connect", "tls", "wait"];

export const deliveryView = (one) => html`<section class="card">
  <h3>${t("query.webhook")} <code>${one.url}</code></h3>
  <p class="row"><span class="quiet">webhook-id <code>${one.delivery_id}</code> · ${t("query.same_id")}</span>
    <button type="button" @click=${() => signatureDialog({ id: one.delivery_id })}>${t("signature.open")}</button></p>
  ${one.attempts.length ? html`<ol class="lines">${repeat(one.attempts, (each) => each.attempt, (each) => attempt(each, one))}
    ${next(one)}</ol>` : html`<ol class="lines">${next(one)}</ol>`}
</section>`;

function attempt(one, delivery) {
  const isGood = one.status >= 200 && one.status < 300;
  const isOpen = one.took_ms === null && !one.error && !one.status;
  return html`<li>
    <p class="row"><b>#${number(one.attempt)}</b>
      <span class="quiet">${t(one.is_manual ? "query.manual" : "query.auto")}</span>
      <time datetime=${one.started_at} title=${date(one.started_at)}>${clock(one.started_at)}</time>
      ${isOpen ? mark("note", "▶", t("query.under_way")) : mark(isGood ? "good" : "bad", isGood ? "✓" : "✕", outcome(one))}
      ${one.took_ms === null ? nothing : html`<span>${duration(one.took_ms / 1000)}</span>`}</p>
    ${times(one)}
    ${one.detail ? html`<p class="quiet" lang="en">${one.detail}</p>` : nothing}
    <div class="row">
      <details><summary>${t("query.request")}</summary>${request(one, delivery)}</details>
      ${one.headers?.length || one.body ? html`<details><summary>${t("query.response")}</summary>${response(one)}</details>` : nothing}
    </div>
  </li>`;
}

function outcome(one) {
  const status = one.status ? t("query.answered", { status: String(one.status) }) : "";
  const error = one.error && !(one.status && one.error.startsWith("http_")) ? reasonText(one.error) : "";
  const wished = one.headers?.find(([name]) => name.toLowerCase() === "retry-after")?.[1];
  return [status, error, wished && t("query.wished", { value: wished })].filter(Boolean).join(", ");
}

/** Where the time went: a bar, and the same as a table. */
function times(one) {
  const parts = PARTS.map((kind) => ({ kind, value: one[`${kind}_ms`] })).filter(({ value }) => value !== null && value !== undefined);
  if (!parts.length) return nothing;
  const named = parts.map((part) => ({ ...part, text: `${t(`query.part_${part.kind}`)} ${duration(part.value / 1000)}` }));
  const whole = Math.max(one.took_ms ?? 0, parts.reduce((sum, part) => sum + part.value, 0));
  return html`<div>${split(named, whole, named.map((part) => part.text).join(", "))}
    <details class="behind"><summary>${named.map((part) => html`<i class="key ${part.kind}"></i> ${part.text} `)}</summary>
      <table><thead><tr><th scope="col">${t("query.part")}</th><th scope="col">ms</th></tr></thead>
        <tbody>${named.map((part) => html`<tr><td>${t(`query.part_${part.kind}`)}</td><td>${number(part.value)}</td></tr>`)}</tbody></table>
    </details></div>`;
}

function request(one, delivery) {
  const text = [
    `curl -X POST '${delivery.url.replaceAll("'", "%27")}'`,
    "-H 'content-type: application/json'",
    `-H 'webhook-id: ${delivery.delivery_id}'`,
    `-H 'webhook-timestamp: ${Math.floor(Date.parse(one.started_at) / 1000)}'`,
    "-H \"webhook-signature: $SIGNATURE\"",
    "--data-binary @body.json",
  ].join(" \\\n  ");
  return html`<p class="quiet">${t("query.request_note")}</p>
    <div class="snippet"><pre tabindex="0" role="group" aria-label="curl">${text}</pre>${copyButton(text)}</div>`;
}

function response(one) {
  return html`<dl>${(one.headers ?? []).map(([name, value]) => html`<dt><code>${name}</code></dt><dd><code>${value}</code></dd>`)}</dl>
    ${one.body ? html`<pre tabindex="0" role="group" aria-label=${t("query.response")}>${one.body}</pre>` : html`<p class="quiet">${t("query.no_body")}</p>`}
    ${one.body_is_cut ? html`<p class="quiet">${t("query.body_cut")}</p>` : nothing}`;
}

/** What comes next and why not now. */
function next(one) {
  if (one.state === "delivered") return html`<li class="next">${mark("good", "✓", t("queries.state_delivered"))}</li>`;
  if (one.state === "stopped") return html`<li class="next">${mark("quiet", "×", t("queries.state_stopped"))}</li>`;
  if (one.state === "given_up") {
    return html`<li class="next">${mark("bad", "■", t("query.given_up", { reason: one.reason ? reasonText(one.reason) : "" }))}</li>`;
  }
  if (one.state === "in_flight") return html`<li class="next">${mark("note", "▶", t("query.under_way"))}</li>`;
  const at = one.next_at ?? one.waits_until;
  return html`<li class="next">
    ${mark("warn", "↻", at ? html`${t("query.next", { attempt: one.attempt + 1 })} ${countdown(at)}` : t("queries.state_waiting"))}
    ${one.is_manual ? html`<span class="quiet">${t("query.manual")}</span>` : nothing}
    ${one.waits_for ? html`<span>${t(`query.waits.${one.waits_for}`)}</span>` : nothing}
  </li>`;
}
