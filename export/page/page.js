// SPDX-License-Identifier: Apache-2.0
// The page and, as a worker of its own, the model. Photos go from files to the worker, nowhere else.
//
// Worker: embed (photo to features), tune (features and mark to a shot), segment (features and classes
// to masks), by the ONNX files beside this one; model.json says thresholds. Python's `Predictor` is
// what every answer here must equal.

import { strFromU8, strToU8, unzipSync, unzlibSync, zipSync, zlibSync } from './lib/fflate.js';

const COLOURS = [[70, 200, 70], [255, 140, 0], [60, 120, 255], [220, 60, 180], [0, 190, 190],
  [230, 210, 40]];
const VOID = [128, 128, 128];  // of marks: does not count
const MAX_PIXELS = 50e6, MAX_ANSWERS = 16e6;  // pixels of a photo, of all classes asked together
const MAX_SIDE = 32767;  // of a canvas, in the browser that takes least
const PICTURES = /\.(jpe?g|png|webp|gif|bmp|avif|hei[cf]|tiff?)$/i;

// ---- masks ------------------------------------------------------------------------------------

/** Uint8Array of H * W small numbers as the content of a PNG's IDAT, which is how masks are kept. */
function packed(values, width, height) {
  const rows = new Uint8Array(height * (width + 1));  // each begins with its filter, 0
  for (let y = 0; y < height; y++) {
    rows.set(values.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  return zlibSync(rows, { level: 4 });
}

function unpacked(data, width, height) {
  const rows = unzlibSync(data), values = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    values.set(rows.subarray(y * (width + 1) + 1, (y + 1) * (width + 1)), y * width);
  }
  return values;
}

/** An 8-bit gray PNG of `packed` data. */
function png(data, width, height) {
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  const chunk = (kind, body) => {
    const bytes = new Uint8Array(body.length + 12), at = new DataView(bytes.buffer);
    at.setUint32(0, body.length);
    bytes.set(strToU8(kind), 4);
    bytes.set(body, 8);
    at.setUint32(body.length + 8, crc32(bytes.subarray(4, body.length + 8)));
    return bytes;
  };
  return joined([Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk('IHDR', header),
    chunk('IDAT', data), chunk('IEND', new Uint8Array(0))]);
}

function crc32(bytes) {
  let value = -1;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** COCO's uncompressed run lengths of the pixels equal to `number`: column by column, 0 first. */
function runLengths(values, width, height, number) {
  const counts = [];
  let inside = false, run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if ((values[y * width + x] === number) !== inside) {
        counts.push(run);
        run = 0;
        inside = !inside;
      }
      run++;
    }
  }
  return { size: [height, width], counts: [...counts, run] };
}

/** COCO's frame [x, y, width, height] of the pixels of a value. */
function frameOf(values, width, height, number) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  values.forEach((value, i) => {
    if (value !== number) return;
    const x = i % width, y = (i - x) / width;
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = y;
  });
  return [left, top, right - left + 1, bottom - top + 1];
}

// ---- class cards: NumPy's npz, as sst_tf/photos/class_card.py has them -------------------------

function npy(descr, shape, bytes) {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  return joined([Uint8Array.of(0x93), strToU8('NUMPY'),
    Uint8Array.of(1, 0, header.length & 255, header.length >> 8), strToU8(header), bytes]);
}

function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset), wide = bytes[6] > 1;
  const start = wide ? 12 : 10, length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = strFromU8(bytes.subarray(start, start + length));
  const descr = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter((n) => n.trim()).map(Number);
  if (/'fortran_order': True/.test(header)) throw new Error('an array in Fortran order');
  return { descr, shape, data: bytes.slice(start + length) };
}

function text(array) {  // of NumPy's 4-byte characters
  return String.fromCodePoint(...new Uint32Array(array.data.buffer)).replace(/\0+$/, '');
}

function floats(array) {
  if (array.descr !== '<f4') throw new Error(`numbers of type ${array.descr}`);
  return new Float32Array(array.data.buffer);
}

/** The bytes of a class card. */
function writeCard(kept, model) {
  const shots = kept.shots, points = [...JSON.stringify({
    format: 1, name: kept.name, how: shots.map((shot) => shot.how), model_sha256: model })]
    .map((letter) => letter.codePointAt(0));
  const bytes = (values) => new Uint8Array(Float32Array.from(values).buffer), none = bytes([]);
  const stacked = (key) => npy('<f4', [shots.length, shots[0][key].length],
    bytes(shots.flatMap((shot) => [...shot[key]])));
  const line = (key) => npy('<f4', [shots.length], bytes(shots.map((shot) => shot[key])));
  return zipSync({
    'facts.npy': npy(`<U${points.length}`, [], new Uint8Array(Uint32Array.from(points).buffer)),
    'prototype.npy': stacked('prototype'), 'untuned.npy': stacked('untuned'),
    'score.npy': line('score'), 'score_after.npy': line('scoreAfter'),
    'cells.npy': shots.every((shot) => shot.cells !== undefined) ? line('cells') : npy('<f4', [0], none),
    'others.npy': npy('<f4', [kept.others?.length ?? 0], bytes(kept.others ?? [])),
    'thumbnail.npy': npy('|u1', [shots[0].thumbnail.length], shots[0].thumbnail),
  });
}

/** {name, shots} of a class card's bytes; an Error in plain words where it is of no use here. */
function readCard(bytes, model) {
  let facts, arrays;
  try {
    arrays = Object.fromEntries(Object.entries(unzipSync(bytes)).map(
      ([name, data]) => [name.replace(/\.npy$/, ''), readNpy(data)]));
    facts = JSON.parse(text(arrays.facts));
  } catch (error) {
    throw new Error(`no class card (${error.message})`);
  }
  if (facts?.format !== 1) throw new Error('a class card of another format');
  if (facts.model_sha256 !== model) throw new Error(`class “${facts.name}” was taught to another model`);
  try {
    return cardOf(facts, arrays);
  } catch (error) {
    throw new Error(`a damaged class card (${error.message}); teach the class again`);
  }
}

function cardOf(facts, arrays) {
  const lacking = ['prototype', 'untuned', 'score', 'score_after', 'thumbnail'].find(
    (key) => !arrays[key]);
  if (lacking) throw new Error(`it has no ${lacking}`);
  const [count, size] = arrays.prototype.shape;
  const prototype = floats(arrays.prototype), untuned = floats(arrays.untuned);
  const score = floats(arrays.score), after = floats(arrays.score_after);
  const cells = arrays.cells ? floats(arrays.cells) : [];  // older cards have neither
  const others = arrays.others && floats(arrays.others);
  if (!count || [prototype, untuned].some((one) => one.length !== count * size)
      || [score, after, facts.how].some((one) => one?.length !== count)) {
    throw new Error('its arrays do not fit each other');
  }
  return { name: facts.name, others, shots: Array.from({ length: count }, (_, i) => ({
    prototype: prototype.slice(i * size, (i + 1) * size), how: facts.how[i],
    untuned: untuned.slice(i * size, (i + 1) * size), score: score[i], scoreAfter: after[i],
    cells: cells[i], thumbnail: arrays.thumbnail.data })) };
}

// ---- the worker: onnxruntime-web --------------------------------------------------------------

class Model {
  features = new Map();  // of photos by key, {tensor, width, height}

  /** Load the files; returns model.json and what they run on. `wanted`: a backend, if one is. */
  async load(wanted) {
    this.facts = await (await fetch('model.json')).json();
    // WebGPU has no convolutions of 8 bits.
    const adapter = wanted !== 'wasm' && !this.facts.int8 && await navigator.gpu?.requestAdapter().catch(() => null);
    const drawn = adapter?.info?.isFallbackAdapter;  // by software: slower than WebAssembly
    const gpu = adapter && (!drawn || wanted === 'webgpu');
    if (!(gpu && await this.start('webgpu').catch(() => false))) await this.start('wasm');
    return { ...this.facts, backend: this.backend, threads: this.ort.env.wasm.numThreads };
  }

  /** Open the files on a backend; whether it gives the number that Python gave. */
  async start(backend) {
    const files = { webgpu: './lib/ort.webgpu.min.mjs', wasm: './lib/ort.wasm.min.mjs' };
    const ort = this.ort = await import(files[backend]);
    this.backend = backend;
    ort.env.wasm.wasmPaths = new URL('lib/', import.meta.url).href;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
    ort.env.logLevel = 'error';
    this.sessions = {};
    for (const name of ['embed', 'tune', 'segment_many']) {
      const bytes = new Uint8Array(await (await fetch(`${name}.onnx`)).arrayBuffer());
      this.sessions[name] = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3,
        executionProviders: backend === 'webgpu' ? ['webgpu', 'wasm'] : ['wasm'] });
    }
    if (backend === 'wasm') return true;
    const { photos, mark } = this.facts.examples;  // a graphics driver may err: one sum is checked
    const photo = await (await fetch(photos[0])).blob();
    const marked = (await pixels(await (await fetch(mark)).blob())).rgb;
    const mask = Uint8Array.from({ length: marked.length / 3 }, (_, i) => marked[3 * i] > 127);
    const shot = await this.tune('check', photo, mask);
    this.features.clear();
    return this.facts.expected.every((value, i) => Math.abs(value - shot.prototype[i]) < 1e-2);
  }

  /** Take other thresholds, as tests do. */
  setPoints(points) {
    this.facts.points = points;
  }

  async run(name, inputs) {
    const outputs = await this.sessions[name].run(inputs);
    return Object.fromEntries(Object.entries(outputs).map(([key, tensor]) => [key, tensor.data]));
  }

  async embed(key, blob) {
    if (!this.features.has(key)) {
      const { rgb, width, height } = await pixels(blob);
      const photo = new this.ort.Tensor('uint8', rgb, [height, width, 3]);
      const tensor = (await this.sessions.embed.run({ photo })).features;
      this.features.set(key, { tensor, width, height });
      if (this.features.size > 500) this.features.delete(this.features.keys().next().value);
    }
    return this.features.get(key);
  }

  /** A shot: what is kept of it, its own segmentation after the step and where the step acts. */
  async tune(key, blob, mask) {
    const { tensor, width, height } = await this.embed(key, blob);
    const shot = await this.run('tune', {
      features: tensor, mask: new this.ort.Tensor('uint8', mask, [height, width]) });
    return { prototype: shot.prototype, untuned: shot.untuned, score: shot.score[0],
      scoreAfter: shot.score_after[0], cells: shot.cells[0], own: shot.own, step: shot.step };
  }

  /** Each class's probabilities and presence; classes of as many shots are asked together. */
  async maps(features, size, classes, tuned) {
    const { Tensor } = this.ort, answers = [], pixels = size[0] * size[1];
    const most = Math.max(1, Math.floor(MAX_ANSWERS / pixels));
    for (const count of new Set(classes.map((shots) => shots.length))) {
      const places = [...classes.keys()].filter((i) => classes[i].length === count);
      for (let first = 0; first < places.length; first += most) {
        const some = places.slice(first, first + most), shots = some.flatMap((i) => classes[i]);
        const rows = shots.flatMap((shot) => [...(tuned ? shot.prototype : shot.untuned)]);
        const { probability, presence } = await this.run('segment_many', {
          features, size: new Tensor('int32', size, [2]),
          prototype: new Tensor('float32', rows,
            [some.length, count, rows.length / shots.length]),
          score: new Tensor('float32', shots.map((shot) => shot.score), [some.length, count]) });
        some.forEach((place, i) => { answers[place] = {
          probability: probability.subarray(i * pixels, (i + 1) * pixels), presence: presence[i] };
        });
      }
    }
    return answers;
  }

  /** All classes in a photo, as `Predictor.predict_all`: the most probable class of each pixel. */
  async segment(key, blob, classes, tuned, always) {
    const start = performance.now();
    const { tensor, width, height } = await this.embed(key, blob);
    const pixels = width * height, index = new Uint8Array(pixels), best = new Float32Array(pixels);
    const maps = await this.maps(tensor, [height, width], classes.map(({ shots }) => shots), tuned);
    const { points } = this.facts;
    const found = classes.map(({ name, shots }, i) => {
      const { probability, presence } = maps[i];
      const { threshold, presence: least } = points[Math.min(shots.length, points.length) - 1];
      const present = always || presence >= least, from = Math.fround(threshold);
      if (present) {
        for (let p = 0; p < pixels; p++) {
          if (probability[p] >= from && probability[p] > best[p]) {
            best[p] = probability[p];
            index[p] = i + 1;
          }
        }
      }
      return { name, score: presence, present };
    });
    found.forEach((one, i) => { one.area = index.reduce((sum, value) => sum + (value === i + 1), 0); });
    return { width, height, found, mask: packed(index, width, height),
      seconds: (performance.now() - start) / 1000 };
  }
}

/** A photo's RGB values, upright, without colour management: as Python reads it. */
async function pixels(blob) {
  const picture = await bitmap(blob), { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  picture.close();
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  let seen = 0;
  for (let i = 0, j = 0; i < data.length; i += 4) {
    seen |= data[i + 3];
    rgb[j++] = data[i];
    rgb[j++] = data[i + 1];
    rgb[j++] = data[i + 2];
  }
  // A canvas that is too large for a browser throws nothing: it stays empty, and so would the mask.
  if (!seen) throw new Error('an empty picture: all transparent, or too large for this browser');
  return { rgb, width, height };
}

async function bitmap(blob) {
  let picture;
  try {
    picture = await createImageBitmap(blob, {
      imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  } catch {
    const there = await blob.slice(0, 1).arrayBuffer().then(() => true, () => false);
    throw new Error(there ? 'no photo that this browser can read'
      : 'its file was moved or changed since it was opened; open it again');
  }
  const { width, height } = picture;
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    picture.close();
    throw new Error(`${width} x ${height} pixels; 50 million are taken at most, ${
      MAX_SIDE} a side`);
  }
  return picture;
}

// ---- the page -----------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const SHOWN = 1024, THUMB = 128;  // longest sides of what is drawn on screen
export const state = {
  model: null,  // model.json, backend, threads
  support: null,  // {key, blob, name, picture, width, height, marks, open (a mark being made; keys: by the keyboard)}
  classes: [],  // {name, shots: [{prototype, untuned, score, scoreAfter, how, thumbnail, pictures}]}
  photos: [],  // {key, name, blob, answer, error, version}
  current: null, version: 0, turn: 0, keys: 0, teaching: false, searching: false,
};

/** The worker's methods, each a promise. */
function connect() {
  const worker = new Worker(new URL(import.meta.url), { type: 'module' }), waiting = new Map();
  worker.onmessage = ({ data: { id, answer, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  };
  worker.onerror = (event) => say(`The model cannot start: ${event.message ?? 'no worker'}`, true);
  return (method, ...given) => new Promise((resolve, reject) => {
    const id = ++state.keys;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, method, given });
  });
}

export let ask;
let silence;

function say(words, bad = false) {
  clearTimeout(silence);
  $('said').textContent = words;
  $('said').classList.toggle('bad', bad);
  if (!bad) silence = setTimeout(() => { $('said').textContent = ''; }, 6000);
}

/** A listener whose errors are told in the page. */
const told = (action) => async (event) => {
  try {
    await action(event);
  } catch (error) {
    say(error.message, true);
  }
};

function element(kind, properties = {}, ...children) {
  const one = Object.assign(document.createElement(kind), properties);
  one.append(...children);
  return one;
}

function canvasOf(width, height, longest = Infinity) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return element('canvas', { width: Math.max(1, Math.round(width * scale)),
    height: Math.max(1, Math.round(height * scale)) });
}

const seconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)} s`;
const colour = (number) => COLOURS[number % COLOURS.length];

// ---- the page: drawing ------------------------------------------------------------------------

/** A picture with its mask over it; `values` [height, width], 0 background, i the i-th colour. */
function paint(canvas, picture, values, width, height, opacity, first = 0) {
  const context = canvas.getContext('2d'), { width: w, height: h } = canvas;
  context.drawImage(picture, 0, 0, w, h);
  const layer = canvasOf(w, h), over = layer.getContext('2d'), image = over.createImageData(w, h);
  const at = (x, y) => values[Math.min(height - 1, Math.floor((y + 0.5) * height / h)) * width
    + Math.min(width - 1, Math.floor((x + 0.5) * width / w))];
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const value = at(x, y);
      if (!value) continue;
      const edge = at(x + 1, y) !== value || at(x, y + 1) !== value || at(Math.max(0, x - 1), y)
        !== value || at(x, Math.max(0, y - 1)) !== value;
      image.data.set([...colour(first + value - 1), 255 * (edge ? 1 : opacity)], 4 * (y * w + x));
    }
  }
  over.putImageData(image, 0, 0);
  context.drawImage(layer, 0, 0);
}

/** Where the step acts, from dark over red to yellow. */
function heat(picture, step, width, height) {
  const canvas = canvasOf(width, height, THUMB), context = canvas.getContext('2d');
  const { width: w, height: h } = canvas, most = step.reduce((a, b) => Math.max(a, b), 1e-12);
  context.drawImage(picture, 0, 0, w, h);
  const image = context.getImageData(0, 0, w, h), { data } = image;
  for (let i = 0; i < w * h; i++) {
    const y = Math.floor(Math.floor(i / w) * height / h), x = Math.floor((i % w) * width / w);
    const value = Math.sqrt(step[y * width + x] / most);
    const gray = 0.3 * (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3;
    data.set([gray + 230 * Math.min(1, 1.5 * value), gray + 200 * Math.max(0, 2 * value - 1), gray],
      4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

async function bytesOf(canvas, type, quality) {
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, type, quality); });
  const { width, height } = canvas;
  if (!blob) throw new Error(`${width} x ${height} pixels, too large for this browser`);
  return new Uint8Array(await blob.arrayBuffer());
}

// ---- the page: marking ------------------------------------------------------------------------

/** Draw marks, in the photo's pixels, on a context; what is marked becomes opaque. */
function rasterise(context, marks, scale) {
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = context.strokeStyle = `rgb(${COLOURS[0]})`;
  context.lineCap = context.lineJoin = 'round';
  for (const { tool, width, points, canvas } of marks) {
    context.globalCompositeOperation = tool === 'eraser' ? 'destination-out' : 'source-over';
    context.beginPath();
    if (tool === 'mask') {
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.drawImage(canvas, 0, 0);
    } else if (tool === 'box') {
      const [[x0, y0], [x1, y1]] = [points[0], points.at(-1)];
      context.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    } else if (tool === 'polygon') {
      points.forEach(([x, y]) => context.lineTo(x, y));
      context.fill();
    } else {
      context.arc(...points[0], width / 2, 0, 2 * Math.PI);
      context.fill();
      context.beginPath();
      context.lineWidth = width;
      points.forEach(([x, y]) => context.lineTo(x, y));
      context.stroke();
    }
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
}

/** The mark at the photo's size, Uint8Array of 0, 1 and 255 (does not count). */
export function markOf({ width, height, marks }) {
  const context = canvasOf(width, height).getContext('2d', { willReadFrequently: true });
  rasterise(context, marks, 1);
  const { data } = context.getImageData(0, 0, width, height);
  const valueAt = (i) => (VOID.every((value, c) => data[i + c] === value) ? 255 : 1);
  return Uint8Array.from({ length: width * height },
    (_, i) => (data[4 * i + 3] > 127 ? valueAt(4 * i) : 0));
}

/** A mask of 0, 1 and 255 as a mark: it takes the place of what was marked before. */
function maskMark(mask, width, height) {
  const canvas = canvasOf(width, height), context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  mask.forEach((value, i) => {
    if (value) image.data.set([...(value === 255 ? VOID : COLOURS[0]), 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return { tool: 'mask', canvas, points: [] };
}

function drawSupport() {
  const { support } = state, marked = support?.marks.length > 0;
  for (const id of ['undo', 'clear', 'outline', 'teach']) $(id).disabled = !marked || !state.model;
  if (state.teaching) $('teach').disabled = true;
  if (support?.open) $('undo').disabled = false;
  if (!support) return;
  const canvas = $('canvas'), context = canvas.getContext('2d');
  const scale = canvas.width / support.width;
  const layer = canvasOf(canvas.width, canvas.height);
  const { open } = support;
  rasterise(layer.getContext('2d'), open && open.tool !== 'polygon' && open.points.length
    ? [...support.marks, open] : support.marks, scale);
  context.drawImage(support.picture, 0, 0, canvas.width, canvas.height);
  Object.assign(context, { globalAlpha: 0.65, shadowColor: '#fff', shadowBlur: 4 });
  context.drawImage(layer, 0, 0);
  Object.assign(context, { globalAlpha: 1, shadowColor: 'transparent' });
  context.lineWidth = 2;
  context.strokeStyle = '#fff';
  if (open?.tool === 'polygon') {
    context.beginPath();
    open.points.forEach(([x, y]) => context.lineTo(x * scale, y * scale));
    context.stroke();
    for (const [x, y] of open.points) context.strokeRect(x * scale - 3, y * scale - 3, 6, 6);
  }
  if (support.cursor) {
    const [x, y] = support.cursor.map((value) => value * scale);
    context.beginPath();
    for (const [dx, dy] of [[12, 0], [0, 12]]) {
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
    context.strokeStyle = '#000';
    context.lineWidth = 4;
    context.stroke();
    context.strokeStyle = '#fff';
    context.lineWidth = 2;
    context.stroke();
  }
}

const chosenTool = () => document.querySelector('input[name=tool]:checked').value;

function begin(point) {
  const { support } = state, tool = chosenTool();
  if (tool === 'polygon') {
    const { open } = support, near = support.width / $('canvas').clientWidth * 10;
    if (open?.tool === 'polygon' && open.points.length > 2
        && Math.hypot(open.points[0][0] - point[0], open.points[0][1] - point[1]) < near) {
      finish();
    } else if (open?.tool === 'polygon') open.points.push(point);
    else support.open = { tool, points: [point] };
  } else {
    const width = Number($('width').value) * Math.max(support.width, support.height) / 500;
    support.open = { tool, width, points: [point] };
  }
}

/** The mark being made is done. */
function finish() {
  const { support } = state, { open } = support;
  support.open = null;
  const [[x0, y0], [x1, y1]] = [open.points[0], open.points.at(-1)];
  const flat = (open.tool === 'box' && (Math.abs(x1 - x0) < 2 || Math.abs(y1 - y0) < 2))
    || (open.tool === 'polygon' && open.points.length < 3);
  if (!flat) support.marks.push(open);
  drawSupport();
}

function undo() {
  const { support } = state;
  if (support?.open) support.open.points.pop();
  if (support?.open && (!support.open.points.length || support.open.tool !== 'polygon')) support.open = null;
  else if (support && !support.open) support.marks.pop();
  drawSupport();
}

/** Pointer and keys on the photo. */
function listenToMarks() {
  const canvas = $('canvas');
  const place = (event) => {
    const frame = canvas.getBoundingClientRect(), { width, height } = state.support;
    return [(event.clientX - frame.left) / frame.width * width,
      (event.clientY - frame.top) / frame.height * height];
  };
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    state.support.cursor = null;
    begin(place(event));
    drawSupport();
  });
  canvas.addEventListener('pointermove', (event) => {
    const { open } = state.support;
    if (!open || open.tool === 'polygon' || !canvas.hasPointerCapture(event.pointerId)) return;
    open.points.push(place(event));
    drawSupport();
  });
  canvas.addEventListener('pointerup', (event) => {
    const { open } = state.support;
    if (!open || open.tool === 'polygon') return;
    open.points.push(place(event));
    finish();
  });
  canvas.addEventListener('pointercancel', () => {
    if (state.support.open?.tool !== 'polygon') state.support.open = null;
    drawSupport();
  });
  canvas.addEventListener('dblclick', () => {
    if (state.support.open?.tool === 'polygon') finish();
  });
  canvas.addEventListener('keydown', (event) => {
    const { support } = state, { width, height } = support;
    const far = Math.max(width, height) / (event.shiftKey ? 200 : 40);
    const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    const within = (value, most) => Math.min(most, Math.max(0, value));
    if (event.key in moves) {
      const [dx, dy] = moves[event.key], [x, y] = support.cursor ?? [width / 2, height / 2];
      support.cursor = [within(x + dx, width), within(y + dy, height)];
      if (support.open?.keys) support.open.points.push(support.cursor);
    } else if (event.key === ' ') {
      support.cursor ??= [width / 2, height / 2];
      if (support.open?.keys) finish();
      else {
        begin(support.cursor);
        if (support.open && support.open.tool !== 'polygon') support.open.keys = true;
        say(support.open?.keys ? 'Marking: move by the arrows, space ends it.' : 'A corner is set.');
      }
    } else if (event.key === 'Enter' && support.open) finish();
    else if (event.key === 'Escape') {
      support.open = null;
    } else if (event.key === '[' || event.key === ']') {
      $('width').value = Number($('width').value) + (event.key === ']' ? 3 : -3);
    } else if (event.key === 'z' && (event.ctrlKey || event.metaKey)) undo();
    else return;
    event.preventDefault();
    drawSupport();
  });
}

async function openSupport(blob, name = blob.name ?? 'photo') {
  const picture = await bitmap(blob), { width, height } = picture;
  state.support = { key: `support ${++state.keys}`, blob, name, picture, width, height, marks: [] };
  const canvas = $('canvas'), { width: w, height: h } = canvasOf(width, height, SHOWN);
  Object.assign(canvas, { width: w, height: h, hidden: false });
  canvas.setAttribute('aria-label', `The photo to mark: ${name}`);
  $('support-hint').hidden = true;
  drawSupport();
}

async function openMask(blob) {
  const { support } = state;
  if (!support) throw new Error('open the photo first, then its mask');
  const { rgb, width, height } = await pixels(blob);
  if (width !== support.width || height !== support.height) {
    throw new Error(`the mask has ${width} x ${height} pixels, its photo ${support.width} x ${support.height}`);
  }
  support.marks.push(maskMark(maskOf(rgb), width, height));
  drawSupport();
}

/** 0, 1 and 255 (does not count) of a mask picture's colours: black, the object's, and void's. */
export function maskOf(rgb) {
  const colours = Uint32Array.from({ length: rgb.length / 3 },
    (_, i) => rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2]);
  const present = new Set(colours);
  const unknown = present.has(0x010101) ? 0xffffff : 0xe0e0c0;  // 255 beside 1; VOC's palette of 255
  const marked = [...present].filter((colour) => colour !== 0 && colour !== unknown);
  if (marked.length !== 1) {
    throw new Error(`the mask has ${marked.length} colours beside black; expected one, the object's (`
      + 'a JPEG or soft edges give more: save it as a PNG with hard edges)');
  }
  return Uint8Array.from(colours, (colour) => (colour === unknown ? 255 : Number(colour !== 0)));
}

/** What the model takes for the object under the marks: within a box, around strokes. */
async function findOutline() {
  const { support } = state, { width, height } = support;
  const mask = markOf(support).map((value) => Number(value === 1));
  const boxed = support.marks.at(-1).tool === 'box';
  say('Looking for the outline …');
  const { own } = await ask('tune', support.key, support.blob, mask);
  const least = Math.min(state.model.points[0].threshold, own.reduce(
    (most, value, i) => (mask[i] ? Math.max(most, value) : most), 0) * 0.9);
  let object = Uint8Array.from(own, (value) => value >= least);
  object = boxed ? object.map((value, i) => value & mask[i]) : touching(object, mask, width, height);
  if (!object.some((value) => value)) throw new Error('no outline found: paint the whole object');
  support.marks.push(maskMark(object, width, height));
  drawSupport();
  say('This is what the model takes for the object; correct it, or take it back by Undo.');
}

/** Of `region` what hangs together with `seeds`, and the seeds. */
function touching(region, seeds, width, height) {
  const kept = Uint8Array.from(seeds), left = [];
  seeds.forEach((value, i) => { if (value) left.push(i); });
  while (left.length) {
    const i = left.pop(), x = i % width;
    for (const next of [x && i - 1, x < width - 1 && i + 1, i - width, i + width]) {
      if (next !== false && next >= 0 && next < width * height && region[next] && !kept[next]) {
        kept[next] = 1;
        left.push(next);
      }
    }
  }
  return kept;
}

// ---- the page: classes ------------------------------------------------------------------------

async function teach() {
  const { support } = state, name = $('name').value.trim();
  if (!name) throw new Error('name the class first');
  const known = state.classes.find((one) => one.name === name);
  if (known?.shots.length >= state.model.points.length) {
    throw new Error(`${state.model.points.length} photos a class at most`);
  }
  const mask = markOf(support), { width, height, picture } = support;
  if (!mask.includes(1)) throw new Error('nothing is marked');
  state.teaching = true;
  drawSupport();
  try {
    const start = performance.now();
    const { step, own, ...shot } = await ask('tune', support.key, support.blob, mask);
    const took = (performance.now() - start) / 1000;
    const there = state.classes.find((one) => one.name === name);  // it may have been removed meanwhile
    const number = there ? state.classes.indexOf(there) : state.classes.length;
    const marked = canvasOf(width, height, THUMB);
    paint(marked, picture, mask.map((value) => Number(value === 1)), width, height, 0.5, number);
    const thumbnail = await bytesOf(marked, 'image/png');
    const added = { ...shot, how: 'mask', thumbnail, pictures: [marked, heat(picture, step, width, height)] };
    if (there) {
      there.shots.push(added);
      there.others = null;  // how the photos of a card find each other's marks is Python's to say
    } else state.classes.push({ name, shots: [added] });
    changed();
    say(`Taught “${name}” in ${seconds(took)}.${advice(shot)}`);
  } finally {
    state.teaching = false;
    drawSupport();
  }
  answerAll();
}

/** What is wrong with a mark, as sst_tf/photos/teaching.py says it; else nothing. */
function advice({ cells, scoreAfter }) {
  if (cells < 1) return ' The mark is smaller than a cell of the features: crop closer.';
  return scoreAfter < 0.3 ? ` The model hardly finds the mark in its own photo (IoU ${
    scoreAfter.toFixed(2)}): mark all of the object, or crop closer.` : '';
}

/** The classes are others: they are listed, and every photo's answer is old. */
function changed() {
  state.version++;
  if (!state.classes.length) {  // nothing is looked for any more
    for (const photo of state.photos) Object.assign(photo, { answer: null, thumb: null, version: 0 });
    listPhotos();
    showCurrent();
  }
  $('names').replaceChildren(...state.classes.map(({ name }) => element('option', { value: name })));
  $('classes').replaceChildren(...state.classes.map((one, number) => {
    const shots = one.shots.map((shot, i) => {
      const pictures = shot.pictures ?? [pictureOf(shot)].filter(Boolean);
      const labels = ['what was marked', 'where the step moves the features'];
      pictures.forEach((picture, j) => {
        picture.setAttribute('role', 'img');
        picture.setAttribute('aria-label', `${one.name}, photo ${i + 1}: ${labels[j]}`);
      });
      const remove = element('button', { type: 'button', textContent: 'Remove' });
      remove.setAttribute('aria-label', `Remove photo ${i + 1} of ${one.name}`);
      remove.onclick = () => {
        one.shots.splice(i, 1);
        one.others = null;
        if (!one.shots.length) state.classes.splice(number, 1);
        changed();
        answerAll();
      };
      return element('li', {}, ...pictures, element('p', { className: 'small',
        textContent: `Its own mask: IoU ${shot.score.toFixed(2)}, after the step ${shot.scoreAfter.toFixed(2)}` }), remove);
    });
    const save = element('button', { type: 'button', textContent: 'Save class card' });
    save.setAttribute('aria-label', `Save class card of ${one.name}`);
    save.onclick = () => download(writeCard(one, state.model.model_sha256), `${fileName(one.name)}.npz`);
    const item = element('li', {}, element('strong', { textContent: one.name }),
      ` · ${one.shots.length} ${one.shots.length === 1 ? 'photo' : 'photos'} `,
      element('ul', { className: 'shots' }, ...shots), save);
    item.style.borderLeftColor = `rgb(${colour(number)})`;
    return item;
  }));
}

/** A card's thumbnail as an <img>. */
function pictureOf(shot) {
  if (!shot.thumbnail.length) return null;
  shot.url ??= URL.createObjectURL(new Blob([shot.thumbnail], { type: 'image/png' }));
  return element('img', { src: shot.url, alt: '' });
}

async function loadCards(files) {
  const cards = [];
  for (const file of files) {
    try {
      cards.push(readCard(new Uint8Array(await file.arrayBuffer()), state.model.model_sha256));
    } catch (error) {
      throw new Error(`${file.name}: ${error.message}`);
    }
  }
  // Answers tell classes apart by their names, and what was taught here may be kept nowhere else.
  cards.forEach(({ name }, i) => {
    const first = cards.findIndex((card) => card.name === name);
    if (first < i) {
      throw new Error(`${files[i].name}: its class is called “${name}”, as that of ${
        files[first].name}; load one of them, or teach one again under another name`);
    }
    if (state.classes.some((one) => one.name === name)) {
      throw new Error(`${files[i].name}: a class “${name}” is here already; remove it first, or `
        + 'teach one of the two again under another name');
    }
  });
  state.classes.push(...cards);
  changed();
  say(`Loaded ${files.length === 1 ? state.classes.at(-1).name : `${files.length} cards`}.`);
  answerAll();
}

// ---- the page: photos -------------------------------------------------------------------------

function addPhotos(files) {
  const names = new Set(state.photos.map((photo) => photo.name)), others = [];
  for (const file of files) {
    let name = file.webkitRelativePath || file.name || 'photo.png';
    // Browsers give no type to endings that they do not know, README as well as photo.heic.
    if (!(file.type ? file.type.startsWith('image/') : PICTURES.test(name))) {
      others.push(file.name);
      continue;
    }
    for (let n = 2; names.has(name); n++) name = name.replace(/( \(\d+\))?(\.[^.]*)?$/, ` (${n})$2`);
    names.add(name);
    state.photos.push({ key: `photo ${++state.keys}`, name, blob: file });
  }
  if (others.length) say(`${others.length} ${others.length === 1 ? 'file' : 'files'} left out, no pictures: ${several(others)}.`);
  state.current ??= state.photos[0] ?? null;
  listPhotos();
  showCurrent();
  answerAll();
}

/** The first of some names. */
const several = (names) => names.slice(0, 3).join(', ') + (names.length > 3 ? ' …' : '');

function listPhotos() {
  $('photos').replaceChildren(...state.photos.map((photo) => {
    photo.thumb ??= canvasOf(1, 1);
    const button = element('button', { type: 'button' }, photo.thumb, element('span', {
      textContent: photo.name }), element('br'), element('span', { textContent: words(photo) }));
    button.onclick = () => {
      state.current = photo;
      showCurrent();
      mark();
    };
    photo.button = button;
    return element('li', {}, button);
  }));
  mark();
}

const mark = () => state.photos.forEach((photo) => photo.button.setAttribute(
  'aria-current', photo === state.current));

function words({ answer, error }) {
  if (error) return error;
  if (!answer) return 'not searched yet';
  return answer.found.map(({ name, score, present, area }) => `${name}: ${present
    ? `${(100 * area / answer.width / answer.height).toFixed(1)} %` : 'not there'}, score ${score.toFixed(2)}`).join('; ');
}

/** Answer every photo whose answer is older than the classes; a newer call ends an older one. */
function answerAll() {
  const turn = ++state.turn;
  search(() => turn === state.turn).catch((error) => {
    if (turn === state.turn) stop();
    say(error.message, true);
  });
}

/** End the search; the button then goes on with what is not searched yet. */
function stop() {
  state.turn++;
  state.searching = false;
  $('stop').textContent = 'Go on';
}

async function search(going) {
  const due = state.classes.length && state.model
    ? state.photos.filter((photo) => photo.version !== state.version) : [];
  const progress = (done) => {
    state.searching = done < due.length;
    $('progress').max = Math.max(1, due.length);
    $('progress').value = due.length ? done : 0;
    $('count').textContent = due.length ? `${done} of ${due.length}` : '';
    Object.assign($('stop'), { textContent: 'Stop', disabled: !state.searching });
    $('save').disabled = !state.photos.some((photo) => photo.answer);
    $('forget').disabled = !state.photos.length;
  };
  progress(0);
  for (const [i, photo] of due.entries()) {
    const { version } = state;
    await answer(photo);
    photo.version = version;
    if (!going()) return;
    progress(i + 1);
  }
}

async function answer(photo) {
  try {
    const found = await ask('segment', photo.key, photo.blob, lean(), true, $('always').checked);
    const picture = await bitmap(photo.blob), { width, height, mask } = found;
    if (!state.classes.length) return; // the last one was removed meanwhile
    photo.answer = found;
    photo.error = null;
    Object.assign(photo.thumb, (({ width: w, height: h }) => ({ width: w, height: h }))(
      canvasOf(width, height, THUMB)));
    paint(photo.thumb, picture, unpacked(mask, width, height), width, height, 0.55);
    picture.close();
  } catch (error) {
    photo.answer = null;
    photo.error = error.message;
    Object.assign(photo.thumb, { width: 1, height: 1 });
  }
  photo.button.lastChild.textContent = words(photo);
  if (photo === state.current) await showCurrent().catch((error) => say(error.message, true));
}

/** The classes as the worker needs them. */
const lean = () => state.classes.map(({ name, shots }) => ({ name, shots: shots.map(
  ({ prototype, untuned, score }) => ({ prototype, untuned, score })) }));

async function showCurrent() {
  const photo = state.current, compare = $('compare').checked && photo?.answer;
  $('views').hidden = !photo;
  $('query-hint').hidden = Boolean(photo);
  $('untuned-figure').hidden = !compare;
  $('found').textContent = photo ? `${photo.name}: ${words(photo)}` + (
    photo.answer ? ` (${seconds(photo.answer.seconds)})` : '') : '';
  if (!photo) return;
  const picture = await bitmap(photo.blob).catch(() => null);
  if (!picture || photo !== state.current) return;
  show('tuned', picture, photo.answer);
  if (compare) {
    const other = await untuned(photo);
    if (photo === state.current) {
      show('untuned', picture, other);
      $('untuned-caption').textContent += `; overlaps by ${overlap(photo.answer, other).toFixed(2)} (IoU)`;
    }
  }
  picture.close();
}

/** The answer without the step, asked once for the classes of now. */
async function untuned(photo) {
  if (photo.untuned?.version !== state.version) {
    photo.untuned = { version: state.version, answer: ask('segment', photo.key, photo.blob, lean(), false, $('always').checked) };
  }
  const { answer } = photo.untuned;
  try {
    return await answer;
  } catch (error) {
    photo.untuned = null; // asked again the next time
    throw error;
  }
}

/** IoU of what two answers to a photo take for objects; 1 where neither takes any. */
function overlap(one, other) {
  const [a, b] = [one, other].map(({ mask, width, height }) => unpacked(mask, width, height));
  let both = 0, either = 0;
  a.forEach((value, i) => {
    either += value > 0 || b[i] > 0;
    both += value > 0 && value === b[i];
  });
  return either ? both / either : 1;
}

function show(id, picture, answer) {
  const canvas = $(id), { width, height } = picture;
  Object.assign(canvas, (({ width: w, height: h }) => ({ width: w, height: h }))(
    canvasOf(width, height, SHOWN)));
  const values = answer ? unpacked(answer.mask, width, height) : new Uint8Array(width * height);
  paint(canvas, picture, values, width, height, Number($('opacity').value) / 100);
  const caption = id === 'tuned' ? 'With tuning' : 'Without tuning';
  $(`${id}-caption`).textContent = answer ? `${caption}: ${words({ answer })}` : '';
  canvas.setAttribute('aria-label', answer ? `${caption}: ${words({ answer })}` : 'Not searched yet');
}

// ---- the page: files out ----------------------------------------------------------------------

const fileName = (name) => name.replace(/[^\p{L}\p{N}._ -]/gu, '_');

function download(bytes, name) {
  const url = URL.createObjectURL(new Blob([bytes]));
  element('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** The files that `sst predict` writes: index and overlay of each photo, and COCO's JSON. */
async function saveAll() {
  const files = {}, images = [], annotations = [], bare = [], { version, classes } = state;
  const categories = classes.map(({ name }, i) => ({ id: i + 1, name }));
  // Answers to the classes of before would be taken for those of now.
  const done = state.photos.filter((photo) => photo.answer && photo.version === version)
    .map(({ name, blob, answer }) => ({ name, blob, answer })); // as they are now, whatever is pressed meanwhile
  const failed = state.photos.filter((photo) => photo.error && photo.version === version)
    .map(({ name }) => name);
  const left = state.photos.length - done.length - failed.length;
  if (!done.length) throw new Error('no photo is answered for these classes yet');
  for (const [i, { name, blob, answer: { width, height, mask, found } }] of done.entries()) {
    say(`Writing ${i + 1} of ${done.length} …`);
    const values = unpacked(mask, width, height);
    files[`${name}.index.png`] = [png(mask, width, height), { level: 0 }];
    const overlay = await overlayOf(blob, values, width, height).catch(
      (error) => { bare.push(`${name} (${error.message})`); });
    if (overlay) files[`${name}.overlay.jpg`] = [overlay, { level: 0 }];
    images.push({ id: i + 1, file_name: name, height, width });
    found.forEach(({ score, area }, j) => {
      if (area) {
        annotations.push({ id: annotations.length + 1, image_id: i + 1, iscrowd: 0,
          category_id: j + 1, score, area, bbox: frameOf(values, width, height, j + 1),
          segmentation: runLengths(values, width, height, j + 1) });
      }
    });
  }
  files['predictions.json'] = strToU8(JSON.stringify({ images, annotations, categories }, null, 1));
  download(zipSync(files), 'masks.zip');
  const notes = [`${done.length} photos in masks.zip.`];
  if (left) notes.push(`${left} not answered yet are left out.`);
  if (failed.length) notes.push(`Left out, as they could not be searched: ${several(failed)}.`);
  if (bare.length) notes.push(`Without an overlay: ${several(bare)}.`);
  say(notes.join(' '), failed.length + bare.length > 0);
}

/** Bytes of a JPEG of a photo with its mask over it. */
async function overlayOf(blob, values, width, height) {
  const picture = await bitmap(blob), canvas = canvasOf(width, height);
  paint(canvas, picture, values, width, height, 0.5);
  picture.close();
  return bytesOf(canvas, 'image/jpeg', 0.9);
}

async function tryDrawn() {
  const { photos, mark: marked, name } = state.model.examples;
  const blob = async (path) => new File([await (await fetch(path)).blob()], path.split('/').pop(),
    { type: 'image/png' });
  await openSupport(await blob(photos[0]));
  await openMask(await blob(marked));
  $('name').value = name;
  addPhotos(await Promise.all(photos.slice(1).map(blob)));
  say(`The ${name} is marked: press Teach.`);
}

// ---- the page: start --------------------------------------------------------------------------

function listen() {
  const files = (id, action) => $(id).addEventListener('change', told(async () => {
    const chosen = [...$(id).files];
    $(id).value = '';
    if (chosen.length) await action(chosen);
  }));
  files('support', ([file]) => openSupport(file));
  files('mask', ([file]) => openMask(file));
  files('card', loadCards);
  files('queries', addPhotos);
  files('folder', addPhotos);
  const presses = { try: tryDrawn, undo, outline: findOutline, teach, save: saveAll,
    clear: () => { Object.assign(state.support, { marks: [], open: null }); drawSupport(); },
    stop: () => { if (state.searching) stop(); else answerAll(); },
    forget: () => { Object.assign(state, { photos: [], current: null }); listPhotos(); showCurrent(); answerAll(); } };
  for (const [id, action] of Object.entries(presses)) $(id).addEventListener('click', told(action));
  $('opacity').addEventListener('input', told(showCurrent));
  $('compare').addEventListener('change', told(showCurrent));
  $('always').addEventListener('change', () => { state.version++; answerAll(); });
  for (const [id, action] of [['marking', ([file]) => openSupport(file)], ['finding', addPhotos]]) {
    const drop = $(id).querySelector('.drop');
    $(id).addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('over'); });
    $(id).addEventListener('dragleave', () => drop.classList.remove('over'));
    $(id).addEventListener('drop', told(async (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      if (event.dataTransfer.files.length) await action([...event.dataTransfer.files]);
    }));
  }
  document.addEventListener('paste', told(async (event) => {
    const pasted = [...event.clipboardData.files];
    if (!pasted.length) return;
    // The first photo is the one to mark, unless the caret is among the photos to search.
    if (state.support && $('finding').contains(document.activeElement)) addPhotos(pasted);
    else if (state.support && state.classes.length) addPhotos(pasted);
    else await openSupport(pasted[0]);
  }));
  listenToMarks();
}

async function start() {
  listen();
  const begun = performance.now();
  ask = connect();
  try {
    state.model = await ask('load', new URLSearchParams(location.search).get('backend'));
  } catch (error) {
    $('model').textContent = `The model cannot start: ${error.message}`;
    throw error;
  }
  const { name, backbone, backend, threads, image_size: side } = state.model;
  const ran = backend === 'webgpu' ? 'WebGPU' : `WebAssembly, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  $('model').textContent = `Ready: ${name} (${backbone}, ${side} pixels) on ${ran}, loaded in ${
    seconds((performance.now() - begun) / 1000)}.`;
  drawSupport();
  answerAll();
}

if (typeof document === 'undefined') {
  const model = new Model();
  let last = Promise.resolve();  // one run at a time, in order
  self.onmessage = ({ data: { id, method, given } }) => {
    last = last.then(() => model[method](...given)).then(
      (answer) => self.postMessage({ id, answer }),
      (error) => self.postMessage({ id, error: String(error?.message ?? error) }));
  };
} else {
  start();
}
