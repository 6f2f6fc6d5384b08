import { useEffect, useState } from "react";

/** A value once it has stayed the same for so long. Compared by its JSON. */
export function useSettled<Value>(value: Value, forMs: number): Value {
  const [settled, setSettled] = useState(value);
  const text = JSON.stringify(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(JSON.parse(text) as Value), forMs);
    return () => clearTimeout(timer);
  }, [text, forMs]);
  return settled;
}
