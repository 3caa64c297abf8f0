// `@vladmandic/face-api`: `FaceExpressionNet.predictExpressions` of the face, on tfjs's WebAssembly, one thread.
const path = require('path');
const { colour, environment, serve, version } = require('./serve.cjs');

const wasm = environment('@tensorflow/tfjs-backend-wasm');
const faceapi = environment('@vladmandic/face-api/dist/face-api.node-wasm.js');
const fs = require('fs');

async function main() {
  const { tf } = faceapi;
  wasm.setThreadsCount(1);
  wasm.setWasmPaths(path.join(process.cwd(), 'node_modules/@tensorflow/tfjs-backend-wasm/dist/'));
  await tf.setBackend('wasm');
  await tf.ready();
  const models = path.join(process.cwd(), 'node_modules/@vladmandic/face-api/model');
  const net = faceapi.nets.faceExpressionNet;
  await net.loadFromDisk(models);
  const classes = ['neutral', 'happy', 'sad', 'angry', 'fearful', 'disgusted', 'surprised'];
  const names = ['@vladmandic/face-api', '@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm'];
  const versions = Object.fromEntries(names.map((name) => [name, version(name)]));
  const weights = fs.statSync(path.join(models, 'face_expression_model.bin')).size;
  await serve({ classes, versions, batches: true, weights }, async (faces) => {
    const pictures = faces.map((face) => colour(tf, face));
    const found = await net.predictExpressions(pictures);
    tf.dispose(pictures);
    return found.map((scores) => classes.map((name) => scores[name]));
  });
}

main();
