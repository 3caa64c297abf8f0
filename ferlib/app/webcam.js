// The webcam: boxes, names and bars over the live picture, averaged over a second. No picture is kept.
// The body of a function that Gradio calls with the `element` whose HTML stands in tabs/webcam.py.

const WIDTH = 480; // of the frames that are sent
const EVERY = 50; // ms between two frames, at least
const LARGE = 0.35; // of the frame's width: faces that a coarse, quick search finds again ...
const SEARCH_EVERY = 500; // ms; ... and how often the frame is searched for others
const PATIENCE = 10000; // ms for an answer
const FULL = 503; // the status of an answer that says there is no room ...
const RETRY = 1000; // ms; ... and how long to wait before the next question, then twice as long, up to PATIENCE
const SPAN = 1000; // ms over which a face's scores are averaged
const KEPT = 400; // ms for which a face that is not found any more stays
const SAME = 0.3; // overlap (IoU) from which the boxes of two frames are one face
const BARS = 3; // classes over the picture
const ROOM = 46; // pixels below a face that they need; else they stand in its box
const ASIDE = 176; // pixels from a face's left edge on that they need; else they begin at its right edge

const [start, live, video, boxes, stopping, heat, rate, said, problem] =
  ["start", "running", "video", "boxes", "stop", "heat", "rate", "said", "problem"].map((name) =>
    element.querySelector(`.live-${name}`),
  );
const whole = element.querySelector(".live");
const { colours, undecided, words } = JSON.parse(whole.dataset.settings);
const canvas = document.createElement("canvas");
let stream = null;
let tracks = [];
let times = []; // of the answers of the last two seconds
let asking = ""; // the model; "" is the default
let searched = 0; // when the frame was last searched finely

const translated = words[document.documentElement.lang.slice(0, 2)] ?? {};
for (const one of [start, element.querySelector(".live-lead"), stopping, heat.nextElementSibling]) {
  one.textContent = word(one.textContent);
}

function word(english) {
  return translated[english] ?? english;
}

start.addEventListener("click", async () => {
  problem.textContent = "";
  start.disabled = true; // until the visitor has let the camera on, or not
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" } });
  } catch (error) {
    stop(reasonOf(error));
  }
  start.disabled = false;
  if (!stream) return start.focus({ preventScroll: true });
  show(true);
  video.srcObject = stream;
  video.classList.toggle("mirrored", stream.getVideoTracks()[0].getSettings().facingMode !== "environment");
  await video.play().catch(() => {}); // stopped while it began
  stopping.focus({ preventScroll: true });
  if (stream) await run(stream);
});
stopping.addEventListener("click", () => stop());

function show(running) {
  live.hidden = !running;
  start.parentElement.hidden = running;
}

function stop(reason = "") {
  const focused = live.contains(document.activeElement);
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  [tracks, times] = [[], []];
  boxes.replaceChildren();
  problem.textContent = word(reason);
  show(false);
  if (focused) start.focus({ preventScroll: true });
}

async function run(mine) {
  let refused = 0; // ms to wait, after so many refusals
  while (stream === mine) {
    const began = performance.now();
    if (document.hidden || !video.offsetParent) return stop("The camera was switched off when you left it.");
    if (!mine.active) return stop("The camera was switched off.");
    let pause = EVERY;
    try {
      const answer = await ask(await frame());
      refused = answer.status === FULL ? Math.min(2 * refused || RETRY, PATIENCE) : 0;
      pause = Math.max(EVERY, refused);
      if (stream !== mine) return;
      const now = performance.now();
      times = [...times.filter((at) => now - at < 2000), ...(answer.faces ? [now] : [])];
      draw(follow(answer.faces ?? [], now), answer.error);
    } catch {
      if (stream === mine) stop("The server does not answer.");
    }
    await new Promise((done) => setTimeout(done, Math.max(pause - (performance.now() - began), 1)));
  }
}

function frame() {
  canvas.width = Math.min(WIDTH, video.videoWidth);
  canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
}

async function ask(body) {
  const large = ({ box: [x0, , x1] }) => x1 - x0 > LARGE * canvas.width;
  const coarse = tracks.length > 0 && tracks.every(large) && performance.now() - searched < SEARCH_EVERY;
  if (!coarse) searched = performance.now();
  const model = whole.dataset.model ?? "";
  if (model !== asking) for (const track of tracks) track.history = []; // no average of two models
  asking = model;
  const explain = heat.checked ? "gradcam" : "";
  const asked = new URLSearchParams({ model, explain, coarse: coarse ? "yes" : "" });
  const root = location.pathname.replace(/\/$/, "");
  const answer = await fetch(`${root}/live?${asked}`, { method: "POST", body, signal: AbortSignal.timeout(PATIENCE) });
  return { status: answer.status, ...(await answer.json()) };
}

/** Give the faces of a frame to those of the frames before; the faces that are shown, by number. */
function follow(faces, now) {
  const free = new Set(tracks);
  for (const { box, scores, heat: map } of faces) {
    let track = [...free].sort((a, b) => overlap(b.box, box) - overlap(a.box, box))[0];
    if (!track || overlap(track.box, box) < SAME) {
      const taken = tracks.map(({ number }) => number);
      track = { number: [1, 2, 3, 4, 5, 6, 7, 8, 9].find((one) => !taken.includes(one)) ?? 0, history: [] };
      tracks.push(track);
    }
    free.delete(track);
    const history = [...track.history.filter(({ at }) => now - at < SPAN), { at: now, scores }];
    const mean = (name) => history.reduce((sum, one) => sum + one.scores[name], 0) / history.length;
    const ranked = Object.keys(scores).map((name) => [name, mean(name)]).sort((a, b) => b[1] - a[1]);
    Object.assign(track, { box, map, history, ranked, seen: now });
  }
  for (const track of tracks) if (now - track.seen > KEPT) track.view?.remove();
  tracks = tracks.filter(({ seen }) => now - seen <= KEPT).sort((a, b) => a.number - b.number);
  return tracks;
}

function overlap([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) {
  const shared = Math.max(0, Math.min(ax1, bx1) - Math.max(ax0, bx0)) * Math.max(0, Math.min(ay1, by1) - Math.max(ay0, by0));
  return shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared || 1);
}

function draw(shown, trouble) {
  for (const track of shown) {
    if (!track.view) {
      track.view = document.createElement("div");
      track.view.className = "live-box";
      boxes.append(track.view);
    }
    const [[first, score], [, second]] = track.ranked;
    track.label = score - second < undecided ? null : first;
    const [colour, ink] = colours[track.label] ?? colours[""];
    let [x0, y0, x1, y1] = track.box.map((at, i) => at / (i % 2 ? canvas.height : canvas.width));
    if (video.classList.contains("mirrored")) [x0, x1] = [1 - x1, 1 - x0];
    const style = { left: x0, top: y0, width: x1 - x0, height: y1 - y0 };
    for (const [name, value] of Object.entries(style)) track.view.style[name] = `${100 * value}%`;
    track.view.style.setProperty("--colour", colour);
    track.view.style.setProperty("--ink", ink);
    track.view.classList.toggle("low", (1 - y1) * video.clientHeight < ROOM);
    track.view.classList.toggle("high", y0 < 0.1);
    track.view.classList.toggle("from-right", (1 - x0) * video.clientWidth < ASIDE);
    const bars = track.ranked.slice(0, BARS).map(bar);
    track.view.replaceChildren(
      ...(track.map ? [make("img", { className: "live-map", src: track.map, alt: "" })] : []),
      make("b", {}, `${track.number} ${track.label ?? "?"}`),
      make("div", { className: "live-bars" }, ...bars.flat()),
    );
  }
  rate.textContent = `${Math.round(times.length / 2)} ${word("answers a second")}`;
  say(trouble ?? (shown.map(inWords).join(" ") || "No face was found in front of the camera."));
}

function bar([name, score]) {
  const line = make("i");
  line.style.cssText = `width: ${100 * score}%; background: ${(colours[name] ?? colours[""])[0]}`;
  return [make("span", {}, name), make("span", {}, line), make("span", {}, percent(score))];
}

function percent(part) {
  return part < 0.005 ? "< 1 %" : part > 0.995 ? "> 99 %" : `${Math.round(100 * part)} %`;
}

function inWords({ number, label, ranked: [[first], [second]] }) {
  return `Face ${number}: ${label ?? `undecided between ${first} and ${second}`}.`;
}

function make(kind, properties = {}, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

function say(text) {
  if (said.textContent !== text) said.textContent = text; // else a screen reader says it again
}

function reasonOf(error) {
  if (!navigator.mediaDevices) return "A webcam needs an address that begins with https.";
  if (error.name === "NotAllowedError") return "The browser was not allowed to use a camera.";
  if (error.name === "NotFoundError") return "No camera was found.";
  return `${word("The camera could not be started")} (${error.message}).`;
}
