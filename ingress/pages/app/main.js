// The page begins here.
import { html, render } from "./lit/lit-html.js";

render(html`<p>Photo archive</p>`, document.body);
