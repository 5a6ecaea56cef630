// Search: how the words are read, the photos they find, and the sum behind each place.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, session } from "./api.js";
import { askForm } from "./ask.js";
import { explained, lemmaChips, sumOf } from "./explain.js";
import { filterOf } from "./filters.js";
import { dialog, wordsOf } from "./marks.js";
import { bar } from "./charts.js";
import { hits } from "./neighbours.js";
import { openDialog } from "./dialogs.js";
import { apiButton, failure, problemStrip, scopeGate } from "./parts.js";
import { thumb } from "./pieces.js";
import { go, link } from "./routing.js";
import { describe } from "./tiles.js";
import { date, day, knownTags, t, tagName } from "./words.js";

const PAGE = 60;
const SHOWN_TAGS = 14; // where no label is near: some of those that there are
const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;
const EXAMPLES = { en: ["cat", "dog on the beach", "children party"], ru: ["кошка", "собака на пляже", "дети на празднике"] };

export async function open(root, place) {
  const screen = new Search(root);
  screen.update(place);
  return screen;
}

class Search {
  constructor(root) {
    Object.assign(this, { root, images: [], words: [], next: null, total: null, problem: null, isBusy: false });
  }

  close() {
    this.abort?.abort();
  }

  update(place) {
    const filter = filterOf(place.params);
    const key = JSON.stringify(filter);
    if (key === this.key) return;
    Object.assign(this, { key, filter, text: place.params.get("text") ?? "", next: null });
    this.load();
  }

  // Old hits stay, dimmed, until the new ones are there.
  async load(isMore = false) {
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    if (!this.text) {
      Object.assign(this, { images: [], words: [], isDone: false });
      return this.draw();
    }
    this.isBusy = true;
    this.draw();
    try {
      const [lemmas, page] = await Promise.all([
        isMore ? null : get("/lemmas", { text: this.text }, { signal }),
        get("/images", { ...this.filter, total: "true", limit: PAGE, cursor: isMore ? this.next : null }, { signal }),
      ]);
      if (lemmas) this.words = wordsOf(lemmas);
      Object.assign(this, { images: isMore ? [...this.images, ...page.images] : page.images, next: page.next, total: page.total, matched: page.matched, problem: null, isDone: true });
      Object.assign(hits, { key: JSON.stringify(this.filter), ids: this.images.map((one) => one.image_id), total: this.total?.images ?? this.images.length });
    } catch (problem) {
      if (problem.name === "AbortError") return undefined;
      this.problem = problem;
    }
    this.isBusy = false;
    return this.draw();
  }

  draw() {
    const { filter, total } = this;
    render(html`<h1>${this.text ? t("parts.quoted", { text: this.text }) : t("shell.search")}</h1>
      ${this.text ? nothing : this.#start()}
      ${problemStrip(this.problem, () => this.load())}
      ${this.words.length ? html`<section class="card read"><h2>${t("search.readAs")}</h2>${lemmaChips(this.words)}</section>` : nothing}
      ${this.text ? html`<div class="row actions">
        <b role="status">${this.isBusy ? t("photos.loading") : total ? t(total.is_exact ? "photos.count" : "photos.totalAbout", { n: total.images }) : nothing}</b><span class="grow"></span>
        <button @click=${() => this.explain()}>${t("search.explainPhoto")}</button>
        ${scopeGate("query", html`<button @click=${() => this.ask()}>${t("search.toWebhook")}</button>`)}
        ${apiButton(() => ({ method: "GET", path: "/images", params: { ...filter, limit: PAGE } }))}
      </div>` : nothing}
      <ol class="hits ${this.isBusy && !this.next ? "dim" : ""}" aria-busy=${this.isBusy}>${repeat(this.images, (one) => one.image_id, (one) => this.#hit(one))}</ol>
      ${this.isDone && !this.images.length && !this.isBusy ? this.#nothing() : nothing}
      ${this.next ? html`<p class="row"><button ?disabled=${this.isBusy} @click=${() => this.load(true)}>${t("photos.more")}</button></p>` : nothing}`, this.root);
  }

  #hit(image) {
    const terms = image.terms ?? [];
    const named = this.matched ?? [];
    const missing = named.filter(({ tag }) => !terms.some((one) => one.tag === tag));
    return html`<li class="card hit">
      <a href=${link("photos", image.image_id, this.filter)}>${thumb(image, describe(image))}</a>
      <div class="grow">
        <a href=${link("photos", image.image_id, this.filter)}>${image.image_path.split("/").at(-1)}</a>
        <p>${sumOf(image.score, terms)}</p>
        ${bar((image.score ?? 0) / Math.max(1, named.length))}
        ${missing.length ? html`<small>${t("search.notAmong", { n: missing.length, tags: missing.map(({ tag }) => tagName(tag).text).join(", ") })}</small>` : nothing}
      </div>
      <span class="quiet">${image.exif_datetime ? t("search.taken", { day: day(image.exif_datetime) }) : t("search.arrived", { day: date(image.arrived_at) })}</span>
    </li>`;
  }

  #start() {
    return html`<div class="empty"><h2>${t("search.begin")}</h2><p>${t("search.beginHelp")}</p><div class="row">${[...EXAMPLES.en, ...EXAMPLES.ru].map((text) => html`<a class="button" href=${link("search", null, { text })}>${text}</a>`)}</div></div>`;
  }

  #nothing() {
    const unknown = this.words.filter((one) => !one.is_function && !one.tags.length);
    const asked = this.words.flatMap((one) => one.tags);
    const unseen = (session()?.instance.unknown_labels ?? []).filter((one) => asked.includes(one));
    const near = [...new Set(unknown.flatMap((one) => one.nearest ?? []))];
    return html`<div class="empty"><h2>${t("search.none")}</h2>
      ${unknown.length ? html`<p>${t("search.noneUnknown", { n: unknown.length, words: unknown.map((one) => one.text).join(", ") })} ${t(near.length ? "search.nearestLabels" : "search.byLabels")}</p>
        <div class="row">${(near.length ? near : knownTags().slice(0, SHOWN_TAGS)).map((tag) => html`<a class="button" href=${link("search", null, { text: tagName(tag).text })}>${tagName(tag).text}</a>`)}</div>` : html`<p>${asked.length ? t("search.noneKnown") : t("search.noneRead")}</p>`}
      ${unseen.length ? html`<p>${t("search.noneSeen", { tags: unseen.map((one) => tagName(one).text).join(", ") })}</p>` : nothing}
      <p><a href=${link("labels")}>${t("search.seeLabels")}</a></p></div>`;
  }

  /** Asks which photo was expected, and says why it is in its place or not there. */
  explain() {
    let recent = [];
    let found = null;
    let problem = null;
    let isAsked = false;
    openDialog(t("search.explainPhoto"), (close, draw) => {
      if (!isAsked) {
        isAsked = true;
        get("/images", { order: "arrival", limit: 24 }).then(({ images }) => {
          recent = images;
          draw();
        }, () => {});
      }
      const ask = async (id) => {
        try {
          const { text, ...rest } = this.filter;
          found = await get(`/images/${id}/explain`, { text, ...rest });
          problem = null;
        } catch (error) {
          problem = error;
        }
        draw();
      };
      return html`<p>${t("search.explainHelp")}</p>
        <form class="row" @submit=${(event) => {
          event.preventDefault();
          const id = ID.exec(event.target.elements.id.value)?.[0];
          if (id) ask(id);
        }}><input name="id" class="grow" autofocus required pattern=${`.*${ID.source}.*`} aria-label=${t("search.photoAddress")} placeholder=${t("search.photoAddress")}><button>${t("search.why")}</button></form>
        <div aria-live="polite">${problem ? html`<p class="bad">${failure(problem)}</p>` : nothing}${found ? explained(found) : nothing}</div>
        ${recent.length ? html`<h3>${t("search.orRecent")}</h3><div class="row">${recent.map((one) => html`<button class="bare" aria-label=${describe(one)} @click=${() => ask(one.image_id)}>${thumb(one, "")}</button>`)}</div>` : nothing}`;
    }, { kind: "wide" });
  }

  /** Sends these words as a query; what was just uploaded is waited for. */
  async ask() {
    const after = (await bring(() => import("./upload.js"))).lastToken();
    const asked = (id) => {
      shown.close();
      go(link("queries", id));
    };
    const form = askForm(() => shown.draw(), { text: this.text, after, asked });
    const shown = dialog(t("search.toWebhook"), form.view);
  }
}
