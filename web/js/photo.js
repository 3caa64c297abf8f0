// A photo: from the file to boxes over it and a card for each face.

import { boxOf, place } from "./boxes.js";
import { cardsOf } from "./cards.js";
import { byId, make } from "./elements.js";
import { answer, labelOf, problems, summary } from "./messages.js";
import settings from "./settings.js";

const NARROW = 84; // pixels; among several faces, tags of smaller boxes hold the number alone
const FEW = 3;

/** Shows photos in the page and has them judged by a `Predictor`. */
export class Photo {
  #predictor;
  #shown = 0;
  #widths = new ResizeObserver((all) => {
    for (const { target } of all) target.classList.toggle("narrow", target.clientWidth < NARROW);
  });

  constructor(predictor) {
    this.#predictor = predictor;
  }

  /** Show a file, or one that is on its way, and its faces, or the sentence that says why there are none. */
  async show(coming) {
    const turn = ++this.#shown;
    this.clear();
    try {
      const file = await coming;
      if (turn !== this.#shown) return;
      const problem = await load(byId("picture"), file, file.name || "The picture");
      if (turn !== this.#shown) return;
      if (problem) return this.#fail(problem);
      byId("stage").hidden = false;
      document.body.classList.add("busy");
      say("Looking at the picture …");
      const told = (done, of) => turn === this.#shown && of > 3 && say(`Looking at face ${done + 1} of ${of} …`);
      const faces = await this.#predictor.predict(file, {}, told);
      if (turn !== this.#shown) return;
      if (faces.length) this.#fill(faces);
      else this.#fail(problems.noFace());
    } catch (error) {
      if (turn === this.#shown) this.#fail(problems.failed(error.message));
    } finally {
      if (turn === this.#shown) document.body.classList.remove("busy");
    }
  }

  /** Take photo, boxes and cards away. */
  clear() {
    this.#widths.disconnect();
    document.body.classList.remove("busy");
    byId("welcome").hidden = true;
    byId("stage").hidden = true;
    byId("boxes").replaceChildren();
    byId("cards").replaceChildren();
    byId("problem").hidden = true;
    say("");
  }

  /** Forget a photo that is still being judged. */
  leave() {
    this.#shown++;
    this.clear();
  }

  #fill(faces) {
    const { naturalWidth: width, naturalHeight: height } = byId("picture");
    const boxes = faces.map((face, i) => {
      const box = boxOf("button", i + 1, labelOf(face), { type: "button", "aria-label": answer(i + 1, face) });
      place(box, face.box, width, height);
      box.addEventListener("click", () => open(i));
      box.addEventListener("focus", () => mark(i));
      if (faces.length > FEW) this.#widths.observe(box);
      return box;
    });
    const cards = cardsOf(faces, mark, (i) => {
      byId("stage").scrollIntoView({ block: "nearest", behavior: motion() });
      boxes[i].focus({ preventScroll: true });
    });
    byId("boxes").replaceChildren(...boxes);
    byId("cards").replaceChildren(...cards);
    say(summary(faces));

    function mark(i) {
      [boxes, cards].forEach((all) => all.forEach((one, j) => one.classList.toggle("chosen", i === j)));
    }
    function open(i) {
      mark(i);
      cards[i].open = true;
      cards[i].querySelector("summary").focus({ preventScroll: true });
      cards[i].scrollIntoView({ block: "nearest", behavior: motion() });
    }
  }

  #fail([sentence, hint]) {
    say("");
    byId("problem").replaceChildren(make("b", {}, sentence), make("span", {}, hint));
    byId("problem").hidden = false;
  }
}

/** Load a file into an img; null, or the problem with it. */
async function load(picture, file, name) {
  if (!file.size) return problems.empty(name);
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  const loaded = await new Promise((resolve) => {
    picture.onload = () => resolve(true);
    picture.onerror = () => resolve(false);
  });
  if (!loaded) return problems[(await isHeic(file)) ? "heic" : "unreadable"](name);
  const { naturalWidth: width, naturalHeight: height } = picture;
  picture.alt = `Your picture, ${name}`;
  return width * height > settings.max_pixels ? problems.large(name, width, height) : null;
}

async function isHeic(file) {
  const head = await file.slice(4, 12).text();
  return /^ftyp(hei|hev|mif)/.test(head);
}

function say(text) {
  byId("status").textContent = text;
}

function motion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
}
