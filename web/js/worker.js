// The thread that computes: reads a picture, finds the faces and judges each. ferlib/predict.py.

import { classify } from "./classifier.js";
import { cropBox, cropFace } from "./crop.js";
import { download } from "./download.js";
import { detectFaces, inReadingOrder } from "./faces.js";
import { env, InferenceSession, Tensor } from "./ort.js";
import { resize } from "./pixels.js";
import { warningsOf } from "./quality.js";
import settings from "./settings.js";

const STRIP = 4e6; // pixels that are drawn at once: on phones a canvas of more than 16 million stays black
const { runtime, detector, classifier } = settings.files;
const graphs = openGraphs();
graphs.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ failed: String(error.message ?? error) }),
);

let last = Promise.resolve();
addEventListener("message", ({ data: { id, picture, options } }) => {
  last = last.then(async () => {
    try {
      const faces = await predict(picture, options, (done, of) => postMessage({ id, done, of }));
      const buffers = faces.flatMap(({ heatmap, view }) => (view ? [heatmap.buffer, view.data.buffer] : []));
      postMessage({ id, faces }, buffers);
    } catch (error) {
      postMessage({ id, error: String(error.message ?? error) });
    }
  });
});

async function openGraphs() {
  const files = await download([runtime, detector, classifier], (loaded, total) => postMessage({ loaded, total }));
  Object.assign(env.wasm, { numThreads: 1, wasmBinary: files[runtime] });
  return { detect: await opened(files[detector]), classify: await opened(files[classifier]) };
}

async function opened(bytes) {
  const session = await InferenceSession.create(new Uint8Array(bytes), { executionProviders: ["wasm"] });
  return (input, dims) => session.run({ image: new Tensor("float32", input, dims) });
}

/**
 * Every face of a picture, in reading order: {box, scores, warnings}, and with `views` the square as it is shown (view)
 * and where the model looked (heatmap). Scores are in the order of settings.model.classes; without `doubts` there are
 * no warnings. Of more than `most` faces the largest are judged.
 */
async function predict(picture, { views = true, doubts = true, maxSide, turns = true, most = Infinity }, report) {
  const pixels = await pixelsOf(picture);
  const graph = await graphs;
  let found = await detectFaces(graph.detect, pixels, maxSide, turns);
  if (found.length > most) found = [...found].sort((a, b) => widthOf(b) - widthOf(a)).slice(0, most);
  const faces = [];
  for (const face of inReadingOrder(found)) {
    report(faces.length, found.length);
    const crop = cropFace(pixels, face);
    const { scores, heatmap } = await classify(graph.classify, crop);
    const judged = { box: cropBox(face), scores, warnings: doubts ? warningsOf(face, crop) : [] };
    const side = settings.view_size;
    const shown = views && { heatmap: heatmap.slice(), view: resize(crop, side, side, "bicubic") };
    faces.push({ ...judged, ...shown });
  }
  return faces;
}

function widthOf({ box: [x0, , x1] }) {
  return x1 - x0;
}

/** A file's or a frame's pixels: upright, without colour management, transparent ones on white. */
async function pixelsOf(picture) {
  const asStored = { premultiplyAlpha: "none", colorSpaceConversion: "none" }; // upright unless told otherwise
  const bitmap = picture instanceof Blob ? await createImageBitmap(picture, asStored) : picture;
  const { width, height } = bitmap;
  const data = new Uint8ClampedArray(4 * width * height);
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
  const canvas = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
  canvas.fillStyle = "white";
  for (let top = 0; top < height; top += rows) {
    canvas.fillRect(0, 0, width, rows);
    canvas.drawImage(bitmap, 0, -top);
    data.set(canvas.getImageData(0, 0, width, Math.min(rows, height - top)).data, 4 * width * top);
  }
  bitmap.close();
  return { width, height, data };
}
