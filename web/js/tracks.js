// Faces of a live picture, followed from frame to frame, their scores averaged over the last second.

import { iou } from "./blazeface.js";

const SPAN = 1000; // ms
const SAME = 0.3; // IoU from which two boxes of successive frames are one face
const KEPT = 400; // ms for which a face that is not found any more stays
const INERTIA = 120; // ms; a box follows so slowly

/** The faces of a live picture: {number, box, scores, warnings}, with what the last second says. */
export class Tracks {
  #tracks = [];

  /** Take the faces of a frame in; the tracks that are shown, by number. */
  update(faces, now) {
    const free = new Set(this.#tracks);
    for (const face of faces) {
      const [track, overlap] = [...free]
        .map((one) => [one, iou(one.latest, face.box)])
        .reduce((best, pair) => (pair[1] > best[1] ? pair : best), [null, 0]);
      if (overlap > SAME) {
        free.delete(track);
        const weight = 1 - Math.exp(-(now - track.seen) / INERTIA);
        track.box = track.box.map((at, i) => at + weight * (face.box[i] - at));
        add(track, face, now);
      } else {
        const number = this.#free();
        this.#tracks.push(add({ number, box: face.box, history: [] }, face, now));
      }
    }
    this.#tracks = this.#tracks.filter((track) => now - track.seen <= KEPT).sort((a, b) => a.number - b.number);
    return this.#tracks;
  }

  #free() {
    const taken = new Set(this.#tracks.map(({ number }) => number));
    let number = 1;
    while (taken.has(number)) number++;
    return number;
  }
}

function add(track, { box, scores, warnings }, now) {
  const history = [...track.history.filter(({ time }) => now - time < SPAN), { time: now, scores }];
  const mean = scores.map((_, i) => history.reduce((sum, one) => sum + one.scores[i], 0) / history.length);
  return Object.assign(track, { history, scores: mean, warnings, latest: box, seen: now });
}
