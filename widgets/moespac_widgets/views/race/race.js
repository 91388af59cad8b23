// Policy race: who has how much of the text at which time. The text is the same for all; only its times differ.

import { cleared } from "../../front/canvas.js";
import { clamp, el, reducedMotion, starts, unpack } from "../../front/dom.js";
import { widget } from "../../front/host.js";
import { figure, percent, roundStep, sizeWords, timeWords } from "../../front/operations.js";
import PALETTE from "../../front/palette.json" with { type: "json" };

const TRACKS = [
  ["own", []],
  ["rejected", [7, 4]],
  ["accepted", [2, 3]],
  ["chosen", [9, 3, 2, 3]]
]; // colour, dashes
const SHOWN = 150; // characters of the text
const CHART = 200;
const MARGIN = { left: 42, right: 150, top: 8, bottom: 34 };

/** How many of the rising times have come. */
function come(times, now) {
  let [from, to] = [0, times.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (times[middle] <= now) from = middle + 1;
    else to = middle;
  }
  return from;
}

function build(host) {
  const { data } = host;
  const windows = data.pieces.length;
  const emitted = unpack(data.emitted);
  const textOf = unpack(data.text_of);
  const tokensAt = starts(emitted);
  const all = tokensAt[windows];
  const ends = unpack(data.ends);
  const clock = (us) => timeWords(us / 1e6);
  const runners = data.contestants.map((one, i) => {
    const times = ends.subarray(i * windows, (i + 1) * windows);
    const [colour, dashes] = one.ghost ? [null, [3, 4]] : TRACKS[i];
    return { ...one, times, colour, dashes, letter: one.ghost ? "☆" : "ABCD"[i], last: times[windows - 1] };
  });
  const ghost = runners.at(-1);
  const racing = runners.slice(0, -1);
  /** What a runner has at a time. */
  function reached(runner, now) {
    const window = come(runner.times, now);
    return { window, tokens: tokensAt[window], done: window === windows };
  }
  const ink = (runner, style) => (runner.colour ? PALETTE.kinds[runner.colour] : style.color);

  // -- the tracks -----------------------------------------------------------------------------------------------
  const tracks = runners.map((runner) => {
    const [bar, mark] = [el("i", {}), el("b", {})];
    const [words, text] = [el("span", {}), el("div", { class: "ms-text" })];
    const rail = el(
      "div",
      { class: `ms-rail${runner.ghost ? " ghost" : ""}` },
      bar,
      ...(runner.ghost ? [] : [mark])
    );
    const name = `${runner.letter} ${runner.policy}`;
    return {
      bar,
      mark,
      words,
      text,
      element: el(
        "div",
        { class: "ms-track", title: runner.about },
        el("p", {}, el("b", {}, name), " ", words),
        rail,
        ...(runner.ghost ? [] : [text])
      )
    };
  });
  /** The text's end so far, what came last set off from it. */
  function ending(window) {
    if (!window) return [""];
    let first = window - 1;
    for (
      let length = data.pieces[first].length;
      first > 0 && textOf[first - 1] === textOf[window - 1] && length < SHOWN;
    )
      length += data.pieces[--first].length;
    const before = data.pieces.slice(first, window - 1).join("");
    const cut = before.length > SHOWN || (first > 0 && textOf[first - 1] === textOf[window - 1]);
    return [
      `${cut ? "…" : ""}${before.slice(-SHOWN).trimStart()}`,
      el("b", {}, first === window - 1 ? data.pieces[first].trimStart() : data.pieces[window - 1])
    ];
  }
  function drawTrack(runner, track, now, style) {
    const { tokens, window, done } = reached(runner, now);
    track.bar.style.cssText = `width:${(100 * tokens) / all}%;background:${ink(runner, style)}`;
    track.mark.style.left = `${(100 * reached(ghost, now).tokens) / all}%`;
    const values = {
      tokens,
      all,
      rate: now ? figure((1e6 * tokens) / (done ? runner.last : now)) : "0",
      time: clock(runner.last)
    };
    track.words.textContent = host.text(done ? "race.done" : "race.running", values);
    if (!runner.ghost && track.window !== window) {
      track.window = window;
      track.text.replaceChildren(...ending(window));
    }
  }

  // -- tokens over time -----------------------------------------------------------------------------------------
  const chart = el("canvas", { "aria-hidden": "true" });
  const last = Math.max(...runners.map((runner) => runner.last));
  function drawChart(now, style) {
    const ctx = cleared(chart, CHART);
    const wide = chart.clientWidth;
    const floor = CHART - MARGIN.bottom;
    const x = (us) => MARGIN.left + (us / last) * (wide - MARGIN.left - MARGIN.right);
    const y = (tokens) => floor - (tokens / all) * (floor - MARGIN.top);
    ctx.font = `11px ${style.fontFamily}`;
    ctx.fillStyle = style.color;
    ctx.textBaseline = "middle";
    ctx.textAlign = "center";
    const step = roundStep(last / 8);
    for (let us = 0; us <= last; us += step) ctx.fillText(clock(us), x(us), floor + 10);
    ctx.textAlign = "right";
    const rise = Math.max(1, roundStep(all / 5));
    for (let tokens = 0; tokens <= all; tokens += rise) {
      ctx.fillText(tokens, MARGIN.left - 6, y(tokens));
      ctx.globalAlpha = 0.2;
      ctx.fillRect(MARGIN.left, y(tokens), wide - MARGIN.left - MARGIN.right, 1);
      ctx.globalAlpha = 1;
    }
    ctx.textAlign = "left";
    ctx.fillText(host.text("race.axes"), MARGIN.left, CHART - 8);
    const labels = [];
    for (const runner of [ghost, ...racing]) {
      ctx.strokeStyle = ctx.fillStyle = ink(runner, style);
      ctx.lineWidth = runner.ghost ? 1.5 : 2.5;
      ctx.setLineDash(runner.dashes);
      const line = new Path2D();
      line.moveTo(x(0), y(0));
      for (let i = 0; i < windows; i++) {
        line.lineTo(x(runner.times[i]), y(tokensAt[i]));
        line.lineTo(x(runner.times[i]), y(tokensAt[i + 1]));
      }
      // What is to come is faint.
      for (const [from, to, alpha] of [
        [0, x(now), 1],
        [x(now), wide, 0.25]
      ]) {
        ctx.save();
        ctx.beginPath();
        ctx.rect(from, 0, to - from, CHART);
        ctx.clip();
        ctx.globalAlpha = alpha;
        ctx.stroke(line);
        ctx.restore();
      }
      labels.push([runner, x(runner.last)]);
    }
    ctx.setLineDash([]);
    // A name at each line's end, one under the other: ends lie close together.
    labels
      .sort((a, b) => a[1] - b[1])
      .forEach(([runner, end], i) => {
        const at = MARGIN.top + 8 + 15 * i;
        ctx.fillStyle = style.color;
        ctx.fillText(`${runner.letter} ${runner.policy}`, wide - MARGIN.right + 26, at);
        ctx.strokeStyle = ink(runner, style);
        ctx.lineWidth = 2.5;
        ctx.setLineDash(runner.dashes);
        ctx.beginPath();
        ctx.moveTo(wide - MARGIN.right + 4, at);
        ctx.lineTo(wide - MARGIN.right + 23, at);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.globalAlpha = 0.6;
        ctx.fillRect(end - 1, MARGIN.top - 4, 2, 8);
        ctx.globalAlpha = 1;
      });
    ctx.fillStyle = style.color;
    ctx.fillRect(x(now) - 1, MARGIN.top - 6, 2, floor - MARGIN.top + 6);
  }
  let dragging = false;
  const timeAt = (event) =>
    clamp(
      Math.round((last * (event.offsetX - MARGIN.left)) / (chart.clientWidth - MARGIN.left - MARGIN.right)),
      0,
      last
    );
  host.listen(chart, "pointerdown", (event) => {
    dragging = true;
    chart.setPointerCapture(event.pointerId);
    host.player.pause();
    host.set({ time_us: timeAt(event) });
  });
  host.listen(chart, "pointermove", (event) => {
    if (dragging) host.set({ time_us: timeAt(event) });
  });
  for (const type of ["pointerup", "pointercancel"])
    host.listen(chart, type, () => {
      dragging = false;
    });

  host.addPlayer(unpack(data.frames), host.text("race.clock"), {
    trait: "time_us",
    speed: reducedMotion() ? 1 : 16,
    say: () => host.text("race.where", { time: clock(host.model.get("time_us")), last: clock(last) })
  });
  const own = host.text("race.own_costs");
  host.body.append(
    el(
      "p",
      { class: "ms-hint" },
      host.text("race.about", {
        ...data.about,
        machine: data.about.machine ?? own,
        model: data.about.model ?? own
      })
    ),
    ...tracks.map(({ element }) => element),
    el("p", { class: "ms-caption" }, host.text("race.chart")),
    chart
  );

  return {
    draw(state) {
      const style = getComputedStyle(host.root);
      for (const [i, runner] of runners.entries()) drawTrack(runner, tracks[i], state.time_us, style);
      drawChart(state.time_us, style);
    },
    sentence({ time_us: now }) {
      const has = (runner) => {
        const { tokens, done } = reached(runner, now);
        return host.text(done ? "race.has_done" : "race.has", {
          name: runner.policy,
          tokens,
          time: clock(runner.last)
        });
      };
      // First by tokens; among those that are through, by when they were.
      const order = [...racing].sort(
        (a, b) =>
          reached(b, now).tokens - reached(a, now).tokens || (reached(a, now).done ? a.last - b.last : 0)
      );
      const [first, second] = order.map((runner) => reached(runner, now));
      const ahead = first.tokens - second.tokens;
      const lead = ahead
        ? host.text("race.leads", { name: order[0].policy, ahead, second: order[1].policy })
        : first.done && order[0].last < order[1].last
          ? host.text("race.wins", {
              name: order[0].policy,
              times: figure(order[1].last / order[0].last),
              second: order[1].policy
            })
          : host.text("race.level");
      return host.text("race.sentence", {
        time: clock(now),
        each: racing.map(has).join(", "),
        ghost: has(ghost),
        lead
      });
    },
    origin: () =>
      host.text("race.origin", {
        ...data.about,
        machine: data.about.machine ?? own,
        model: data.about.model ?? own
      }),
    table() {
      const columns = [
        host.text("race.column_window"),
        host.text("race.column_tokens"),
        ...runners.map((runner) => `${runner.policy}, ms`)
      ];
      const figures = [
        ["race.row_rate", (one) => figure(one.tps_modelled)],
        ["race.row_hits", (one) => percent(one.hit_rate)],
        ["race.row_bytes", (one) => sizeWords(one.bytes_per_token)]
      ];
      const rows = figures.map(([key, of]) => [host.text(key), "", ...runners.map(of)]);
      for (let i = 0; i < windows; i++)
        rows.push([i, tokensAt[i + 1], ...runners.map((runner) => (runner.times[i] / 1e3).toFixed(2))]);
      return { columns, rows };
    }
  };
}

export default widget({ name: "race", build, help: ["race.help"] });
