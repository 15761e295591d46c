// "5 min ago" goes on, and times can be shown in the zone of the browser.

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

export function full(moment) {
  const two = (number) => String(number).padStart(2, "0");
  if (!isLocal) return moment.toISOString().slice(0, 19).replace("T", " ") + " UTC";
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())} ` +
    `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

// The server's clock made the page; the browser's may be wrong by minutes.
let skew = 0;

export function learnClock(page) {
  const made = page.querySelector("footer time");
  if (made) skew = Date.now() - new Date(made.dateTime);
}

export function tellTimes(root = document) {
  for (const element of root.querySelectorAll("time[data-clock]")) {
    const moment = new Date(element.dateTime);
    const seconds = (Date.now() - skew - moment) / 1000;
    const words = { ago: `${span(Math.max(0, seconds))} ago`, in: `in ${span(Math.max(0, -seconds))}`, full: full(moment) };
    const text = words[element.dataset.clock];
    if (element.textContent !== text) element.textContent = text;
    element.title = element.dataset.clock === "full" ? `${span(Math.abs(seconds))} ${seconds < 0 ? "from now" : "ago"}` : full(moment);
  }
}

export function wireClock() {
  const button = document.getElementById("clock");
  const show = () => {
    const zone = isLocal ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
    button.textContent = isLocal ? "Local" : "UTC";
    button.setAttribute("aria-label", `Times are ${zone}; switch to ${isLocal ? "UTC" : "local time"}`);
    document.getElementById("zone").textContent = zone;
    tellTimes();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    isLocal = !isLocal;
    stored("clock", isLocal ? "local" : "utc");
    show();
  });
  learnClock(document);
  show();
  setInterval(tellTimes, 5000);
}
