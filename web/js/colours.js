// Colours of expressions and of heat maps, from ferlib's own.

import settings from "./settings.js";

/** An expression's colour, and black or white, whichever can be read on it: as properties of an element's style. */
export function paint(element, label) {
  const colour = settings.colours[label] ?? "#6b7280";
  element.style.setProperty("--colour", colour);
  element.style.setProperty("--ink", luminance(colour) > 0.179 ? "black" : "white");
}

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** A heat map (values in 0..1 of a square) as a picture in the colours of turbo. */
export function heatPicture(values) {
  const side = Math.sqrt(values.length);
  const picture = new ImageData(side, side);
  values.forEach((value, i) => picture.data.set([...turbo(value), 255], 4 * i));
  return picture;
}

/** The scale of `heatPicture`, from 0 to 1. */
export function scalePicture() {
  const picture = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) picture.data.set([...turbo(i / 256), 255], 4 * i);
  return picture;
}

function turbo(value) {
  const at = 3 * Math.min(255, Math.floor(Math.min(Math.max(value, 0), 1) * 256));
  return settings.turbo.slice(at, at + 3);
}
