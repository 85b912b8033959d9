"use strict";
// Keys, and the part of a page that is asked for again. Without this script all links still work.

const tiles = () => [...document.querySelectorAll(".tile")];
let marked = -1;

function mark(position) {
  const all = tiles();
  if (!all.length) return;
  all[marked]?.classList.remove("marked");
  marked = Math.max(0, Math.min(all.length - 1, position));
  const tile = all[marked];
  tile.classList.add("marked");
  (tile.matches("a") ? tile : tile.querySelector("a")).focus({ preventScroll: true });
  tile.scrollIntoView({ block: "nearest" });
}

function follow(relation) {
  const link = document.querySelector(`a[rel~="${relation}"]`);
  if (link) location.assign(link.href);
}

function step(by) {
  if (tiles().length) mark(marked < 0 ? 0 : marked + by);
  else follow(by > 0 ? "next" : "prev");
}

function toggleLabels() {
  document.querySelector("#labels")?.click();
}

function focusQuery() {
  const field = document.querySelector("#where");
  if (field) { field.focus(); field.select(); return; }
  follow("up");
}

function help() {
  const dialog = document.querySelector("#help");
  if (dialog.open) dialog.close(); else dialog.showModal();
}

const KEYS = {
  j: () => step(1), ArrowRight: () => step(1), k: () => step(-1), ArrowLeft: () => step(-1),
  n: () => follow("next"), p: () => follow("prev"), u: () => follow("up"),
  l: toggleLabels, "/": focusQuery, "?": help,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=text], select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("#help").open && event.key !== "?") return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
document.querySelector("#help-button").addEventListener("click", help);
document.addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  if (tile && tiles()[marked] !== tile) mark(tiles().indexOf(tile));
});

// A name in the list of columns goes into the query.
for (const link of document.querySelectorAll(".names a")) {
  link.addEventListener("click", (event) => {
    const field = document.querySelector("#where");
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const before = field.value.trim();
    field.value = before ? `${before} and ${link.dataset.name} ` : `${link.dataset.name} `;
    field.focus();
  });
}

// What the labels' switch was set to holds for the next sample too.
const labels = document.querySelector("#labels");
if (labels) {
  labels.checked = sessionStorage.getItem("labels") === "shown";
  labels.addEventListener("change", () => {
    sessionStorage.setItem("labels", labels.checked ? "shown" : "hidden");
  });
}

const live = document.querySelector("[data-live]");
if (live) {
  let last = "";
  const again = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(live.dataset.live, { headers: { Accept: "text/html" } });
        if (answer.ok) {
          const text = await answer.text();
          if (last && text !== last) live.innerHTML = text;  // the server has escaped every name
          last = text;
          live.classList.remove("away");
        }
      } catch {
        live.classList.add("away");
      }
    }
    setTimeout(again, 1000 * Number(live.dataset.seconds));
  };
  again();
}
