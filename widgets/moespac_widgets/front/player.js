// The play control: buttons, a slider and keys that go through the steps of a trace.
import { clamp, el, reducedMotion, svg } from "./dom.js";

const PATHS = {
  first: "M3 2h2v12H3zM14 2v12L6 8z",
  back: "M12 2v12L4 8z",
  play: "M4 2l9 6-9 6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  next: "M4 2l8 6-8 6z",
  last: "M11 2h2v12h-2zM2 2l8 6-8 6z"
};

const icon = (name) =>
  svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));

export class Player {
  constructor(host, kept, noun, { trait = "step", speed = 2, say } = {}) {
    Object.assign(this, { host, kept, noun, trait });
    this.say = say ?? ((n) => host.text("base.where", { noun, n, last: kept.at(-1) }));
    const press = (name, words, handler) =>
      host.button(icon(name), handler, { "aria-label": host.text(words), title: host.text(words) });
    this.slider = el("input", { type: "range", min: "0", max: String(kept.length - 1), "aria-label": noun });
    host.listen(this.slider, "input", () => this.go(Number(this.slider.value)));
    this.toggle = press("play", "base.play", () => (this.playing ? this.pause() : this.play()));
    this.where = el("span", { class: "ms-where" });
    this.speed = el(
      "select",
      { "aria-label": host.text("base.speed") },
      ...[0.5, 1, 2, 4, 8, 16].map((n) =>
        el("option", { value: String(n) }, host.text("base.per_second", { n }))
      )
    );
    this.speed.value = reducedMotion() ? "1" : String(speed);
    const go = (where) => () => {
      this.pause();
      this.go(where());
    };
    const [first, back, next, last] = [
      () => 0,
      () => this.at - 1,
      () => this.at + 1,
      () => kept.length - 1
    ].map(go);
    this.element = el(
      "div",
      { class: "ms-player", role: "group", "aria-label": host.text("base.player") },
      press("first", "base.first", first),
      press("back", "base.back", back),
      this.toggle,
      press("next", "base.next", next),
      press("last", "base.last", last),
      this.slider,
      this.where,
      this.speed
    );
    const page = Math.max(2, Math.round(kept.length / 10));
    this.keys = {
      ArrowLeft: back,
      ArrowRight: next,
      j: back,
      l: next,
      Home: first,
      End: last,
      PageUp: go(() => this.at - page),
      PageDown: go(() => this.at + page),
      k: () => this.toggle.click()
    };
    host.closers.push(() => clearTimeout(this.timer));
  }

  /** The place of a step among `kept`, or that of the nearest step before it. */
  place(step) {
    let place = 0;
    for (let above = this.kept.length; place + 1 < above; ) {
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
