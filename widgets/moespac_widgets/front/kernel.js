// What a widget asks its kernel for, and the notice that none answers.
import { el } from "./dom.js";

const ANSWER_MS = 5000;

export class Kernel {
  constructor(host, model) {
    Object.assign(this, { host, model, waiting: new Map(), questions: 0 });
    this.notice = el("div", { class: "ms-notice", role: "status", hidden: true });
  }

  start() {
    this.host.hear("msg:custom", (message, buffers) => this.answered(message, buffers));
    this.host.hear("comm_live_update", () => this.setStale(this.model.comm_live === false));
    this.host.closers.push(() => clearTimeout(this.patience));
  }

  get isThere() {
    return this.model.get("_kernel");
  }

  setStale(is) {
    this.notice.hidden = !is;
    this.notice.textContent = is ? this.host.text("base.stale") : "";
  }

  /** A promise of the answer to a command. */
  ask(command, values) {
    if (!this.isThere) return Promise.reject(new Error(this.host.text("base.no_kernel")));
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
    const answered = JSON.parse(JSON.stringify(value ?? null), (_, part) =>
      part && typeof part === "object" && "buffer" in part ? { ...part, bytes: buffers[part.buffer] } : part
    );
    if (error) reject(new Error(error));
    else resolve(answered);
  }
}
