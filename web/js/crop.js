// A found face, cut out of its photo in the training set's framing. ferlib/detection/crop.py, which gives the reasons.

import { cut, quarterTurns, rotate, round } from "./pixels.js";
import settings from "./settings.js";

const { max_roll: maxRoll, square_side: squareSide, square_shift: squareShift } = settings.crop;
const degrees = (radians) => (radians * 180) / Math.PI;

/** Tilt of the line through the eyes, in degrees; positive: it falls to the right. */
export function rollOf({ keypoints: [left, right] }) {
  return degrees(Math.atan2(right[1] - left[1], right[0] - left[0]));
}

/** Mean of the box's width and height. */
export function sideOf({ box: [x0, y0, x1, y1] }) {
  return (x1 - x0 + y1 - y0) / 2;
}

/** The square around the box's centre, `zoom` times as large. */
export function around(face, zoom) {
  const [x0, y0, x1, y1] = face.box;
  const side = Math.max(1, round(zoom * sideOf(face)));
  const [left, top] = [round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)];
  return [left, top, left + side, top + side];
}

/** The square (x0, y0, x1, y1) that the model sees; may reach beyond the picture's edge. */
export function cropBox({ keypoints, turn }) {
  const mean = (of) => keypoints.reduce((sum, point) => sum + of(point), 0) / keypoints.length;
  const [mx, my] = [mean(([x]) => x), mean(([, y]) => y)];
  const radius = Math.sqrt(mean(([x, y]) => (x - mx) ** 2 + (y - my) ** 2));
  const [cos, sin] = [Math.cos((turn * Math.PI) / 180), Math.sin((turn * Math.PI) / 180)];
  const [sx, sy] = squareShift;
  const [x, y] = [mx + radius * (sx * cos - sy * sin), my + radius * (sx * sin + sy * cos)];
  const side = Math.max(1, round(radius * squareSide));
  const [x0, y0] = [round(x - side / 2), round(y - side / 2)];
  return [x0, y0, x0 + side, y0 + side];
}

/** The face's square in the photo's own resolution, set upright where it is tilted by more than `maxRoll`. */
export function cropFace(picture, face) {
  const [x0, y0, x1, y1] = cropBox(face);
  const excess = excessOf(face);
  let crop;
  if (excess) {
    const margin = Math.ceil(((x1 - x0) * (Math.SQRT2 - 1)) / 2) + 2; // what the corners sweep over
    const patch = rotate(cut(picture, [x0 - margin, y0 - margin, x1 + margin, y1 + margin]), excess);
    crop = cut(patch, [margin, margin, patch.width - margin, patch.height - margin]);
  } else {
    crop = cut(picture, [x0, y0, x1, y1]);
  }
  return quarterTurns(crop, face.turn / 90);
}

function excessOf(face) {
  const modulo = (a, b) => ((a % b) + b) % b;
  const tilt = modulo(rollOf(face) - face.turn + 180, 360) - 180;
  return Math.sign(tilt) * Math.max(0, Math.abs(tilt) - maxRoll);
}
