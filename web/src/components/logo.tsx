/** Stars joined by a path, as over a horizon. */
export function Logo() {
  return (
    <svg width="28" height="28" viewBox="0 0 32 32" aria-hidden>
      <rect width="32" height="32" rx="8" fill="#0b2236" />
      <path d="M6 21 12.5 11 20 16.5 26 7" fill="none" stroke="#6cc4ff" strokeWidth="1.6" strokeOpacity="0.7" />
      <g fill="#fff">
        <circle cx="6" cy="21" r="2.2" />
        <circle cx="12.5" cy="11" r="2.8" />
        <circle cx="20" cy="16.5" r="2.2" />
        <circle cx="22" cy="25" r="1.5" />
        <circle cx="26" cy="7" r="3" fill="#6cc4ff" />
      </g>
    </svg>
  );
}
