// BlazeFace: where the faces of a picture are, and their eyes, nose, mouth and ears. ferlib/detection/blazeface.

import settings from "./settings.js";

const { strides, same } = settings.blazeface;
const VALUES = 16; // of an anchor: centre, size and six keypoints, x and y each

/**
 * The faces in a picture whose sides are multiples of 16, the surest first. Every face is the mean, weighted by the
 * scores, of all boxes that overlap its best one.
 *
 * @param run takes (inputs, dims) to the graph's maps by name.
 * @returns [{box: [x0, y0, x1, y1], score, keypoints: [[x, y], six of them]}], in pixels, not rounded.
 */
export async function detect(run, picture, threshold) {
  const { width, height, data } = picture;
  const area = width * height;
  const input = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) {
    input[i] = data[4 * i] / 127.5 - 1;
    input[area + i] = data[4 * i + 1] / 127.5 - 1;
    input[2 * area + i] = data[4 * i + 2] / 127.5 - 1;
  }
  const maps = await run(input, [1, 3, height, width]);
  const found = (stride) => above(maps[`scores_${stride}`], maps[`boxes_${stride}`], stride, threshold);
  return blended(strides.flatMap(found));
}

function above(scores, boxes, stride, threshold) {
  const [, anchors, rows, columns] = scores.dims;
  const area = rows * columns;
  const found = [];
  for (let anchor = 0, i = 0; anchor < anchors; anchor++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, i++) {
        const score = Math.fround(1 / (1 + Math.exp(-scores.data[i])));
        if (!(score > threshold)) continue;
        const value = (k) => boxes.data[(anchor * VALUES + k) * area + row * columns + column];
        const middle = [(column + 0.5) * stride, (row + 0.5) * stride];
        const point = (k) => middle.map((at, axis) => Math.fround(value(2 * k + axis) + at));
        const [x, y] = point(0);
        const [w, h] = [value(2), value(3)];
        const keypoints = [2, 3, 4, 5, 6, 7].map(point);
        found.push({ score, box: [x - w / 2, y - h / 2, x + w / 2, y + h / 2], keypoints });
      }
    }
  }
  return found;
}

function blended(found) {
  let left = [...found].sort((a, b) => b.score - a.score);
  const kept = [];
  while (left.length) {
    const best = left[0];
    const group = left.filter((other) => other === best || iou(best.box, other.box) > same);
    const sum = group.reduce((total, { score }) => total + score, 0);
    const mean = (of) => group.reduce((total, one) => total + (one.score / sum) * of(one), 0);
    kept.push({
      score: best.score,
      box: best.box.map((_, i) => mean(({ box }) => box[i])),
      keypoints: best.keypoints.map((point, i) => point.map((_, axis) => mean(({ keypoints }) => keypoints[i][axis]))),
    });
    left = left.filter((other) => !group.includes(other));
  }
  return kept;
}

/** Area of a box (x0, y0, x1, y1). */
export function areaOf([x0, y0, x1, y1]) {
  return (x1 - x0) * (y1 - y0);
}

/** The area that two boxes share. */
export function shared(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

/** Intersection over union of two boxes. */
export function iou(a, b) {
  const common = shared(a, b);
  return common / Math.max(areaOf(a) + areaOf(b) - common, 1e-9);
}
