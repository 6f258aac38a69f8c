// One canvas with a stack of images: window, size, place, measurement, heatmap.

const SIZES = [0.25, 16];
const STEP = 0.05; // of a key, as a share of the canvas that a pointer would have gone

// Puts values into a text in the visitor's language: {1}, {2}.
function fill(text, ...values) {
  return text.replace(/\{(\d)\}/g, (_, number) => values[number - 1]);
}

// A number as the page's language writes it.
function written(value, digits = 0) {
  const place = document.documentElement.lang === "ar" ? "ar-IQ" : "en-GB";
  return new Intl.NumberFormat(place, { maximumFractionDigits: digits, minimumFractionDigits: digits, useGrouping: false }).format(value);
}

export class Viewport {
  constructor(element, words, on) {
    this.words = words;
    this.on = on; // {scroll(index), changed()}
    this.tool = "window";
    this.strength = 0.45;
    this.stack = [];
    this.index = 0;
    this.frame = null;
    this.heat = null;
    this.window = null; // [level, width], null: as sent
    this.lines = new Map(); // index -> [x1, y1, x2, y2] in image pixels
    this.reset(false);

    this.canvas = element.querySelector("canvas");
    this.slider = element.querySelector("input");
    this.caption = element.querySelector(".caption");
    this.corner = element.querySelector(".corner");
    this.picture = document.createElement("canvas");
    this.overlay = document.createElement("canvas");
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  // `frames` fetches; `stack` is a list of [instance, frame].
  show(frames, stack, index) {
    this.frames = frames;
    this.stack = stack;
    this.frame = null;
    this.lines.clear();
    this.slider.max = Math.max(0, stack.length - 1);
    return this.go(index, true);
  }

  async go(index, force = false) {
    index = Math.max(0, Math.min(this.stack.length - 1, index));
    if (index === this.index && !force) return;
    this.index = index;
    this.slider.value = index;
    const [instance, number] = this.stack[index];
    const known = this.frames.has(instance, number);
    if (!known) this.say(this.words.loading);
    const frame = known ?? (await this.frames.want(instance, number));
    if (this.index !== index) return; // scrolled on meanwhile
    this.take(frame);
    this.frames.ahead(this.stack, index);
  }

  take(frame) {
    this.frame = frame.numbers ? frame : null;
    this.canvas.dataset.index = this.index;
    this.paint();
    if (frame.problem) this.say(fill(this.words.unreadable, frame.problem));
    else if (frame.gone) this.say(this.words.gone);
    this.on.changed(this);
  }

  get place() {
    return this.stack[this.index];
  }

  get level() {
    return this.window ?? (this.frame ? [this.frame.facts.level, this.frame.facts.width] : [0, 1]);
  }

  setWindow(window) {
    this.window = window;
    this.paint();
  }

  setHeat(heat) {
    this.heat = heat;
    this.draw();
  }

  reset(draw = true) {
    this.size = 1;
    this.move = [0, 0];
    if (!draw) return;
    this.window = null;
    this.lines.delete(this.index);
    this.paint();
  }

  zoom(factor) {
    this.size = Math.max(SIZES[0], Math.min(SIZES[1], this.size * factor));
    this.draw();
  }

  // Numbers to grey, once for each window; `draw` then only places the picture.
  paint() {
    if (this.frame) {
      const { rows, columns, slope, intercept } = this.frame.facts;
      const [level, width] = this.level;
      const image = new ImageData(columns, rows);
      const out = new Uint32Array(image.data.buffer);
      const scale = (255 * slope) / width;
      const offset = 255 * ((intercept - level) / width + 0.5);
      const numbers = this.frame.numbers;
      for (let at = 0; at < out.length; at += 1) {
        const grey = Math.max(0, Math.min(255, numbers[at] * scale + offset)) | 0;
        out[at] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
      this.picture.width = columns;
      this.picture.height = rows;
      this.picture.getContext("2d").putImageData(image, 0, 0);
    }
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.frame) return;
    const t = this.transform();
    context.setTransform(t.x, 0, 0, t.y, t.left, t.top);
    context.imageSmoothingEnabled = t.x < 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, 0, 0);
    if (this.heat) this.drawHeat(context);
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.drawEdges(context, ratio);
    this.drawLine(context, t, ratio);
    this.sayWhere();
  }

  drawHeat(context) {
    const { rows, columns, values } = this.heat;
    const image = new ImageData(columns, rows);
    for (let at = 0; at < values.length; at += 1) {
      const value = values[at];
      // Yellow to red, and clear where there is little: the image stays readable below.
      image.data.set([255, 210 - (value * 170) / 255, 40, value], at * 4);
    }
    this.overlay.width = columns;
    this.overlay.height = rows;
    this.overlay.getContext("2d").putImageData(image, 0, 0);
    context.globalAlpha = this.strength;
    context.imageSmoothingEnabled = true;
    context.drawImage(this.overlay, 0, 0, this.frame.facts.columns, this.frame.facts.rows);
    context.globalAlpha = 1;
  }

  // Which side of the patient is where; the letters are DICOM's in every language.
  drawEdges(context, ratio) {
    const { edges } = this.frame.facts;
    if (!edges) return;
    const { width, height } = this.canvas;
    const gap = 18 * ratio;
    const places = [[gap, height / 2], [width - gap, height / 2], [width / 2, gap], [width / 2, height - gap]];
    context.font = `600 ${18 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 4 * ratio;
    context.strokeStyle = "#000";
    context.fillStyle = "#c9d4df";
    edges.forEach((letter, index) => {
      context.strokeText(letter, ...places[index]);
      context.fillText(letter, ...places[index]);
    });
    context.textAlign = "start";
    context.textBaseline = "alphabetic";
  }

  drawLine(context, t, ratio) {
    const line = this.lines.get(this.index);
    if (!line) return;
    const [x1, y1, x2, y2] = line;
    const from = [x1 * t.x + t.left, y1 * t.y + t.top];
    const to = [x2 * t.x + t.left, y2 * t.y + t.top];
    const text = this.length(line);
    for (const [colour, width] of [["#000", 5], ["#ffe14d", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
    }
    context.font = `600 ${16 * ratio}px system-ui, sans-serif`;
    context.lineWidth = 4 * ratio;
    context.strokeStyle = "#000";
    context.fillStyle = "#ffe14d";
    context.strokeText(text, to[0] + 8 * ratio, to[1] - 8 * ratio);
    context.fillText(text, to[0] + 8 * ratio, to[1] - 8 * ratio);
    this.canvas.dataset.measured = text;
  }

  length([x1, y1, x2, y2]) {
    const { spacing } = this.frame.facts;
    const [dy, dx] = spacing ?? [1, 1];
    const long = Math.hypot((x2 - x1) * dx, (y2 - y1) * dy);
    return fill(spacing ? this.words.mm : this.words.px, written(long, spacing ? 1 : 0));
  }

  // From image pixels to canvas pixels. Pixels that are not square are shown as they are in the body.
  transform() {
    const { rows, columns, spacing } = this.frame.facts;
    const tall = spacing && spacing[1] > 0 ? spacing[0] / spacing[1] : 1;
    const fit = Math.min(this.canvas.width / columns, this.canvas.height / (rows * tall)) * this.size;
    const x = fit;
    const y = fit * tall;
    return {
      x,
      y,
      left: (this.canvas.width - columns * x) / 2 + this.move[0] * this.canvas.width,
      top: (this.canvas.height - rows * y) / 2 + this.move[1] * this.canvas.height,
    };
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const t = this.transform();
    return [
      ((event.clientX - box.left) * ratio - t.left) / t.x,
      ((event.clientY - box.top) * ratio - t.top) / t.y,
    ];
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.frame) return;
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
      if (this.tool === "measure" && this.pointers.size === 1) {
        const start = this.point(event);
        this.lines.set(this.index, [...start, ...start]);
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      this.pointers.set(event.pointerId, event);
      const box = canvas.getBoundingClientRect();
      const dx = (event.clientX - before.clientX) / box.width;
      const dy = (event.clientY - before.clientY) / box.height;
      if (this.pointers.size > 1) this.pinch(before, event, dx / 2, dy / 2);
      else this.drag(event, dx, dy);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.ctrlKey) this.zoom(Math.exp(-event.deltaY / 300));
        else this.on.scroll(this, this.index + Math.sign(event.deltaY));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
      const acts = {
        ArrowUp: () => this.on.scroll(this, this.index - 1),
        ArrowDown: () => this.on.scroll(this, this.index + 1),
        PageUp: () => this.on.scroll(this, this.index - 10),
        PageDown: () => this.on.scroll(this, this.index + 10),
        Home: () => this.on.scroll(this, 0),
        End: () => this.on.scroll(this, this.stack.length - 1),
        "+": () => this.zoom(1.25),
        "-": () => this.zoom(0.8),
        0: () => this.reset(),
      };
      const turn = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
      if (event.shiftKey && turn) {
        event.preventDefault();
        this.turn(turn[0] * STEP, turn[1] * STEP);
        return;
      }
      if (!acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    });
    this.slider.addEventListener("input", () => this.on.scroll(this, Number(this.slider.value)));
  }

  drag(event, dx, dy) {
    const tool = event.shiftKey ? "move" : this.tool;
    if (tool === "window") {
      this.turn(dx, dy);
    } else if (tool === "move") {
      this.move = [this.move[0] + dx, this.move[1] + dy];
      this.draw();
    } else {
      const line = this.lines.get(this.index);
      if (line) this.lines.set(this.index, [line[0], line[1], ...this.point(event)]);
      this.draw();
    }
  }

  // Makes the window wider by shares of the canvas to the right, and its level higher downwards.
  turn(dx, dy) {
    const [level, width] = this.level;
    const reach = Math.max(width, 1e-6);
    this.setWindow([level + dy * reach * 1.5, Math.max(reach * Math.exp(dx * 2), 1e-6)]);
    this.on.windowed?.(this);
  }

  pinch(before, event, dx, dy) {
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    this.move = [this.move[0] + dx, this.move[1] + dy];
    this.zoom(apart(event) / Math.max(1, apart(before)));
  }

  sayWhere() {
    const count = this.stack.length;
    const where = fill(this.words.slice, written(this.index + 1), written(count));
    const [level, width] = this.level;
    const look = fill(this.words.window, ...this.level.map((value) => written(value, Math.abs(value) < 10 ? 2 : 0)));
    const smaller = this.frame.facts.reduced ? ` · ${this.words.reduced}` : "";
    this.say(where);
    this.corner.textContent = `${look}${smaller}`;
    this.slider.setAttribute("aria-valuetext", where);
    this.canvas.setAttribute("aria-label", `${where}. ${look}`);
    Object.assign(this.canvas.dataset, { level: level.toFixed(2), width: width.toFixed(2) });
  }

  say(text) {
    this.caption.textContent = text;
  }
}
