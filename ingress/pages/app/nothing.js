// What Photos shows where there is nothing to show: what to do next.
import { html, nothing } from "./lit/lit-html.js";
import { may, session } from "./api.js";
import { loadWork } from "./look.js";
import { icon } from "./parts.js";
import { t } from "./words.js";

const COMMAND = "photo-archive images ~/Pictures";

export const noMatch = (clear) => html`<div class="empty"><h2>${t("photos.noMatch")}</h2><p>${t("photos.noMatchHelp")}</p><div class="row"><button class="filled" @click=${clear}>${t("filter.clear")}</button></div></div>`;

/** The first thing that a newcomer meets: a drop zone, and two more ways in. */
export function emptyArchive() {
  const base = session().instance.base_url || location.origin;
  const choose = async (asFolder) => (await Promise.all([import("./upload.js"), loadWork()]))[0].choose(asFolder);
  return html`<div class="empty drop-zone">
    ${icon("upload")}
    <h2>${t("photos.empty")}</h2>
    <p>${t("photos.emptyHelp")}</p>
    <div class="row">
      <button class="filled" ?disabled=${!may("upload")} @click=${() => choose(false)}>${t("photos.chooseFiles")}</button>
      <button ?disabled=${!may("upload")} @click=${() => choose(true)}>${t("photos.chooseFolder")}</button>
    </div>
    ${may("upload") ? nothing : html`<p class="quiet">${t("parts.needsScope", { scope: "upload" })}</p>`}
    <p>${t("photos.emptyCli")}</p>
    <pre>${COMMAND}</pre>
    <pre>curl -H "X-API-Key: $KEY" -F file=@photo.jpg ${base}/images/upload</pre>
  </div>`;
}
