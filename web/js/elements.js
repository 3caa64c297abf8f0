// Small helpers to make parts of the page.

/** An element with properties and children: make("p", {className: "note"}, "text"). */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Hide an element; a focus in it goes to one that stays, or the keyboard would begin at the top of the page. */
export function hide(element, next) {
  if (element.contains(document.activeElement)) next.focus({ preventScroll: true });
  element.hidden = true;
}

/** A canvas that shows a picture, whatever its alpha. */
export function canvasOf({ width, height, data }, properties = {}) {
  const canvas = make("canvas", { width, height, ...properties });
  const opaque = data.map((value, i) => (i % 4 === 3 ? 255 : value));
  canvas.getContext("2d").putImageData(new ImageData(opaque, width, height), 0, 0);
  return canvas;
}
