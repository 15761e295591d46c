// The stream says that the page is out of date, and the page fetches itself anew.

import { full, learnClock } from "./clocks.js";
import { exchange } from "./exchange.js";
import { SharedStream } from "./stream.js";

const AGAIN = 3000;

const badge = document.getElementById("live");
const pause = document.getElementById("live-pause");
let stream = null;
let isPaused = false;
let isFetching = false;
let isStale = false;
let isBroken = false;
let updated = new Date();
let again = 0;

function tell(state) {
  const clock = full(updated).slice(11, 19);
  const words = {
    live: `live, ${clock}`,
    paused: `paused since ${clock}`,
    lost: `connection lost, page of ${clock}`,
  };
  badge.className = `livebadge ${state}`;
  if (badge.textContent !== words[state]) badge.textContent = words[state];
}

function hear(what) {
  if (isPaused) return;
  if (what === "lost") tell("lost");
  else if (what !== "still") refresh();
  else if (!isBroken) tell("live");
}

async function refresh() {
  clearTimeout(again);
  if (isFetching) { isStale = true; return; }
  isFetching = true;
  try {
    do {
      isStale = false;
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error", signal: AbortSignal.timeout(8000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (isPaused) return; // somebody wants to read what is there
      isBroken = false;
      updated = new Date();
      learnClock(page);
      exchange(page);
      tell("live");
      if (!page.body.dataset.live) { end(); return; } // a job that is over does not change any more
    } while (isStale);
  } catch {
    isBroken = true;
    if (!isPaused) { tell("lost"); again = setTimeout(refresh, AGAIN); }
  } finally {
    isFetching = false;
  }
}

function end() {
  isPaused = true;
  stream.leave();
  pause.hidden = badge.hidden = true;
}

function follow() {
  if (isPaused || document.hidden) { stream.leave(); clearTimeout(again); } else stream.join();
}

export function wireLive() {
  const { live, topic } = document.body.dataset;
  if (!live) return;
  stream = new SharedStream(live, topic, hear);
  badge.hidden = pause.hidden = false;
  tell("live");
  follow();
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (isPaused) tell("paused");
    follow();
  });
  // A tab that nobody sees takes no part.
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", () => stream.leave());
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
}
