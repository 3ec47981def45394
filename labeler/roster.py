"""Who takes part: people, their devices, and the links they came by (SQL)."""

import secrets
import time
from dataclasses import dataclass
from typing import Literal, cast

from labeler.database import Connection, timestamp, transaction
from labeler.domain import Person, Role
from labeler.errors import Missing, NotReady

CHANGED = "roster_changed"  # the fact that is another one whenever what is known of somebody changes
OWNER = "owner"  # the fact that names the person whom the command line and the pages answer as
GONE = "(erased)"
Shut = Literal["withdrawn", "expired", "full"]
WHY: dict[Shut, str] = {
    "withdrawn": "This link was withdrawn.",
    "expired": "This link has expired.",
    "full": "This link was used as often as it may be.",
}


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was given away; its code is known to nobody here, only the hash is stored.

    person     whose device it lets in; None: whoever comes becomes somebody new.
    session    the question it leads to; None: the newest.
    ends_at    unix time; None: never. most: how many devices it lets in; None: any number.
    used       how many it has let in. withdrawn: it lets nobody in any more.
    """

    id: int
    role: Role
    person: int | None
    session: int | None
    made_at: str
    ends_at: float | None
    most: int | None
    withdrawn: bool
    used: int

    def shut(self, now: float) -> Shut | None:
        """Return why it lets nobody in at unix time `now`; None: it does."""
        if self.withdrawn:
            return "withdrawn"
        if self.ends_at is not None and now >= self.ends_at:
            return "expired"
        if self.most is not None and self.used >= self.most:
            return "full"
        return None


class Roster:
    """People, devices and links of one workspace, over one connection of one thread."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    # people --------------------------------------------------------------------------------

    def add_person(self, name: str, role: str, token_hash: str | None = None) -> Person:
        """Store somebody who answers and return them; with a hash, also the device that has the cookie."""
        with transaction(self.conn) as conn:
            number = conn.execute(
                "INSERT INTO people(name, role, created_at) VALUES (?,?,?)", (name, role, timestamp())
            ).lastrowid
            if token_hash is not None:
                self._add_device(int(number or 0), token_hash, None)
        return self.person(int(number or 0))

    def person(self, number: int) -> Person:
        """Return a person by number. Raises Missing."""
        row = None
        if 0 < number < 2**62:
            row = self.conn.execute("SELECT id, name, role FROM people WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise Missing(f"There is no person {number}.", "labeler people lists those there are.")
        return Person(*row)

    def person_by_token(self, token_hash: str) -> Person | None:
        """Return the person one of whose devices has a cookie with this hash; None: nobody, or sent away."""
        row = self.conn.execute(
            """SELECT p.id, p.name, p.role, d.id FROM devices d JOIN people p ON p.id = d.person
               WHERE d.token_hash = ? AND d.ended_at IS NULL""",
            (token_hash,),
        ).fetchone()
        return None if row is None else Person(*row)

    def owner(self) -> Person:
        """Return the person whom the command line and the Streamlit pages answer as."""
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (OWNER,)).fetchone()
        if row is not None:
            return self.person(int(row[0]))
        with transaction(self.conn) as conn:
            if conn.execute("SELECT 1 FROM facts WHERE name = ?", (OWNER,)).fetchone() is None:
                made = self.add_person("owner", "own")
                conn.execute("INSERT INTO facts(name, value) VALUES (?,?)", (OWNER, str(made.id)))
        return self.owner()

    def names(self) -> dict[int, str]:
        """Return {person number: name}."""
        return dict(self.conn.execute("SELECT id, name FROM people").fetchall())

    def people(self) -> list[Person]:
        """Return everybody, in order of arrival."""
        return [Person(*row) for row in self.conn.execute("SELECT id, name, role FROM people ORDER BY id")]

    def kept_of(self, person: int) -> dict[str, object]:
        """Return when somebody came, and when each of their devices did, as times in text."""
        came = self.conn.execute("SELECT created_at FROM people WHERE id = ?", (person,)).fetchone()
        devices = self.conn.execute(
            "SELECT made_at, ended_at FROM devices WHERE person = ? ORDER BY id", (person,)
        ).fetchall()
        return {"came_at": came and came[0], "devices": [{"made_at": a, "ended_at": b} for a, b in devices]}

    def free_name(self, name: str, but: int | None = None) -> str:
        """Return a name that nobody else has: this one, or with a number behind it. Case does not count."""
        taken = {known.casefold() for number, known in self.names().items() if number != but}
        if name.casefold() not in taken:
            return name
        return next(n for i in range(2, len(taken) + 3) if (n := f"{name} {i}").casefold() not in taken)

    def rename(self, person: int, name: str) -> Person:
        """Give somebody another name; a number is put behind one that is taken."""
        with transaction(self.conn) as conn:
            conn.execute("UPDATE people SET name = ? WHERE id = ?", (self.free_name(name, person), person))
            self._note_change()
        return self.person(person)

    def erase(self, person: int) -> None:
        """Forget who somebody was: the name, the devices and personal links go, the answers stay.

        Raises Missing for nobody, NotReady for the owner of the workspace.
        """
        known = self.person(person)
        if known.id == self.owner().id:
            raise NotReady("The owner can't be erased.", "Delete the workspace's folder instead.")
        with transaction(self.conn) as conn:
            conn.execute(
                "UPDATE people SET name = ?, role = 'swipe' WHERE id = ?", (f"{GONE} {person}", person)
            )
            conn.execute("DELETE FROM devices WHERE person = ?", (person,))
            conn.execute("UPDATE links SET made_by = NULL WHERE made_by = ?", (person,))
            conn.execute("DELETE FROM links WHERE person = ?", (person,))
            self._note_change()

    def changed(self) -> str:
        """Return a word that is another one after each time that somebody lost access or was renamed."""
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (CHANGED,)).fetchone()
        return "" if row is None else str(row[0])

    def _note_change(self) -> None:
        self.conn.execute(
            "INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (CHANGED, secrets.token_hex(8))
        )

    def send_away(self, person: int) -> None:
        """End every device of a person and their personal links: their cookies open nothing any more."""
        with transaction(self.conn) as conn:
            conn.execute(
                "UPDATE devices SET ended_at = ? WHERE person = ? AND ended_at IS NULL", (timestamp(), person)
            )
            conn.execute(
                "UPDATE links SET withdrawn_at = ? WHERE person = ? AND withdrawn_at IS NULL",
                (timestamp(), person),
            )
            self._note_change()

    # links ---------------------------------------------------------------------------------

    def add_link(
        self,
        code_hash: str,
        role: Role,
        *,
        ends_at: float | None = None,
        most: int | None = None,
        session: int | None = None,
        person: int | None = None,
        made_by: int | None = None,
    ) -> Link:
        """Store a link and return it. Raises Missing for a session or person that is not there."""
        if person is not None:
            self.person(person)
        with transaction(self.conn) as conn:
            if (
                session is not None
                and not conn.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone()
            ):
                raise Missing(f"There is no session {session}.", "labeler status lists those there are.")
            conn.execute(
                """INSERT INTO links(code_hash, role, person, session, made_at, made_by, ends_at, most)
                   VALUES (?,?,?,?,?,?,?,?)""",
                (code_hash, role, person, session, timestamp(), made_by, ends_at, most),
            )
        made = self.link(code_hash)
        assert made is not None
        return made

    def link(self, code_hash: str) -> Link | None:
        """Return the link whose code has this hash, also one that is shut; None: there is none."""
        found = self._links("WHERE l.code_hash = ?", code_hash)
        return found[0] if found else None

    def links(self) -> list[Link]:
        """Return all links but those for one person's other devices, the newest first."""
        return self._links("WHERE l.person IS NULL ORDER BY l.id DESC")

    def _links(self, where: str, *args: object) -> list[Link]:
        rows = self.conn.execute(
            f"""SELECT l.id, l.role, l.person, l.session, l.made_at, l.ends_at, l.most,
                  l.withdrawn_at IS NOT NULL, (SELECT count(*) FROM devices d WHERE d.link = l.id)
                FROM links l {where}""",
            args,
        )
        return [
            Link(i, role, person, session, made, ends, most, bool(gone), used)
            for i, role, person, session, made, ends, most, gone, used in rows
        ]

    def withdraw(self, link: int, *, everybody: bool = False) -> None:
        """Let nobody in by a link any more; everybody: those who came by it are sent away too.

        Raises Missing for a link that is not there.
        """
        with transaction(self.conn) as conn:
            done = conn.execute(
                "UPDATE links SET withdrawn_at = coalesce(withdrawn_at, ?) WHERE id = ?", (timestamp(), link)
            )
            if done.rowcount == 0:
                raise Missing(f"There is no link {link}.", "labeler invite --list shows those there are.")
            if everybody:
                came = conn.execute("SELECT DISTINCT person FROM devices WHERE link = ?", (link,)).fetchall()
                for (person,) in came:
                    self.send_away(person)

    def join(
        self, code_hash: str, name: str, token_hash: str, now: float | None = None
    ) -> tuple[Person, Link]:
        """Let a device in by a link; return who it belongs to, and the link.

        name  of somebody new; who comes with a personal link keeps theirs.
        Raises Missing for a link that is not there or lets nobody in (any more).
        """
        with transaction(self.conn) as conn:
            link = self.link(code_hash)
            shut = None if link is None else link.shut(time.time() if now is None else now)
            if link is None or shut is not None:
                why = "This link is not valid." if shut is None else WHY[shut]
                raise Missing(why, "Ask whoever gave it to you for another one.")
            number = link.person
            if number is None:
                number = conn.execute(
                    "INSERT INTO people(name, role, created_at) VALUES (?,?,?)",
                    (self.free_name(name), link.role, timestamp()),
                ).lastrowid
            device = self._add_device(int(number or 0), token_hash, link.id)
            known = self.person(int(number or 0))
        return Person(known.id, known.name, known.role, device), link

    def _add_device(self, person: int, token_hash: str, link: int | None) -> int:
        made = self.conn.execute(
            "INSERT INTO devices(token_hash, person, link, made_at) VALUES (?,?,?,?)",
            (token_hash, person, link, timestamp()),
        )
        return int(made.lastrowid or 0)

    def end_device(self, token_hash: str) -> None:
        """Let a cookie open nothing any more."""
        with transaction(self.conn) as conn:
            conn.execute("UPDATE devices SET ended_at = ? WHERE token_hash = ?", (timestamp(), token_hash))
            self._note_change()

    def session_of(self, device: int) -> int | None:
        """Return the question that the link led to by which a device came; None: the newest."""
        row = self.conn.execute(
            "SELECT l.session FROM devices d JOIN links l ON l.id = d.link WHERE d.id = ?", (device,)
        ).fetchone()
        return None if row is None else cast("int | None", row[0])
