"""The work of a prediction run: engine results in, committed tiles out.

What goes wrong is told apart here, and each decision is kept with the run: a tile that cannot be
read is tried again a moment later; tiles that were in an engine when it died are run one at a time;
either is given up after three attempts, and the scene goes on without that tile.
"""

import queue
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from assets.committer import Committer, Tried
from assets.crew import Died, Halved, Hand, Inbox, Left, News, Result, crew, is_bad
from assets.plan import Plan
from assets.work import Pixels, Work
from constellation_pipelines.domain.errors import EngineFailed, PixelsLate, ServiceUnavailable
from constellation_pipelines.domain.fault import Decision, Fault, FaultKind
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.protocol import OUT_OF_MEMORY, PredictOrder
from constellation_pipelines.store import tile_attempts, tiles
from constellation_pipelines.store.profiles import Profile

COMMIT_TILES = 64
COMMIT_S = 0.2
TILE_ATTEMPTS = 3
DEATHS_IN_A_ROW = 8  # without one good tile in between: it is not the tiles
FIRST_PAUSE_S = 0.25
DIED_IN_IT = "its engine died while the tile was in it"

Report = Callable[[tiles.Progress], None]
Warn = Callable[[str], None]


@dataclass
class Gathering:
    """Results on their way into one commit: the first at once, then so many or so long."""

    results: list[Result] = field(default_factory=list)
    committed_at: float = 0.0

    def wait_s(self, now: float) -> float | None:
        """Seconds until a commit is due, 0 when it is; None while there is nothing to commit."""
        if not self.results:
            return None
        if len(self.results) >= COMMIT_TILES:
            return 0.0
        return max(0.0, self.committed_at + COMMIT_S - now)

    def take(self, now: float) -> list[Result]:
        """What has come together."""
        taken, self.results, self.committed_at = self.results, [], now
        return taken


class Prediction:
    """One run's prediction, by as many engines as it has devices."""

    def __init__(
        self,
        committer: Committer,
        hands: Sequence[Hand],
        report: Report,
        warn: Warn,
        pixels: Pixels | None = None,
    ) -> None:
        self._pixels = pixels
        self._committer = committer
        self._hands = hands
        self._present = list(hands)
        self._report = report
        self._warn = warn
        self._attempts: dict[Window, int] = {}
        self._gathering = Gathering()
        self._deaths = 0
        self._work = Work((), len(hands))

    def run(self, work: Path, known: dict[tile_attempts.Place, tuple[int, str]]) -> None:
        """Run every tile that is still missing; `known` are failed attempts of earlier processes.

        Raises EngineFailed when engines keep dying or refuse the order, LeaseLost when the lease is
        gone, PixelsLate when those of a remote scene do not come.
        """
        plan = self._committer.plan
        tried = {w: known[p] for w in plan.todo if (p := tile_attempts.place_of(w)) in known}
        self._attempts = {window: attempts for window, (attempts, _) in tried.items()}
        given_up = [w for w, attempts in self._attempts.items() if attempts >= TILE_ATTEMPTS]
        suspects = [w for w in self._attempts if w not in given_up]
        todo = [window for window in plan.todo if window not in given_up]
        self._work = Work(todo, len(self._hands), suspects, self._pixels)
        try:
            for window in given_up:  # counted by a process that died before it could say so
                self._commit_failed({window: self._attempts[window]}, tried[window][1])
            with crew(self._hands, self._work, order_of(plan, work)) as inbox:
                while not self._work.done:
                    self._next(inbox)
        finally:
            self._note_profiles()

    def _next(self, inbox: Inbox) -> None:
        now = time.monotonic()
        wait_s = self._gathering.wait_s(now)
        if wait_s == 0:
            self._commit(self._gathering.take(now))
            return
        try:
            self._hear(inbox.get(timeout=wait_s))
        except queue.Empty:
            return

    def _hear(self, news: News) -> None:
        match news:
            case Result():
                self._gathering.results.append(news)
            case Died():
                self._commit(self._gathering.take(time.monotonic()))
                self._engine_died(news)
            case Halved():
                self._batch_halved(news)
            case Left():
                self._hand_left(news)

    # ---- tiles ----

    def _commit(self, results: list[Result]) -> None:
        if results:
            self._deaths = 0
        good = [one for one in results if not is_bad(one.tile)]
        self._write([Tried(one.tile, self._attempts.get(one.tile.window, 0) + 1) for one in good])
        for one in good:
            one.hand.tiles += 1
        bad = [one.tile for one in results if is_bad(one.tile)]
        for reason in sorted({str(tile.error) for tile in bad}):
            self._read_failed([tile.window for tile in bad if tile.error == reason], reason)

    def _write(self, tried: list[Tried]) -> None:
        if tried:
            progress = self._committer.commit(tried)
            self._work.settle(one.result.window for one in tried)
            self._report(progress)

    def _read_failed(self, windows: list[Window], reason: str) -> None:
        """Tiles could not be read: storage may have hiccuped, so a moment later they may be."""
        counted = self._count(windows, reason)
        again = [window for window, attempts in counted.items() if attempts < TILE_ATTEMPTS]
        if again:
            delay_s = pause_s(min(counted[window] for window in again))
            words = f"{tiles_in_words(again)}: {reason}; tried again in {delay_s:.1f} s"
            self._record(FaultKind.TRANSIENT, Decision.RETRY, words, windows=again)
            self._work.run_later(again, delay_s)
        self._commit_failed({w: n for w, n in counted.items() if n >= TILE_ATTEMPTS}, reason)

    def _commit_failed(self, counted: dict[Window, int], reason: str) -> None:
        """Give tiles up: they fail with the reason, and the scene goes on."""
        if not counted:
            return
        words = f"quarantined after {max(counted.values())} attempts: {reason}"
        self._record(
            FaultKind.POISON_TILE,
            Decision.QUARANTINE_TILE,
            f"{tiles_in_words(counted)} {words}",
            windows=counted,
        )
        self._write([Tried(failed(window, words), n) for window, n in counted.items()])

    def _count(self, windows: Iterable[Window], reason: str) -> dict[Window, int]:
        counted = self._committer.count(windows, reason)
        self._attempts |= counted
        return counted

    # ---- engines ----

    def _engine_died(self, news: Died) -> None:
        """Suspects go on one at a time; the tiles that were not in it go on as before."""
        self._deaths += 1
        counted = self._count(news.suspects, DIED_IN_IT)
        words = f"{news.error.message}; the run goes on with the tiles still missing"
        self._warn(words)
        self._record(FaultKind.ENGINE, Decision.RESUME, words, news.hand, windows=counted)
        if self._deaths > DEATHS_IN_A_ROW:
            raise news.error
        dead = {w: n for w, n in counted.items() if news.alone and n >= TILE_ATTEMPTS}
        self._commit_failed(dead, DIED_IN_IT)
        self._work.run_alone(window for window in counted if window not in dead)
        self._work.bring_back(window for window in news.missing if window not in counted)

    def _batch_halved(self, news: Halved) -> None:
        """The engine goes on by itself; the next order, and the next run, begin with that size."""
        hand = news.hand
        hand.batch = hand.safe_batch = news.batch
        words = f"a batch of {news.refused} chips had no room; {news.batch} from now on"
        self._record(FaultKind.OUT_OF_MEMORY, Decision.HALVE_BATCH, words, hand, batch=news.batch)
        self._committer.note(hand.device.name, Profile(safe_batch=news.batch))

    def _hand_left(self, news: Left) -> None:
        """An engine that did not return is done without, while there is another."""
        self._commit(self._gathering.take(time.monotonic()))
        if isinstance(news.error, PixelsLate):  # nobody's fault here, and no end of the run
            raise news.error
        self._present.remove(news.hand)
        may_return = isinstance(news.error, EngineFailed) and news.error.code == EngineFailed.code
        if may_return and self._present:
            self._warn(f"{news.error}; the run goes on with {len(self._present)} devices")
            return
        out_of_memory = getattr(news.error, "code", None) == OUT_OF_MEMORY
        kind = FaultKind.OUT_OF_MEMORY if out_of_memory else FaultKind.OWN
        kind = FaultKind.ENGINE if may_return else kind
        self._record(kind, Decision.FAIL, str(news.error), news.hand)
        raise news.error

    def _record(
        self,
        kind: FaultKind,
        decision: Decision,
        message: str,
        hand: Hand | None = None,
        windows: Iterable[Window] = (),
        **details: object,
    ) -> None:
        places = [list(tile_attempts.place_of(window)) for window in windows]
        self._committer.record(
            Fault(
                kind,
                decision,
                message,
                run_id=self._committer.lease.run_id,
                gpu_id=hand.device.gpu_id if hand else None,
                details={**details, **({"tiles": places} if places else {})},
            )
        )

    def _note_profiles(self) -> None:
        for hand in self._hands:
            if hand.tiles:
                seen = Profile(hand.mem_mb, hand.safe_batch, hand.tiles, hand.device_s)
                try:
                    self._committer.note(hand.device.name, seen)
                except ServiceUnavailable as error:  # the run's own error matters more
                    self._warn(error.message)


def order_of(plan: Plan, work: Path) -> PredictOrder:
    """What the engines are asked to do, tiles and batch left open."""
    return PredictOrder(
        run_id=str(plan.run_id),
        model_folder=plan.model.folder,
        model_digest=plan.model.digest,
        uri=plan.scene.uri,
        grid=plan.fit.grid,
        bands=plan.fit.bands,
        nodata=plan.scene.nodata,
        windows=(),
        work=str(work),
        quality=plan.scene.quality,
        max_cloud_fraction=plan.max_cloud_fraction,
    )


def pause_s(attempts: int) -> float:
    """How long to wait after so many failed attempts: longer each time, and never in step."""
    return FIRST_PAUSE_S * (1 << (attempts - 1)) * random.uniform(0.5, 1.5)


def failed(window: Window, error: str) -> TileResult:
    """The result of a tile that was given up."""
    return replace(TileResult(window, TileState.FAILED), error=error)


def tiles_in_words(windows: Iterable[Window]) -> str:
    """`tile at row 0, column 512`, or how many."""
    windows = list(windows)
    if len(windows) > 1:
        return f"{len(windows)} tiles"
    row, col = tile_attempts.place_of(windows[0])
    return f"tile at row {row}, column {col}"
