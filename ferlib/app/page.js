// What the page does in the browser by itself: the way between boxes and cards, and names for what Gradio leaves without.
() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = (element, block) => element?.scrollIntoView({ behavior: still() ? "auto" : "smooth", block });
  const lasting = document.documentElement.style; // Gradio writes over that of an answer

  const choose = (number) => {
    for (const one of all("#boxed [data-face]")) one.classList.toggle("chosen", one.dataset.face === number);
    for (const one of all("#report .face")) one.classList.toggle("chosen", one.id === `face-${number}`);
  };
  const open = (number) => {
    const card = document.getElementById(`face-${number}`);
    if (!card) return;
    card.open = true;
    card.querySelector("summary").focus({ preventScroll: true });
    show(card, "nearest");
  };
  const back = (number) => {
    const box = document.querySelector(`#boxed [data-face="${number}"]`);
    choose(number);
    box?.focus({ preventScroll: true });
    show(document.querySelector("#boxed"), "nearest");
  };
  const save = (picture) => {
    const link = document.createElement("a");
    link.href = picture.src;
    link.download = "faces.jpg";
    link.click();
  };

  document.body.classList.toggle("no-full-screen", !document.fullscreenEnabled); // as on an iPhone
  document.addEventListener("click", ({ target }) => {
    const data = target.closest?.("[data-face], [data-show], [data-do]")?.dataset;
    if (data?.face) choose(data.face);
    if (data?.face && target.closest("#boxed")) open(data.face);
    if (data?.show) back(data.show);
    if (data?.do === "save") save(document.querySelector("#boxed img"));
    if (data?.do === "fill") document.querySelector("#boxed .stage").requestFullscreen?.();
  });
  document.addEventListener("focusin", ({ target }) => {
    if (target.matches("#report .face > summary")) choose(target.dataset.face);
  });
  document.addEventListener("input", ({ target }) => {
    if (target.closest(".opacity")) lasting.setProperty("--opacity", target.value);
  });
  // the next answer may bring a slider of its own
  const slide = () => {
    for (const slider of all(".opacity input")) slider.value = lasting.getPropertyValue("--opacity") || slider.value;
  };

  // a photo is known by its bytes, on the server: Gradio asks the browser, which does not know IMG_1.HEIC
  const asImages = (files) =>
    [...files].map((file) => (file.type.startsWith("image/") ? file : new File([file], file.name, { type: "image/x-unknown" })));
  const hand = (input, files) => {
    const given = new DataTransfer();
    for (const file of asImages(files)) given.items.add(file);
    input.files = given.files;
  };
  document.addEventListener("change", ({ target }) => {
    if (target.matches?.(":is(#photo, #face) input[type=file]")) hand(target, target.files);
  }, true);
  document.addEventListener("drop", (event) => {
    const input = event.target.closest?.(":is(#photo, #face)")?.querySelector("input[type=file]");
    if (!input || [...event.dataTransfer.files].every((file) => file.type.startsWith("image/"))) return;
    event.preventDefault();
    event.stopPropagation();
    hand(input, event.dataTransfer.files);
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);

  // a format that the browser does not show, as TIFF, is read all the same
  for (const kind of ["error", "load"]) {
    const mark = ({ target }) => target.matches?.(":is(#photo, #face) img") && target.classList.toggle("broken", kind === "error");
    document.addEventListener(kind, mark, true);
  }

  // an example's file is named for what it shows; the field for a photo, by its own words; wide code can be scrolled
  const english = ["#boxed", "#report", "#done", "#table", "#batch .answer", "#about .answer", "#brief", "#card", "#model-notes", "#programs"];
  const name = () => {
    for (const answer of all(`:is(${english}):not([lang])`)) answer.lang = "en"; // the page's language is the visitor's
    for (const field of all("button[aria-dropeffect][aria-label]"))
      if (field.textContent.trim()) field.removeAttribute("aria-label"); // one without words keeps its name
    for (const outer of all("button:has(button):not([role])")) { // Gradio's "more files": a button in a button
      outer.setAttribute("role", "group");
      outer.setAttribute("aria-label", "More files");
      outer.tabIndex = -1;
    }
    for (const code of all("#card pre:not([tabindex])")) code.tabIndex = 0;
    for (const button of all(".gallery button:not([aria-label])")) {
      const picture = button.querySelector("img");
      if (!picture?.src) continue;
      picture.alt = "";
      const title = decodeURIComponent(picture.src).split("/").pop().replace(/\.\w+$/, "");
      button.setAttribute("aria-label", `Example: ${title}`);
      button.title = title;
    }
  };
  new MutationObserver(() => {
    name();
    slide();
  }).observe(document.body, { childList: true, subtree: true });
  name();
}
