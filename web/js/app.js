// The page: what a visitor can do, and which part of it does that.

import { byId, make } from "./elements.js";
import { percent } from "./messages.js";
import { keepOffline, keepTheRest } from "./offline.js";
import { Photo } from "./photo.js";
import { Predictor } from "./predictor.js";
import settings from "./settings.js";
import { Webcam } from "./webcam.js";

/** For the tests too. */
export const predictor = new Predictor(keepOffline(), (loaded, total) => {
  if (byId("progress").hidden) return; // a part of it failed, which is said
  byId("progress").value = loaded / total;
  const [done, all] = [loaded, total].map((bytes) => (bytes / 1e6).toFixed(1));
  byId("loading-text").textContent = loaded < total ? `Loading, ${done} of ${all} MB` : "Starting …";
});
const photo = new Photo(predictor);
export const webcam = new Webcam(predictor);

predictor.ready.then(
  async () => {
    byId("loading").hidden = true;
    document.body.classList.add("ready");
    byId("offline").hidden = !(await keepTheRest());
  },
  (error) => {
    byId("progress").hidden = true;
    byId("loading-text").textContent = `The page could not be started: ${error.message}`;
  },
);

/** Show a file, or one that is still on its way. */
function showPhoto(file) {
  if (!byId("webcam").hidden) webcam.stop();
  show("photo");
  return photo.show(file);
}

function show(mode) {
  byId("photo").hidden = mode !== "photo";
  byId("webcam").hidden = mode !== "webcam";
  byId("use-webcam").textContent = mode === "webcam" ? "Leave webcam" : "Webcam";
}

byId("choose").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length) showPhoto(target.files[0]);
  target.value = "";
});

byId("use-webcam").addEventListener("click", () => {
  if (!byId("webcam").hidden) {
    webcam.stop();
    show("photo");
    byId("welcome").hidden = false;
    return;
  }
  photo.leave();
  show("webcam");
  webcam.start();
});
byId("live-start").addEventListener("click", () => webcam.start());
byId("look-closer").addEventListener("click", () => {
  showPhoto(webcam.still().then((still) => new File([still], "The picture of the webcam")));
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) showPhoto(file);
});
addEventListener("paste", ({ clipboardData }) => {
  const file = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) showPhoto(new File([file], "The pasted picture", { type: file.type }));
});

for (const { file, title } of settings.examples) {
  const picture = make("img", { src: file, alt: "", width: 96, height: 96 });
  const button = make("button", { type: "button", "aria-label": `Example: ${title}` }, picture);
  button.addEventListener("click", () => showPhoto(fetched(file, title)));
  byId("examples").append(button);
}

async function fetched(address, title) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${title} could not be loaded.`);
  return new File([await answer.blob()], title);
}

const { name, data, faces, accuracy } = settings.model;
byId("model").textContent =
  `The model is ${name}: right for ${percent(accuracy)} of the ${faces.toLocaleString("en")} test faces of ${data}, ` +
  "each seen alone.";
