// One photo: picture, tags and how sure they are, what the file says, what is like it.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get, may, send, session } from "./api.js";
import { apply } from "./bulk.js";
import { explained } from "./explain.js";
import { filterOf } from "./filters.js";
import { watch } from "./live.js";
import { bar } from "./charts.js";
import { dated } from "./marks.js";
import { isHit, neighboursOf } from "./neighbours.js";
import { apiButton, chip, failure, icon, problemStrip, scopeGate, undoToast } from "./parts.js";
import { guess, thumb } from "./pieces.js";
import { go, link } from "./routing.js";
import { describe, reasonOf, undated } from "./tiles.js";
import { bytes, date, duration, has, isGuess, knownTags, labelNamed, number, percent, t, tagName } from "./words.js";

export async function open(root, place) {
  const screen = new Photo(root);
  await screen.update(place);
  return screen;
}

const ANSWERS = 5; // of the questions that it answers the last ones; all are in Queries

const isDecided = (image) => Boolean(image.hand_tags || image.added_tags?.length || image.rejected_tags?.length);

class Photo {
  constructor(root) {
    this.root = root;
    this.onKey = (event) => this.key(event);
    addEventListener("keydown", this.onKey);
    this.stops = [watch("images", ({ changed, truncated }, { isSnapshot }) => {
      if (isSnapshot || truncated || changed.some((one) => one.image_id === this.id)) this.look();
    })];
    // Of other queries nobody knows yet whether this photo is their answer: those are seen at the next opening.
    if (may("query")) this.stops.push(watch("queries", ({ changed }) => {
      if (changed.some((one) => this.answers.some((other) => other.query_id === one.query_id))) this.askAnswers();
    }));
  }

  close() {
    this.isClosed = true;
    for (const stop of this.stops) stop();
    removeEventListener("keydown", this.onKey);
    this.abort?.abort();
  }

  async update(place) {
    Object.assign(this, { id: place.id, params: place.params, image: null, problem: null, similar: null, answers: [], around: [null, null], at: null, isOriginal: false, hasPicture: true, hasLarge: true, explanation: null });
    this.abort?.abort();
    this.abort = new AbortController();
    this.draw();
    await this.look();
    this.draw();
    this.neighbours().catch(() => {});
    if (may("query")) this.askAnswers();
    get(`/images/${this.id}/similar`, {}, { signal: this.abort.signal }).then(({ images }) => {
      this.similar = images;
      this.draw();
    }, () => {});
  }

  async look() {
    const { id } = this;
    try {
      const image = await get(`/images/${id}`, {}, { signal: this.abort.signal });
      if (id !== this.id) return;
      this.image = image;
      this.problem = null;
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.problem = problem;
    }
    this.draw();
  }

  /** The last questions that it is the answer to, and where their webhooks stand. */
  async askAnswers() {
    const { id } = this;
    try {
      const { queries } = await get("/queries", { image: id, limit: ANSWERS }, { signal: this.abort.signal });
      if (id !== this.id) return;
      this.answers = queries;
      this.draw();
    } catch {
      /* the thread does without */
    }
  }

  async neighbours() {
    const { id, image } = this;
    const found = image && await neighboursOf(image, filterOf(this.params), this.abort.signal);
    if (!found || id !== this.id) return;
    this.at = { index: found.index, of: found.total };
    this.around = found.around;
    this.draw();
  }

  key(event) {
    if (event.target.closest?.("input, textarea, select, dialog, [popover], summary") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) go(this.#list());
    const to = { ArrowLeft: this.around[0], ArrowRight: this.around[1] }[event.key];
    if (to) go(link("photos", to, this.params), { replace: true });
  }

  // The photo may have been left meanwhile, by the time of an undo above all: `id` is the one that is meant.
  async patch(id, change, told = null) {
    try {
      const { image } = await send("PATCH", `/images/${id}`, change);
      if (id === this.id) this.image = image;
      this.draw();
      told?.();
    } catch (problem) {
      undoToast(failure(problem));
    }
  }

  change(change) {
    return apply({ ids: [this.id] }, change, () => this.look());
  }

  // Where people set all tags, theirs are changed; else the model's stay beside what is added.
  addTag(event) {
    event.preventDefault();
    const tag = labelNamed(event.target.elements.tag.value.trim());
    event.target.reset();
    return this.change({ add_tag: tag });
  }

  removeTag(tag) {
    if (!this.image.hand_tags) return this.change({ remove_tag: tag });
    const { id } = this;
    let gone = null;
    return this.#setTags(id, (tags) => {
      gone = tags.find((one) => one.tag === tag) ?? null;
      return gone && tags.filter((one) => one !== gone);
    }, () => undoToast(t("photo.tagRemoved", { tag: tagName(tag).text }), () => this.#setTags(id, (tags) => [...tags.filter((one) => one.tag !== tag), gone])));
  }

  // A PATCH says all tags: each is made of what the one before left, else of two the first is lost.
  #setTags(id, make, told = null) {
    this.turn = (this.turn ?? Promise.resolve()).then(async () => {
      try {
        const { hand_tags: now } = await get(`/images/${id}`);
        const tags = now && make(now); // else somebody was faster: it is shown
        if (tags) await this.patch(id, { tags }, told);
        else if (id === this.id) await this.look();
      } catch (problem) {
        undoToast(failure(problem));
      }
    });
    return this.turn;
  }

  async explain(event) {
    event.preventDefault();
    const text = event.target.elements.text.value.trim();
    if (!text) return;
    try {
      this.explanation = await get(`/images/${this.id}/explain`, { text }, { signal: this.abort.signal });
    } catch (problem) {
      if (problem.name !== "AbortError") undoToast(failure(problem));
    }
    this.draw();
  }

  draw() {
    const { image, problem } = this;
    const step = (id, name, drawing) => html`<a class="button" href=${id ? link("photos", id, this.params) : nothing} aria-disabled=${!id} @click=${(event) => {
      event.preventDefault();
      if (id) go(link("photos", id, this.params), { replace: true });
    }}>${icon(drawing)}<span class="sr">${t(name)}</span></a>`;
    render(html`<div class="row spread photo-head">
        <a class="button" href=${this.#list()}>${icon("back")}<span>${t(this.#isHit() ? "shell.search" : "shell.photos")}</span></a>
        <span class="row">${this.at ? html`<span class="quiet">${t("photo.place", { at: this.at.index + 1, n: this.at.of })}</span>` : nothing}${step(this.around[0], "photo.previous", "back")}${step(this.around[1], "photo.next", "next")}</span>
      </div>
      ${image ? nothing : html`<h1 class="sr">${t("shell.photo")}</h1>`}
      ${problemStrip(problem, () => this.look())}
      ${image ? this.#whole(image) : problem ? nothing : html`<p role="status">${t("photos.loading")}</p>`}`, this.root);
  }

  #isHit() {
    return isHit(this.id, filterOf(this.params));
  }

  // Where it was opened from.
  #list() {
    return link(this.#isHit() ? "search" : "photos", null, this.params);
  }

  #whole(image) {
    const name = image.image_path.split("/").at(-1);
    return html`<div class="photo-body">
      <figure>
        ${this.hasPicture && image.status !== "failed"
          ? html`<img class="large" alt=${describe(image)} src=${this.isOriginal ? `/images/${image.image_id}/content` : `/images/${image.image_id}/thumb?size=large${image.sha256 ? `&v=${image.sha256.slice(0, 12)}` : ""}`} width=${image.width ?? nothing} height=${image.height ?? nothing} @error=${() => this.unshown()}>`
          : html`<div class="empty card">${icon("warn")}<p>${t("photo.noPicture")}</p></div>`}
        <figcaption class="row"><button aria-pressed=${this.isOriginal} ?disabled=${!this.hasPicture || !this.hasLarge} @click=${() => {
          this.isOriginal = !this.isOriginal;
          this.draw();
        }}>${t("photo.original")}</button><a href=${`/images/${image.image_id}/content`} download=${name}>${t("photo.download")}</a></figcaption>
      </figure>
      <div class="stack">
        <h1>${name}</h1>
        ${this.#state(image)}
        ${this.#tags(image)}
        ${this.#facts(image)}
        ${this.#thread(image)}
        ${this.#similar()}
        ${this.#explain()}
        <details><summary>JSON</summary><pre tabindex="0" role="group" aria-label="JSON">${JSON.stringify(image, null, 2)}</pre></details>
        <div class="row">${scopeGate("upload", html`<span class="row">
          <button @click=${() => this.exclude(image)}>${t(image.excluded ? "bulk.include" : "bulk.exclude")}</button>
          <button class="bad" @click=${() => this.remove(image)}>${t("bulk.delete")}</button>
        </span>`)}${apiButton(() => ({ method: "GET", path: `/images/${image.image_id}` }))}</div>
      </div>
    </div>`;
  }

  exclude({ image_id: id, excluded }) {
    this.patch(id, { excluded: !excluded }, () => undoToast(t(excluded ? "photo.included" : "photo.isExcluded"), () => this.patch(id, { excluded })));
  }

  // The archive waits for the undo, and whoever asked for it may be elsewhere by then.
  remove({ image_id: id }) {
    apply({ ids: [id] }, { delete: true }, (_, { state }) => state === "done" && id === this.id && !this.isClosed && go(this.#list()));
  }

  // A slow or huge picture has no large view: then the file itself is shown, where browsers can.
  unshown() {
    if (this.isOriginal && this.hasLarge) undoToast(t("photo.noOriginal"));
    this.hasPicture = this.isOriginal ? this.hasLarge : true;
    this.hasLarge &&= this.isOriginal;
    this.isOriginal = !this.isOriginal;
    this.draw();
  }

  #state(image) {
    const parts = [];
    if (image.error && image.status !== "missing") parts.push(html`<div class="strip bad" role="status"><div><b>${reasonOf(image.error)}</b><div class="quiet"><code>${image.error.code}</code> <span lang="en">${image.error.detail}</span></div></div></div>`);
    if (image.status === "missing") parts.push(html`<p>${chip(t("photos.status_missing"), { kind: "warn" })}</p>`);
    if (image.status === "accepted" || image.waits_for) parts.push(html`<p role="status">${chip(t("photos.status_accepted"), { kind: "warn" })} ${image.waits_for && has(`photo.waits_${image.waits_for}`) ? t(`photo.waits_${image.waits_for}`) : t("photo.waits")}</p>`);
    if (image.excluded) parts.push(html`<p>${chip(t("photos.isExcluded"), { kind: "warn" })}</p>`);
    if (image.truncated) parts.push(html`<p>${chip(t("photo.truncated"), { kind: "warn" })}</p>`);
    return parts;
  }

  #tags(image) {
    if (!image.tags) return nothing;
    return html`<section class="card"><h2>${t("photos.column_tags")} ${image.hand_tags ? chip(t("filter.hand_tagged_true")) : nothing}</h2>
      ${image.tags.length ? html`<table class="bars"><tbody>${repeat(image.tags, (one) => one.tag, ({ tag, score }) => {
        const { text, lang, other } = tagName(tag);
        return html`<tr><th scope="row"><a href=${link("photos", null, { all: tag })}><span lang=${lang}>${text}</span></a> ${other ? html`<small lang=${lang === "ru" ? "en" : "ru"}>${other}</small>` : nothing}${image.added_tags?.includes(tag) ? html` <small>✎ ${t("photo.byHand")}</small>` : nothing}</th>
          <td class="meter-cell">${bar(score)}</td><td class="figure">${percent(score)}${guess(score)}</td>
          <td><button class="bare" ?disabled=${!may("upload")} title=${t("parts.removeNamed", { name: text })} aria-label=${t("parts.removeNamed", { name: text })} @click=${() => this.removeTag(tag)}>${icon("close")}</button></td></tr>`;
      })}</tbody></table>` : html`<p>${t("photos.noTag")}</p>`}
      ${image.rejected_tags?.length ? html`<p class="quiet">${t("photo.rejected", { tags: image.rejected_tags.map((tag) => tagName(tag).text).join(", ") })}</p>` : nothing}
      <p class="quiet">${t(`photo.scoring_${image.hand_tags ? "hand" : session().instance.scoring}`)} ${image.tags.some(({ score }) => isGuess(score)) ? t("photo.guesses") : nothing}</p>
      ${scopeGate("upload", html`<form class="row" @submit=${(event) => this.addTag(event)}><input name="tag" class="grow" required maxlength="200" list="photo-tags" aria-label=${t("photo.addTag")} placeholder=${t("photo.addTag")}><datalist id="photo-tags">${knownTags().map((one) => html`<option value=${tagName(one).text}></option>`)}</datalist><button>${t("filter.add")}</button>
        ${isDecided(image) ? html`<button type="button" @click=${() => this.change({ forget_hand_tags: true })}>${t("photo.giveBack")}</button>` : nothing}</form>`)}
    </section>`;
  }

  #facts(image) {
    const rows = [
      ["taken", image.exif_datetime ? html`${date(image.exif_datetime)} <small>${image.exif_source}</small>` : undated(image) || t("photo.noDate")],
      ["camera", image.camera],
      ["path", html`<code>${image.image_path}</code>`],
      ["size", image.width ? `${number(image.width, { useGrouping: false })} × ${number(image.height, { useGrouping: false })}${image.size_bytes ? ` · ${bytes(image.size_bytes)}` : ""}` : image.size_bytes && bytes(image.size_bytes)],
      ["sha256", image.sha256 && html`<code>${image.sha256}</code>`],
    ];
    return html`<section class="card"><h2>${t("photo.facts")}</h2><dl>${rows.filter(([, value]) => value).map(([name, value]) => html`<dt>${t(`photo.${name}`)}</dt><dd>${value}</dd>`)}</dl></section>`;
  }

  // What happened to it, one after the other: an error or a lost file is younger than tags it had before.
  #thread(image) {
    const steps = [{ at: image.arrived_at, text: t("photo.step_arrived") }];
    if (image.tagged_at) steps.push({ at: image.tagged_at, text: t(isDecided(image) ? "photo.step_decided" : "photo.step_tagged", { model: image.model }) });
    if (image.status === "failed") steps.push({ at: image.updated_at, text: `${t("photo.step_failed")} ${reasonOf(image.error)}` });
    if (image.status === "missing") steps.push({ at: image.updated_at, text: t("photos.status_missing") });
    const sent = ({ state, host }) => `${t(`queries.state_${state}`)} → ${host}`;
    for (const query of this.answers) {
      const asked = html`<a href=${link("queries", query.query_id)} dir="auto">${t("parts.quoted", { text: query.text })}</a>`;
      steps.push({ at: query.answered_at, text: html`${t("photo.step_answer")} ${asked}${query.finished_at ? nothing : html`: ${sent(query)}`}` });
      if (query.finished_at) steps.push({ at: query.finished_at, text: html`${sent(query)} ${asked}` });
    }
    steps.sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
    return html`<section class="card"><h2>${t("photo.thread")}</h2><ol class="thread">${steps.map(({ at, text }, nth) => html`<li>${dated(at)} · ${text}
      ${nth ? html`<span class="quiet">+${duration((Date.parse(at) - Date.parse(steps[nth - 1].at)) / 1000)}</span>` : nothing}</li>`)}
      ${image.status === "accepted" || image.waits_for ? html`<li>… ${t(image.waits_for ? "photos.waitsApart" : "photos.status_accepted")}</li>` : nothing}</ol></section>`;
  }

  #similar() {
    if (!this.similar?.length) return nothing;
    return html`<section class="card"><h2>${t("photo.similar")}</h2><ul class="row">${this.similar.map((one) => html`<li class="near"><a href=${link("photos", one.image_id, this.params)}>${thumb(one, one.image_path)}</a><small>${t(`photo.level_${one.level}`)}${one.cosine ? html`<br>${t("photo.cosine", { value: number(one.cosine, { maximumFractionDigits: 3 }) })}` : nothing}</small></li>`)}</ul></section>`;
  }

  #explain() {
    return html`<section class="card"><h2>${t("search.explain")}</h2><form class="row" @submit=${(event) => this.explain(event)}><input name="text" class="grow" maxlength="1000" aria-label=${t("search.words")} placeholder=${t("search.words")}><button>${t("search.why")}</button></form>
      ${this.explanation ? explained(this.explanation) : nothing}</section>`;
  }
}
