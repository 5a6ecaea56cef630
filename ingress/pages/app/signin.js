// The way in: by key, or by a link with a code that works once.
import { html, render } from "./lit/lit-html.js";
import { enter, get } from "./api.js";
import { loadWork } from "./look.js";
import { languageMenu, themeMenu } from "./menus.js";
import { confirmBy } from "./dialogs.js";
import { problemStrip } from "./parts.js";
import { t } from "./words.js";

/**
 * Swaps the code of a link `#code=…` for a session, and wipes it from the address and the history.
 * Where somebody else is signed in, the archive refuses once, and the reader is asked: else a link
 * would have one work, unaware, under another's name.
 */
export async function takeCode() {
  const code = /^#code=([\w.~-]+)/.exec(location.hash)?.[1];
  if (!code) return null;
  history.replaceState(null, "", location.pathname);
  try {
    await enter({ code });
  } catch (problem) {
    return problem.code === "signed_in_as_other" ? instead(code) : problem;
  }
  return null;
}

async function instead(code) {
  try {
    await loadWork();
    const { owner } = await get("/session");
    if (await confirmBy(t("signin.isOther", { owner }), null, { action: t("signin.leave"), kind: "" })) await enter({ code, leave: true });
  } catch (problem) {
    return problem;
  }
  return null;
}

/** Shows the form; calls `done` when the session is there. */
export function askForKey(root, done, first = null) {
  let problem = first;
  let isBusy = false;
  const submit = async (event) => {
    event.preventDefault();
    const field = event.target.elements.key;
    isBusy = true;
    draw();
    try {
      await enter({ key: field.value.trim() });
      field.value = "";
      done();
    } catch (error) {
      problem = error;
      isBusy = false;
      draw();
      field.focus();
      field.select();
    }
  };
  function draw() {
    render(html`<main class="door" id="main">
      <h1>${t("shell.title")}</h1>
      <p class="lead">${t("signin.what")}</p>
      ${problem && problem.code === "key_invalid" && first === problem ? html`<p class="strip warn" role="alert">${t("signin.linkUsed")}</p>` : problemStrip(problem)}
      <form class="card" @submit=${submit}>
        <input type="text" name="username" value="photo-archive" autocomplete="username" hidden>
        <label for="key">${t("signin.key")}</label>
        <input id="key" name="key" type="password" autocomplete="current-password" required spellcheck="false" aria-describedby="key-help">
        <p id="key-help" class="quiet">${t("signin.keyHelp")}</p>
        <button class="filled" aria-disabled=${isBusy}>${isBusy ? t("signin.busy") : t("signin.enter")}</button>
      </form>
      <section>
        <h2>${t("signin.linkTitle")}</h2>
        <p>${t("signin.linkHelp")}</p>
        <pre>photo-archive link</pre>
        <h2>${t("signin.noKeyTitle")}</h2>
        <p>${t("signin.noKeyHelp")}</p>
        <pre>photo-archive keys create --owner me --scopes upload,query,read</pre>
      </section>
      <div class="row">${languageMenu(() => draw())}${themeMenu(() => draw())}</div>
    </main>`, root);
  }
  draw();
  root.querySelector("#key").focus();
}
