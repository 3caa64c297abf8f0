// All faces of a photo, from coarse to fine, whichever side is up. ferlib/detection/faces.py, which gives the reasons.

import { areaOf, detect, shared } from "./blazeface.js";
import { around, rollOf, sideOf } from "./crop.js";
import { cut, padded, quarterTurns, reduce, resize, round } from "./pixels.js";
import settings from "./settings.js";

const { smallest, threshold } = settings.blazeface;
const limits = settings.faces;

/**
 * The faces of a picture: [{box, score, keypoints, turn}], boxes in whole pixels, from brows to chin.
 *
 * @param run the detector's graph, see `detect`.
 * @param maxSide the long side at which large pictures are searched; null: max_side, and once more, more finely, where
 *   all faces are small.
 * @param turns whether a photo without a sure face is searched on its sides and on its head too.
 */
export async function detectFaces(run, picture, maxSide = null, turns = true) {
  const found = await search(run, picture, maxSide);
  const upright = (face) => face.score >= limits.upright_score && Math.abs(rollOf(face)) <= limits.upright_roll;
  return turns && !found.some(upright) ? inBestTurn(run, picture, found, maxSide) : found;
}

async function search(run, picture, maxSide) {
  const longSide = Math.max(picture.width, picture.height);
  let found = [];
  for (const [side, margin] of limits.coarse) {
    if (!found.length) found = await look(run, picture, side, margin, limits.sure);
  }
  const limit = maxSide ?? limits.max_side;
  let finer = Math.min(limit, longSide);
  if (found.length) {
    const largest = Math.max(...found.map(sideOf));
    finer = Math.min(finer, (smallest * longSide) / Math.max(limits.beside, largest / limits.range));
  }
  if (finer > limits.step * limits.coarse[0][0]) found = await withSmaller(run, picture, found, round(finer));
  if (maxSide === null) {
    const [largest, finest] = [Math.max(0, ...found.map(sideOf)), Math.min(limits.finest, longSide)];
    if (largest < (2 * smallest * longSide) / limit && finest > limits.step * limit) {
      found = await withSmaller(run, picture, found, finest);
    }
  }
  return found;
}

async function withSmaller(run, picture, found, side) {
  const again = async (guesses) => {
    const closer = [];
    for (const face of guesses) closer.push({ ...face, score: await closerScore(run, picture, face) });
    return closer;
  };
  const guesses = await again(await look(run, picture, side, limits.margin, limits.guess));
  const sure = withoutDuplicates([...found, ...guesses.filter(({ score }) => score >= limits.confirmed)]);
  if (sure.length < limits.group) return sure;
  const usual = median(sure.map(sideOf));
  const faint = (await look(run, picture, side, limits.margin, limits.faint)).filter(
    ({ score }) => score <= limits.guess,
  );
  const others = [...guesses.filter(({ score }) => score < limits.confirmed), ...(await again(faint))];
  const alike = others.filter(
    (face) =>
      usual / limits.alike < sideOf(face) && sideOf(face) < usual * limits.alike && face.score >= limits.in_group,
  );
  return withoutDuplicates([...sure, ...alike]);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

async function inBestTurn(run, picture, found, maxSide) {
  const longSide = Math.max(picture.width, picture.height);
  let [best, turn, side] = [0, 0, maxSide ?? limits.max_side];
  for (const face of found) best = Math.max(best, await closerScore(run, picture, face));
  if (found.length) {
    // faces half as large would be seen
    const largest = Math.max(...found.map(sideOf));
    side = round(Math.min(Math.max(maxSide ?? limits.finest, side), (2 * smallest * longSide) / largest));
  }
  const factor = Math.max(1, Math.floor(longSide / (2 * side)));
  const small = factor > 1 ? reduce(picture, factor, factor) : picture;
  for (const quarters of [1, 2, 3]) {
    const turned = quarterTurns(small, quarters);
    let score = 0;
    for (const face of await search(run, turned, side)) {
      if (Math.abs(rollOf(face)) > limits.turned_roll) continue;
      score = Math.max(score, await closerScore(run, turned, face));
    }
    if (score > Math.max(best, limits.confirmed)) [best, turn] = [score, quarters];
  }
  if (!turn) return found;
  const turned = quarterTurns(picture, turn);
  return (await search(run, turned, maxSide)).map((face) => turnedBack(face, turned, turn));
}

function turnedBack(face, { width, height }, quarters) {
  let points = [face.box.slice(0, 2), face.box.slice(2), ...face.keypoints];
  for (let quarter = 0; quarter < quarters; quarter++) {
    const side = quarter % 2 ? width : height;
    points = points.map(([x, y]) => [side - y, x]);
  }
  const [[x0, y0], [x1, y1]] = points;
  const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  return { ...face, box, keypoints: points.slice(2), turn: 90 * quarters };
}

async function look(run, picture, longSide, margin, lowest) {
  const ratio = longSide / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, round(side * ratio)));
  const scaled = padded(resize(picture, width, height, "bilinear", 2), margin, 16);
  const scale = [width / picture.width, height / picture.height];
  const found = await detect(run, scaled, lowest);
  return found.map(({ box, score, keypoints }) => ({
    box: box.map((at, i) => round((at - margin) / scale[i % 2])),
    score,
    keypoints: keypoints.map((point) => point.map((at, axis) => (at - margin) / scale[axis])),
    turn: 0,
  }));
}

async function closerScore(run, picture, face) {
  let scores = [];
  for (const zoom of limits.zooms) scores.push(await scoreIn(run, picture, face, zoom));
  if ((scores[0] + scores[1]) / 2 < limits.confirmed) {
    scores.push(await scoreIn(run, picture, face, limits.third_zoom));
    scores = scores.sort((a, b) => a - b).slice(1);
  }
  return (scores[0] + scores[1]) / 2;
}

async function scoreIn(run, picture, face, zoom) {
  const patch = resize(cut(picture, around(face, zoom)), 128, 128, "bilinear", 2);
  const expected = 128 / zoom;
  const same = (await detect(run, patch, threshold)).filter(({ box: [x0, y0, x1, y1] }) => {
    const away = Math.max(Math.abs((x0 + x1) / 2 - 64), Math.abs((y0 + y1) / 2 - 64));
    const side = (x1 - x0 + y1 - y0) / 2;
    return away < expected / 4 && side > 0.6 * expected && side < 1.6 * expected;
  });
  return Math.max(0, ...same.map(({ score }) => score));
}

function withoutDuplicates(found) {
  const kept = [];
  for (const face of [...found].sort((a, b) => b.score - a.score)) {
    const overlap = ({ box }) => shared(face.box, box) / Math.max(1, Math.min(areaOf(face.box), areaOf(box)));
    if (kept.every((other) => overlap(other) <= limits.overlap)) kept.push(face);
  }
  return kept;
}

/** Faces as one reads: rows from above, each from the left; see ferlib/detection/reading_order.py. */
export function inReadingOrder(faces) {
  const middle = ({ box }, axis) => (box[axis] + box[axis + 2]) / 2;
  const rows = [];
  for (const face of [...faces].sort((a, b) => middle(a, 1) - middle(b, 1))) {
    const row = rows.at(-1);
    if (row && inRow(face, row)) row.push(face);
    else rows.push([face]);
  }
  return rows.flatMap((row) => row.sort((a, b) => middle(a, 0) - middle(b, 0)));
}

/** Whether a face overlaps a row in height, by a third of the smaller. */
function inRow({ box: [, y0, , y1] }, row) {
  const [top, bottom] = [1, 3].map((i) => row.reduce((sum, { box }) => sum + box[i], 0) / row.length);
  return Math.min(bottom, y1) - Math.max(top, y0) > Math.min(bottom - top, y1 - y0) / 3;
}
