// The months as a bar beside the grid: dragged, by keys, or by a button a month.
import { html, nothing, render } from "./lit/lit-html.js";
import { lastAtMost } from "./layout.js";
import { icon } from "./parts.js";
import { month as monthName, t } from "./words.js";

const ROOM = 20; // pixels between two years' names

export class Scrubber {
  constructor(host, grid) {
    Object.assign(this, { host, grid, isHeld: false, share: 0, section: 0, height: 300 });
    this.host.className = "scrub";
  }

  /** Measures the room that the bar has. */
  measure() {
    const box = this.grid.scroller.getBoundingClientRect();
    this.height = Math.max(80, box.bottom - Math.max(box.top, this.host.getBoundingClientRect().top) - 72);
    if (!this.grid.timeline) return;
    this.draw();
    const marks = this.#years(this.height).map(({ year, y }) => {
      const mark = Object.assign(document.createElement("span"), { textContent: year });
      mark.style.top = `${y}px`;
      return mark;
    });
    this.host.querySelector(".years")?.replaceChildren(...marks);
  }

  /** Follows the grid. */
  follow() {
    const { grid } = this;
    const { timeline, offsets, total } = grid;
    if (!timeline?.sections.length) return;
    const { high, top } = grid;
    const share = Math.max(0, Math.min(1, top / Math.max(1, total - high)));
    const section = lastAtMost(offsets, Math.max(0, top) + high * 0.3, timeline.sections.length);
    if (share === this.share && section === this.section && total === this.total) return;
    Object.assign(this, { share, section, total });
    this.draw();
  }

  #step(by) {
    const { sections } = this.grid.timeline;
    let at = this.section;
    const month = sections[at].month;
    do at += by; while (sections[at] && (sections[at].part > 0 || sections[at].month === month));
    if (sections[at]) this.grid.goTo({ section: at });
  }

  #onKey(event) {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (by) this.#step(by);
    else if (event.key === "Home") this.grid.goTo({ share: 0 });
    else if (event.key === "End") this.grid.goTo({ share: 1 });
    else if (event.key === "PageDown" || event.key === "PageUp") this.#year(event.key === "PageDown" ? 1 : -1);
    else return;
    event.preventDefault();
  }

  #year(by) {
    const { sections } = this.grid.timeline;
    const year = sections[this.section].month.slice(0, 4);
    let at = this.section;
    while (sections[at] && sections[at].month.slice(0, 4) === year) at += by;
    if (!sections[at]) at = by > 0 ? sections.length - 1 : 0;
    const found = sections[at].month.slice(0, 4);
    const first = sections.findIndex((one) => one.month.slice(0, 4) === found);
    this.grid.goTo({ section: first });
  }

  #drag(event) {
    const box = event.currentTarget.getBoundingClientRect();
    if (event.type === "pointerdown") {
      this.isHeld = true;
      event.currentTarget.setPointerCapture(event.pointerId);
    }
    if (!this.isHeld) return;
    if (event.type === "pointerup" || event.type === "pointercancel") {
      this.isHeld = false;
      this.draw();
      return;
    }
    // Its last pixels are the end: no pointer meets the very edge.
    this.grid.goTo({ share: Math.max(0, Math.min(1, (event.clientY - box.top) / (box.height - 4))) });
  }

  #years(height) {
    const { timeline, offsets, total } = this.grid;
    const marks = [];
    let last = -ROOM;
    let year = "";
    timeline.sections.forEach(({ month }, at) => {
      if (month.slice(0, 4) === year) return;
      year = month.slice(0, 4);
      const y = (offsets[at] / total) * height;
      if (y - last < ROOM || y > height - 12) return;
      last = y;
      marks.push({ year, y });
    });
    return marks;
  }

  draw() {
    const { grid } = this;
    const { sections } = grid.timeline;
    const { height } = this;
    const now = sections[this.section];
    const text = now ? monthName(now.month) : "";
    const drag = (event) => this.#drag(event);
    render(html`<nav ?hidden=${sections.length < 2} aria-label=${t("photos.months")}>
      <button class="bare" aria-label=${t("photos.monthLater")} @click=${() => this.#step(-1)}>${icon("up")}</button>
      <div class="rail" role="slider" tabindex="0" aria-orientation="vertical" aria-label=${t("photos.months")} aria-valuemin="0" aria-valuemax=${sections.length - 1} aria-valuenow=${this.section} aria-valuetext=${now ? `${text}, ${t("photos.count", { n: now.images })}` : ""}
        @keydown=${(event) => this.#onKey(event)} @pointerdown=${drag} @pointermove=${drag} @pointerup=${drag} @pointercancel=${drag}>
        <div class="years" aria-hidden="true"></div>
        <div class="now"></div>
        ${this.isHeld ? html`<output>${text}</output>` : nothing}
      </div>
      <button class="bare" aria-label=${t("photos.monthEarlier")} @click=${() => this.#step(1)}>${icon("down")}</button>
    </nav>`, this.host);
    this.host.querySelector(".rail").style.height = `${height}px`;
    this.host.querySelector(".now").style.transform = `translateY(${this.share * (height - 4)}px)`;
  }
}
