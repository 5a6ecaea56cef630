// Language and theme: what the reader chooses is remembered, else the system decides.
import { html } from "./lit/lit-html.js";
import { wear } from "./look.js";
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
