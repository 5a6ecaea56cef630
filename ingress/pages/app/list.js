// The plain alternative to the grid: a table of photos, a page at a time, in any order.
import { html, nothing, render } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { get } from "./api.js";
import { problemStrip } from "./parts.js";
import { confidence, thumb } from "./pieces.js";
import { link } from "./routing.js";
import { describe, merged, reasonOf } from "./tiles.js";
import { bytes, date, t } from "./words.js";

const PAGE = 60;
const MOST = 200; // of one answer

export class PhotoList {
  constructor(root, photos) {
    Object.assign(this, { root, photos, images: [], next: null, problem: null, isBusy: false });
    this.abort = new AbortController();
  }

  async open(filter, order) {
    Object.assign(this, { filter: { ...filter, order }, images: [], next: null });
    await this.more();
  }

  async more() {
    this.abort.abort();
    this.abort = new AbortController();
    this.isBusy = true;
    this.draw();
    try {
      const page = await get("/images", { ...this.filter, limit: PAGE, cursor: this.next }, { signal: this.abort.signal });
      this.images = [...this.images, ...page.images];
      this.next = page.next;
      this.problem = null;
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.problem = problem;
    }
    this.isBusy = false;
    this.draw();
  }

  /** Reads the pages that are shown anew, all in one step: the focus stays where it is. */
  async again() {
    const many = Math.max(PAGE, this.images.length);
    const found = { images: [], next: null };
    const { signal } = this.abort;
    do {
      const page = await get("/images", { ...this.filter, limit: Math.min(MOST, many - found.images.length), cursor: found.next }, { signal });
      found.images.push(...page.images);
      found.next = page.next;
    } while (found.next && found.images.length < many);
    Object.assign(this, found);
    this.draw();
  }

  /** Takes in what the stream says of photos in the list. */
  hear(changed) {
    const news = new Map(changed.map((one) => [one.image_id, one]));
    if (!this.images.some((one) => news.has(one.image_id))) return;
    this.images = this.images.map((one) => (news.has(one.image_id) ? merged(one, news.get(one.image_id)) : one));
    this.draw();
  }

  close() {
    this.abort.abort();
    render(nothing, this.root);
  }

  draw() {
    const { photos } = this;
    render(html`<table class="cards photo-list" aria-busy=${this.isBusy}>
      <thead><tr>${["pick", "picture", "tags", "taken", "file"].map((one) => html`<th scope="col">${t(`photos.column_${one}`)}</th>`)}</tr></thead>
      <tbody>${repeat(this.images, (one) => one.image_id, (one) => html`<tr>
        <td data-label=${t("photos.column_pick")}><input type="checkbox" .checked=${photos.choice.has(one.image_id)} aria-label=${t("photos.pickNamed", { name: describe(one) })} @change=${() => photos.choice.toggle(one.image_id)}></td>
        <td><a href=${link("photos", one.image_id, photos.params)}>${thumb(one, describe(one))}</a></td>
        <td data-label=${t("photos.column_tags")}><span class="row">${one.tags?.length ? one.tags.map(({ tag, score }) => confidence(tag, score)) : html`<span class="chip ${one.status === "failed" ? "bad" : ""}">${one.error ? reasonOf(one.error) : t(`photos.status_${one.status}`)}</span>`}</span></td>
        <td data-label=${t("photos.column_taken")}>${date(one.exif_datetime ?? one.arrived_at)}</td>
        <td data-label=${t("photos.column_file")}><span>${one.image_path}<br><small>${one.camera ?? ""} ${one.size_bytes ? bytes(one.size_bytes) : ""}</small></span></td>
      </tr>`)}</tbody>
    </table>
    ${problemStrip(this.problem, () => this.more())}
    ${this.next || this.isBusy ? html`<p class="row"><button ?disabled=${this.isBusy} @click=${() => this.more()}>${t(this.isBusy ? "photos.loading" : "photos.more")}</button></p>` : nothing}`, this.root);
  }
}
