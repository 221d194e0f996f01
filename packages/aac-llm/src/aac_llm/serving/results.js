// `element` holds the cards, which change with every request: everything is listened to from there.
let until = Infinity;
let player = null;
const partsOf = card => ({ audio: card.querySelector("audio"), line: card.querySelector(".timeline") });
// Frames, not timeupdate: that comes four times a second, and events are shorter.
function follow(audio) {
  const line = audio.closest(".heard")?.querySelector(".timeline");
  if (!line) return;
  const now = audio.currentTime;
  const head = line.querySelector(".head");
  head.hidden = audio.paused;
  head.style.left = `${Math.min(100, (100 * now) / line.dataset.seconds)}%`;
  for (const one of line.querySelectorAll(".event")) {
    one.classList.toggle("playing", !audio.paused && now >= one.dataset.onset && now < one.dataset.offset);
  }
  if (audio === player && now >= until) audio.pause();
  if (!audio.paused) requestAnimationFrame(() => follow(audio));
}
function playFrom(card, onset, offset) {
  const { audio } = partsOf(card);
  audio.currentTime = onset;
  until = offset;
  player = audio;
  audio.play();
}
// Neither play nor pause bubbles; they can be caught on the way down.
element.addEventListener("play", event => {
  for (const other of element.querySelectorAll("audio")) if (other !== event.target) other.pause();
  follow(event.target);
}, true);
element.addEventListener("pause", event => {
  if (event.target === player) until = Infinity;
  follow(event.target);
}, true);
element.addEventListener("click", event => {
  const card = event.target.closest(".heard");
  const one = event.target.closest(".event");
  const wave = event.target.closest(".wave");
  if (one) playFrom(card, Number(one.dataset.onset), Number(one.dataset.offset));
  if (wave) {
    const box = wave.getBoundingClientRect();
    playFrom(card, (partsOf(card).line.dataset.seconds * (event.clientX - box.left)) / box.width, Infinity);
  }
});
element.addEventListener("keydown", key => {
  const card = key.target.closest(".heard");
  const one = key.target.closest(".event");
  if (!card) return;
  if (key.key === "Escape") partsOf(card).audio.pause();
  const step = { ArrowDown: 1, ArrowUp: -1 }[key.key];
  if (!one || !step) return;
  const events = [...card.querySelectorAll(".event")];
  const next = events[events.indexOf(one) + step];
  if (next) {
    next.focus();
    key.preventDefault();
  }
});
