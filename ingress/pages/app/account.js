// Who is signed in, and the settings of this browser.
import { html, nothing } from "./lit/lit-html.js";
import * as api from "./api.js";
import { copyButton, openDialog } from "./dialogs.js";
import { connection, pause } from "./live.js";
import { languageMenu, themeMenu } from "./menus.js";
import { failure, undoToast } from "./parts.js";
import { ago, duration, remember, remembered, t } from "./words.js";

/** The menu; `renew` draws all anew, `shell` the bar, `tray` returns the one of uploads. */
export function account({ renew, shell, tray }) {
  const me = api.session();
  const { state, heardAt } = connection();
  return html`<h2>${me.owner}</h2>
    <p class="quiet">${t("shell.scopes", { scopes: me.scopes.join(", ") })}</p>
    <p class="quiet">${t(`shell.connection_${state}`)}${heardAt ? html` · ${ago(new Date(heardAt).toISOString())}` : nothing}</p>
    <p class="quiet">${t("shell.model", { model: me.instance.model })}</p>
    <p><label><input type="checkbox" .checked=${state === "paused"} @change=${(event) => pause(event.target.checked)}> ${t("shell.pause")}</label><br>
      <label><input type="checkbox" .checked=${remembered("keys") !== "off"} @change=${(event) => remember("keys", event.target.checked ? null : "off")}> ${t("shell.keys")}</label></p>
    <h3>${t("shell.language")}</h3>${languageMenu(renew)}
    <h3>${t("shell.theme")}</h3>${themeMenu(shell)}
    <div class="row">
      <button @click=${share}>${t("shell.otherDevice")}</button>
      <button @click=${() => out(tray)}>${t("shell.signOut")}</button>
    </div>`;
}

async function share() {
  try {
    const { url, expires_at: until } = await api.send("POST", "/session/link");
    openDialog(t("shell.otherDevice"), () => html`<p>${t("shell.linkNote", { time: duration((new Date(until) - Date.now()) / 1000) })}</p><div class="snippet"><pre tabindex="0" role="group" aria-label=${t("shell.otherDevice")}>${url}</pre>${copyButton(url)}</div>`);
  } catch (problem) {
    undoToast(failure(problem));
  }
}

async function out(tray) {
  const { forget } = tray() ?? {}; // with the session the tray goes
  try {
    await api.leave();
    await forget?.();
  } catch (problem) {
    undoToast(failure(problem));
  }
}
