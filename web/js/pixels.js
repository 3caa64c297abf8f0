// Pictures as {width, height, data}, RGBA bytes of which alpha is never read, and what Pillow does to them, bit by bit:
// a score that differs from Python's would be another answer. Pillow's Resample.c, Reduce.c and Geometry.c say how.

const PRECISION = 22; // bits after the point of a weight

const FILTERS = {
  bilinear: { support: 1, weight: (x) => (Math.abs(x) < 1 ? 1 - Math.abs(x) : 0) },
  bicubic: {
    support: 2,
    weight: (x) => {
      const a = -0.5;
      x = Math.abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
};

/** A black picture. */
export function blank(width, height) {
  return { width, height, data: new Uint8ClampedArray(width * height * 4) };
}

/** Half goes to the even number, as in Python and NumPy. */
export function round(x) {
  const up = Math.round(x);
  return Math.abs(x % 1) === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

/** A picture at another size, as Image.resize gives it; with a gap it is first reduced by whole factors. */
export function resize(picture, width, height, filter, gap = 0) {
  if (picture.width === width && picture.height === height) return picture;
  let [right, bottom] = [picture.width, picture.height];
  if (gap) {
    const [fx, fy] = [right / width, bottom / height].map((scale) => Math.trunc(scale / gap) || 1);
    if (fx > 1 || fy > 1) {
      picture = reduce(picture, fx, fy);
      right /= fx;
      bottom /= fy;
    }
  }
  if (width !== picture.width || right !== width) picture = alongRows(picture, width, right, FILTERS[filter]);
  if (height !== picture.height || bottom !== height) picture = alongColumns(picture, height, bottom, FILTERS[filter]);
  return picture;
}

/** First pixel and whole-number weights of every pixel of a resampled row; `end` may lie within the last pixel. */
function weightsOf(length, end, size, filter) {
  const scale = end / size;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const values = Array.from({ length: last - first }, (_, j) => filter.weight((j + first - centre + 0.5) / stretch));
    const sum = values.reduce((a, b) => a + b, 0);
    const whole = values.map((value) => {
      const exact = (sum ? value / sum : value) * (1 << PRECISION);
      return Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    });
    return { first, weights: Int32Array.from(whole) };
  });
}

function alongRows(picture, width, end, filter) {
  const made = blank(width, picture.height);
  const columns = weightsOf(picture.width, end, width, filter);
  for (let y = 0, to = 0; y < picture.height; y++) {
    for (let x = 0; x < width; x++, to += 4) {
      weigh(picture.data, (y * picture.width + columns[x].first) * 4, 4, columns[x].weights, made.data, to);
    }
  }
  return made;
}

function alongColumns(picture, height, end, filter) {
  const made = blank(picture.width, height);
  const rows = weightsOf(picture.height, end, height, filter);
  const stride = picture.width * 4;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < picture.width; x++, to += 4) {
      weigh(picture.data, rows[y].first * stride + x * 4, stride, rows[y].weights, made.data, to);
    }
  }
  return made;
}

function weigh(data, from, step, weights, out, to) {
  let red = 1 << (PRECISION - 1);
  let green = red;
  let blue = red;
  for (let i = 0; i < weights.length; i++, from += step) {
    const weight = weights[i];
    red += data[from] * weight;
    green += data[from + 1] * weight;
    blue += data[from + 2] * weight;
  }
  out[to] = red >> PRECISION;
  out[to + 1] = green >> PRECISION;
  out[to + 2] = blue >> PRECISION;
}

/** Means of blocks of fx times fy pixels; blocks at the right and lower edge may hold fewer. */
export function reduce(picture, fx, fy) {
  const made = blank(Math.ceil(picture.width / fx), Math.ceil(picture.height / fy));
  for (let y = 0, to = 0; y < made.height; y++) {
    const rows = Math.min(fy, picture.height - y * fy);
    for (let x = 0; x < made.width; x++, to += 4) {
      const columns = Math.min(fx, picture.width - x * fx);
      const count = rows * columns;
      const factor = Math.floor(Math.fround(2 ** 24 / count));
      let red = count >> 1;
      let green = red;
      let blue = red;
      for (let row = 0; row < rows; row++) {
        let from = ((y * fy + row) * picture.width + x * fx) * 4;
        for (let column = 0; column < columns; column++, from += 4) {
          red += picture.data[from];
          green += picture.data[from + 1];
          blue += picture.data[from + 2];
        }
      }
      made.data[to] = Math.floor((red * factor) / 2 ** 24);
      made.data[to + 1] = Math.floor((green * factor) / 2 ** 24);
      made.data[to + 2] = Math.floor((blue * factor) / 2 ** 24);
    }
  }
  return made;
}

/** The box (x0, y0, x1, y1) of a picture, with edge pixels repeated where it reaches beyond. */
export function cut(picture, [x0, y0, x1, y1]) {
  const made = blank(x1 - x0, y1 - y0);
  const [from, to] = [wordsOf(picture), wordsOf(made)];
  for (let y = 0, at = 0; y < made.height; y++) {
    const row = Math.min(Math.max(y0 + y, 0), picture.height - 1) * picture.width;
    for (let x = 0; x < made.width; x++) to[at++] = from[row + Math.min(Math.max(x0 + x, 0), picture.width - 1)];
  }
  return made;
}

/** A picture upon black, with so many black pixels above and left of it, in sides that are multiples of a number. */
export function padded(picture, margin, multiple) {
  const side = (length) => Math.ceil((length + 2 * margin) / multiple) * multiple;
  const made = blank(side(picture.width), side(picture.height));
  const [from, to] = [wordsOf(picture), wordsOf(made)];
  for (let y = 0; y < picture.height; y++) {
    const row = from.subarray(y * picture.width, (y + 1) * picture.width);
    to.set(row, (y + margin) * made.width + margin);
  }
  return made;
}

/** A picture turned counter-clockwise by quarters of a turn, as numpy.rot90. */
export function quarterTurns(picture, quarters) {
  const { width, height } = picture;
  if (quarters === 0) return picture;
  const made = quarters === 2 ? blank(width, height) : blank(height, width);
  const [from, to] = [wordsOf(picture), wordsOf(made)];
  for (let y = 0, at = 0; y < made.height; y++) {
    for (let x = 0; x < made.width; x++, at++) {
      if (quarters === 1) to[at] = from[x * width + (width - 1 - y)];
      else if (quarters === 2) to[at] = from[(height - 1 - y) * width + (width - 1 - x)];
      else to[at] = from[(height - 1 - x) * width + y];
    }
  }
  return made;
}

/** A picture turned counter-clockwise about its centre, as Image.rotate with bicubic interpolation; black beyond it. */
export function rotate(picture, degrees) {
  const { width, height, data } = picture;
  const made = blank(width, height);
  const angle = (-(((degrees % 360) + 360) % 360) * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [cx, cy] = [width / 2, height / 2];
  const [dx, dy] = [cx - cos * cx - sin * cy, cy + sin * cx - cos * cy];
  const columns = new Int32Array(4);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 4) {
      const px = cos * (x + 0.5) + sin * (y + 0.5) + dx;
      const py = -sin * (x + 0.5) + cos * (y + 0.5) + dy;
      if (px < 0 || px >= width || py < 0 || py >= height) continue;
      const left = Math.floor(px - 0.5);
      const top = Math.floor(py - 0.5);
      const fx = px - 0.5 - left;
      for (let i = 0; i < 4; i++) columns[i] = Math.min(Math.max(left - 1 + i, 0), width - 1) * 4;
      for (let channel = 0; channel < 3; channel++) {
        const line = (i) => {
          const row = Math.min(Math.max(top - 1 + i, 0), height - 1) * width * 4 + channel;
          const at = (j) => data[row + columns[j]];
          return cubic(at(0), at(1), at(2), at(3), fx);
        };
        const value = cubic(line(0), line(1), line(2), line(3), py - 0.5 - top);
        made.data[to + channel] = Math.trunc(Math.min(Math.max(value, 0), 255));
      }
    }
  }
  return made;
}

function cubic(a, b, c, d, x) {
  return b + x * (c - a + x * (2 * (a - b) + c - d + x * (b - a + d - c)));
}

function wordsOf({ data }) {
  return new Uint32Array(data.buffer, data.byteOffset, data.length / 4);
}
