// Without this script every panel of the scatter is shown, and nothing is hidden but the cards.
const chosen = document.querySelector(".scatter select");
if (chosen) {
  const panels = document.querySelectorAll(".scatter .panel");
  const show = () => panels.forEach((panel, i) => { panel.hidden = i !== chosen.selectedIndex; });
  chosen.parentNode.hidden = false;
  chosen.addEventListener("change", show);
  show();
}

// What is known of a model, beside whatever names it: a dot, a row of a table, a line of a list.
const card = document.createElement("div");
card.id = "card";
card.hidden = true;
document.body.append(card);

const hide = () => {
  card.hidden = true;
  document.querySelectorAll(".lit").forEach((lit) => lit.classList.remove("lit"));
};
const tell = (event) => {
  hide();
  const at = event.target.closest?.("[data-model]");
  const known = at && document.getElementById(`model-${at.dataset.model}`);
  if (!known) return;
  document.querySelectorAll(`[data-model="${at.dataset.model}"]`).forEach((one) => one.classList.add("lit"));
  card.replaceChildren(known.cloneNode(true));
  card.firstChild.removeAttribute("id");
  if (at.ariaLabel) {
    const said = document.createElement("p");
    said.textContent = at.ariaLabel;
    card.prepend(said);
  }
  card.hidden = false;
  const place = (at.querySelector(".here") ?? at).getBoundingClientRect();
  const room = document.documentElement.clientWidth;
  const left = Math.min(place.left + Math.min(place.width, 240) + 8, room - card.offsetWidth - 8);
  const above = place.bottom + card.offsetHeight + 8 > innerHeight;
  card.style.left = `${Math.max(8, left) + scrollX}px`;
  card.style.top = `${(above ? Math.max(8, place.top - card.offsetHeight - 8) : place.bottom + 8) + scrollY}px`;
};
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, tell);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
