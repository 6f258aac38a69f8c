// The sound and the notification of a flag. Browsers allow a sound after a touch only, so the
// button says plainly whether it is on, and the first touch of any kind switches it on again.

const AGAIN_MS = 5000;

export class Siren {
  constructor(button, words) {
    this.button = button;
    this.words = words;
    this.context = null;
    this.timer = 0;
    this.critical = 0;
    this.wanted = localStorage.getItem("sound") === "on";
    button.addEventListener("click", () => this.toggle());
    for (const touch of ["pointerdown", "keydown"]) {
      document.addEventListener(touch, (event) => {
        if (this.wanted && !button.contains(event.target)) this.open();
      });
    }
    this.show();
  }

  get on() {
    return this.wanted && this.context?.state === "running";
  }

  async toggle() {
    const turnOn = !this.on;
    this.wanted = turnOn;
    localStorage.setItem("sound", turnOn ? "on" : "off");
    if (turnOn) {
      await this.open();
      this.ring([660, 880]);
      if ("Notification" in window && Notification.permission === "default") {
        await Notification.requestPermission();
      }
    } else {
      await this.context?.suspend();
    }
    this.show();
  }

  async open() {
    this.context ??= new AudioContext();
    if (this.context.state !== "running") await this.context.resume();
    this.show();
  }

  show() {
    this.button.setAttribute("aria-pressed", String(this.on));
    this.button.textContent = this.on ? this.button.dataset.on : this.button.dataset.off;
  }

  // A new critical flag sounds at once and again until it is acknowledged; an urgent one once.
  press(critical, urgent) {
    const more = critical > this.critical;
    if (more) {
      this.ring([880, 660, 880, 660]);
      this.notify();
    } else if (urgent > (this.urgent ?? 0)) {
      this.ring([660, 660]);
    }
    this.critical = critical;
    this.urgent = urgent;
    clearInterval(this.timer);
    if (critical) this.timer = setInterval(() => this.ring([880, 660, 880, 660]), AGAIN_MS);
  }

  // No word about a patient: a notification shows on a locked screen.
  notify() {
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    const shown = new Notification(this.words.title, {
      body: this.words.body,
      tag: "scanside",
      renotify: true,
      requireInteraction: true,
      icon: "/static/icon.svg",
    });
    shown.addEventListener("click", () => {
      window.focus();
      shown.close();
    });
  }

  ring(tones) {
    if (!this.on) return;
    const start = this.context.currentTime + 0.02;
    tones.forEach((tone, index) => {
      const oscillator = this.context.createOscillator();
      const gain = this.context.createGain();
      const from = start + index * 0.22;
      oscillator.frequency.value = tone;
      gain.gain.setValueAtTime(0, from);
      gain.gain.linearRampToValueAtTime(0.4, from + 0.02);
      gain.gain.setValueAtTime(0.4, from + 0.15);
      gain.gain.linearRampToValueAtTime(0, from + 0.2);
      oscillator.connect(gain).connect(this.context.destination);
      oscillator.start(from);
      oscillator.stop(from + 0.21);
    });
  }
}
