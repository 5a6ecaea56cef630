// How the page looks: the theme, and what all screens need but the first view.
import { loadWorkWords, remembered } from "./words.js";

/** Puts the chosen theme on the page. */
export function wear() {
  const theme = remembered("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

let styles = null;

const loadWorkStyles = () => (styles ??= new Promise((resolve, reject) => {
  const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("./work.css", import.meta.url).pathname, onload: resolve });
  sheet.onerror = () => {
    styles = null; // asked for again with the next screen
    sheet.remove();
    reject(new Error(sheet.href));
  };
  document.head.append(sheet);
}));

/** Loads the words and the styles of all that is not the first view. */
export const loadWork = () => Promise.all([loadWorkWords(), loadWorkStyles()]);
