// A practice case: page through its images with the slider, the arrow keys or the wheel.
const viewer = document.querySelector(".viewer");
const which = document.getElementById("which");
const shown = document.getElementById("shown");
const slice = document.getElementById("slice");
const digits = new Intl.NumberFormat(document.documentElement.lang === "ar" ? "ar-IQ-u-nu-arab" : "en");

function show(number) {
  which.value = number;
  shown.textContent = digits.format(which.value);
  slice.src = `${viewer.dataset.base}${which.value}.png`;
}

// All are fetched at once, so that paging never waits.
for (let number = 1; number <= Number(viewer.dataset.images); number += 1) {
  new Image().src = `${viewer.dataset.base}${number}.png`;
}
which.addEventListener("input", () => show(which.value));
slice.addEventListener("wheel", (event) => {
  event.preventDefault();
  show(Number(which.value) + Math.sign(event.deltaY));
}, { passive: false });
