// The study page: puts viewports, tools, key images, heatmaps and an earlier study together.

import { Frames } from "./frames.js";
import { Viewport } from "./viewport.js";

const json = (id) => JSON.parse(document.getElementById(id).textContent);
const words = json("words");
const current = { pictures: json("pictures"), frames: null, view: null };
const prior = { pictures: null, frames: null, view: null };
const ports = document.getElementById("ports");
const heats = new Map(); // "instance/frame/code" -> map

const on = { scroll, changed, windowed };

function port(title) {
  const element = document.createElement("figure");
  element.className = "port";
  element.innerHTML =
    '<figcaption></figcaption><canvas tabindex="0" role="img"></canvas>' +
    '<div class="foot"><span class="caption" aria-live="off"></span><input type="range" min="0" step="1"><span class="corner"></span></div>';
  element.querySelector("figcaption").textContent = title;
  element.querySelector("input").setAttribute("aria-label", title);
  ports.append(element);
  return new Viewport(element, words, on);
}

function stackOf(series) {
  return series.pictures.map(([instance]) => [instance, 0]);
}

async function open(side, series, instance) {
  side.series = series;
  const stack = stackOf(series);
  const at = stack.findIndex(([one]) => one === instance);
  await side.view.show(side.frames, stack, at < 0 ? Math.floor(stack.length / 2) : at);
}

// An instance with many frames says so when its first frame comes: then all of them are the stack.
function changed(view) {
  const side = view === current.view ? current : prior;
  const frames = view.frame?.facts.frames ?? 1;
  const [instance] = view.place;
  if (frames > 1 && view.stack.filter(([one]) => one === instance).length === 1) {
    view.stack = view.stack.flatMap(([one, frame]) =>
      one === instance ? Array.from({ length: frames }, (_, index) => [one, index]) : [[one, frame]],
    );
    view.slider.max = view.stack.length - 1;
    view.draw();
    side.frames.ahead(view.stack, view.index);
  }
  if (side === current) showHeat();
}

// Both stacks scroll together: by millimetres where both know them, by their share otherwise.
function scroll(view, index) {
  const last = view.stack.length - 1;
  index = Math.max(0, Math.min(last, index));
  view.go(index);
  if (!prior.view) return;
  const [here, there] = view === current.view ? [current, prior] : [prior, current];
  there.view.go(matching(here, there, index));
}

function matching(here, there, index) {
  const [from, to] = [positions(here), positions(there)];
  if (!from || !to) {
    return Math.round((index / Math.max(1, here.view.stack.length - 1)) * (there.view.stack.length - 1));
  }
  // Two studies do not share an origin: what matches is how far a slice is from the first.
  const along = (from[index] - from[0]) / (from.at(-1) - from[0] || 1);
  const wanted = to[0] + along * (to.at(-1) - to[0]);
  return to.reduce((best, one, at) => (Math.abs(one - wanted) < Math.abs(to[best] - wanted) ? at : best), 0);
}

function positions(side) {
  const list = side.series.pictures.map(([, position]) => position);
  return list.length === side.view.stack.length && list.every((one) => one !== null) ? list : null;
}

function windowed(view) {
  document.getElementById("preset").value = "";
  for (const side of [current, prior]) {
    if (side.view && side.view !== view && side.series.modality === seriesOf(view).modality) {
      side.view.setWindow(view.window);
    }
  }
}

function seriesOf(view) {
  return (view === current.view ? current : prior).series;
}

function views() {
  return [current.view, prior.view].filter(Boolean);
}

// Tools

const tools = [...document.querySelectorAll("[data-tool]")];
for (const button of tools) {
  button.addEventListener("click", () => choose(button));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tools.at((tools.indexOf(button) + step) % tools.length);
    choose(next);
    next.focus();
  });
}

function choose(button) {
  for (const one of tools) {
    one.setAttribute("aria-checked", String(one === button));
    one.tabIndex = one === button ? 0 : -1;
  }
  for (const view of views()) view.tool = button.dataset.tool;
  ports.dataset.tool = button.dataset.tool;
}

document.getElementById("closer").addEventListener("click", () => views().forEach((view) => view.zoom(1.25)));
document.getElementById("wider").addEventListener("click", () => views().forEach((view) => view.zoom(0.8)));
document.getElementById("reset").addEventListener("click", () => {
  document.getElementById("preset").value = "";
  views().forEach((view) => view.reset());
});

const preset = document.getElementById("preset");
preset.addEventListener("change", () => {
  const window = preset.value ? JSON.parse(preset.value) : null;
  views().forEach((view) => view.setWindow(window));
});

function fillPresets(series) {
  while (preset.options.length > 1) preset.remove(1);
  for (const [name, level, width] of series.presets) {
    preset.add(new Option(`${name} (${level}/${width})`, JSON.stringify([level, width])));
  }
  document.getElementById("preset-label").hidden = !series.presets.length;
}

const chooser = document.getElementById("series");
current.pictures.series.forEach((series, index) => {
  chooser.add(new Option(`${series.title} (${series.pictures.length})`, index));
});
chooser.addEventListener("change", () => {
  const series = current.pictures.series[chooser.value];
  fillPresets(series);
  open(current, series);
});

// Key images and heatmaps

for (const button of document.querySelectorAll("[data-key]")) {
  button.addEventListener("click", () => {
    const key = current.pictures.keys.find((one) => one.code === button.dataset.key);
    if (!key) return;
    jump(key.instance);
    shown = key.code;
  });
}

let shown = current.pictures.keys[0]?.code ?? "";

function jump(instance) {
  const series = current.pictures.series.find((one) => one.pictures.some(([id]) => id === instance));
  if (series !== current.series) {
    chooser.value = current.pictures.series.indexOf(series);
    fillPresets(series);
    open(current, series, instance);
  } else {
    scroll(current.view, current.view.stack.findIndex(([one]) => one === instance));
  }
  document.getElementById("ports").scrollIntoView({ block: "nearest" });
}

const heatLabel = document.getElementById("heat-label");
const heat = document.getElementById("heat");
heat.addEventListener("input", () => {
  current.view.strength = heat.value / 100;
  current.view.draw();
});

async function showHeat() {
  const [instance, frame] = current.view.place;
  const here = current.pictures.heat.filter(([one, number]) => one === instance && number === frame);
  heatLabel.hidden = !current.pictures.heat.length;
  const map = here.find(([, , code]) => code === shown) ?? here[0];
  if (!map) {
    current.view.setHeat(null);
    return;
  }
  const key = map.map(encodeURIComponent).join("/");
  if (!heats.has(key)) heats.set(key, fetchHeat(key));
  const values = await heats.get(key);
  const [now, part] = current.view.place;
  if (now === instance && part === frame) current.view.setHeat(values);
}

async function fetchHeat(key) {
  try {
    const answer = await fetch(`/study/${current.pictures.study}/heat/${key}`);
    if (!answer.ok) return null;
    const size = JSON.parse(answer.headers.get("X-Heat"));
    return { ...size, values: new Uint8Array(await answer.arrayBuffer()) };
  } catch {
    return null;
  }
}

// Another study of the patient

document.getElementById("prior")?.addEventListener("change", async (event) => {
  const study = event.target.value;
  const { title } = event.target.selectedOptions[0].dataset;
  prior.view = null;
  ports.querySelectorAll("figure").forEach((figure, index) => index && figure.remove());
  ports.classList.toggle("two", Boolean(study));
  if (!study) return;
  const answer = await fetch(`/study/${study}/pictures`);
  if (!answer.ok) return;
  prior.pictures = await answer.json();
  const series =
    prior.pictures.series.find((one) => one.modality === current.series.modality) ?? prior.pictures.series[0];
  if (!series) return;
  prior.frames = new Frames(study);
  prior.view = port(`${title}: ${prior.pictures.title}, ${prior.pictures.taken}`);
  prior.view.tool = current.view.tool;
  await open(prior, series);
  prior.view.setWindow(current.view.window);
  scroll(current.view, current.view.index);
});

// Begin

current.frames = new Frames(current.pictures.study);
current.view = port(`${words.current}: ${current.pictures.title}`);
{
  const key = current.pictures.keys[0];
  const series =
    current.pictures.series.find((one) => key && one.pictures.some(([id]) => id === key.instance)) ??
    current.pictures.series[0];
  chooser.value = current.pictures.series.indexOf(series);
  fillPresets(series);
  open(current, series, key?.instance).then(() => {
    performance.mark("first-image");
  });
}
