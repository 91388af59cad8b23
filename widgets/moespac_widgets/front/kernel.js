// What a widget asks its kernel for, and the notice that none answers.
import { el } from "./dom.js";

const ANSWER_MS = 5000;

export class Kernel {
  constructor(host, model) {
    Object.assign(this, { host, model, waiting: new Map(), questions: 0 });
    this.notice = el("div", { class: "ms-notice", role: "status", hidden: true });
    host.hear("msg:custom", (message, buffers) => this.answered(message, buffers));
    host.hear("comm_live_update", () => this.setStale(model.comm_live === false));
    host.closers.push(() => clearTimeout(this.patience));
  }

  setStale(is) {
    this.notice.hidden = !is;
    this.notice.textContent = is ? this.host.text("base.stale") : "";
  }

  /** A promise of the answer to a command. */
  ask(command, values) {
    if (!this.model.get("_kernel")) return Promise.reject(new Error(this.host.text("base.no_kernel")));
    const id = ++this.questions;
    this.patience ??= setTimeout(() => this.setStale(true), ANSWER_MS);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.model.send({ ask: id, command, values });
    });
  }

  answered({ answer, value, error }, buffers = []) {
    if (!this.waiting.has(answer)) return;
    const { resolve, reject } = this.waiting.get(answer);
    this.waiting.delete(answer);
    clearTimeout(this.patience);
    this.patience = undefined;
    this.setStale(false);
    if (error) return reject(new Error(error));
    const whole = (_, part) => (part?.buffer === undefined ? part : { ...part, bytes: buffers[part.buffer] });
    resolve(JSON.parse(JSON.stringify(value ?? null), whole));
  }
}
