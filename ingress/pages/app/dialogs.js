// Dialogs: opened, asked, and the very request on display as a command.
import { html, render } from "./lit/lit-html.js";
import { loadWork } from "./look.js";
import { icon } from "./parts.js";
import { queryOf } from "./routing.js";
import { t } from "./words.js";

export function copyButton(text) {
  const copy = async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = t("parts.copied");
    } catch {
      // Clipboards are closed on plain http: select it, so that a key press copies it.
      getSelection().selectAllChildren(button.previousElementSibling ?? button);
      button.textContent = t("parts.selected");
    }
  };
  return html`<button @click=${copy}>${t("parts.copy")}</button>`;
}

let dialogs = 0;

/** Opens a dialog; `template(close)` gives its content, `close(value)` ends it. Resolves to the value. */
export function openDialog(title, template, { kind = "" } = {}) {
  const dialog = document.createElement("dialog");
  dialog.className = kind;
  const id = `dialog-${(dialogs += 1)}`;
  let value = null;
  const close = (given = null) => {
    value = given;
    dialog.close();
  };
  const draw = () => render(html`<header class="row spread"><h2 id=${id}>${title}</h2><button class="bare" aria-label=${t("parts.close")} @click=${() => close()}>${icon("close")}</button></header>
    <div class="dialog-body">${template(close, draw)}</div>`, dialog);
  dialog.setAttribute("aria-labelledby", id);
  draw();
  document.body.append(dialog);
  let isBeside = false; // the press began beside the dialog: its own edge, and a drag that ends outside, close nothing
  const lies = ({ target, clientX: x, clientY: y }) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    return target === dialog && (x < left || x > right || y < top || y > bottom);
  };
  dialog.addEventListener("pointerdown", (event) => {
    isBeside = lies(event);
  });
  dialog.addEventListener("click", (event) => isBeside && lies(event) && close());
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(value);
    });
  });
}

/** Asks once, with the count; resolves to whether it shall be done. */
export const confirmBy = (text, count = null, { action = t("parts.yes"), kind = "bad" } = {}) => openDialog(
  count === null ? t("parts.sure") : t("parts.sureOf", { n: count }),
  (close) => html`<p>${text}</p><div class="row end"><button autofocus @click=${() => close(false)}>${t("parts.no")}</button><button class="filled ${kind}" @click=${() => close(true)}>${action}</button></div>`,
).then(Boolean);

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** The same request for a terminal. `$KEY` stands for the key, which this page never has. */
export function curlOf(method, path, params = {}, body = undefined) {
  const query = [...queryOf(params)].map(([name, value]) => `--data-urlencode ${quoted(`${name}=${value}`)}`);
  const parts = ["curl", '-H "X-API-Key: $KEY"'];
  if (query.length) parts.push("-G", ...query);
  if (method !== "GET") parts.push("-X", method);
  if (body !== undefined) parts.push("--json", quoted(JSON.stringify(body)));
  return [...parts, quoted(location.origin + path)].join(" ");
}

/** Shows a request as `curl` and, where there is one, as a command. */
export async function showCommand({ method = "GET", path, params, body, cli }) {
  await loadWork();
  const lines = [["curl", curlOf(method, path, params, body)], ...(cli ? [["photo-archive", cli]] : [])];
  openDialog(t("parts.api"), () => html`<p>${t("parts.apiNote")}</p>
    ${lines.map(([name, text]) => html`<h3>${name}</h3><div class="snippet"><pre tabindex="0" role="group" aria-label=${name}>${text}</pre>${copyButton(text)}</div>`)}`);
}
