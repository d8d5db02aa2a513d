// Charts of what the API tells: lines by uPlot, a sentence and a table for who does not see them.
//
// A <figure data-chart> (macro `chart` of parts.html) says:
//   data-chart    address of the JSON; figures with the same one share one request
//   data-list     the field that holds the points, as `serving`
//   data-time     the field of a point that is its time in ms
//   data-series   [{"key": "p95_ms", "label": "p95"}, …]; a key may be a path, as `f1_interval.0`
//   data-low, data-high   paths of an interval around the first series, drawn as a band
//   data-unit     ms, percent, celsius, bytes, count
//   data-events   kinds of events of /api/v1/events at which it is read again, with
//   data-events-key       as `device=pi5`
"use strict";
(() => {
  const HEIGHT = 200;
  const REREAD_MS = 10_000; // between two readings of one address, at least
  const MOST_POINTS_MARKED = 60;
  const GAP = 2.5; // times the usual step: no line over a time of which nothing is known
  const THIN = "\u202f";
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const UNITS = {
    ms: (value) => (value >= 10_000 ? `${(value / 1000).toFixed(1)}${THIN}s` : `${Number(value.toPrecision(3))}${THIN}ms`),
    percent: (value) => `${value.toFixed(1)}${THIN}%`,
    celsius: (value) => `${value.toFixed(1)}${THIN}°C`,
    bytes: (value) => `${Math.round(value / 2 ** 20)}${THIN}MiB`,
    count: (value) => String(value),
  };
  const charts = new Map(); // figure -> {plot, data}

  // ---- Data
  const readings = new Map(); // address -> {at, promise}
  function read(address) {
    const known = readings.get(address);
    if (known && Date.now() - known.at < REREAD_MS) return known.promise;
    const promise = fetch(address, { headers: { Accept: "application/json" }, credentials: "same-origin" }).then(
      async (response) => {
        if (response.ok) return response.json();
        const problem = await response.json().catch(() => ({}));
        throw new Error(problem.detail ?? problem.title ?? `the server says ${response.status}`);
      },
    );
    readings.set(address, { at: Date.now(), promise });
    promise.catch(() => readings.delete(address));
    return promise;
  }
  const dig = (value, path) => path.split(".").reduce((inner, key) => inner?.[key] ?? null, value);
  function usual(times) {
    const steps = times.slice(1).map((at, index) => at - times[index]);
    return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? Infinity;
  }
  function columns(figure, answer) {
    const { list, time, low, high } = figure.dataset;
    const points = [...(dig(answer, list) ?? [])].sort((a, b) => dig(a, time) - dig(b, time));
    const keys = JSON.parse(figure.dataset.series).map((one) => one.key);
    if (low) keys.push(low, high);
    const known = points.filter((point) => keys.some((key) => dig(point, key) !== null));
    const rows = [];
    const gap = GAP * Math.max(answer.step_ms ?? 0, usual(known.map((point) => dig(point, time))));
    let last = null;
    for (const point of known) {
      const at = dig(point, time);
      if (last !== null && at - last > gap) rows.push([(last + at) / 2000, ...keys.map(() => null)]);
      rows.push([at / 1000, ...keys.map((key) => dig(point, key))]);
      last = at;
    }
    return { data: [0, ...keys].map((_, column) => rows.map((row) => row[column])), count: known.length };
  }

  // ---- Colours: what a custom property is in this theme
  function colour(name) {
    const probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
    probe.style.color = `var(${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }
  const faint = (rgb) => rgb.replace(/^rgb\((.*)\)$/, "rgba($1, 0.18)");

  // ---- Drawing
  function options(figure, series, width, data) {
    const unit = UNITS[figure.dataset.unit];
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--grid"), width: 1 },
      ticks: { stroke: colour("--grid"), width: 1 },
    };
    const lines = series.map(({ label }, index) => {
      const stroke = colour(`--series-${(index % 4) + 1}`);
      return {
        label,
        stroke,
        width: 2,
        dash: DASHES[index % DASHES.length],
        points: { show: data[0].length <= MOST_POINTS_MARKED, size: 5, fill: stroke },
        value: (_, value) => (value === null ? "–" : unit(value)),
      };
    });
    const banded = "low" in figure.dataset;
    const edges = banded
      ? ["95 % from", "to"].map((label) => ({
          label,
          stroke: faint(lines[0].stroke),
          width: 1,
          points: { show: false },
          value: lines[0].value,
        }))
      : [];
    return {
      width,
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      series: [{ label: "time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...lines, ...edges],
      bands: banded ? [{ series: [lines.length + 2, lines.length + 1], fill: faint(lines[0].stroke) }] : [],
      axes: [
        // Wide enough for hours, minutes and seconds.
        { ...axis, space: 80, values: [[86400, "{MM}-{DD}", null, null, null, null, null, null, 1], [3600, "{HH}:{mm}", "\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1], [60, "{HH}:{mm}", "\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1], [1, "{HH}:{mm}:{ss}", "\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1]] },
        { ...axis, size: 64, values: (_, ticks) => ticks.map(unit) },
      ],
    };
  }
  function draw(figure) {
    const chart = charts.get(figure);
    const place = figure.querySelector(".plot");
    if (!chart?.data || !place.clientWidth) return;
    const series = JSON.parse(figure.dataset.series);
    chart.plot?.destroy();
    place.replaceChildren();
    chart.plot = new uPlot(options(figure, series, place.clientWidth, chart.data), chart.data, place);
  }
  const resized = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const chart = charts.get(target.closest("figure"));
      if (chart?.plot && contentRect.width) chart.plot.setSize({ width: contentRect.width, height: HEIGHT });
      else if (chart?.data) draw(target.closest("figure"));
    }
  });

  // ---- In words
  const when = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  function sentence(figure, { data, count }) {
    const unit = UNITS[figure.dataset.unit];
    const parts = JSON.parse(figure.dataset.series).flatMap(({ label }, index) => {
      const values = data[index + 1].filter((value) => value !== null);
      if (!values.length) return [];
      const lowest = unit(Math.min(...values));
      const highest = unit(Math.max(...values));
      return `${label} ${unit(values.at(-1))} at last, ${lowest === highest ? `always ${lowest}` : `from ${lowest} to ${highest}`}`;
    });
    return `${parts.join("; ")}. ${count} ${count === 1 ? "point" : "points"} up to ${when(data[0].at(-1))}.`;
  }
  function cell(kind, text) {
    const made = document.createElement(kind);
    made.textContent = text;
    return made;
  }
  function table(figure, { data }) {
    const unit = UNITS[figure.dataset.unit];
    const names = JSON.parse(figure.dataset.series).map((one) => one.label);
    if ("low" in figure.dataset) names.push("95 % from", "to");
    const head = document.createElement("thead");
    const first = head.insertRow();
    for (const name of ["Time (UTC)", ...names]) {
      const made = cell("th", name);
      made.scope = "col";
      first.append(made);
    }
    const body = document.createElement("tbody");
    for (let row = data[0].length - 1; row >= 0; row -= 1) {
      if (names.every((_, index) => data[index + 1][row] === null)) continue;
      const line = body.insertRow();
      const time = cell("th", when(data[0][row]).replace(" UTC", ""));
      time.scope = "row";
      line.append(time);
      names.forEach((_, index) => {
        const value = data[index + 1][row];
        line.append(cell("td", value === null ? "–" : unit(value)));
      });
    }
    figure.querySelector("[data-table]").replaceChildren(head, body);
  }

  // ---- States: loading, drawn, empty, wrong
  function state(figure, name, text) {
    figure.dataset.state = name;
    figure.querySelector("[data-summary]").textContent = text;
    figure.querySelector("details").hidden = name === "empty";
  }
  async function load(figure) {
    const chart = charts.get(figure) ?? {};
    charts.set(figure, chart);
    try {
      const found = columns(figure, await read(figure.dataset.chart));
      if (!found.count) {
        state(figure, "empty", figure.dataset.empty ?? "Nothing was measured in this time.");
        return;
      }
      Object.assign(chart, found);
      state(figure, "drawn", sentence(figure, found));
      if (figure.querySelector("details").open) table(figure, found);
      if (chart.plot) chart.plot.setData(found.data);
      else draw(figure);
    } catch (error) {
      if (chart.data) return; // what is drawn stays; the head of the page says that nothing comes
      state(figure, "wrong", `The figures cannot be read: ${error.message}. `);
      const again = cell("button", "Try again");
      again.type = "button";
      again.className = "small";
      again.addEventListener("click", () => load(figure));
      figure.querySelector("[data-summary]").append(again);
    }
  }
  function begin(root) {
    for (const figure of root.querySelectorAll("figure[data-chart]")) {
      if (charts.has(figure)) continue;
      charts.set(figure, {});
      resized.observe(figure.querySelector(".plot"));
      figure.querySelector("details").addEventListener("toggle", (event) => {
        if (event.target.open && charts.get(figure)?.data) table(figure, charts.get(figure));
      });
      load(figure);
    }
  }
  const timers = new Map();
  document.addEventListener("edgeqa:changed", ({ detail: { kind, data } }) => {
    for (const figure of charts.keys()) {
      if (!figure.isConnected) {
        charts.get(figure).plot?.destroy();
        charts.delete(figure);
        continue;
      }
      if (!(figure.dataset.events ?? "").split(" ").includes(kind)) continue;
      const [field, wanted] = (figure.dataset.eventsKey ?? "").split("=");
      if (wanted && data[field] !== undefined && String(data[field]) !== wanted) continue;
      if (timers.has(figure)) continue;
      const at = readings.get(figure.dataset.chart)?.at ?? 0;
      timers.set(
        figure,
        setTimeout(() => {
          timers.delete(figure);
          load(figure);
        }, Math.max(0, at + REREAD_MS - Date.now()) + 50),
      );
    }
  });
  document.addEventListener("edgeqa:theme", () => {
    for (const figure of charts.keys()) draw(figure);
  });
  document.addEventListener("htmx:load", (event) => begin(event.detail.elt));
  begin(document);
})();
