// What every widget's front end shares: its frame, its state, one play control, keys, words, tables, errors.
//
// A widget file says `export default widget({ name, build, keys, help })`, name as its files are called;
// build(host) makes the body and returns { draw(state), sentence(state), table(state), origin(state) }; origin says
// which numbers were measured, modelled or published. A change of state asks for one frame; a frame draws once,
// whatever came in between, so that scrubbing leaves no backlog. The kernel hears of it when it is over.
import PALETTE from "./palette.json" with { type: "json" };

const SAVE_MS = 150;
const ANSWER_MS = 5000;
const TABLE_ROWS = 400;
const PATHS = {
  first: "M3 2h2v12H3zM14 2v12L6 8z",
  back: "M12 2v12L4 8z",
  play: "M4 2l9 6-9 6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  next: "M4 2l8 6-8 6z",
  last: "M11 2h2v12h-2zM2 2l8 6-8 6z",
};

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (node instanceof HTMLElement && name in node && typeof value !== "string") node[name] = value;
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An element: attributes, `on…` left to host.listen, children as nodes or text. */
export const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

/** The same for a part of a drawing. */
export const svg = (tag, attributes, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const icon = (name) => svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));

export const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Probabilities and weights: two digits, and never a 0 or 1 that is not one. */
export function share(value) {
  if (Number.isNaN(value)) return "–";
  if (value > 0 && value < 0.005) return "<.01";
  if (value < 1 && value >= 0.995) return ">.99";
  return value === 1 ? "1" : value.toFixed(2).replace(/^0/, "");
}

/** A number as briefly as it can be said: up to two decimals. */
export const brief = (value) => (Number.isNaN(value) ? "–" : String(Math.round(value * 100) / 100));

/** Cividis from 0 to 1 as [r, g, b]. */
export function cividis(amount) {
  const stops = PALETTE.cividis;
  const at = clamp(amount, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const channel = (stop, i) => parseInt(stops[stop].slice(1 + 2 * i, 3 + 2 * i), 16);
  return [0, 1, 2].map((i) => Math.round(channel(low, i) + (at - low) * (channel(low + 1, i) - channel(low, i))));
}

/** A packed array {dtype, shape, bytes} as a typed array with its shape. */
export function unpack({ dtype, shape, bytes }) {
  const kinds = {
    uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
    int32: Int32Array, float32: Float32Array,
  };
  // A copy: what came over the wire need not lie at a multiple of the item's size.
  const copied = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return Object.assign(new kinds[dtype](copied), { shape });
}

/** Where each owner's rows begin, one entry more than there are owners. */
export function starts(counts, extra = 0) {
  const begin = new Int32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) begin[i + 1] = begin[i] + counts[i] + extra;
  return begin;
}

class Host {
  constructor(model, element, spec) {
    Object.assign(this, { model, spec, names: model.get("_parts"), linked: {}, closers: [], waiting: new Map(), asked: 0 });
    this.alert = el("div", { class: "ms-alert", role: "alert", hidden: true });
    this.stale = el("div", { class: "ms-notice", role: "status", hidden: true });
    this.notices = el("div", {});
    this.bar = el("div", { class: "ms-bar" });
    this.line = el("p", { class: "ms-sentence", role: "status", "aria-live": "polite" });
    this.body = el("div", { class: "ms-body" });
    this.more = el("div", { class: "ms-more" });
    // JupyterLab runs a shortcut unless something between it and the key's target has this attribute: said
    // here, once, for every control of every widget.
    this.root = el("section", {
      class: `moespac of-${spec.name}`, "data-lm-suppress-shortcuts": "true", "aria-label": model.get("_title"), tabindex: "-1",
    }, this.alert, this.stale, this.notices, this.bar, this.line, this.body, this.more);
    element.append(this.root);
  }

  start() {
    for (const notice of this.model.get("_notices")) this.notices.append(el("p", { class: "ms-notice" }, notice));
    this.data = this.model.get("_data");
    this.view = this.spec.build(this);
    this.addMore();
    this.listen(this.root, "keydown", (event) => this.key(event));
    for (const name of this.names) this.hear(`change:${name}`, () => this.frame());
    this.hear("change:_error", () => this.say(this.model.get("_error")));
    this.hear("msg:custom", (message, buffers) => this.answered(message, buffers));
    this.hear("comm_live_update", () => this.setStale(this.model.comm_live === false));
    const observer = new ResizeObserver(() => this.frame());
    observer.observe(this.root);
    const themes = new MutationObserver(() => this.frame());
    themes.observe(document.body, { attributes: true });
    this.listen(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.frame());
    this.closers.push(() => observer.disconnect(), () => themes.disconnect());
    this.say(this.model.get("_error"));
    this.findLinked().catch((problem) => this.say(problem));
    this.frame();
  }

  close() {
    if (this.saving) this.save();
    cancelAnimationFrame(this.asking);
    clearTimeout(this.patience);
    for (const close of this.closers.splice(0)) close();
    this.closed = true;
    this.root.remove();
  }

  // -- words ---------------------------------------------------------------------------------------------

  /** A text of the catalogue with its {names} filled in. */
  text(key, values = {}) {
    const template = this.model.get("_texts")[key];
    if (template === undefined) throw new Error(`no text ${key}`);
    return template.replace(/\{(\w+)\}/g, (_, name) => {
      if (!(name in values)) throw new Error(`text ${key} lacks ${name}`);
      return values[name];
    });
  }

  /** Show what went wrong, until something else is said. */
  say(problem) {
    const words = problem instanceof Error ? problem.message : problem;
    this.alert.hidden = !words;
    this.alert.textContent = words ? this.text("base.problem", { words }) : "";
    this.failed = problem instanceof Error;
  }

  setStale(is) {
    this.stale.hidden = !is;
    this.stale.textContent = is ? this.text("base.stale") : "";
  }

  // -- state ---------------------------------------------------------------------------------------------

  /** By trait the models of the views that go along with this one. */
  async findLinked() {
    for (const [name, ids] of Object.entries(this.model.get("_linked") ?? {})) {
      this.linked[name] = await Promise.all(ids.map((id) => this.model.widget_manager.get_model(id)));
    }
  }

  state() {
    return Object.fromEntries(this.names.map((name) => [name, this.model.get(name)]));
  }

  /** Change traits: drawn in the next frame, told to the kernel once it is quiet. */
  set(changes) {
    let changed = false;
    for (const [name, value] of Object.entries(changes)) {
      if (this.model.get(name) === value) continue;
      this.model.set(name, value);
      for (const other of this.linked[name] ?? []) other.set(name, value);
      changed = true;
    }
    if (!changed) return;
    if (this.failed) this.say("");
    this.frame();
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), SAVE_MS);
  }

  save() {
    clearTimeout(this.saving);
    this.saving = undefined;
    for (const model of [this.model, ...Object.values(this.linked).flat()]) this.guard(() => model.save_changes());
    if (this.model.get("_kernel")) this.ask("ping").catch(() => {});
  }

  frame() {
    if (this.asking || this.closed) return;
    this.asking = requestAnimationFrame(() => {
      this.asking = undefined;
      this.guard(() => this.draw());
    });
  }

  draw() {
    if (!this.view || !this.root.clientWidth) return; // not laid out yet: the observer asks again
    const state = this.state();
    this.player?.draw(state);
    this.view.draw(state);
    const said = this.view.sentence(state);
    if (this.line.textContent !== said) this.line.textContent = said; // what is the same is not read out again
    this.origin.textContent = this.view.origin(state);
    if (this.tableBox.open) this.fillTable(state);
    if (document.activeElement !== this.code) this.code.value = this.viewCode(state);
    this.model.drawn?.(this.code.value);
  }

  /** Ask the kernel; a promise of its answer. */
  ask(command, values = {}) {
    if (!this.model.get("_kernel")) return Promise.reject(new Error(this.text("base.no_kernel")));
    const id = ++this.asked;
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
    const filled = JSON.parse(JSON.stringify(value ?? null), (_, held) =>
      held && typeof held === "object" && "buffer" in held ? { ...held, bytes: buffers[held.buffer] } : held);
    if (error) reject(new Error(error));
    else resolve(filled);
  }

  // -- listening -----------------------------------------------------------------------------------------

  guard(handler) {
    try {
      return handler();
    } catch (problem) {
      this.say(problem);
      return undefined;
    }
  }

  listen(target, type, handler) {
    const guarded = (event) => this.guard(() => handler(event));
    target.addEventListener(type, guarded);
    this.closers.push(() => target.removeEventListener(type, guarded));
  }

  hear(name, handler) {
    const guarded = (...details) => this.guard(() => handler(...details));
    this.model.on(name, guarded);
    this.closers.push(() => this.model.off(name, guarded));
  }

  /** Keys that no control has taken: those of the widget, then those of the player. */
  key(event) {
    const typing = event.target.matches("input:not([type=range]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    event.stopPropagation();
    if (event.defaultPrevented || typing) return;
    const slides = event.target.matches("input[type=range]") && /^(Arrow|Page|Home|End)/.test(event.key);
    const own = { f: () => this.present(), ...this.spec.keys };
    const action = own[event.key] ?? (slides ? undefined : this.player?.keys[event.key]);
    if (!action) return;
    event.preventDefault();
    action(this);
  }

  // -- parts ---------------------------------------------------------------------------------------------

  button(words, handler, attributes = {}) {
    const button = el("button", { type: "button", ...attributes }, words);
    this.listen(button, "click", handler);
    return button;
  }

  /** A part that scrolls where it is long: Tab reaches it, so that arrows scroll it. */
  scroll(name, ...parts) {
    return el("div", { class: "ms-scroll", tabindex: "0", role: "region", "aria-label": name }, ...parts);
  }

  /** A choice among [value, label] that holds the trait `name`. */
  choice(name, label, options) {
    const select = el("select", { "aria-label": label }, ...options.map(([value, words]) => el("option", { value: String(value) }, words)));
    const of = new Map(options.map(([value]) => [String(value), value]));
    this.listen(select, "change", () => this.set({ [name]: of.get(select.value) }));
    const part = el("label", {}, `${label} `, select);
    part.show = (value) => { select.value = String(value); };
    return part;
  }

  /** The one control that goes through a trace: `kept` are the steps that can be shown, in order.
   *  trait: what it moves; say(value) puts where it is in words; speed: how many a second at first. */
  addPlayer(kept, noun, options = {}) {
    this.player = new Player(this, kept, noun, options);
    this.bar.append(this.player.element);
  }

  addMore() {
    this.tableBox = el("details", {}, el("summary", {}, this.text("base.table")));
    this.listen(this.tableBox, "toggle", () => this.frame());
    const keys = [...(this.player ? ["base.keys"] : []), ...(this.spec.help ?? [])].map((key) => el("p", {}, this.text(key)));
    this.code = el("input", { type: "text", spellcheck: "false", size: 28, "aria-label": this.text("base.code") });
    this.copied = el("span", { role: "status" });
    this.listen(this.code, "change", () => this.recall(this.code.value));
    const copy = this.button(this.text("base.copy"), async () => {
      this.code.value = this.viewCode(this.state());
      try {
        await navigator.clipboard.writeText(this.code.value);
        this.copied.textContent = this.text("base.copied");
      } catch { // where the browser gives no clipboard, the selected code can be copied by hand
        this.code.select();
        this.copied.textContent = this.text("base.selected");
      }
    });
    this.origin = el("p", { class: "ms-hint" });
    this.more.append(this.origin, this.tableBox, el("details", {}, el("summary", {}, this.text("base.help")), ...keys),
      el("div", { class: "ms-code" }, copy, this.code, this.copied, this.button(this.text("base.whole"), () => this.present())));
  }

  /** Alone on the whole screen and in large type, or back again; Esc goes back, too. */
  present() {
    const turned = document.fullscreenElement ? document.exitFullscreen() : this.root.parentElement.requestFullscreen();
    turned.catch((problem) => this.say(problem));
  }

  fillTable(state) {
    const { columns, rows } = this.view.table(state);
    const shown = rows.slice(0, TABLE_ROWS);
    const cells = (row) => row.map((cell) => el("td", { class: typeof cell === "number" ? "ms-figure" : "" },
      typeof cell === "number" ? brief(cell) : cell));
    const table = el("table", {}, el("caption", {}, this.origin.textContent),
      el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...shown.map((row) => el("tr", {}, ...cells(row)))));
    const rest = rows.length - shown.length;
    const left = rest ? [el("p", {}, this.text("base.rows_left", { rest }))] : [];
    this.tableBox.replaceChildren(this.tableBox.firstChild, this.scroll(this.text("base.table_name"), table), ...left);
  }

  viewCode(state) {
    return this.names.map((name) => `${name}=${encodeURIComponent(state[name])}`).join("&");
  }

  /** Bring back the view that a code stands for; the kernel checks it as it checks everything. */
  recall(code) {
    const changes = {};
    for (const part of code.trim().split("&")) {
      const [name, written] = part.split("=");
      if (!this.names.includes(name) || written === undefined) {
        throw new Error(this.text("base.bad_code", { part, names: this.names.join(", ") }));
      }
      const value = decodeURIComponent(written);
      changes[name] = typeof this.model.get(name) === "number" ? Number(value) : value;
      const limits = this.model.get("_limits")[name];
      const fits = Array.isArray(limits) && (typeof limits[0] === "number"
        ? Number.isInteger(changes[name]) && limits[0] <= changes[name] && changes[name] <= limits[1]
        : limits.includes(value));
      if (!fits) throw new Error(this.text("base.bad_value", { name, value, limits: limits.join(" … ") }));
    }
    this.set(changes);
  }
}

class Player {
  constructor(host, kept, noun, { trait = "step", speed = 2, say } = {}) {
    Object.assign(this, { host, kept, noun, trait });
    this.say = say ?? ((n) => host.text("base.where", { noun, n, last: kept.at(-1) }));
    const press = (name, words, handler) =>
      host.button(icon(name), handler, { "aria-label": host.text(words), title: host.text(words) });
    this.slider = el("input", { type: "range", min: "0", max: String(kept.length - 1), "aria-label": noun });
    host.listen(this.slider, "input", () => this.go(Number(this.slider.value)));
    this.toggle = press("play", "base.play", () => this.playing ? this.pause() : this.play());
    this.where = el("span", { class: "ms-where" });
    this.speed = el("select", { "aria-label": host.text("base.speed") },
      ...[0.5, 1, 2, 4, 8, 16].map((n) => el("option", { value: String(n) }, host.text("base.per_second", { n }))));
    this.speed.value = still() ? "1" : String(speed);
    const go = (where) => () => { this.pause(); this.go(where()); };
    const [first, back, next, last] = [() => 0, () => this.at - 1, () => this.at + 1, () => kept.length - 1].map(go);
    this.element = el("div", { class: "ms-player", role: "group", "aria-label": host.text("base.player") },
      press("first", "base.first", first), press("back", "base.back", back), this.toggle,
      press("next", "base.next", next), press("last", "base.last", last), this.slider, this.where, this.speed);
    const page = Math.max(2, Math.round(kept.length / 10));
    this.keys = {
      ArrowLeft: back, ArrowRight: next, j: back, l: next, Home: first, End: last,
      PageUp: go(() => this.at - page), PageDown: go(() => this.at + page), k: () => this.toggle.click(),
    };
    host.closers.push(() => clearTimeout(this.timer));
  }

  /** The place among `kept` of a step: its own, or that of the nearest one before. */
  place(step) {
    let place = 0;
    for (let above = this.kept.length; place + 1 < above;) {
      const middle = (place + above) >> 1;
      if (this.kept[middle] <= step) place = middle;
      else above = middle;
    }
    return place;
  }

  go(place) {
    this.host.set({ [this.trait]: this.kept[clamp(place, 0, this.kept.length - 1)] });
  }

  play() {
    if (this.at === this.kept.length - 1) this.go(0);
    this.show(true);
    const tick = () => {
      if (this.at === this.kept.length - 1) return this.pause();
      this.go(this.at + 1);
      this.timer = setTimeout(tick, 1000 / Number(this.speed.value));
    };
    this.timer = setTimeout(tick, 1000 / Number(this.speed.value));
  }

  pause() {
    clearTimeout(this.timer);
    if (this.playing) this.show(false);
  }

  show(playing) {
    this.playing = playing;
    const words = this.host.text(playing ? "base.pause" : "base.play");
    this.toggle.replaceChildren(icon(playing ? "pause" : "play"));
    this.toggle.setAttribute("aria-label", words);
    this.toggle.title = words;
    // Read aloud frame by frame it would never come to an end; the last frame is.
    this.host.line.setAttribute("aria-live", playing ? "off" : "polite");
  }

  get at() {
    return this.place(this.host.model.get(this.trait));
  }

  draw(state) {
    const place = this.place(state[this.trait]);
    this.slider.value = String(place);
    const words = this.say(this.kept[place]);
    this.slider.setAttribute("aria-valuetext", words);
    this.where.textContent = words;
  }
}

/** A row of buttons of which Tab reaches one and the arrows the others; `pick(i)` is told where they go. */
export function roving(host, row, pick) {
  host.listen(row, "keydown", (event) => {
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const buttons = [...row.querySelectorAll("button")];
    const now = buttons.indexOf(event.target);
    if (!turn || now < 0) return;
    event.preventDefault();
    const next = clamp(now + turn, 0, buttons.length - 1);
    buttons[next].focus();
    pick(next);
  });
}

/** A front end for anywidget, and for the page that needs no kernel: what `spec` builds, in the shared frame. */
export function widget(spec) {
  return {
    render({ model, el: element }) {
      const host = new Host(model, element, spec);
      host.guard(() => host.start());
      return () => host.close();
    },
  };
}
