// The webcam: boxes and bars over the live picture. It ends with the page's tab; no frame is kept.

import { boxOf, name, place } from "./boxes.js";
import { bars } from "./cards.js";
import { byId, hide, make } from "./elements.js";
import { labelOf, ranked } from "./messages.js";
import settings from "./settings.js";
import { Tracks } from "./tracks.js";

const WIDTH = 480; // of the frames that are looked at
/** For `predict`: faces of a ninth of the width are found, and the four largest judged. */
export const OPTIONS = { views: false, doubts: false, turns: false, maxSide: 224, most: 4 };
/** Large faces are found again coarsely, in a third of the time; for others the frame is searched now and then. */
const COARSELY = { ...OPTIONS, maxSide: settings.faces.coarse[0][0] };
const SEARCH_EVERY = 500; // ms
const LARGE = 0.3; // of the frame's width
const HIDDEN = "The webcam was switched off while the page was hidden.";
const SHOWN = 3; // bars over the picture

/** Runs the camera and has its frames judged by a `Predictor`, one at a time. */
export class Webcam {
  #predictor;
  #stream = null;
  #starts = 0; // each start and each stop makes the starts before it void
  #boxes = new Map();
  #times = [];
  answers = 0; // so far

  constructor(predictor) {
    this.#predictor = predictor;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.running) this.stop(HIDDEN);
    });
  }

  get running() {
    return this.#stream !== null;
  }

  /** Answers a second, over the last two. */
  get rate() {
    return this.#times.length / 2;
  }

  /** Ask for the camera and begin. */
  async start() {
    byId("live-problem").hidden = true;
    hide(byId("live-start"), byId("use-webcam"));
    say("Waiting for the camera …");
    const start = ++this.#starts;
    try {
      const video = { width: { ideal: 640 }, facingMode: "user" };
      const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      if (start !== this.#starts) return stream.getTracks().forEach((track) => track.stop()); // allowed too late
      this.#stream = stream;
      if (document.hidden) this.stop(HIDDEN);
      else await this.#show(stream);
    } catch (error) {
      if (start === this.#starts) this.stop(reasonOf(error));
    }
  }

  async #show(stream) {
    const [track] = this.#stream.getVideoTracks();
    track.addEventListener("ended", () => this.stop("The camera was switched off."));
    const view = byId("video");
    view.srcObject = stream;
    const mirrored = track.getSettings().facingMode !== "environment";
    view.classList.toggle("mirrored", mirrored);
    await view.play();
    if (this.#stream !== stream) return; // stopped while it began
    byId("live").hidden = false;
    await this.#run(view, stream, mirrored).catch((error) => {
      if (this.#stream === stream) this.stop(`The camera's picture could not be judged (${error.message}).`);
    });
  }

  /** Let the camera go, and say why. */
  stop(reason = "") {
    this.#starts++;
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    byId("video").srcObject = null;
    hide(byId("live"), byId("use-webcam"));
    byId("live-cards").replaceChildren();
    this.#draw([], 1, 1, false);
    this.#times = [];
    say("");
    byId("live-problem").textContent = reason;
    byId("live-problem").hidden = !reason;
    byId("live-start").hidden = false;
  }

  /** The frame that is shown, as a file. */
  still() {
    const video = byId("video");
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  async #run(video, stream, mirrored) {
    const tracks = new Tracks();
    let [last, searched, allLarge] = [-1, 0, false];
    while (this.#stream === stream) {
      if (video.currentTime === last || !video.videoWidth) {
        await new Promise(requestAnimationFrame);
        continue;
      }
      last = video.currentTime;
      const frame = await createImageBitmap(video, { resizeWidth: Math.min(WIDTH, video.videoWidth) });
      const [width, height] = [frame.width, frame.height];
      const coarsely = allLarge && performance.now() - searched < SEARCH_EVERY;
      const faces = await this.#predictor.predict(frame, coarsely ? COARSELY : OPTIONS);
      if (this.#stream !== stream) return;
      this.answers++;
      const now = performance.now();
      if (!coarsely) searched = now;
      this.#times = [...this.#times.filter((time) => now - time < 2000), now];
      const shown = tracks.update(faces, now);
      allLarge = shown.length > 0 && shown.every(({ box: [x0, , x1] }) => x1 - x0 > LARGE * width);
      this.#draw(shown, width, height, mirrored);
    }
  }

  #draw(tracks, width, height, mirrored) {
    const gone = new Set(this.#boxes.keys());
    for (const track of tracks) {
      gone.delete(track.number);
      if (!this.#boxes.has(track.number)) {
        this.#boxes.set(track.number, boxOf("div", track.number, null));
        byId("live-boxes").append(this.#boxes.get(track.number));
      }
      const box = this.#boxes.get(track.number);
      name(box, track.number, labelOf(track));
      place(box, track.box, width, height, mirrored);
      box.querySelector(".over")?.remove();
      const over = bars(track);
      over.classList.add("over");
      [...over.rows].forEach((row, i) => (i < SHOWN ? row.lastChild : row).remove());
      box.append(over);
    }
    for (const number of gone) {
      this.#boxes.get(number).remove();
      this.#boxes.delete(number);
    }
    byId("live-cards").replaceChildren(...tracks.map(liveCard));
    byId("rate").textContent = `${this.rate.toFixed(0)} answers a second`;
    byId("live-status").classList.toggle("for-readers", tracks.length > 0); // the cards say it too
    say(tracks.length ? tracks.map(said).join(" ") : "No face was found in front of the camera.");
  }
}

function liveCard(track) {
  return make("section", { className: "card" }, make("h3", {}, said(track)), bars(track));
}

function said(track) {
  const [[first], [second]] = ranked(track);
  return `Face ${track.number}: ${labelOf(track) ?? `undecided between ${first} and ${second}`}.`;
}

function reasonOf(error) {
  if (!navigator.mediaDevices) return "A webcam needs an address that begins with https.";
  if (error.name === "NotAllowedError") return "The browser was not allowed to use a camera.";
  if (error.name === "NotFoundError") return "No camera was found.";
  return `The camera could not be started (${error.message}).`;
}

function say(text) {
  const status = byId("live-status");
  if (status.textContent !== text) status.textContent = text;
}
