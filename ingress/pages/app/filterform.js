// The filter as a form, and filters kept under a name.
import { html, nothing } from "./lit/lit-html.js";
import { get, send } from "./api.js";
import { CHOICES, LISTS, asJson, dayAfter, filterChips, isEmpty, lastDay, without } from "./filters.js";
import { copyButton, openDialog } from "./dialogs.js";
import { failure, icon } from "./parts.js";
import { reasonOf } from "./tiles.js";
import { knownTags, percent, t, tagName } from "./words.js";

const listed = (fetched, pick) => fetched.then(pick, () => []);

/** Opens the form; resolves to the changed filter, or null. */
export async function askFilter(filter) {
  let now = { ...filter };
  const suggested = { tags: knownTags(), cameras: [], reasons: [] };
  let redraw = () => {};
  listed(get("/cameras"), (found) => found.cameras).then((cameras) => {
    suggested.cameras = cameras;
    redraw();
  });
  listed(get("/stats"), (found) => found.failures).then((failures) => {
    suggested.reasons = failures;
    redraw();
  });
  return openDialog(t("filter.title"), (close, draw) => {
    redraw = draw;
    const put = (name, value) => {
      now = value ? { ...without(now, name), [name]: value } : without(now, name);
      draw();
    };
    const add = (event) => {
      event.preventDefault();
      const form = event.target.closest(".add");
      const tag = form.querySelector("input").value.trim();
      const kind = form.querySelector("select").value;
      if (!tag) return;
      const known = suggested.tags.find((one) => [one, tagName(one).text, tagName(one).other].some((name) => name?.toLowerCase() === tag.toLowerCase())) ?? tag;
      now = { ...now, [kind]: [...new Set([...(now[kind] ?? []), known])] };
      form.querySelector("input").value = "";
      draw();
    };
    const choice = (name) => html`<label>${t(`filter.${name}`)}<select @change=${(event) => put(name, event.target.value)}>${CHOICES[name].map((value) => html`<option value=${value} ?selected=${(now[name] ?? "") === value}>${value === "" ? t("filter.whatever") : name === "status" ? t(`photos.status_${value}`) : t(`filter.${name}_${value}`)}</option>`)}</select></label>`;
    return html`<form class="form" @submit=${(event) => {
      event.preventDefault();
      add({ target: event.target.querySelector(".add input"), preventDefault() {} });
      close(now);
    }}>
      <fieldset class="full"><legend>${t("filter.tags")}</legend>
        ${filterChips(Object.fromEntries(LISTS.filter((one) => now[one]).map((one) => [one, now[one]])), (tags) => {
          for (const name of LISTS) delete now[name];
          now = { ...now, ...tags };
          draw();
        })}
        <div class="row add">
          <select aria-label=${t("filter.kind")}>${LISTS.map((one) => html`<option value=${one}>${t(`filter.kind_${one}`)}</option>`)}</select>
          <input list="tags" class="grow" maxlength="200" aria-label=${t("filter.tag")} placeholder=${t("filter.tag")}>
          <datalist id="tags">${suggested.tags.map((one) => html`<option value=${tagName(one).text}></option>`)}</datalist>
          <button type="button" @click=${add}>${t("filter.add")}</button>
        </div>
      </fieldset>
      <label>${t("filter.from")}<input type="date" .value=${now.from?.slice(0, 10) ?? ""} @change=${(event) => put("from", event.target.value)}></label>
      <label>${t("filter.to")}<input type="date" .value=${now.to ? lastDay(now.to) : ""} @change=${(event) => put("to", event.target.value && dayAfter(event.target.value))}></label>
      <label class="full">${t("filter.min_score")} <output>${percent(Number(now.min_score ?? 0))}</output><input type="range" min="0" max="1" step="0.05" .value=${now.min_score ?? "0"} @input=${(event) => put("min_score", event.target.value === "0" ? "" : event.target.value)}></label>
      <label>${t("filter.folder")}<input list="folders" .value=${now.folder ?? ""} @input=${fillFolders} @change=${(event) => put("folder", event.target.value)}><datalist id="folders"></datalist></label>
      <label>${t("filter.camera")}<select @change=${(event) => put("camera", event.target.value)}><option value="">${t("filter.whatever")}</option>${suggested.cameras.map(({ camera, images }) => html`<option value=${camera} ?selected=${now.camera === camera}>${camera} (${images})</option>`)}</select></label>
      ${choice("status")}
      ${now.status === "failed" ? html`<label>${t("filter.reason")}<select @change=${(event) => put("reason", event.target.value)}><option value="">${t("filter.whatever")}</option>${suggested.reasons.map(({ reason, images }) => html`<option value=${reason} ?selected=${now.reason === reason}>${reasonOf({ code: reason, title: reason })} (${images})</option>`)}</select></label>` : nothing}
      ${choice("hand_tagged")} ${choice("has_tags")} ${choice("excluded")}
      <div class="row end full"><button type="button" @click=${() => close({})}>${t("filter.clear")}</button><button class="filled">${t("filter.show")}</button></div>
    </form>`;
  });
}

let asking = null; // {under, abort} of the request for folders made last

async function fillFolders(event) {
  const under = event.target.value.replace(/\/?[^/]*$/, "");
  const list = event.target.nextElementSibling;
  if (asking?.under === under && asking.list === list) return;
  asking?.abort.abort();
  const mine = (asking = { under, list, abort: new AbortController() });
  try {
    const { folders } = await get("/folders", { under }, { signal: mine.abort.signal });
    list.replaceChildren(...folders.map(({ folder }) => Object.assign(document.createElement("option"), { value: folder })));
  } catch {
    if (asking === mine) asking = null; // typing works without; the next key asks again
  }
}

/** Saved filters: chosen, saved under a name, forgotten. Resolves to the chosen one, or null. */
export async function askSaved(filter) {
  let saved = [];
  let problem = null;
  const load = async (draw) => {
    try {
      saved = (await get("/filters")).filters;
    } catch (error) {
      problem = error;
    }
    draw();
  };
  let isLoaded = false;
  const chosen = await openDialog(t("filter.saved"), (close, draw) => {
    if (!isLoaded) {
      isLoaded = true;
      load(draw);
    }
    const act = async (work) => {
      try {
        await work();
        problem = null;
      } catch (error) {
        problem = error;
      }
      await load(draw);
    };
    const save = (event) => {
      event.preventDefault();
      const name = event.target.elements.name.value.trim();
      if (name) act(() => send("PUT", `/filters/${encodeURIComponent(name)}`, { filter: asJson(filter) }));
      event.target.reset();
    };
    return html`${problem ? html`<p class="bad" role="alert">${failure(problem)}</p>` : nothing}
      <ul class="stack">${saved.map((one) => html`<li class="row spread"><button class="quiet-button" @click=${() => close(one.filter)}>${one.name}</button>
        <button class="bare" aria-label=${t("parts.removeNamed", { name: one.name })} @click=${() => act(() => send("DELETE", `/filters/${encodeURIComponent(one.name)}`))}>${icon("close")}</button></li>`)}</ul>
      ${saved.length ? nothing : html`<p class="quiet">${t("filter.noneSaved")}</p>`}
      ${isEmpty(filter) ? nothing : html`<form class="row" @submit=${save}><input name="name" class="grow" required maxlength="100" aria-label=${t("filter.name")} placeholder=${t("filter.name")}><button>${t("filter.save")}</button></form>`}
      <p class="quiet">${t("filter.shareNote")}</p>
      <div class="snippet"><pre tabindex="0" role="group" aria-label=${t("filter.share")}>${location.href}</pre>${copyButton(location.href)}</div>`;
  });
  return chosen;
}
