import { backoffMs } from "./backoff";
import { type LiveEvent, parseFrame } from "./envelope";

export type LiveState = "connecting" | "live" | "reconnecting";

const PATH = "/api/v1/stream";
const SILENCE_MS = 40_000; // the server sends a heartbeat after 15 quiet seconds
const REFUSED = 1008;
const SIGNED_OUT = 4401;

type Handlers = {
  onState: (state: LiveState) => void;
  onOpen: () => void;
  onEvent: (event: LiveEvent) => void;
  onSignedOut: () => void;
};

/** A WebSocket that comes back: connecting -> live -> reconnecting -> live ... until closed. */
export class LiveStream {
  private socket: WebSocket | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private lastId: number | null = null;
  private closed = false;

  constructor(private readonly handlers: Handlers) {
    window.addEventListener("online", this.reconnectNow);
    handlers.onState("connecting");
    this.connect();
  }

  close(): void {
    this.closed = true;
    window.removeEventListener("online", this.reconnectNow);
    this.drop();
  }

  private connect(): void {
    const socket = new WebSocket(this.url());
    this.socket = socket;
    this.hear();
    socket.onopen = () => {
      this.failures = 0;
      this.hear();
      this.handlers.onState("live");
      this.handlers.onOpen();
    };
    socket.onmessage = (message) => this.receive(String(message.data));
    socket.onclose = (event) => {
      // An id that the server does not accept would be refused for ever.
      if (event.code === REFUSED) this.lastId = null;
      if (event.code === SIGNED_OUT) this.handlers.onSignedOut();
      this.lose();
    };
  }

  private url(): string {
    const url = new URL(PATH, window.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.lastId !== null) url.searchParams.set("after", String(this.lastId));
    return url.href;
  }

  private receive(text: string): void {
    this.hear();
    for (const event of parseFrame(text)) {
      if (event.id === null) continue;
      this.lastId = Math.max(this.lastId ?? 0, event.id);
      this.handlers.onEvent(event);
    }
  }

  /** A connection that is silent for too long is dead, whatever the browser believes. */
  private hear(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lose(), SILENCE_MS);
  }

  private lose(): void {
    if (this.closed) return;
    this.drop();
    this.handlers.onState("reconnecting");
    this.retry = setTimeout(() => this.connect(), backoffMs(this.failures, Math.random()));
    this.failures += 1;
  }

  private readonly reconnectNow = (): void => {
    if (this.closed || this.socket?.readyState === WebSocket.OPEN) return;
    this.drop();
    this.connect();
  };

  private drop(): void {
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
