"""Plateaus and leaps while a training runs: what the offline detector says, as soon as it can.

For each member the past since its last leap is kept as block means (`history.py`), and a straight
line through them says what comes if nothing happens. Page's cumulative sum (1954) collects how far
the series lies below it, in units of its noise; when it passes `ALARM`, the fall is measured with
the proportions of the offline detector: against the pace of the plateau, against the length of the
plateau, and against the range seen so far. A leap has ended when it has rested for as long as it
took to fall by nine tenths of its height.

What a live detector cannot know: a fall that goes on for longer than the plateau before it is a
ramp to the offline detector, and a fall that is longer than `patience` but recovers was a spike.

Memory and time per step are constant, and members are independent of one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from saltus.errors import SaltusError
from saltus.transitions.history import History
from saltus.transitions.transition import Direction

Kind = Literal["plateau", "leap begun", "leap ended", "recovered"]

SLACK, ALARM = 0.75, 10.0  # of the cumulative sum, in standard deviations of the noise
CLIP = 3.5  # standard deviations that a single point counts at most
HELD = 2.0  # the sum above which the line learns no more
CONTRAST = 4.0  # pace of the fall over that of the plateau
SIGNIFICANCE = 5.0  # standard errors by which a fall leaves the line
SMALLEST = 0.04  # height of a leap, of the range that the series has covered
FAINTEST = 0.01  # height of a leap, of the level that it leaves
SHORTEST = 16  # points of a plateau
NEWEST = 5  # points whose median is the present level: two of them may be spikes
PATIENCE = 6  # points that a fall has lasted before it is believed
SHARE = 0.02  # of its plateau that a fall has lasted before it is believed
GUARD = 0.1  # newest share of the past that the line leaves out
STILL = 0.1  # of its height: what a leap that rests may still fall
LEVEL = 0.1  # of the range: what a plateau may fall
LENGTHS = (2, 3, 4, 6, 8, 12, 16, 24)  # blocks of the newest part, where a decline may bend
SEARCHING, RESTING, LEAPING = 0, 1, 2
SIGMA = np.sqrt(np.pi) / 2  # a normal variable's deviation over the mean |difference| of two
MEMORY = 1 / 64  # of the noise's average


@dataclass(frozen=True)
class Event:
    """Something that a detector says of one member, at the step at which it can say so."""

    member: int
    step: float  # at which it is said
    kind: Kind
    since: float  # the step at which it is judged to have begun


class Watch:
    """Watches one series of each member of an ensemble.

        watch = Watch(members=8)
        for step in range(steps):
            for event in watch.update(step, losses):  # float [member]
                print(event)

    "plateau" is said when the newer half of what is known keeps its level; "leap begun" when a fall
    out of proportion to the plateau is certain; then "leap ended", or "recovered" after a spike.
    Values that are not finite are passed over. `patience`: points that a fall has lasted before it
    is believed. Spikes down that are longer are false alarms, and leaps are said no sooner.
    """

    def __init__(
        self, members: int, direction: Direction = "down", patience: int = PATIENCE
    ) -> None:
        for name, number in (("members", members), ("patience", patience)):
            if number < 1:
                raise SaltusError(f"{name}: {number} is not allowed: 1 or more")
        if direction not in ("down", "up"):
            raise SaltusError(f"direction: '{direction}' is not allowed: down or up")
        self.members, self.patience = members, patience
        self.sign = 1.0 if direction == "down" else -1.0
        self.history = History(members)
        self.phase: Int[ndarray, " member"] = np.zeros(members, dtype=np.int64)
        self.seen: Int[ndarray, " member"] = np.zeros(members, dtype=np.int64)  # points
        self.last: Float[ndarray, " member"] = np.full(members, np.nan)
        self.newest: Float[ndarray, "newest member"] = np.full((NEWEST, members), np.nan)
        self.jump: Float[ndarray, " member"] = np.zeros(members)  # mean |difference| of neighbours
        self.line: Float[ndarray, "4 member"] = np.zeros((4, members))
        self.lined: Bool[ndarray, " member"] = np.zeros(members, dtype=bool)
        self.sum: Float[ndarray, " member"] = np.zeros(members)
        self.since: Float[ndarray, "2 member"] = np.zeros((2, members))  # point, step
        self.begun: Float[ndarray, "2 member"] = np.zeros((2, members))  # of the history
        self.now: Float[ndarray, " member"] = np.full(members, np.nan)  # median of the newest
        self.top: Float[ndarray, " member"] = np.full(members, -np.inf)
        self.level: Float[ndarray, " member"] = np.zeros(members)  # from which a leap fell

    def update(
        self, step: float, values: Float[ndarray, " member"], changed: bool = False
    ) -> list[Event]:
        """Take in the next value of every member; returns what can be said now.

        `changed`: something known happened to the training before this step (the learning rate was
        cut); what falls from here on belongs to it, and the search for a plateau begins anew.
        """
        if len(values) != self.members:
            raise SaltusError(f"watch: {len(values)} values do not fit {self.members} members")
        series = self.sign * np.asarray(values, dtype=np.float64)
        who = np.isfinite(series)
        series = np.where(who, series, 0.0)
        if changed:
            for member in range(self.members):
                self._restart(member, step, SEARCHING)
        self._learn_noise(series, who)
        expected, noise = self._expected(), self._noise()
        watched = who & self.lined & (self.phase != LEAPING)
        score = np.clip((expected - series) / noise, -CLIP, CLIP) - SLACK
        self.sum = np.where(watched, np.maximum(self.sum + score, 0.0), 0.0)
        idle = (self.sum == 0) & (self.phase != LEAPING)
        self.since[0] = np.where(idle, self.seen + 1.0, self.since[0])
        self.since[1] = np.where(idle, step, self.since[1])
        heard = np.clip(series, expected - CLIP * noise, expected + CLIP * noise)
        # Where a fall has begun the line learns no more, and the history keeps what is: no spikes.
        heard = np.where(watched & (self.sum > HELD), self.now, np.where(watched, heard, series))
        complete = self.history.add(heard, who)
        self.seen += who
        self.last = np.where(who, series, self.last)
        said = [
            event
            for member in np.flatnonzero((self.sum > ALARM) | complete).tolist()
            if (event := self._consider(member, step)) is not None
        ]
        self._redraw(complete | idle & ~self.lined)
        return said

    def state(self) -> dict[str, ndarray]:
        """Everything that `restore` needs, as arrays."""
        return {**_arrays(self), **{f"history/{k}": v for k, v in _arrays(self.history).items()}}

    def restore(self, state: dict[str, ndarray]) -> None:
        """Go on from a `state` of a Watch of as many members, bit for bit."""
        members = len(state["phase"])
        if members != self.members:
            raise SaltusError(f"watch: a state of {members} members does not fit {self.members}")
        for name, value in state.items():
            own, _, key = name.rpartition("/")
            setattr(self.history if own else self, key, value.copy())

    def _learn_noise(
        self, series: Float[ndarray, " member"], who: Bool[ndarray, " member"]
    ) -> None:
        known = who & np.isfinite(self.last)
        step = np.where(known, np.abs(series - self.last), 0.0)
        count = np.maximum(self.seen, 1)
        limit = np.where(count > 8, CLIP * self.jump, np.inf)
        rate = np.maximum(MEMORY, 1 / count)
        self.jump += np.where(known, rate * (np.minimum(step, limit) - self.jump), 0.0)
        fresh = np.where(np.isnan(self.newest), series, self.newest)
        fresh = np.where(who & (self.seen > 0), np.vstack([fresh[1:], series]), fresh)
        self.newest = np.where(who | (self.seen > 0), fresh, self.newest)
        self.now = np.median(self.newest, axis=0)
        self.top = np.where(who, np.fmax(self.top, self.now), self.top)

    def _expected(self) -> Float[ndarray, " member"]:
        """What the line predicts: a fall goes on, a rise does not."""
        middle, value, slope, _ = self.line
        return value + np.minimum(slope, 0.0) * (self.seen - middle)

    def _noise(self) -> Float[ndarray, " member"]:
        """The deviation that a sum of points has per square root of a point (long-run deviation).

        Blocks scatter as slow noise does; where they are still short, differences of neighbours
        that are small beside the scatter tell that it is slow: for AR(1) noise of correlation rho,
        1 - rho = r and the long-run variance is (2 - r) / r of the variance.
        """
        quick, blocks = SIGMA * self.jump, self.line[3]
        r = np.clip(quick**2 / np.maximum(blocks**2, 1e-300), 1e-9, 1.0)
        memory = np.minimum((2 - r) / r, np.maximum(self.history.filled / 3, 1.0))
        slow = blocks * np.where(self.history.size == 1, np.sqrt(memory), 1.0)
        slow = slow * np.sqrt(self.history.size)
        least = 1e-12 * (np.abs(self.line[1]) + np.abs(np.nan_to_num(self.now))) + 1e-300
        return np.maximum(np.maximum(quick, slow), least)

    def _redraw(self, who: Bool[ndarray, " member"]) -> None:
        """The line through the past, without its newest part and without a fall that has begun."""
        members = np.flatnonzero(who & (self.phase != LEAPING))
        if not len(members):
            return
        length = self.seen - self.history.begin
        stop = self.seen - np.maximum(2.0, GUARD * length)
        stop = np.where(self.sum > HELD, np.minimum(stop, self.since[0]), stop)
        half = np.where(self.phase == SEARCHING, self.history.filled // 2, 0)
        line, enough = self.history.line(half, stop, members)
        self.line[:, members[enough]] = line[:, enough]
        self.lined[members[enough]] = True

    def _consider(self, member: int, step: float) -> Event | None:
        if self.phase[member] == LEAPING:
            return self._leaping(member, step)
        if self.sum[member] > ALARM:
            return self._falling(member, step)
        return self._resting(member, step) if self.phase[member] == SEARCHING else None

    def _resting(self, member: int, step: float) -> Event | None:
        """Whether the newer half of the history keeps its level."""
        history = self.history
        half = int(history.filled[member]) // 2
        length = int(history.size[member]) * (int(history.filled[member]) - half)
        if length < SHORTEST or not self.lined[member]:
            return None
        fall = -float(self.line[2, member]) * length
        error = float(self._noise()[member]) * np.sqrt(12 / length)
        bottom = float(history.means[member, : history.filled[member]].min())
        if abs(fall) > LEVEL * (float(self.top[member]) - bottom) + 3 * error:
            return None
        since = self._step_at(
            member, float(history.begin[member]) + half * history.size[member], step
        )
        history.forget(member, half)
        self.begun[:, member] = history.begin[member], since
        self.phase[member] = RESTING
        return Event(member, step, "plateau", since)

    def _falling(self, member: int, step: float) -> Event | None:
        """Whether a fall that the cumulative sum has noticed is a leap."""
        since, seen = self.since[0, member], float(self.seen[member])
        lasted, plateau = seen - since + 1, since - float(self.history.begin[member])
        middle, value, slope, blocks = self.line[:, member].tolist()
        pace, now = max(-slope, 0.0), float(self.now[member])
        level = value - pace * (since - middle)
        fall = level - now
        if lasted < max(self.patience, SHARE * plateau):
            return None
        if fall < max(SMALLEST * (float(self.top[member]) - now), FAINTEST * abs(level)):
            return None
        # The line's level and slope are known to within its residuals; so is the present level.
        noise, length = float(self._noise()[member]), max(2 * (middle - self._oldest(member)), 1.0)
        errors = (noise**2 / length) * (1 + 12 * ((seen - middle) / length) ** 2)
        errors += min(noise**2 / NEWEST, max(blocks, SIGMA * float(self.jump[member])) ** 2)
        certain = fall - pace * lasted >= SIGNIFICANCE * np.sqrt(errors)
        onset = float(self.since[1, member])
        # Where a decline bends slowly, the line lies above it already before the fall.
        place = int((since - float(self.history.begin[member])) / float(self.history.size[member]))
        left = float(self.history.means[member, max(0, place - 2) : max(1, place)].mean())
        steep = min(level, left) - now >= CONTRAST * pace * lasted
        if plateau < max(SHORTEST, lasted) or not steep or not certain:
            bend = self._bend(member)
            if bend is None:
                if lasted > plateau:  # a slow decline: from now on the line may learn it
                    self.sum[member], self.since[:, member] = 0.0, (seen + 1, step)
                return None
            since, level = bend
            onset = self._step_at(member, since, step)
        self.level[member] = level
        self._restart(member, step, LEAPING)
        self.since[:, member] = since, onset
        return Event(member, step, "leap begun", onset)

    def _bend(self, member: int) -> tuple[float, float] | None:
        """Where a decline turned into a leap, (point, level): its newest part falls so much more.

        The newest part and the one of equal length before it are compared, for many lengths.
        """
        filled, size = int(self.history.filled[member]), int(self.history.size[member])
        means, now = self.history.means[member, :filled], float(self.now[member])
        error = float(self._noise()[member]) * np.sqrt(1 / (2 * size) + 1 / NEWEST)
        least = max(SMALLEST * (float(self.top[member]) - now), FAINTEST * abs(now))
        best, found = 0.0, None
        for length in LENGTHS:
            if 2 * length + 2 > filled or (filled - length) * size < SHORTEST:
                break
            if length * size < self.patience:
                continue
            level = float(means[filled - length - 2 : filled - length].mean())
            before = float(means[filled - 2 * length - 2 : filled - 2 * length].mean()) - level
            fall, trend = level - now, max(before + error, 0.0)
            trend *= (length + 1) / length  # the two blocks of a level lie half their width back
            surplus = fall - CONTRAST * trend
            if surplus > best and fall - trend >= 1.5 * SIGNIFICANCE * error and fall >= least:
                point = float(self.history.begin[member]) + (filled - length) * size
                best, found = surplus, (point, level)
        return found

    def _leaping(self, member: int, step: float) -> Event | None:
        """Whether a leap under way has come to rest, or was none."""
        onset, seen = float(self.since[0, member]), float(self.seen[member])
        size, filled = float(self.history.size[member]), int(self.history.filled[member])
        means = self.history.means[member, :filled]
        if filled < 4:
            return None
        level = float(self.level[member])
        height = level - float(
            self.history.recent(member, max(self.patience, (seen - onset) / 6)).mean()
        )
        deepest = level - float(np.partition(means, 2)[2])  # of which two may be spikes
        if max(height, level - float(self.now[member])) <= 0.5 * deepest:
            self._restart(member, step, SEARCHING)
            return Event(member, step, "recovered", float(self.since[1, member]))
        there = int((means <= level - (1 - STILL) * height).argmax())
        late = float(self.history.begin[member]) + there * size
        rest = means[there:]
        if len(rest) < 2 or seen - late < max(2 * self.patience, late - onset):
            return None
        half = len(rest) // 2
        error = SIGMA * float(self.jump[member]) * np.sqrt(4 / (seen - late))
        falls = float(rest[:half].mean() - rest[half:].mean())
        if error > STILL * height / 2 or falls > STILL * height + error:
            return None
        end = self._step_at(member, late, step)
        self._restart(member, step, SEARCHING)
        return Event(member, step, "leap ended", end)

    def _oldest(self, member: int) -> float:
        """The point at which the line begins."""
        half = int(self.history.filled[member]) // 2 if self.phase[member] == SEARCHING else 0
        return float(self.history.begin[member]) + half * float(self.history.size[member])

    def _restart(self, member: int, step: float, phase: int) -> None:
        point = float(self.seen[member])
        self.history.restart(member, point)
        self.phase[member], self.sum[member], self.lined[member] = phase, 0.0, False
        self.begun[:, member] = point, step

    def _step_at(self, member: int, point: float, step: float) -> float:
        """The step of a point since the history's begin, with points evenly spaced."""
        start, at = self.begun[:, member]
        share = (point - start) / max(float(self.seen[member]) - start, 1.0)
        return float(at + share * (step - at))


def _arrays(owner: object) -> dict[str, ndarray]:
    return {k: v.copy() for k, v in vars(owner).items() if isinstance(v, ndarray)}
