// Sends images a few at a time, in the order of the list.
import { Problem, askPrediction } from "./api.js";
import { megabytes } from "./words.js";

const AT_ONCE = 4;
const ATTEMPTS = 10; // where the server is busy
const FORM = 1024; // bytes of a request beside the file's own, more than enough

export class Sending {
  // `changed(item)` is called whenever an item's `state`, `note`, `result` or `problem` has changed.
  constructor(changed) {
    this.changed = changed;
    this.stopped = new AbortController();
    this.running = 0;
  }

  // Forget what is on its way.
  stop() {
    this.stopped.abort();
    this.stopped = new AbortController();
    this.running = 0;
  }

  // Send every item of the list that waits; items may be added meanwhile, by calling it again.
  start(items, model, values, limits) {
    const { signal } = this.stopped;
    while (this.running < AT_ONCE && items.some(waits)) {
      this.running += 1;
      this.#sendOneByOne(items, model, values, limits, signal).finally(() => {
        if (!signal.aborted) this.running -= 1;
      });
    }
  }

  async #sendOneByOne(items, model, values, limits, signal) {
    for (let item = items.find(waits); item && !signal.aborted; item = items.find(waits)) {
      this.#set(item, { state: "sending" });
      try {
        const result = await this.#result(item, model, values, limits, signal);
        if (!signal.aborted) this.#set(item, { state: "done", note: "", result });
      } catch (error) {
        if (signal.aborted) return;
        this.#set(item, { state: "failed", note: "", problem: error.message });
        if (!(error instanceof Problem)) throw error;
      }
    }
  }

  async #result(item, model, values, limits, signal) {
    const { size, name } = item.file;
    if (size > limits.max_bytes - FORM) {
      throw new Problem(`${name}: ${megabytes(size)}, more than the ${megabytes(limits.max_bytes)} of this server`);
    }
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await askPrediction(item.file, model, values, signal);
      } catch (error) {
        if (error.status !== 429 || attempt === ATTEMPTS) throw error;
        const seconds = error.retryAfter ?? 1;
        this.#set(item, { note: `The server is busy, trying again in ${seconds} s` });
        await new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });
        if (signal.aborted) throw error;
      }
    }
  }

  #set(item, values) {
    Object.assign(item, values);
    this.changed(item);
  }
}

const waits = (item) => item.state === "waiting";
