// Shapes: one for each state, so that colour is never alone, and a few for links and buttons.
import { html } from "../ui.js";

const SHAPES = {
  khala: "M5 3v18M5 13L15 3M9.500 9.500l7 11.500",
  home: "M4 11l8-7 8 7v9h-5v-6H9v6H4z",
  list: "M4 6h16M4 12h16M4 18h16",
  stack: "M4 8l8-4 8 4-8 4zM4 12l8 4 8-4M4 16l8 4 8-4",
  plus: "M12 5v14M5 12h14",
  chip: "M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4",
  crown: "M4 18h16M4 18L3 8l5 4 4-7 4 7 5-4-1 10",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500L19 19M5 19l1.500-1.500M17.500 6.500L19 5",
  moon: "M20 14A8 8 0 1110 4a7 7 0 0010 10z",
  auto: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 3v18M12 7h7M12 11h9M12 15h8",
  alert: "M12 4L2.500 20h19zM12 10v5M12 17.500v.5",
  wait: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 7v5l3 2",
  start: "M12 3a9 9 0 100 18 9 9 0 000-18zM10 8l6 4-6 4z",
  run: "M7 4l13 8-13 8z",
  check: "M4 12.500l5.500 5.500L20 7",
  cross: "M6 6l12 12M18 6L6 18",
  slash: "M12 3a9 9 0 100 18 9 9 0 000-18zM6 18L18 6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  down: "M12 4v12M7 11l5 5 5-5M5 20h14",
  pause: "M8 5v14M16 5v14",
  follow: "M12 4v12M6 11l6 6 6-6",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  search: "M10.500 4a6.500 6.500 0 100 13 6.500 6.500 0 000-13zM15.500 15.500L21 21",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${SHAPES[name]} /></svg>`;
}
