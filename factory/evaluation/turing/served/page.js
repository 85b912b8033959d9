"use strict";
// The page asks the server what to show, and never learns what a picture is. All that counts is
// saved by the server with each answer, so that the page may be closed or reloaded at any time.

const byId = (id) => document.getElementById(id);
const MAX_SECONDS = 86400;
let state = null;
let shownPart = null; // whose examples are in view
let current = null; // the picture in view
let next = null; // the picture after it, loaded already
let isShowing = false; // the picture in view can be answered
let seconds = 0; // for which it was in view, before since
let since = 0;

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Give the same command once more and open the address that it prints; every answer so far is saved.");
  }
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  return content;
}

function complain(error) {
  byId("problem").textContent = error === null ? "" : error.message;
  byId("problem").hidden = error === null;
}

function load(position) {
  const image = new Image();
  image.src = `pictures/${position}.png`;
  return { position, image, isLoaded: image.decode() };
}

// An integer number of screen pixels for each pixel, so that all of them are equally large.
function fit() {
  if (current === null || !current.image.naturalWidth) return;
  const image = current.image, frame = byId("frame");
  const style = getComputedStyle(frame);
  const wide = frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const high = innerHeight * (innerWidth > 760 ? 0.6 : 0.32);
  const density = devicePixelRatio || 1;
  const most = Math.min(wide / image.naturalWidth, high / image.naturalHeight) * density;
  const scale = most >= 1 ? Math.floor(most) / density : most / density;
  image.style.width = `${image.naturalWidth * scale}px`;
  image.style.height = `${image.naturalHeight * scale}px`;
}

function showExamples() {
  if (shownPart === state.part) return;
  for (const truth of ["real", "synthetic"]) {
    const tiles = [];
    for (let number = 0; number < state.num_examples; number++) {
      const image = new Image();
      image.src = `examples/${state.part}/${truth}/${number}.png`;
      image.alt = `Example ${number + 1} of ${state.num_examples}: ${truth}`;
      tiles.push(image);
    }
    byId(`${truth}-examples`).replaceChildren(...tiles);
  }
  shownPart = state.part;
}

function describe() {
  const part = state.num_parts > 1 ? `Part ${state.part + 1} of ${state.num_parts} · ` : "";
  byId("where").textContent = state.is_done
    ? `All ${state.num_pictures} answered`
    : `${part}Picture ${state.position + 1} of ${state.num_pictures}`;
  byId("progress").max = state.num_pictures;
  byId("progress").value = state.position;
}

// Buttons stay enabled between two pictures, so that the one that was pressed keeps the focus.
function enable(canAnswer) {
  isShowing = canAnswer;
  byId("frame").dataset.answerable = canAnswer ? state.position : "";
  byId("undo").disabled = !state.can_undo;
}

async function show() {
  describe();
  showExamples();
  current = next !== null && next.position === state.position ? next : load(state.position);
  next = null;
  await current.isLoaded;
  current.image.alt = `Picture ${state.position + 1} of ${state.num_pictures}, real or synthetic?`;
  byId("frame").replaceChildren(current.image);
  byId("curtain").hidden = true;
  byId("trial").hidden = false;
  fit();
  seconds = 0;
  since = performance.now();
  enable(true);
  if (state.position + 1 < state.num_pictures) {
    next = load(state.position + 1);
    next.isLoaded.catch(() => { next = null; }); // it is loaded again when its turn comes
  }
}

function draw(title, lines, button, action) {
  describe();
  isShowing = false;
  byId("trial").hidden = true;
  byId("curtain-title").textContent = title;
  byId("curtain-text").replaceChildren(...lines.map((line) => {
    const paragraph = document.createElement("p");
    paragraph.textContent = line;
    return paragraph;
  }));
  byId("go").textContent = button;
  byId("go").disabled = false;
  byId("go").onclick = async () => {
    byId("go").disabled = true;
    await attempt(action);
    byId("go").disabled = false;
  };
  byId("result").hidden = !state.is_done;
  byId("curtain").hidden = false;
  byId("go").focus();
}

const HOW = [
  "You see one picture at a time. Say whether it is real, taken by a camera, or synthetic, made by a computer. Half of them are real.",
  "Examples of both kinds stay in view; what they say is true. Take the time you need, and guess where you cannot tell.",
  "Keys: R or ← for real, S or → for synthetic, U to undo the last answer, P to pause. Each answer is saved at once.",
];

function intermission() {
  if (state.is_done) return over();
  if (state.position === 0) return draw("Which pictures are real?", HOW, "Begin", show);
  if (state.position === state.first_of_part) {
    return draw(`Part ${state.part + 1} of ${state.num_parts}`, [
      "The synthetic pictures are of another kind from here on, and so are the examples. The question is the same.",
    ], "Continue", show);
  }
  return draw("Your answers are saved", [
    `${state.position} of ${state.num_pictures} pictures are answered.`, ...HOW.slice(1),
  ], "Continue", show);
}

function over() {
  draw("Thank you", [
    `All ${state.num_pictures} pictures are answered and saved. The result is in turing.html, beside the answers.`,
    "The server runs until you end it here, so look at the result first.",
  ], "End", async () => {
    await ask("end", {});
    draw("The test has ended", ["You can close this page."], "End", () => {});
    byId("go").hidden = byId("result").hidden = true;
  });
}

function pause() {
  if (!isShowing) return;
  seconds += (performance.now() - since) / 1000;
  draw("Paused", ["The picture is hidden and the time stands still. Every answer so far is saved."], "Continue", () => {
    complain(null);
    byId("curtain").hidden = true;
    byId("trial").hidden = false;
    fit();
    since = performance.now();
    enable(true);
  });
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    complain(error);
  }
}

// One request at a time: what is pressed before the next picture is in view does not count.
async function send(path, more) {
  if (!isShowing) return;
  const body = { position: state.position, ...more };
  enable(false);
  try {
    const before = state.part;
    state = await ask(path, body);
    complain(null);
    if (state.is_done || (path === "answer" && state.part !== before)) intermission();
    else await show();
  } catch (error) {
    complain(error);
    try {
      state = await ask("state"); // another window may have answered, or the disk be full
      intermission();
    } catch (again) {
      complain(again);
      enable(true);
    }
  }
}

function answer(truth) {
  const inView = seconds + (performance.now() - since) / 1000;
  return send("answer", { answer: truth, seconds: Math.min(MAX_SECONDS, inView) });
}

function undo() {
  if (state !== null && state.can_undo) send("undo", {});
}

const KEYS = {
  r: () => answer("real"), ArrowLeft: () => answer("real"),
  s: () => answer("synthetic"), ArrowRight: () => answer("synthetic"),
  u: undo, Backspace: undo, p: pause,
};

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !isShowing) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act === undefined) return;
  event.preventDefault();
  act();
});
byId("real").onclick = () => answer("real");
byId("synthetic").onclick = () => answer("synthetic");
byId("undo").onclick = undo;
byId("pause").onclick = pause;
addEventListener("resize", fit);
addEventListener("visibilitychange", () => { if (document.hidden) pause(); });

attempt(async () => {
  state = await ask("state");
  intermission();
});
