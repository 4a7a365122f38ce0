import { io } from "./socket.io/socket.io.esm.min.js";

const liveness = document.querySelector("#liveness");
const lists = document.querySelector("#lists");
const listTemplate = document.querySelector("#list-template");
const cardTemplate = document.querySelector("#card-template");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** One element per list and per service, for as long as it is on the board: that is what keeps a row from showing twice. */
const sections = new Map();
const cards = new Map();
let hasShownBoard = false;

const socket = io();
socket.on("board", (view) => {
  showLiveness(view.liveness);
  showLists(view.lists);
});
socket.on("disconnect", () => show("reconnecting", "Reconnecting to this page's server…"));
socket.io.on("reconnect_attempt", () => show("reconnecting", "Reconnecting to this page's server…"));
setInterval(() => cards.forEach(({ element, service }) => showTime(element, service)), 15_000);

function showLiveness({ tag, waitingFor }) {
  const server = { postgres: "PostgreSQL", realtime: "the realtime server" }[waitingFor];
  if (tag === "live") show("live", "Live");
  else if (server === undefined) show("connecting", "Connecting…");
  else show("reconnecting", `Reconnecting to ${server}…`);
}

function show(state, text) {
  liveness.dataset.state = state;
  liveness.textContent = text;
  lists.toggleAttribute("data-stale", state !== "live");
}

/** Brings the page to a view, whatever it showed before. */
function showLists(view) {
  const before = new Map([...cards].map(([id, { element }]) => [id, element.getBoundingClientRect()]));
  const shown = new Set(view.flatMap((list) => list.services.map((service) => service.id)));
  for (const [id, { element }] of cards) {
    if (shown.has(id)) continue;
    element.remove();
    cards.delete(id);
  }
  for (const list of view) {
    const section = sectionOf(list);
    section.querySelector(".title").textContent = list.title;
    section.querySelector(".count").textContent = String(list.total);
    const hidden = list.total - list.services.length;
    section.querySelector(".more").textContent = hidden > 0 ? `and ${hidden} more` : "";
    arrange(section.querySelector(".cards"), list.services.map(cardOf));
  }
  if (hasShownBoard && !calm.matches) cards.forEach(({ element }, id) => animate(element, before.get(id)));
  hasShownBoard = true;
}

function sectionOf({ statusId }) {
  let section = sections.get(statusId);
  if (section === undefined) {
    section = listTemplate.content.firstElementChild.cloneNode(true);
    section.dataset.status = String(statusId);
    sections.set(statusId, section);
    lists.append(section);
  }
  return section;
}

function cardOf(service) {
  const known = cards.get(service.id);
  const element = known?.element ?? cardTemplate.content.firstElementChild.cloneNode(true);
  if (known?.service.revision !== service.revision) {
    // Only ever as text: a customer's name may look like markup.
    for (const field of ["customer", "vehicle", "place", "problem"]) {
      element.querySelector(`.${field}`).textContent = service[field];
    }
    element.querySelector(".id").textContent = `#${service.id}`;
    showTime(element, service);
  }
  cards.set(service.id, { element, service });
  return element;
}

/** Touches only what is out of place, so that the other cards keep their animations and the reader's selection. */
function arrange(container, elements) {
  elements.forEach((element, index) => {
    const present = container.children[index];
    if (present !== element) container.insertBefore(element, present ?? null);
  });
}

/** Lets a card glide from where it was, or appear if it is new. */
function animate(element, from) {
  if (from === undefined) {
    element.animate([{ opacity: 0, transform: "scale(0.97)" }, {}], { duration: 300, easing: "ease-out" });
    return;
  }
  const to = element.getBoundingClientRect();
  const x = from.left - to.left;
  const y = from.top - to.top;
  if (x === 0 && y === 0) return;
  const changedList = x !== 0;
  element.style.zIndex = changedList ? "1" : "";
  element.animate([{ transform: `translate(${x}px, ${y}px)` }, {}], {
    duration: changedList ? 550 : 300,
    easing: "cubic-bezier(0.2, 0.7, 0.2, 1)",
  });
  if (changedList) {
    const accent = getComputedStyle(element).borderLeftColor;
    element.animate([{ boxShadow: `0 0 0 3px ${accent}` }, {}], { duration: 1_600, easing: "ease-in" });
  }
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function showTime(element, { createdAt }) {
  const time = element.querySelector(".time");
  const minutes = Math.round((Date.parse(createdAt) - Date.now()) / 60_000);
  const hours = Math.round(minutes / 60);
  const days = Math.round(hours / 24);
  time.dateTime = createdAt;
  time.title = `Reported ${absolute.format(new Date(createdAt))}`;
  if (minutes > -1) time.textContent = "just now";
  else if (hours > -2) time.textContent = relative.format(minutes, "minute");
  else if (days > -2) time.textContent = relative.format(hours, "hour");
  else time.textContent = relative.format(days, "day");
}
