// Keeps a page alive: new cards, the alarm, and the word that the connection is away.
//
// The appliance sends ready-made pieces of the page; this module puts them in their places. The
// text of every message stands in the page, in the visitor's language.

import { Siren } from "./siren.js";

const SILENT_MS = 25000; // the appliance speaks every ten seconds
const AGAIN_MS = [500, 1000, 2000, 4000];

const board = document.querySelector("[data-live=board]");
const alarm = document.getElementById("alarm");
const away = document.getElementById("away");
const siren = new Siren(document.getElementById("sound"), alarm.dataset);

let source = null;
let tries = 0;
let watchdog = 0;
let reconnect = 0;
let hadAlarm = "";

function connect() {
  clearTimeout(reconnect);
  source?.close();
  source = new EventSource(board ? "/live?of=board" : "/live");
  source.addEventListener("open", onOpen);
  source.addEventListener("error", onLost);
  for (const [name, act] of Object.entries(acts)) {
    source.addEventListener(name, (event) => {
      listen();
      act(JSON.parse(event.data));
    });
  }
  listen();
}

function listen() {
  clearTimeout(watchdog);
  watchdog = setTimeout(onLost, SILENT_MS);
}

function onOpen() {
  tries = 0;
  if (!away.hidden) {
    away.textContent = away.dataset.back;
    away.dataset.state = "back";
    setTimeout(() => {
      if (away.dataset.state === "back") away.hidden = true;
    }, 4000);
  }
  document.documentElement.dataset.connection = "here";
}

async function onLost() {
  clearTimeout(watchdog);
  source?.close();
  document.documentElement.dataset.connection = "away";
  if (away.hidden || away.dataset.state === "back") {
    away.dataset.state = "away";
    away.textContent = away.dataset.lost;
    away.hidden = false;
  }
  clearTimeout(reconnect);
  const pause = AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)];
  tries += 1;
  reconnect = setTimeout(async () => {
    if (await loggedOut()) leave("session");
    else connect();
  }, pause);
}

// To the log-in, unless somebody has typed something here: that would be lost.
function leave(why) {
  const login = `/login?${new URLSearchParams({ next: location.pathname, why })}`;
  if (!typed()) {
    location.assign(login);
    return;
  }
  const link = Object.assign(document.createElement("a"), { href: login, textContent: away.dataset.login });
  away.dataset.state = "over";
  away.replaceChildren(`${away.dataset.over} `, link);
  away.hidden = false;
}

function typed() {
  return [...document.querySelectorAll("main :is(textarea, input:not([type=hidden], [type=range]))")].some((one) =>
    ["radio", "checkbox"].includes(one.type) ? one.checked !== one.defaultChecked : one.value !== one.defaultValue,
  );
}

// An EventSource does not say why it failed.
async function loggedOut() {
  try {
    const answer = await fetch("/session", { cache: "no-store", signal: AbortSignal.timeout(3000) });
    return answer.status === 401;
  } catch {
    return false;
  }
}

const acts = {
  hello({ studies }) {
    const there = new Set(studies.map(String));
    for (const card of [...board.children]) if (!there.has(card.dataset.study)) card.remove();
  },
  card({ study, place, html }) {
    const fresh = piece(html);
    const old = document.getElementById(`study-${study}`);
    if (old) {
      const focus = old.contains(document.activeElement) ? document.activeElement.dataset.focus : "";
      if (old.dataset.tone !== fresh.dataset.tone) fresh.classList.add("changed");
      old.replaceWith(fresh);
      if (focus) (fresh.querySelector(`[data-focus=${focus}]`) ?? fresh.querySelector("a"))?.focus();
    } else {
      fresh.classList.add("changed");
      board.append(fresh);
    }
    settle(fresh, place);
  },
  gone({ study }) {
    document.getElementById(`study-${study}`)?.remove();
  },
  alarm({ critical, urgent, html }) {
    // Said again only when it says something else: a screen reader would repeat it.
    if (html !== hadAlarm) alarm.innerHTML = html;
    hadAlarm = html;
    document.title = document.title.replace(/^\(\d+\) /, "");
    if (critical + urgent) document.title = `(${critical + urgent}) ${document.title}`;
    siren.press(critical, urgent);
  },
  health({ html }) {
    const place = document.getElementById("health");
    if (place) place.innerHTML = html;
  },
  erased({ studies }) {
    const open = document.querySelector("[data-study].study");
    if (open && studies.includes(Number(open.dataset.study))) location.reload();
  },
  beat() {},
  over({ why }) {
    source.close();
    clearTimeout(watchdog);
    if (why === "session") leave("session");
    else onLost();
  },
};

function piece(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector("article");
}

// Moves a card to where it belongs, if it is not there: what presses first, then the latest.
function settle(card, place) {
  const before = [...board.children].find((one) => one !== card && later(one, place));
  if (card.nextElementSibling !== (before ?? null)) board.insertBefore(card, before ?? null);
}

function later(card, [rank, time]) {
  const [otherRank, otherTime] = card.dataset.place.split(" ").map(Number);
  return otherRank > rank || (otherRank === rank && otherTime > time);
}

// Acknowledging stays on the page; without this module the form works as any form.
document.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (event.target.id !== "acknowledge" || !button) return;
  event.preventDefault();
  button.disabled = true;
  try {
    const answer = await fetch(button.formAction, {
      method: "POST",
      headers: {
        "X-CSRF-Token": document.querySelector("meta[name=csrf]").content,
        "X-Scanside": "live",
      },
    });
    if (answer.status === 401) leave("acknowledge");
    else if (answer.status !== 204 || "reload" in button.dataset) location.assign(location.pathname);
  } catch {
    button.disabled = false;
    onLost();
    away.textContent = away.dataset.failed;
  }
});

// A tablet that shows the board stays awake.
async function stayAwake() {
  if (!board || !("wakeLock" in navigator) || document.visibilityState !== "visible") return;
  try {
    await navigator.wakeLock.request("screen");
  } catch {
    // The battery is low or the browser says no: the page works without.
  }
}
document.addEventListener("visibilitychange", stayAwake);
stayAwake();

window.addEventListener("online", connect);
window.addEventListener("pagehide", () => source?.close());
window.addEventListener("pageshow", (event) => {
  if (event.persisted) connect();
});
connect();
