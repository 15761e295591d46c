// One event stream for all pages of a browser: it has six connections per server over HTTP/1.1, and people keep tabs.
//
// Of the pages that are seen, a Web Lock chooses the one that holds the stream. The others tell it their topics over a
// BroadcastChannel and hear from it what it hears. When it goes, the lock chooses the next. Where the browser has no Web
// Locks (plain HTTP from another machine), every page that is seen has a stream of its own.

const AGAIN = 2000;
const TELL = 15000; // how often a page repeats what it wants
const FORGET = 40000; // after which a page that repeats nothing is gone
const SILENCE = 25000; // the server speaks every ten seconds: after this a stream, or the page that holds it, is lost
const GATHER = 100; // to hear what the others want before the stream is opened

export class SharedStream {
  #url;
  #topic;
  #hear;
  #me = Math.random().toString(36).slice(2);
  #channel = null;
  #source = null;
  #turn = 0; // grows whenever what was begun before must not go on
  #letGo = null; // set while this page holds the lock
  #abort = null;
  #isLeading = false;
  #hasHeard = false;
  #heardAt = 0;
  #wants = new Map(); // page -> { topic, at }; of the page that leads
  #asked = ""; // the topics of the stream that is open
  #opening = 0;
  #watching = 0;
  #telling = 0;

  // `hear` is called with `hello` (what was missed is not known), `changed`, `still` or `lost`.
  constructor(url, topic, hear) {
    [this.#url, this.#topic, this.#hear] = [url, topic, hear];
  }

  join() {
    if (this.#watching) return;
    this.#hasHeard = false;
    this.#heardAt = Date.now();
    this.#watching = setInterval(() => this.#watch(), 5000);
    if (!navigator.locks || !globalThis.BroadcastChannel) { this.#lead(); return; }
    this.#channel = new BroadcastChannel(`headrace.live ${this.#url}`);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#telling = setInterval(() => this.#want(), TELL);
    this.#want();
    this.#queue();
  }

  leave() {
    if (!this.#watching) return;
    this.#turn += 1;
    clearInterval(this.#watching);
    clearInterval(this.#telling);
    this.#watching = 0;
    this.#channel?.postMessage({ kind: "drop", from: this.#me });
    this.#follow();
    this.#abort?.abort();
    this.#letGo?.();
    this.#letGo = null;
    this.#channel?.close();
    this.#channel = null;
  }

  #queue(steal = false) {
    const turn = ++this.#turn;
    this.#abort?.abort();
    this.#abort = new AbortController();
    const held = () => turn === this.#turn ? new Promise((resolve) => { this.#letGo = resolve; this.#lead(); }) : null;
    navigator.locks.request(this.#channel.name, steal ? { steal } : { signal: this.#abort.signal }, held).catch((error) => {
      if (turn !== this.#turn) return;
      this.#follow();
      if (error.name === "AbortError") this.#queue(); // another page took the lock: it believed that this one was gone
      else this.#lead(); // locks are not for this page: then it has a stream of its own
    });
  }

  #lead() {
    this.#isLeading = true;
    this.#wants = new Map([[this.#me, { topic: this.#topic, at: Infinity }]]);
    this.#channel?.postMessage({ kind: "lead" });
    this.#open(this.#channel ? GATHER : 0);
  }

  #follow() {
    this.#isLeading = false;
    this.#close();
  }

  #topics() {
    const since = Date.now() - FORGET;
    for (const [page, want] of this.#wants) if (want.at < since) this.#wants.delete(page);
    return [...new Set([...this.#wants.values()].map((want) => want.topic))].sort().join(",");
  }

  #open(after) {
    clearTimeout(this.#opening);
    this.#opening = setTimeout(() => {
      this.#close();
      this.#heardAt = Date.now();
      this.#asked = this.#topics();
      const source = this.#source = new EventSource(`${this.#url}?topics=${encodeURIComponent(this.#asked)}`);
      for (const name of ["hello", "still", "changed"]) {
        source.addEventListener(name, (event) => this.#pass(name, event.data));
      }
      source.addEventListener("error", () => this.#lose());
    }, after);
  }

  #close() {
    clearTimeout(this.#opening);
    this.#source?.close();
    this.#source = null;
  }

  #lose() {
    this.#close();
    this.#pass("lost");
    this.#open(AGAIN);
  }

  #pass(name, topic = "") {
    this.#channel?.postMessage({ kind: "event", name, topic });
    this.#take(name, topic);
  }

  #take(name, topic) {
    this.#heardAt = Date.now();
    if (name === "changed" && topic !== this.#topic) name = "still";
    if (name !== "lost" && !this.#hasHeard) name = "hello";
    this.#hasHeard = name !== "lost";
    this.#hear(name);
  }

  #receive({ kind, from, topic, name }) {
    if (kind === "event" && !this.#isLeading) this.#take(name, topic);
    if (kind === "lead" && !this.#isLeading) this.#want();
    if (!this.#isLeading || (kind !== "want" && kind !== "drop")) return;
    if (kind === "want") this.#wants.set(from, { topic, at: Date.now() });
    else this.#wants.delete(from);
    if (!this.#source || this.#asked !== this.#topics()) this.#open(GATHER);
    else if (kind === "want") this.#channel.postMessage({ kind: "event", name: "still", topic: "" });
  }

  #want() {
    if (!this.#isLeading) this.#channel.postMessage({ kind: "want", from: this.#me, topic: this.#topic });
  }

  // Whatever the browser believes, silence is a loss.
  #watch() {
    if (Date.now() - this.#heardAt < SILENCE) return;
    this.#heardAt = Date.now();
    if (this.#isLeading) { this.#lose(); return; }
    this.#hasHeard = false;
    this.#hear("lost");
    this.#queue(true);
  }
}
