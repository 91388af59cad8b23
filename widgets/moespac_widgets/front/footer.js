// What stands below every widget: where its numbers come from, the same as a table, its keys, its view code.
import { brief, el } from "./dom.js";

const TABLE_ROWS = 400;

export class Footer {
  constructor(host) {
    this.host = host;
    this.element = el("div", { class: "ms-more" });
    this.origin = el("p", { class: "ms-hint" });
    this.table = el("details", {}, el("summary", {}, host.text("base.table")));
    this.code = el("input", {
      type: "text",
      spellcheck: "false",
      size: 28,
      "aria-label": host.text("base.code")
    });
    this.copied = el("span", { role: "status" });
    const help = [...(host.player ? ["base.keys"] : []), ...(host.spec.help ?? [])];
    const keys = help.map((key) => el("p", {}, host.text(key)));
    host.listen(this.table, "toggle", () => host.frame());
    host.listen(this.code, "change", () => host.set(this.changesOf(this.code.value)));
    this.element.append(
      this.origin,
      this.table,
      el("details", {}, el("summary", {}, host.text("base.help")), ...keys),
      el(
        "div",
        { class: "ms-code" },
        host.button(host.text("base.copy"), () => this.copy()),
        this.code,
        this.copied,
        host.button(host.text("base.whole"), () => host.present())
      )
    );
  }

  draw(state, view) {
    this.origin.textContent = view.origin(state);
    if (this.table.open) this.fillTable(view.table(state));
    if (document.activeElement !== this.code) this.code.value = this.viewCode(state);
  }

  fillTable({ columns, rows }) {
    const shown = rows.slice(0, TABLE_ROWS);
    const cells = (row) =>
      row.map((cell) =>
        typeof cell === "number" ? el("td", { class: "ms-figure" }, brief(cell)) : el("td", {}, cell)
      );
    const table = el(
      "table",
      {},
      el("caption", {}, this.origin.textContent),
      el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...shown.map((row) => el("tr", {}, ...cells(row))))
    );
    const rest = rows.length - shown.length;
    const left = rest ? [el("p", {}, this.host.text("base.rows_left", { rest }))] : [];
    const scrolled = this.host.scroll(this.host.text("base.table_name"), table);
    this.table.replaceChildren(this.table.firstChild, scrolled, ...left);
  }

  async copy() {
    const { host, code, copied } = this;
    code.value = this.viewCode(host.state());
    try {
      await navigator.clipboard.writeText(code.value);
      copied.textContent = host.text("base.copied");
    } catch {
      // where the browser gives no clipboard, the selected code can be copied by hand
      code.select();
      copied.textContent = host.text("base.selected");
    }
  }

  viewCode(state) {
    return this.host.names.map((name) => `${name}=${encodeURIComponent(state[name])}`).join("&");
  }

  /** The state that a view code stands for; the kernel checks it as it checks everything. */
  changesOf(code) {
    const { host } = this;
    const changes = {};
    for (const part of code.trim().split("&")) {
      const [name, written] = part.split("=");
      if (!host.names.includes(name) || written === undefined) {
        throw new Error(host.text("base.bad_code", { part, names: host.names.join(", ") }));
      }
      const value = decodeURIComponent(written);
      changes[name] = typeof host.model.get(name) === "number" ? Number(value) : value;
      const limits = host.model.get("_limits")[name];
      const fits =
        typeof limits[0] === "number"
          ? Number.isInteger(changes[name]) && limits[0] <= changes[name] && changes[name] <= limits[1]
          : limits.includes(value);
      if (!fits) throw new Error(host.text("base.bad_value", { name, value, limits: limits.join(" … ") }));
    }
    return changes;
  }
}
