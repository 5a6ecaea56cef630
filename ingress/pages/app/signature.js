// Checks a webhook's signature in this page; the secret is sent nowhere and kept nowhere.
import { html, nothing } from "./lit/lit-html.js";
import { dialog } from "./marks.js";
import { t } from "./words.js";

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** Whether one of the signatures (`v1,<base64> …`) is by the secret over `id.timestamp.body`. */
export async function isSigned(secret, { id, timestamp, body, signatures }) {
  const raw = bytesOf(secret.trim().replace(/^whsec_/, ""));
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const signed = new TextEncoder().encode(`${id.trim()}.${timestamp.trim()}.${body}`);
  const given = signatures.trim().split(/\s+/).filter((one) => one.startsWith("v1,"));
  const found = await Promise.all(given.map((one) => crypto.subtle.verify("HMAC", key, bytesOf(one.slice(3)), signed)));
  return found.some(Boolean);
}

/** Show how a signature is checked and check one: `given` is what is known of it. */
export function signatureDialog(given = {}) {
  const state = { verdict: null };
  const check = async (event) => {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.target));
    try {
      state.verdict = (await isSigned(form.secret, form)) ? "right" : "wrong";
    } catch {
      state.verdict = "unreadable";
    }
    shown.draw();
  };
  const field = (name) => html`<label>${t(`signature.${name}`)}
    <input name=${name} required autocomplete="off" spellcheck="false" .defaultValue=${given[name] ?? ""}></label>`;
  const shown = dialog(t("signature.title"), () => html`
    <p>${t("signature.how")}</p>
    <pre tabindex="0">base64(HMAC-SHA256(base64decode(secret − "whsec_"), id + "." + timestamp + "." + body))</pre>
    ${globalThis.crypto?.subtle ? html`<form class="stack" @submit=${check}>
      <label>${t("signature.secret")} <input name="secret" type="password" required autocomplete="off"></label>
      ${field("id")} ${field("timestamp")} ${field("signatures")}
      <label>${t("signature.body")}
        <textarea name="body" rows="5" required spellcheck="false" .defaultValue=${given.body ?? ""}></textarea></label>
      ${given.isCut ? html`<p class="warn">${t("signature.cut")}</p>` : nothing}
      <span class="row"><button class="filled">${t("signature.check")}</button>
        <span role="status">${state.verdict ? html`<b class=${state.verdict === "right" ? "good" : "bad"}>
          ${state.verdict === "right" ? "✓" : "✕"} ${t(`signature.${state.verdict}`)}</b>` : nothing}</span></span>
      <p class="quiet">${t("signature.stays")}</p>
    </form>` : html`<p class="warn">${t("signature.no_crypto")}</p>`}`);
}
