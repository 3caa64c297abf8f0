// Boxes over a picture or a video: one a face, placed in fractions of the picture.

import { paint } from "./colours.js";
import { make } from "./elements.js";

const EDGE = 0.004; // a box ends within the picture, so much from its edge

/** Place a face's box; `mirrored` for a picture that is shown as in a mirror. */
export function place(element, [x0, y0, x1, y1], width, height, mirrored = false) {
  const inside = (value) => Math.min(Math.max(value, EDGE), 1 - EDGE);
  let [left, top, right, bottom] = [x0 / width, y0 / height, x1 / width, y1 / height].map(inside);
  if (mirrored) [left, right] = [1 - right, 1 - left];
  const style = { left, top, width: right - left, height: bottom - top };
  for (const [name, value] of Object.entries(style)) element.style[name] = `${(value * 100).toFixed(3)}%`;
  element.classList.toggle("below", top < 0.08);
  element.classList.toggle("above", bottom > 0.8);
  element.classList.toggle("from-right", left > 0.6);
}

/** A box with its tag: a number, and the label or "?". */
export function boxOf(kind, number, label, properties = {}) {
  const tag = make("span", { className: "tag" });
  const element = make(kind, { className: "box", ...properties }, tag);
  name(element, number, label);
  return element;
}

/** Give a box its number, label and colour. */
export function name(element, number, label) {
  const word = make("span", { className: "word" }, ` ${label ?? "?"}`);
  element.querySelector(".tag").replaceChildren(String(number), word);
  paint(element, label);
}
