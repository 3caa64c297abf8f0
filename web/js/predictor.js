// The page's way to the thread that computes.

/**
 * Asks `worker.js`; `ready` is kept once all is loaded.
 *
 * @param begin a promise that loading waits for; photos that are shown before wait too.
 * @param onProgress is told how many bytes have come, of how many.
 */
export class Predictor {
  #worker; // a promise
  #open = new Map();
  #count = 0;
  #broken = null; // why nothing will be answered any more

  constructor(begin, onProgress) {
    this.#worker = begin.then(() => new Worker(startOf(new URL("worker.js", import.meta.url)), { type: "module" }));
    this.ready = this.#worker.then((worker) => this.#loaded(worker, onProgress));
  }

  #loaded(worker, onProgress) {
    return new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => {
        if (data.ready) resolve();
        else if (data.failed) reject(new Error(data.failed));
        else if (data.total) onProgress(data.loaded, data.total);
        else this.#answer(data);
      });
      worker.addEventListener("error", () => {
        this.#broken = new Error("This browser cannot run the page's module.");
        for (const one of this.#open.values()) one.reject(this.#broken);
        this.#open.clear();
        reject(this.#broken);
      });
    });
  }

  /**
   * The faces of a file or a frame, see `predict` in worker.js; a frame is given away.
   *
   * @param onFace is told how many faces are judged, of how many.
   */
  predict(picture, options = {}, onFace = () => {}) {
    if (this.#broken) return Promise.reject(this.#broken);
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject, onFace });
      const given = picture instanceof ImageBitmap ? [picture] : [];
      this.#worker.then((worker) => worker.postMessage({ id, picture, options }, given));
    });
  }

  #answer({ id, faces, error, done, of }) {
    const { resolve, reject, onFace } = this.#open.get(id);
    if (of !== undefined) return onFace(done, of);
    this.#open.delete(id);
    return faces ? resolve(faces) : reject(new Error(error));
  }
}

/** A worker with a blob's address takes over the page's Content Security Policy; one with a file's has none at all. */
function startOf(module) {
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(module.href)};`], { type: "text/javascript" }));
}
