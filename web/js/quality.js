// Reasons to doubt an answer: a dark, overexposed, blurred, small or averted face. ferlib/detection/quality.py.

import { cropBox } from "./crop.js";
import { blank, resize } from "./pixels.js";
import settings from "./settings.js";

const limits = settings.quality;

/** Those keys of `settings.warnings` that apply to a face and its crop, in their order. */
export function warningsOf(face, crop) {
  const [x0, , x1] = cropBox(face);
  const { brightness, overexposed, sharpness } = measured(resize(greyOf(crop), limits.side, limits.side, "bicubic", 2));
  const size = x1 - x0;
  const applies = {
    dark: brightness < limits.dark,
    overexposed: overexposed > limits.overexposed,
    blurred: sharpness < limits.blurred && size >= limits.small,
    small: size < limits.small,
    averted: Math.abs(yawOf(face)) > limits.averted,
    turned: face.turn !== 0,
  };
  return Object.keys(settings.warnings).filter((name) => applies[name]);
}

function greyOf({ width, height, data }) {
  const made = blank(width, height);
  for (let i = 0; i < data.length; i += 4) {
    const grey = (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;
    made.data[i] = made.data[i + 1] = made.data[i + 2] = grey;
  }
  return made;
}

function measured({ width, height, data }) {
  const values = Float64Array.from({ length: width * height }, (_, i) => data[4 * i]);
  const laplacian = [];
  for (let y = 1; y < height - 1; y++) {
    for (let i = y * width + 1; i < (y + 1) * width - 1; i++) {
      laplacian.push(values[i - width] + values[i + width] + values[i - 1] + values[i + 1] - 4 * values[i]);
    }
  }
  const white = values.filter((value) => value >= limits.white).length;
  return {
    brightness: meanOf(values),
    overexposed: white / values.length,
    sharpness: varianceOf(laplacian) / Math.max(varianceOf(values), 1),
  };
}

function meanOf(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function varianceOf(values) {
  const mean = meanOf(values);
  return meanOf(values.map((value) => (value - mean) ** 2));
}

function yawOf({ keypoints: [left, right, nose] }) {
  const [dx, dy] = [right[0] - left[0], right[1] - left[1]];
  const along = (nose[0] - (left[0] + right[0]) / 2) * dx + (nose[1] - (left[1] + right[1]) / 2) * dy;
  return along / Math.max(dx * dx + dy * dy, 1e-9);
}
