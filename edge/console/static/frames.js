// Fetches frames and keeps them: first what is looked at, then its neighbours, then the rest.

const AT_ONCE = 3; // of the six connections that a browser opens; the others are for the page
const MOST_BYTES = 400e6;

export class Frames {
  constructor(study) {
    this.study = study;
    this.known = new Map(); // "instance/frame" -> frame
    this.waiting = new Map(); // the same -> {promise, resolve}
    this.queue = [];
    this.busy = 0;
    this.bytes = 0;
  }

  has(instance, frame) {
    return this.known.get(`${instance}/${frame}`);
  }

  // Returns a promise of a frame; `first` puts it before what was asked for ahead of time.
  want(instance, frame, first = true) {
    const key = `${instance}/${frame}`;
    const known = this.known.get(key);
    if (known) return Promise.resolve(known);
    let entry = this.waiting.get(key);
    if (!entry) {
      entry = {};
      entry.promise = new Promise((resolve) => (entry.resolve = resolve));
      this.waiting.set(key, entry);
      this.queue.push(key);
    }
    if (first && this.queue.includes(key)) {
      this.queue = [key, ...this.queue.filter((one) => one !== key)];
    }
    this.next();
    return entry.promise;
  }

  // Asks for everything, the nearest to `centre` first, instead of what was asked ahead before.
  ahead(places, centre) {
    const order = places
      .map((place, index) => [Math.abs(index - centre), place])
      .sort((a, b) => a[0] - b[0])
      .map(([, place]) => `${place[0]}/${place[1]}`)
      .filter((key) => !this.known.has(key));
    for (const key of order) {
      if (this.waiting.has(key)) continue;
      const entry = {};
      entry.promise = new Promise((resolve) => (entry.resolve = resolve));
      this.waiting.set(key, entry);
      this.queue.push(key);
    }
    const place = new Map(order.map((key, index) => [key, index]));
    const queued = this.queue.filter((key) => !place.has(key));
    this.queue = [...queued, ...order.filter((key) => this.queue.includes(key))];
    this.next();
  }

  next() {
    while (this.busy < AT_ONCE && this.queue.length) {
      const key = this.queue.shift();
      this.busy += 1;
      this.fetch(key).then((frame) => {
        this.busy -= 1;
        this.waiting.get(key)?.resolve(frame);
        this.waiting.delete(key);
        if (!frame.gone) this.keep(key, frame);
        this.next();
      });
    }
  }

  keep(key, frame) {
    this.known.set(key, frame);
    this.bytes += frame.numbers?.byteLength ?? 0;
    for (const [oldest, old] of this.known) {
      if (this.bytes <= MOST_BYTES || oldest === key) break;
      this.known.delete(oldest);
      this.bytes -= old.numbers?.byteLength ?? 0;
    }
  }

  async fetch(key) {
    try {
      const options = { credentials: "include", headers: {} };
      const answer = await fetch(`/study/${this.study}/image/${key}`, options);
      if (answer.status === 401) location.reload();
      if (!answer.ok) return { problem: (await answer.json()).problem };
      const facts = JSON.parse(answer.headers.get("X-Frame"));
      return { facts, numbers: unpack(await answer.arrayBuffer(), facts) };
    } catch {
      return { gone: true };
    }
  }
}

// Undoes edge/console/frames.py's pack: low bytes, high bytes, of differences along each row.
export function unpack(buffer, { rows, columns }) {
  const bytes = new Uint8Array(buffer);
  const size = rows * columns;
  const numbers = new Int16Array(size);
  for (let row = 0, at = 0; row < rows; row += 1) {
    let value = 0;
    for (let column = 0; column < columns; column += 1, at += 1) {
      value = (value + bytes[at] + (bytes[size + at] << 8)) & 0xffff;
      numbers[at] = value;
    }
  }
  return numbers;
}
