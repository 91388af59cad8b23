// The frame of every widget: its state, notices, keys, words and errors; its kernel and footer are beside it.
//
// A widget file exports `widget({ name, build, keys, help })` as its default; `name` is the name of its files.
// build(host) makes the body and returns { draw(state), sentence(state), table(state), origin(state) }; `origin`
// says which numbers were measured, modelled or published. A change of state asks for one frame, and a frame
// draws once, whatever came in between, so that scrubbing leaves no backlog. The kernel is told afterwards.
import { el } from "./dom.js";
import { Footer } from "./footer.js";
import { Kernel } from "./kernel.js";
import { Player } from "./player.js";

const SAVE_MS = 150;

class Host {
  constructor(model, element, spec) {
    Object.assign(this, { model, spec, names: model.get("_parts"), linked: {}, closers: [] });
    this.kernel = new Kernel(this, model);
    this.alert = el("div", { class: "ms-alert", role: "alert", hidden: true });
    this.notices = el("div", {});
    this.bar = el("div", { class: "ms-bar" });
    this.line = el("p", { class: "ms-sentence", role: "status", "aria-live": "polite" });
    this.body = el("div", { class: "ms-body" });
    // JupyterLab runs a shortcut unless an element around the key's target has this attribute; the section
    // has it for every control of every widget.
    this.root = el(
      "section",
      {
        class: `moespac of-${spec.name}`,
        "data-lm-suppress-shortcuts": "true",
        "aria-label": model.get("_title"),
        tabindex: "-1"
      },
      this.alert,
      this.kernel.notice,
      this.notices,
      this.bar,
      this.line,
      this.body
    );
    element.append(this.root);
  }

  start() {
    for (const notice of this.model.get("_notices"))
      this.notices.append(el("p", { class: "ms-notice" }, notice));
    this.data = this.model.get("_data");
    this.view = this.spec.build(this);
    this.footer = new Footer(this);
    this.root.append(this.footer.element);
    this.listen(this.root, "keydown", (event) => this.key(event));
    for (const name of this.names) this.hear(`change:${name}`, () => this.frame());
    this.hear("change:_error", () => this.say(this.model.get("_error")));
    const observer = new ResizeObserver(() => this.frame());
    observer.observe(this.root);
    const themes = new MutationObserver(() => this.frame());
    themes.observe(document.body, { attributes: true });
    this.listen(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.frame());
    this.closers.push(
      () => observer.disconnect(),
      () => themes.disconnect()
    );
    this.say(this.model.get("_error"));
    this.findLinked().catch((problem) => this.say(problem));
    this.frame();
  }

  close() {
    if (this.saving) this.save();
    cancelAnimationFrame(this.asking);
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

  /** Show what went wrong, until there is another message. */
  say(problem) {
    const words = problem instanceof Error ? problem.message : problem;
    this.alert.hidden = !words;
    this.alert.textContent = words ? this.text("base.problem", { words }) : "";
    this.failed = problem instanceof Error;
  }

  // -- state ---------------------------------------------------------------------------------------------

  /** Find the models of the views that move together with this one, by trait. */
  async findLinked() {
    for (const [name, ids] of Object.entries(this.model.get("_linked") ?? {})) {
      this.linked[name] = await Promise.all(ids.map((id) => this.model.widget_manager.get_model(id)));
    }
  }

  state() {
    return Object.fromEntries(this.names.map((name) => [name, this.model.get(name)]));
  }

  /** Change traits: drawn in the next frame, sent to the kernel after a pause. */
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
    for (const model of [this.model, ...Object.values(this.linked).flat()])
      this.guard(() => model.save_changes());
    if (this.model.get("_kernel")) this.ask("ping").catch(() => {});
  }

  /** Ask the kernel; a promise of its answer. */
  ask(command, values = {}) {
    return this.kernel.ask(command, values);
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
    const sentence = this.view.sentence(state);
    if (this.line.textContent !== sentence) this.line.textContent = sentence; // screen readers read out every change
    this.footer.draw(state, this.view);
    this.model.drawn?.(this.footer.code.value);
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
    const select = el(
      "select",
      { "aria-label": label },
      ...options.map(([value, words]) => el("option", { value: String(value) }, words))
    );
    const of = new Map(options.map(([value]) => [String(value), value]));
    this.listen(select, "change", () => this.set({ [name]: of.get(select.value) }));
    const part = el("label", {}, `${label} `, select);
    part.show = (value) => {
      select.value = String(value);
    };
    return part;
  }

  /** Add the play control; `kept` are the steps that can be shown, in order.
   *  trait: what it moves; say(value) puts where it is in words; speed: how many a second at first. */
  addPlayer(kept, noun, options = {}) {
    this.player = new Player(this, kept, noun, options);
    this.bar.append(this.player.element);
  }

  /** Alone on the whole screen and in large type, or back again; Esc goes back, too. */
  present() {
    const turned = document.fullscreenElement
      ? document.exitFullscreen()
      : this.root.parentElement.requestFullscreen();
    turned.catch((problem) => this.say(problem));
  }
}

/** A front end for anywidget, and for the page that needs no kernel: what `spec` builds, in the shared frame. */
export function widget(spec) {
  return {
    render({ model, el: element }) {
      const host = new Host(model, element, spec);
      host.guard(() => host.start());
      return () => host.close();
    }
  };
}
