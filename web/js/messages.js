// Sentences for visitors, those of ferlib/app/messages.py for a face without a prediction set: here there are none, so
// an expression is named by the margin alone.

import { round } from "./pixels.js";
import settings from "./settings.js";

const { undecided, ahead, well_ahead: wellAhead } = settings.margins;

/** 0.914 -> "91 %"; what is not quite nothing or everything does not become it by rounding. */
export function percent(probability) {
  if (probability > 0 && probability < 0.005) return "under 1 %";
  if (probability > 0.995 && probability < 1) return "over 99 %";
  return `${round(probability * 100)} %`;
}

/** 0.43 -> "43 percentage points", rounded as `percent` does. */
export function points(difference) {
  const number = percent(difference).replace(" %", "");
  return `${number} percentage point${["1", "under 1"].includes(number) ? "" : "s"}`;
}

/** The classes with their probabilities, the most probable first: [[name, probability]]. */
export function ranked({ scores }) {
  return settings.model.classes.map((name, i) => [name, scores[i]]).sort((a, b) => b[1] - a[1]);
}

/** Probability of the first class minus that of the second. */
export function marginOf(face) {
  const [[, first], [, second]] = ranked(face);
  return first - second;
}

/** The expression that a face's box is given; null for an undecided one, which is drawn as "?". */
export function labelOf(face) {
  return marginOf(face) < undecided ? null : ranked(face)[0][0];
}

/** A face's result in words. */
export function answer(number, face) {
  const [[first, score], [second, runnerUp]] = ranked(face);
  const margin = marginOf(face);
  if (margin < undecided) {
    return `Face ${number}: undecided between ${first} (${percent(score)}) and ${second} (${percent(runnerUp)}).`;
  }
  const distance = margin >= wellAhead ? "well ahead" : margin >= ahead ? "ahead" : "somewhat ahead";
  return `Face ${number}: ${first}, ${percent(score)}, ${distance} of ${second} (${percent(runnerUp)}).`;
}

/** Sentences below the answer. One on the prediction set belongs here, in front of the doubts. */
export function remarks(face) {
  return face.warnings.map((name) => settings.warnings[name]);
}

/** "3 faces: 2 happiness, 1 cannot say." */
export function summary(faces) {
  if (faces.length === 1) return "One face found.";
  const counts = new Map();
  for (const label of faces.map(labelOf)) counts.set(label, (counts.get(label) ?? 0) + 1);
  const unsaid = counts.get(null);
  counts.delete(null);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) => `${count} ${label}`);
  if (unsaid) parts.push(`${unsaid} cannot say`);
  return `${faces.length} faces: ${parts.join(", ")}.`;
}

/** What went wrong with a picture, and what to do: [sentence, hint]. */
export const problems = {
  empty: (name) => [`${name} is empty: it holds 0 bytes.`, settings.hints.another],
  unreadable: (name) => [`${name} is not a picture that this browser can read.`, settings.hints.another],
  heic: (name) => [`${name} is a HEIC photo, which this browser cannot read.`, "Please save it as JPEG."],
  large: (name, width, height) => [
    `${name} is too large (${width} x ${height} pixels): at most ${settings.max_pixels / 1e6} megapixels can be read.`,
    settings.hints.another,
  ],
  noFace: () => ["No face was found in the picture.", settings.hints.no_face],
  failed: (reason) => ["The picture could not be judged.", reason],
};
