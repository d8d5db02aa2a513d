// What pages do in the browser: parts that are asked for again when something changed, times that
// stay fresh, dialogs, the theme. Without it they can be read, and forms still work.
//
// In HTML:
//   data-live="device rollout"      on an element with an id: asked for again, with the page's own
//                                   address, at these events of /api/v1/events, and now and then
//   data-live-key="device=pi5"      only at events whose field is this
//   data-live-every="2"             seconds between two of them, at least
//   data-open="ID", data-close      on a button: opens the <dialog>, closes the one it is in
//   data-fill="ID" data-with="TEXT" on a button: fills a field
//   data-submit                     on a select: sends its form when it was changed
//   data-keep                       left as it is when the part around it changes
//   data-lasting                    left as it is when that change came by itself
//   hx-swap="morph"                 changes only what differs; open dialogs in it are closed, but
//                                   for one that comes with data-stay
"use strict";
(() => {
  const LIVE_EVERY_S = 2; // for one part; a fleet changes all the time
  const QUIET_EVERY_S = 30; // without an event: silence is no event
  const RETRY_S = [1, 2, 5, 10, 30]; // between tries to connect
  const KINDS = ["fleet", "device", "rollout", "audit", "packages"];
  const body = document.body;

  // ---- Changing parts, so that focus, scroll and what is open stay. Two styles of swapping:
  // `morph` for what a person asked for, `refresh` for what comes by itself, which leaves alone
  // what somebody is filling in.
  const KEPT = "[data-keep], .chart > .plot, .chart > .summary, [data-table]";
  const KEPT_ATTRIBUTES = { DIALOG: ["open"], DETAILS: ["open", "hidden"], FIGURE: ["data-state"] };
  const isTouched = (field) =>
    field.matches("input, textarea, select") &&
    (field === document.activeElement ||
      (field.tagName !== "SELECT" && (field.value !== field.defaultValue || field.checked !== field.defaultChecked)));
  const morphing = (alone) => ({
    morphStyle: "outerHTML",
    restoreFocus: true,
    callbacks: {
      beforeNodeMorphed: (before, after) => {
        if (before.nodeType !== Node.ELEMENT_NODE) return true;
        if (before.matches(KEPT)) return false;
        if (alone) return !isTouched(before) && !before.matches("[data-lasting], dialog[open]");
        // What was asked in a dialog is done, unless the answer says that it is not.
        if (before.tagName === "DIALOG" && before.open && !("stay" in after.dataset)) before.close();
        return true;
      },
      beforeAttributeUpdated: (name, node) => !(KEPT_ATTRIBUTES[node.tagName] ?? []).includes(name),
    },
  });
  const STYLES = { morph: morphing(false), refresh: morphing(true) };
  htmx.defineExtension("morph", {
    isInlineSwap: (style) => style in STYLES,
    handleSwap: (style, target, fragment) =>
      style in STYLES ? Idiomorph.morph(target, fragment.firstElementChild, STYLES[style]) : false,
  });
  body.setAttribute("hx-ext", "morph");

  const clock = (() => {
    // The console's clock, not this machine's: theirs may differ by hours.
    const skew = Number(body.dataset.now) - Date.now();
    return () => Date.now() + skew;
  })();

  const refreshed = new WeakMap(); // part -> when it was asked for
  const waiting = new WeakMap(); // part -> timer
  function refresh(part) {
    if (!part.isConnected) return;
    if (asked.get(part) || part.matches(".htmx-request")) {
      refreshSoon(part); // a person's request comes first, and one that is under way may be too old
      return;
    }
    refreshed.set(part, Date.now());
    overtaken.delete(part);
    const address = part.dataset.liveFrom ?? location.pathname + location.search;
    htmx
      .ajax("GET", address, {
        source: part,
        target: part,
        select: `#${CSS.escape(part.id)}`,
        swap: "refresh",
        headers: { "EdgeQA-Refresh": "true" },
      })
      .catch(() => {}); // said by the events below
  }
  function refreshSoon(part) {
    if (waiting.has(part)) return;
    const every = 1000 * Number(part.dataset.liveEvery ?? LIVE_EVERY_S);
    const due = Math.max(50, (refreshed.get(part) ?? 0) + every - Date.now());
    waiting.set(
      part,
      setTimeout(() => {
        waiting.delete(part);
        refresh(part);
      }, due),
    );
  }
  const asked = new WeakMap(); // part -> requests of a person that will change it
  const overtaken = new WeakSet(); // parts whose refresh under way is older than such a request
  body.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.requestConfig.headers["EdgeQA-Refresh"] && overtaken.has(detail.target)) detail.shouldSwap = false;
  });
  body.addEventListener("htmx:beforeRequest", ({ detail: { elt, target } }) => {
    if (!target?.dataset?.live || elt === target) return;
    overtaken.add(target); // what was asked for by itself before would come late, and be older
    asked.set(target, (asked.get(target) ?? 0) + 1);
  });
  body.addEventListener("htmx:afterRequest", ({ detail: { elt, target } }) => {
    if (target?.dataset?.live && elt !== target) asked.set(target, Math.max(0, (asked.get(target) ?? 1) - 1));
  });
  const parts = () => document.querySelectorAll("[data-live][id]");
  function concerns(part, kind, data) {
    if (!part.dataset.live.split(" ").includes(kind)) return false;
    if (!part.dataset.liveKey) return true;
    const [field, wanted] = part.dataset.liveKey.split("=");
    return data[field] === undefined || String(data[field]) === wanted;
  }
  function changed(kind, data) {
    for (const part of parts()) if (concerns(part, kind, data)) refreshSoon(part);
    document.dispatchEvent(new CustomEvent("edgeqa:changed", { detail: { kind, data } }));
  }
  setInterval(() => {
    if (document.hidden) return;
    for (const part of parts()) {
      if (Date.now() - (refreshed.get(part) ?? started) > QUIET_EVERY_S * 1000) refresh(part);
    }
  }, 5000);
  const started = Date.now();

  // ---- The connection for events
  const shown = document.getElementById("connection");
  function connection(state, text) {
    const place = shown?.querySelector("[data-text]");
    if (!place || (shown.dataset.state === state && place.textContent === text)) return;
    shown.dataset.state = state;
    place.textContent = text;
  }
  let source = null;
  let tries = 0;
  let retry = null;
  function connect() {
    if (!body.dataset.events || source || document.hidden) return;
    clearTimeout(retry);
    source = new EventSource(body.dataset.events);
    source.onopen = () => {
      // What happened while there was no connection was not told.
      if (tries) for (const part of parts()) refreshSoon(part);
      tries = 0;
      connection("live", "live");
    };
    source.onerror = () => {
      disconnect();
      connection("away", "no connection");
      // Asking for the page says why: the login has ended, the database is away, or nobody answers.
      if (!tries) for (const part of parts()) refreshSoon(part);
      retry = setTimeout(connect, 1000 * RETRY_S[Math.min(tries, RETRY_S.length - 1)]);
      tries += 1;
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        let data = {};
        try {
          data = JSON.parse(event.data);
        } catch {
          // An event without data says that something changed, and that is enough.
        }
        changed(kind, data);
      });
    }
  }
  function disconnect() {
    source?.close();
    source = null;
  }
  // A page that nobody sees holds no connection: browsers open six to a server, for all tabs.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      disconnect();
      return;
    }
    if (!source) for (const part of parts()) refreshSoon(part);
    connect();
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => event.persisted && connect());
  connect();

  body.addEventListener("htmx:sendError", () => connection("away", "no connection"));
  body.addEventListener("htmx:timeout", () => connection("away", "no answer"));
  body.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    connection("away", status === 503 ? "database away" : `server says ${status}`);
  });
  body.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.xhr.status < 400 && source?.readyState === EventSource.OPEN) connection("live", "live");
  });

  // ---- Times: "3 min ago", as the server says it
  const THIN = "\u202f";
  const STEPS = [["s", 1, 90], ["min", 60, 90 * 60], ["h", 3600, 48 * 3600], ["d", 86400, Infinity]];
  function span(seconds) {
    const [unit, length] = STEPS.find(([, , below]) => seconds < below);
    return `${Math.round(seconds / length)}${THIN}${unit}`;
  }
  function freshen() {
    const now = clock();
    for (const time of document.querySelectorAll("time[data-ms]")) {
      const away = (Number(time.dataset.ms) - now) / 1000;
      const text = away > 0 ? `in ${span(away)}` : `${span(-away)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  }
  setInterval(freshen, 1000);

  // ---- Buttons
  const say = (text) => {
    const place = document.getElementById("said");
    place.textContent = text;
    setTimeout(() => place.textContent === text && (place.textContent = ""), 6000);
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.open) {
      const dialog = document.getElementById(button.dataset.open);
      if (dialog && !dialog.open) dialog.showModal();
    } else if ("close" in button.dataset) {
      button.closest("dialog")?.close();
    } else if (button.dataset.fill) {
      for (const name of button.dataset.fill.split(" ")) {
        const field = document.getElementById(name);
        const text = document.getElementById(`${name}-example`)?.textContent ?? button.dataset.with;
        field.value = text;
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
      say("Filled in.");
    }
  });
  body.addEventListener("change", (event) => {
    if ("submit" in event.target.dataset) event.target.form.requestSubmit();
  });

  // ---- Theme: the system's, light, dark
  const THEMES = ["system", "light", "dark"];
  const themes = document.getElementById("theme");
  function showTheme() {
    themes.querySelector("[data-text]").textContent = document.documentElement.dataset.theme ?? "system";
  }
  if (themes) {
    themes.hidden = false;
    showTheme();
    themes.addEventListener("click", () => {
      const root = document.documentElement;
      const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
      if (next === "system") delete root.dataset.theme;
      else root.dataset.theme = next;
      try {
        if (next === "system") localStorage.removeItem("edgeqa-theme");
        else localStorage.setItem("edgeqa-theme", next);
      } catch {
        // It holds for this page, then.
      }
      showTheme();
      document.dispatchEvent(new CustomEvent("edgeqa:theme"));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      document.dispatchEvent(new CustomEvent("edgeqa:theme")),
    );
  }
  window.edgeqa = { say, refresh, clock };
})();
