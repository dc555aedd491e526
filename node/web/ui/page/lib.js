// The one door to what others wrote: every module of the page takes preact from here.
export { html, render, h, useState, useEffect, useMemo, useRef, useLayoutEffect, useCallback } from "./vendor/preact-htm.js";
import { useState, useEffect, useRef } from "./vendor/preact-htm.js";

// focus, as ref of an element, gives it the focus once it is there. The attribute autofocus would have the
// browser complain where something else has it already.
export const focus = (element) => element?.focus();

// A store is a value that components follow. set replaces it and tells all of them.
export function store(value) {
  const heard = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const f of [...heard]) f(next);
    },
    follow(f) {
      heard.add(f);
      return () => heard.delete(f);
    },
  };
}

// useStore draws a component again whenever s has another value.
export function useStore(s) {
  const [, again] = useState(0);
  useEffect(() => s.follow(() => again((n) => n + 1)), [s]);
  return s.get();
}

// useAsk asks once, and again each `every` ms while the page is visible; ask(signal)
// returns a promise. What came last stays while the next is asked for, and so does it
// when that fails: a screen does not go blank because one answer was late.
export function useAsk(ask, deps, every) {
  const [state, set] = useState({ data: null, error: null, loading: true });
  const turn = useRef(0);
  const run = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    let pending = false;
    const go = async () => {
      clearTimeout(timer);
      if (pending) return;
      pending = true;
      const mine = ++turn.current;
      try {
        const data = await ask(stop.signal);
        if (!stop.signal.aborted && mine === turn.current) set({ data, error: null, loading: false });
      } catch (error) {
        if (!stop.signal.aborted) set((s) => ({ data: s.data, error, loading: false }));
      }
      pending = false;
      if (every && !stop.signal.aborted) timer = setTimeout(() => (document.hidden ? go.later() : go()), every);
    };
    go.later = () => document.addEventListener("visibilitychange", go, { once: true });
    run.current = go;
    go();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", go);
    };
  }, deps);
  return { ...state, again: () => run.current && run.current() };
}
