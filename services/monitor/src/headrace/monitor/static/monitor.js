// Everything here is a convenience: every page and every action works without it.

import { tellTimes, wireClock } from "./clocks.js";
import { wireLive } from "./live.js";

// -- questions: shown over the page instead of on one of their own --------------------------------------------------

function wireDialogs() {
  document.addEventListener("click", async (event) => {
    const link = event.target.closest?.("a[data-dialog]");
    const closing = event.target.closest?.("dialog [data-close]");
    if (closing) { event.preventDefault(); closing.closest("dialog").close(); return; }
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    try {
      const answer = await fetch(link.href, { headers: { Accept: "text/html" }, redirect: "error" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      ask(page.querySelector("main .ask"), link);
    } catch {
      location.assign(link.href);
    }
  });
}

function ask(question, link) {
  const dialog = document.createElement("dialog");
  const title = question.querySelector("h1");
  title.id = "dialog-title";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(document.importNode(question, true));
  dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
  document.body.append(dialog);
  tellTimes(dialog);
  dialog.showModal();
  (dialog.querySelector("input:not([type=hidden])") ?? dialog.querySelector("[data-close]"))?.focus();
}

// -- small things ---------------------------------------------------------------------------------------------------

function wireCopy() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

function wireTicks() {
  for (const table of document.querySelectorAll("table[data-rows]")) {
    const head = table.querySelector("thead .tick");
    if (!head) continue;
    const all = document.createElement("input");
    all.type = "checkbox";
    all.setAttribute("aria-label", "Select all");
    all.addEventListener("change", () => {
      for (const box of table.querySelectorAll("tbody .tick input")) box.checked = all.checked;
    });
    head.replaceChildren(all);
  }
}

function wireMenus() {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll(".menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
  });
}

wireClock();
wireLive();
wireDialogs();
wireCopy();
wireTicks();
wireMenus();
