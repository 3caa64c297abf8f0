// `@vladmandic/human`: its emotion step (src/gear/emotion.ts) on the given face, on tfjs's WebAssembly, one thread.
//
// The step is not exported. What it does to the face that the detector cut out is repeated here: cut to the 192 pixels
// of its face mesh, bilinear to the 64 of the network, weighted grey, -1..1. The network is the package's own file.
// `human.detect` rounds the scores down to hundredths; here they are not rounded.
const fs = require('fs');
const path = require('path');
const { colour, environment, serve, version } = require('./serve.cjs');

const tf = environment('@tensorflow/tfjs');
const wasm = environment('@tensorflow/tfjs-backend-wasm');
const MESH = 192;
const GREY = [0.2989, 0.587, 0.114];

function graph(models) {
  const model = JSON.parse(fs.readFileSync(path.join(models, 'emotion.json')));
  const file = fs.readFileSync(path.join(models, 'emotion.bin'));
  const weightData = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
  const weightSpecs = model.weightsManifest.flatMap((group) => group.weights);
  const { modelTopology, format, generatedBy, convertedBy, userDefinedMetadata, signature } = model;
  const artifacts = {
    modelTopology, format, generatedBy, convertedBy, userDefinedMetadata, signature, weightSpecs, weightData,
  };
  return tf.loadGraphModel({ load: async () => artifacts });
}

function prepared(face) {
  const cut = tf.image.cropAndResize(tf.expandDims(colour(tf, face)), [[0, 0, 1, 1]], [0], [MESH, MESH]);
  const small = tf.image.resizeBilinear(tf.div(cut, 255), [64, 64], false);
  return tf.mul(tf.sub(tf.sum(tf.mul(small, GREY), 3, true), 0.5), 2);
}

async function main() {
  wasm.setThreadsCount(1);
  wasm.setWasmPaths(path.join(process.cwd(), 'node_modules/@tensorflow/tfjs-backend-wasm/dist/'));
  await tf.setBackend('wasm');
  const models = path.join(process.cwd(), 'node_modules/@vladmandic/human/models');
  const network = await graph(models);
  const classes = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];
  const names = ['@vladmandic/human', '@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm'];
  const versions = Object.fromEntries(names.map((name) => [name, version(name)]));
  const weights = fs.statSync(path.join(models, 'emotion.bin')).size;
  await serve({ classes, versions, batches: true, weights }, async (faces) => {
    const scores = tf.tidy(() => network.execute(tf.concat(faces.map(prepared))));
    const found = await scores.array();
    tf.dispose(scores);
    return found;
  });
}

main();
