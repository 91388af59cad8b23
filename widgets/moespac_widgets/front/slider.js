// A slider over a list of values, with a name and the value in words. It holds one trait.
import { el } from "./dom.js";

export class Dial {
  /** values: rising numbers; say(value) puts one in words. */
  constructor(host, name, label, values, say) {
    Object.assign(this, { name, values, say });
    this.slider = el("input", {
      type: "range",
      min: "0",
      max: String(values.length - 1),
      "aria-label": label
    });
    this.words = el("output", {});
    this.element = el("label", { class: "ms-dial" }, el("span", {}, label), this.slider, this.words);
    host.listen(this.slider, "input", () => host.set({ [name]: values[Number(this.slider.value)] }));
  }

  draw(state) {
    const value = state[this.name];
    const above = this.values.findIndex((stop) => stop >= value);
    this.slider.value = String(above < 0 ? this.values.length - 1 : above);
    this.words.textContent = this.say(value);
    this.slider.setAttribute("aria-valuetext", this.words.textContent);
  }
}
