"use client";

import createCache, { type EmotionCache } from "@emotion/cache";
import { CacheProvider } from "@emotion/react";
import { useServerInsertedHTML } from "next/navigation";
import { type ReactNode, useState } from "react";

/** Puts the styles of prerendered pages before what they style, once each, where hydration expects them. */
export function Styles({ children }: { children: ReactNode }) {
  const [{ cache, takeNew }] = useState(newRegistry);
  useServerInsertedHTML(() => {
    const names = takeNew();
    if (names.length === 0) return null;
    const css = names.map((name) => cache.inserted[name]).join("");
    return <style data-emotion={`${cache.key} ${names.join(" ")}`} dangerouslySetInnerHTML={{ __html: css }} />;
  });
  return <CacheProvider value={cache}>{children}</CacheProvider>;
}

/** A cache, and the names of styles that went into it since the last look. */
function newRegistry(): { cache: EmotionCache; takeNew: () => string[] } {
  const cache = createCache({ key: "css" });
  cache.compat = true;
  const insert = cache.insert;
  let fresh: string[] = [];
  cache.insert = (selector, serialized, ...rest) => {
    if (cache.inserted[serialized.name] === undefined) fresh.push(serialized.name);
    return insert(selector, serialized, ...rest);
  };
  const takeNew = () => {
    const taken = fresh.filter((name) => typeof cache.inserted[name] === "string");
    fresh = [];
    return taken;
  };
  return { cache, takeNew };
}
