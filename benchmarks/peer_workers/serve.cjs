// What the workers of npm packages share: faces from a file, and lines of JSON on standard input and output.
// The protocol is that of serve.py.
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');

const SIDE = 48;

// Packages of the environment that the worker was started in, not of the folder that it stands in.
exports.environment = createRequire(path.join(process.cwd(), 'package.json'));

exports.version = (name) => {
  const file = path.join(process.cwd(), 'node_modules', name, 'package.json');
  return JSON.parse(fs.readFileSync(file)).version;
};

// hello: { classes, versions, batches, weights: bytes }; predict: (list of grey faces, Uint8Array each) -> list of lists.
exports.serve = async (hello, predict) => {
  const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
  const all = fs.readFileSync(process.argv[2]);
  const face = (row) => new Uint8Array(all.subarray(row * SIDE * SIDE, (row + 1) * SIDE * SIDE));
  say(hello);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const faces = JSON.parse(line).map(face);
    const began = process.cpuUsage();
    const probabilities = await predict(faces);
    const { user, system } = process.cpuUsage(began); // microseconds
    say({ probabilities, seconds: (user + system) / 1e6 });
  }
};

// A grey face (48, 48) as the three equal channels of a picture, 0..255.
exports.colour = (tf, face) => tf.tidy(() => tf.tile(tf.tensor3d(Float32Array.from(face), [SIDE, SIDE, 1]), [1, 1, 3]));
