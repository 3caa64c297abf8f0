// From face crops to calibrated probabilities. ferlib/runtime: preprocess.py and classifier.py.

import { resize } from "./pixels.js";
import settings from "./settings.js";

const { input_size: inputSize, downscale_to: downscaleTo, grey, mean, std } = settings.model.preprocessing;
const GREY_WEIGHTS = settings.model.grey_weights;
export const SIDE = downscaleTo ?? inputSize; // of the faces it wants

/**
 * Probabilities of the classes, and the heat map of the first one (inputSize * inputSize values in 0..1).
 *
 * @param run takes (inputs, dims) to the graph's outputs by name.
 * @param crop a square face in the training set's framing, any size.
 */
export async function classify(run, crop) {
  const { logits, heatmap } = await run(inputOf(resize(crop, SIDE, SIDE, "bicubic")), [1, 3, inputSize, inputSize]);
  return { scores: softmax(Array.from(logits.data)), heatmap: heatmap.data };
}

function inputOf({ data }) {
  const area = inputSize * inputSize;
  const input = new Float32Array(3 * area);
  const channel = (of) => enlarged(Float32Array.from({ length: SIDE * SIDE }, (_, i) => of(4 * i) / 255));
  const [red, green, blue] = [0, 1, 2].map((c) => (i) => data[i + c]);
  const [r, g, b] = GREY_WEIGHTS;
  const greyed = grey && channel((i) => r * red(i) + g * green(i) + b * blue(i));
  [red, green, blue].forEach((of, c) => {
    const values = greyed || channel(of);
    for (let i = 0; i < area; i++) input[c * area + i] = (values[i] - mean[c]) / std[c];
  });
  return input;
}

const WEIGHTS = weightsOf(SIDE, inputSize);

/** Bilinear, antialiased when it shrinks. */
function enlarged(values) {
  const wide = new Float32Array(SIDE * inputSize);
  const made = new Float32Array(inputSize * inputSize);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < inputSize; x++) {
      for (const [at, weight] of WEIGHTS[x]) wide[y * inputSize + x] += weight * values[y * SIDE + at];
    }
  }
  for (let y = 0; y < inputSize; y++) {
    for (const [at, weight] of WEIGHTS[y]) {
      for (let x = 0; x < inputSize; x++) made[y * inputSize + x] += weight * wide[at * inputSize + x];
    }
  }
  return made;
}

function weightsOf(before, after) {
  const scale = before / after;
  return Array.from({ length: after }, (_, i) => {
    const place = (i + 0.5) * scale;
    const values = Array.from({ length: before }, (_, j) => 1 - Math.abs(j + 0.5 - place) / Math.max(scale, 1));
    const used = values.map((value, j) => [j, value]).filter(([, value]) => value > 0);
    const sum = used.reduce((total, [, value]) => total + value, 0);
    return used.map(([j, value]) => [j, value / sum]);
  });
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp((logit - highest) / settings.model.temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
