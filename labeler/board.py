"""Points, a daily goal and a board, for who wants them.

The rule: a point for each card that somebody has answered, with whatever answer, "can't tell" too. None for
what was put off, taken back, or answered within SEEN_MS, in which nobody sees a picture. What others say of
an image, and what it turns out to be, changes nothing: agreeing with the crowd is worth no point, and no
answer is worth more than another one.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from labeler.domain import Session
from labeler.errors import BadInput
from labeler.lately import Kept
from labeler.workspace import Workspace

SEEN_MS = 350  # as active.spoilers has it
MOST_GOAL = 2000
SHOWN = 50
LATELY_S = 10.0  # how old a board may be
REST = 20.0  # and how many times as old as it takes to count
_boards: Kept[list[tuple[str, int]]] = Kept(LATELY_S, REST)


@dataclass(frozen=True, slots=True)
class Day:
    """How somebody's day goes. goal: answers a day, 0 for none. streak: days in a row that reached it."""

    goal: int
    today: int
    streak: int


def board(ws: Workspace, session: Session) -> list[tuple[str, int]]:
    """Return (nickname, points) of those who want to be seen, most points first, some seconds old at most."""
    return _boards.get(ws, session.id, lambda: _count(ws, session))


def _count(ws: Workspace, session: Session) -> list[tuple[str, int]]:
    shown = [number for number, wish in ws.roster.wishes().items() if wish.on_board]
    names = ws.roster.names()
    counted = [(names[p], ws.journal.count_careful(session.id, p, SEEN_MS)) for p in shown if p in names]
    return sorted([row for row in counted if row[1]], key=lambda row: (-row[1], row[0]))[:SHOWN]


def day(ws: Workspace, person: int) -> Day:
    """Return how somebody's day goes, by the clock and the time zone of this computer."""
    goal = ws.roster.wish_of(person).goal
    if not goal:
        return Day(0, 0, 0)
    days = ws.journal.count_by_day(person)
    here = date.today()
    today = days.get(here.isoformat(), 0)
    at = here if today >= goal else here - timedelta(days=1)
    streak = 0
    while days.get(at.isoformat(), 0) >= goal:
        streak += 1
        at -= timedelta(days=1)
    return Day(goal, today, streak)


def set_goal(ws: Workspace, person: int, goal: int) -> None:
    """Set how many answers somebody wants to give a day; 0: none. Raises BadInput."""
    if not 0 <= goal <= MOST_GOAL:
        raise BadInput(f"{goal} can't be a goal.", f"Give a number from 0 to {MOST_GOAL:,}; 0 is none.")
    ws.roster.set_wish(person, goal=goal)


def show_on_board(ws: Workspace, person: int, *, shown: bool) -> None:
    """Show somebody on the board, at once, or no longer."""
    ws.roster.set_wish(person, on_board=shown)
    _boards.forget()
