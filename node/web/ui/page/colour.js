// The colours of groups and nodes, and what a drawing on a canvas follows: how wide it may be, and light or dark.
import { useState, useEffect } from "./lib.js";

// colour is the n-th: hues a golden angle apart, so that neighbours differ.
export const colour = (n, dark) => `hsl(${(n * 137.508) % 360} ${dark ? "38% 42%" : "48% 72%"})`;

export const isDark = (style) => {
  const [r, g, b] = style.color.match(/[\d.]+/g).map(Number);
  return r + g + b > 382;
};

// useDrawing follows the width of what box is the ref of, in whole pixels, and counts changes between light and dark.
export function useDrawing(box) {
  const [width, setWidth] = useState(0);
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(([e]) => setWidth(Math.floor(e.contentRect.width)));
    watch.observe(box.current);
    const again = () => setTheme((n) => n + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("theme", again);
    dark.addEventListener("change", again);
    return () => {
      watch.disconnect();
      removeEventListener("theme", again);
      dark.removeEventListener("change", again);
    };
  }, []);
  return { width, theme };
}

// blank makes a canvas empty, of a size in CSS pixels, and returns what draws on it.
export function blank(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  return c;
}
