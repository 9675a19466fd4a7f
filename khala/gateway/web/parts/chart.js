// Tasks ended per second over the last minutes, drawn by uPlot on a canvas; the same in words for who cannot see it.
import uPlot from "../vendor/uplot.js";
import { html, useEffect, useRef } from "../ui.js";

const HEIGHT = 180;

const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const clock = (at) => new Date(at * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

/** A canvas knows no variables of the stylesheet: a probe tells what they are in this light. */
function colour(name) {
  const probe = document.createElement("i");
  probe.className = `probe ${name}`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function options(width) {
  const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: `12px ${shade("--font")}` };
  return {
    width,
    height: HEIGHT,
    cursor: { points: { size: 6 } },
    legend: { show: false },
    scales: { y: { range: (_, __, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [{ ...axis, size: 28, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 44 }],
    series: [{}, { label: "per second", stroke: colour("live"), fill: colour("faint"), width: 2, points: { show: false } }],
  };
}

/** `points` are [unix seconds, value]. */
export function Chart({ points, label }) {
  const place = useRef(null);
  const plot = useRef(null);
  useEffect(() => {
    const box = place.current;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(box.clientWidth), [[], []], box);
      plot.current.setData(columns(points));
    };
    draw();
    const resized = new ResizeObserver(() => {
      if (plot.current && plot.current.width !== box.clientWidth) plot.current.setSize({ width: box.clientWidth, height: HEIGHT });
    });
    resized.observe(box);
    const other = matchMedia("(prefers-color-scheme: dark)");
    const chosen = new MutationObserver(draw);
    other.addEventListener("change", draw);
    chosen.observe(document.documentElement, { attributeFilter: ["data-light"] });
    return () => {
      resized.disconnect();
      chosen.disconnect();
      other.removeEventListener("change", draw);
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(columns(points)), [points]);
  return html`<div class="chart" ref=${place} role="img" aria-label=${label}></div>`;
}

const columns = (points) => [points.map(([at]) => at), points.map(([, value]) => value)];
