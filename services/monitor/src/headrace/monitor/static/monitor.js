// Everything here is a convenience: every page and every action works without it.

const $ = (id) => document.getElementById(id);
const body = document.body;

// -- clocks: "5 min ago" goes on, and times can be shown in the zone of the browser ---------------------------------

let isLocal = stored("clock") === "local";

function stored(name, value) {
  try {
    return value === undefined ? localStorage.getItem("headrace." + name) : localStorage.setItem("headrace." + name, value);
  } catch {
    return null; // storage may be forbidden; then nothing is remembered
  }
}

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} d`;
}

function full(moment) {
  const two = (number) => String(number).padStart(2, "0");
  if (!isLocal) return moment.toISOString().slice(0, 19).replace("T", " ") + " UTC";
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())} ` +
    `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

// The server's clock made the page; the browser's may be wrong by minutes.
const ahead = () => Date.now() - skew;
let skew = 0;

function tellTimes(root = document) {
  for (const element of root.querySelectorAll("time[data-clock]")) {
    const moment = new Date(element.dateTime);
    const seconds = (ahead() - moment) / 1000;
    const words = { ago: `${span(Math.max(0, seconds))} ago`, in: `in ${span(Math.max(0, -seconds))}`, full: full(moment) };
    const text = words[element.dataset.clock];
    if (element.textContent !== text) element.textContent = text;
    element.title = element.dataset.clock === "full" ? `${span(Math.abs(seconds))} ${seconds < 0 ? "from now" : "ago"}` : full(moment);
  }
}

function wireClock() {
  const button = $("clock");
  const show = () => {
    const zone = isLocal ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
    button.textContent = isLocal ? "Local" : "UTC";
    button.setAttribute("aria-label", `Times are ${zone}; switch to ${isLocal ? "UTC" : "local time"}`);
    $("zone").textContent = zone;
    tellTimes();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    isLocal = !isLocal;
    stored("clock", isLocal ? "local" : "utc");
    show();
  });
  const made = document.querySelector("footer time");
  if (made) skew = Date.now() - new Date(made.dateTime);
  show();
  setInterval(tellTimes, 5000);
}

// -- live: the stream says that the page is out of date, and the page fetches itself anew --------------------------

const badge = $("live");
const pause = $("live-pause");
let stream = null;
let isPaused = false;
let isFetching = false;
let isStale = false;
let heard = Date.now();
let updated = new Date();
let retry = 0;

function clockOf(moment) {
  return full(moment).slice(11, 19);
}

function tell(state) {
  const words = {
    live: `live, ${clockOf(updated)}`,
    paused: `paused since ${clockOf(updated)}`,
    lost: `connection lost, page of ${clockOf(updated)}`,
  };
  badge.className = `livebadge ${state}`;
  if (badge.textContent !== words[state]) badge.textContent = words[state];
}

function open() {
  clearTimeout(retry);
  if (stream || isPaused || document.hidden) return;
  stream = new EventSource(body.dataset.live);
  const alive = () => { heard = Date.now(); };
  stream.addEventListener("hello", () => { alive(); refresh(); });
  stream.addEventListener("still", () => { alive(); tell("live"); });
  stream.addEventListener("changed", () => { alive(); refresh(); });
  stream.addEventListener("error", () => { lose(); });
}

function close() {
  stream?.close();
  stream = null;
}

function lose() {
  close();
  tell("lost");
  clearTimeout(retry);
  retry = setTimeout(open, 2000);
}

async function refresh() {
  if (isFetching) { isStale = true; return; }
  isFetching = true;
  try {
    do {
      isStale = false;
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error", signal: AbortSignal.timeout(8000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      updated = new Date();
      const made = page.querySelector("footer time");
      if (made) skew = Date.now() - new Date(made.dateTime);
      exchange(page);
      tell("live");
    } while (isStale && !isPaused);
  } catch {
    lose();
  } finally {
    isFetching = false;
  }
}

function exchange(page) {
  for (const old of document.querySelectorAll("[data-region]")) {
    const fresh = page.querySelector(`[data-region="${CSS.escape(old.dataset.region)}"]`);
    if (fresh) exchangeRegion(old, fresh);
  }
  exchangeRows(page);
  document.title = page.title;
  tellTimes();
  // A job that is over does not change any more.
  if (!page.body.dataset.live) { close(); isPaused = true; pause.hidden = true; badge.hidden = true; }
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
  const note = $("new-rows");
  if (!note) return;
  let more = 0;
  for (const fresh of rows) {
    const old = table && $(fresh.id);
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

function wireLive() {
  if (!body.dataset.live) return;
  badge.hidden = pause.hidden = false;
  tell("live");
  open();
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (isPaused) { close(); clearTimeout(retry); tell("paused"); } else { open(); }
  });
  // Browsers have six connections per server: a tab that nobody sees must not hold one.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  // A stream that is silent for too long is as good as lost, whatever the browser believes.
  setInterval(() => { if (stream && Date.now() - heard > 25000) lose(); }, 5000);
}

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
      await navigator.clipboard.writeText($(button.dataset.copy).textContent);
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
