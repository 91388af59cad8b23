// A page without a kernel: models that hold state in the page, linked to each other, kept in its address.
function decoded(value) {
  if (value === null || typeof value !== "object") return value;
  if (typeof value.base64 === "string") {
    const bytes = Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0));
    return new DataView(bytes.buffer);
  }
  if (Array.isArray(value)) return value.map(decoded);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, decoded(part)]));
}

class PageModel {
  constructor(state) {
    this.state = state;
    this.handlers = {};
  }
  get(name) {
    return this.state[name];
  }
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    for (const handler of this.handlers[`change:${name}`] ?? []) handler();
  }
  on(name, handler) {
    this.handlers[name] = [...(this.handlers[name] ?? []), handler];
  }
  off(name, handler) {
    this.handlers[name] = (this.handlers[name] ?? []).filter((other) => other !== handler);
  }
  save_changes() {
    if (location.protocol !== "about:") requestAnimationFrame(keepInAddress);
  } // once all have drawn
  send() {
    throw new Error("a page has no kernel");
  }
  drawn(code) {
    this.code = code;
  }
}

const { linked, columns, widgets } = JSON.parse(document.getElementById("state").textContent);
const models = widgets.map(({ state }) => new PageModel(decoded(state)));

function keepInAddress() {
  history.replaceState(null, "", `#${models.map((model) => model.code ?? "").join("/")}`);
}

for (const name of linked) {
  const together = models.filter((model) => model.get("_parts").includes(name));
  for (const model of together) {
    model.on(`change:${name}`, () =>
      together.forEach((other) => {
        const [least, most] = other.get("_limits")[name];
        other.set(name, Math.max(least, Math.min(most, model.get(name))));
      })
    );
  }
}

// A reload, or the address sent to somebody else, brings the view back.
location.hash
  .slice(1)
  .split("/")
  .forEach((code, i) => {
    for (const part of code ? code.split("&") : []) {
      const [name, written] = part.split("=");
      const before = models[i]?.get(name);
      const limits = models[i]?.get("_limits")[name];
      if (before === undefined || !limits) continue;
      const value = typeof before === "number" ? Number(written) : decodeURIComponent(written);
      const fits =
        typeof before === "number" ? limits[0] <= value && value <= limits[1] : limits.includes(value);
      if (fits) models[i].set(name, value);
    }
  });
const places = Array.from({ length: columns }, () =>
  document.querySelector("main").appendChild(document.createElement("div"))
);
widgets.forEach(({ script }, i) => {
  const element = places[i % columns].appendChild(document.createElement("div"));
  if (widgets.length > 1) {
    element.append(Object.assign(document.createElement("h2"), { textContent: models[i].get("_title") }));
  }
  SCRIPTS[script]().render({ model: models[i], el: element });
});
// In a frame: how high it should be.
if (parent !== window) {
  const tell = () => parent.postMessage({ moespacHeight: document.body.offsetHeight + 24 }, "*");
  new ResizeObserver(tell).observe(document.body);
}
