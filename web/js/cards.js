// A card for each face: the answer in one sentence; folded below it, where the model looked and every probability.

import { heatPicture, paint, scalePicture } from "./colours.js";
import { canvasOf, make } from "./elements.js";
import { answer, labelOf, marginOf, percent, points, ranked, remarks } from "./messages.js";
import settings from "./settings.js";

const UNFOLDED = 2; // up to so many cards are open at once

/** The cards of a photo's faces. `onPick(i)` is told whose card a visitor turned to, `onShow(i)` to show the face. */
export function cardsOf(faces, onPick, onShow) {
  return faces.map((face, i) => card(i + 1, face, faces.length <= UNFOLDED, () => onPick(i), () => onShow(i)));
}

function card(number, face, open, pick, show) {
  const thumbnail = canvasOf(face.view, { className: "thumbnail", role: "img", "aria-label": `Face ${number}` });
  const badge = make("b", { className: "badge" }, labelOf(face) ? String(number) : `${number} ?`);
  const sentence = answer(number, face).replaceAll(" %", "\u00a0%");
  const summary = make("summary", {}, badge, thumbnail, make("span", {}, sentence));
  const properties = { className: "card", id: `face-${number}`, open };
  const element = make("details", properties, summary, ...body(number, face, show));
  paint(element, labelOf(face));
  summary.addEventListener("focus", pick);
  summary.addEventListener("click", pick);
  return element;
}

function body(number, face, show) {
  const [, [second]] = ranked(face);
  const margin = `Margin to the second class, ${second}: ${points(marginOf(face))}.`;
  const back = make("button", { type: "button", className: "link" }, "Show this face in the picture");
  back.addEventListener("click", show);
  return [
    ...remarks(face).map((text) => make("p", { className: "remark" }, text)),
    make("div", { className: "judgement" }, heat(number, face), bars(face)),
    make("p", { className: "quiet" }, margin, " ", back),
  ];
}

function heat(number, face) {
  const map = canvasOf(heatPicture(face.heatmap), { className: "heat", "aria-hidden": "true" });
  const described = `Face ${number} with a heat map of where the model looked`;
  const seen = canvasOf(face.view, { role: "img", "aria-label": described });
  const named = `Opacity of the heat map over face ${number}`;
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": named });
  slider.addEventListener("input", () => map.style.setProperty("opacity", slider.value / 100));
  const [low, high] = ["hardly counts", "speaks for it"].map((text) => make("span", {}, text));
  return make(
    "figure",
    {},
    make("div", { className: "layers" }, seen, map),
    canvasOf(scalePicture(), { className: "scale", "aria-hidden": "true" }),
    make("figcaption", { className: "ends", title: settings.heat_meaning }, low, high),
    make("label", { className: "opacity" }, make("span", {}, "heat map"), slider),
  );
}

/** The probability of every class as a table with bars, the most probable first. */
export function bars(face) {
  const rows = ranked(face).map(([label, score]) => {
    const bar = make("i");
    bar.style.width = `${score * 100}%`;
    paint(bar, label);
    return make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, bar), make("td", {}, percent(score)));
  });
  return make("table", { className: "bars" }, make("tbody", {}, ...rows));
}
