// Two or more pictures at full size that move together: by mouse, keys or buttons.
import { html } from "./lit/lit-html.js";
import { dialog, letterOf, pictureOf } from "./marks.js";
import { t } from "./words.js";

const MOST = 16;
const STEP = 0.1;
const MOVES = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

/** Show the pictures. Its keys stay in it: they never change the group behind. */
export function compareDialog(images) {
  const state = { scale: 1, x: 0, y: 0, only: null, drag: null, whole: new Set() };
  const acts = {
    zoom(by) {
      state.scale = Math.min(MOST, Math.max(1, state.scale * by));
      acts.move(0, 0);
      if (state.scale > 1) images.forEach(load);
    },
    // x and y are shares of the picture's box; the picture never leaves it.
    move(dx, dy) {
      const room = (state.scale - 1) / 2;
      const within = (value) => Math.min(room, Math.max(-room, value));
      Object.assign(state, { x: within(state.x + dx), y: within(state.y + dy) });
      place();
    },
    fit() {
      Object.assign(state, { scale: 1, x: 0, y: 0 });
      place();
    },
    only(letter) {
      state.only = letter;
      shown.draw();
      place();
    },
    key(event) {
      const move = MOVES[event.key];
      if (move) acts.move(...move);
      else if (event.key === "+" || event.key === "=") acts.zoom(1.5);
      else if (event.key === "-") acts.zoom(1 / 1.5);
      else if (event.key === "0") acts.fit();
      else return;
      event.preventDefault();
    },
    wheel(event) {
      event.preventDefault();
      acts.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    },
    press(event) {
      event.currentTarget.setPointerCapture(event.pointerId);
      state.drag = [event.clientX, event.clientY];
    },
    drag(event) {
      if (!state.drag) return;
      const box = event.currentTarget.getBoundingClientRect();
      acts.move((event.clientX - state.drag[0]) / box.width, (event.clientY - state.drag[1]) / box.height);
      state.drag = [event.clientX, event.clientY];
    },
    release: () => (state.drag = null),
  };
  // The whole picture comes when it is looked into; until then, and where a browser can't, the large view.
  const load = (image) => {
    if (state.whole.has(image.image_id)) return;
    const whole = new Image();
    whole.onload = () => {
      state.whole.add(image.image_id);
      shown.draw();
      place();
    };
    whole.src = `/images/${image.image_id}/content`;
  };
  const place = () => {
    for (const picture of document.querySelectorAll("dialog .pane img")) {
      picture.style.transform = `translate(${state.x * 100}%, ${state.y * 100}%) scale(${state.scale})`;
    }
  };
  const shown = dialog(t("compare.title"), () => view(images, state, acts), { kind: "wide" });
}

function view(images, state, acts) {
  const button = (text, label, act) => html`<button type="button" data-shape=${text} aria-label=${label} title=${label} @click=${act}></button>`;
  return html`<div class="compare" @keydown=${acts.key}>
    <div class="row" role="toolbar" aria-label=${t("compare.tools")}>
      ${button("+", t("compare.in"), () => acts.zoom(1.5))} ${button("−", t("compare.out"), () => acts.zoom(1 / 1.5))}
      ${button(t("compare.fit"), t("compare.fit_all"), acts.fit)}
      ${[["←", "ArrowLeft"], ["↑", "ArrowUp"], ["↓", "ArrowDown"], ["→", "ArrowRight"]].map(([sign, key]) =>
        button(sign, t(`compare.${key}`), () => acts.move(...MOVES[key])))}
      <span class="segmented" role="group" aria-label=${t("compare.show")}>
        <button type="button" aria-pressed=${state.only === null} @click=${() => acts.only(null)}>${t("compare.all")}</button>
        ${images.map((_, at) => html`<button type="button" aria-pressed=${state.only === at} @click=${() => acts.only(at)}>${letterOf(at)}</button>`)}
      </span>
    </div>
    <div class="beside">${images.map((image, at) => html`<figure ?hidden=${state.only !== null && state.only !== at}>
      <div class="pane" tabindex="0" role="img" aria-label=${`${letterOf(at)}: ${image.image_path}`} @wheel=${acts.wheel} @pointerdown=${acts.press}
        @pointermove=${acts.drag} @pointerup=${acts.release} @pointercancel=${acts.release}>
        <img alt="" draggable="false" src=${state.whole.has(image.image_id) ? `/images/${image.image_id}/content` : pictureOf(image, "large")}></div>
      <figcaption><b>${letterOf(at)}</b> ${image.image_path}</figcaption></figure>`)}</div>
    <p class="quiet">${t("compare.keys")}</p>
  </div>`;
}
