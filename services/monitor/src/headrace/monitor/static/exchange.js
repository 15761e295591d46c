// Puts what is new on a page in the place of what was there, without moving anything under the pointer.

import { tellTimes } from "./clocks.js";

export function exchange(page) {
  for (const old of document.querySelectorAll("[data-region]")) {
    const fresh = page.querySelector(`[data-region="${CSS.escape(old.dataset.region)}"]`);
    if (fresh) exchangeRegion(old, fresh);
  }
  exchangeRows(page);
  document.title = page.title;
  tellTimes();
}

function exchangeRegion(old, fresh) {
  if (same(old, fresh)) return;
  const held = old.contains(document.activeElement) ? pathOf(document.activeElement, old) : null;
  const opened = [...old.querySelectorAll("details")].map((item) => item.open);
  const scrolled = [...old.querySelectorAll("pre")].map((item) => [item.scrollTop, item.scrollTop + item.clientHeight >= item.scrollHeight - 4]);
  old.replaceChildren(...document.importNode(fresh, true).childNodes);
  old.querySelectorAll("details").forEach((item, place) => { if (opened[place]) item.open = true; });
  old.querySelectorAll("pre").forEach((item, place) => {
    if (scrolled[place]) item.scrollTop = scrolled[place][1] ? item.scrollHeight : scrolled[place][0];
  });
  if (held) elementAt(held, old)?.focus({ preventScroll: true });
}

// Times tick on by themselves, so a region that differs in them alone is left as it is.
function same(one, other) {
  const bare = (element) => {
    const copy = element.cloneNode(true);
    for (const time of copy.querySelectorAll("time")) { time.textContent = ""; time.removeAttribute("title"); }
    for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
    return copy.innerHTML;
  };
  return bare(one) === bare(other);
}

function pathOf(element, root) {
  const path = [];
  for (let item = element; item !== root; item = item.parentElement) path.unshift([...item.parentElement.children].indexOf(item));
  return path;
}

function elementAt(path, root) {
  return path.reduce((item, place) => item?.children[place], root);
}

// Rows of a list stay where they are, so that nothing moves under the pointer; new ones are announced.
function exchangeRows(page) {
  const table = document.querySelector("table[data-rows]");
  const rows = page.querySelectorAll("table[data-rows] tbody tr[id]");
  const note = document.getElementById("new-rows");
  if (!note) return;
  let more = 0;
  for (const fresh of rows) {
    const old = table && document.getElementById(fresh.id);
    if (!old) { more += 1; continue; }
    [...fresh.cells].forEach((cell, place) => {
      const mine = old.cells[place];
      if (!mine || cell.classList.contains("tick") || same(mine, cell) || mine.contains(document.activeElement)) return;
      mine.replaceChildren(...document.importNode(cell, true).childNodes);
    });
  }
  const text = more ? `${more === rows.length && more > 1 ? `${more} or more` : more} new` : "";
  if (note.dataset.text === text) return;
  note.dataset.text = text;
  note.hidden = !more;
  note.replaceChildren(text + " ");
  if (more) {
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Show them";
    note.append(link);
  }
}
