// Language and theme: what the reader chose is remembered, else the system decides. Styles.
import { html } from "./lit/lit-html.js";
import { language, remember, remembered, setLanguage, t } from "./words.js";

export const languageMenu = (after) => html`<span class="segmented" role="group" aria-label=${t("shell.language")}>
  ${[["en", "English"], ["ru", "Русский"]].map(([code, name]) => html`<button lang=${code} aria-pressed=${language() === code} @click=${async () => {
    await setLanguage(code);
    after();
  }}>${name}</button>`)}
</span>`;

export const themeMenu = (after) => html`<span class="segmented" role="group" aria-label=${t("shell.theme")}>
  ${["", "light", "dark"].map((theme) => html`<button aria-pressed=${(remembered("theme") ?? "") === theme} @click=${() => {
    remember("theme", theme || null);
    wear();
    after();
  }}>${t(`shell.theme_${theme || "system"}`)}</button>`)}
</span>`;

/** Puts the chosen theme on the page. */
export function wear() {
  const theme = remembered("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

let styles = null;

/** Loads the styles that all screens need but the first view. */
export const loadWorkStyles = () => (styles ??= new Promise((resolve, reject) => {
  const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("./work.css", import.meta.url).pathname, onload: resolve });
  sheet.onerror = () => {
    styles = null; // asked for again with the next screen
    sheet.remove();
    reject(new Error(sheet.href));
  };
  document.head.append(sheet);
}));
