"""Who takes part: people, their devices, and the links they came by (SQL)."""

import json
import secrets
import time
from dataclasses import asdict, dataclass

from labeler.database import Connection, timestamp, transaction
from labeler.domain import Person, Role
from labeler.errors import Missing, NotReady
from labeler.links import BY_STARTING, WHY, Link, Made
from labeler.standing import ROLES_CHANGED

CHANGED = "roster_changed"  # the fact that is another one whenever what is known of somebody changes
OWNER = "owner"  # the fact that names the person whom the command line and the pages answer as
GONE = "(erased)"
WISH = "wish."  # how the names of facts begin that hold what somebody has chosen
COOKIE_KEY = "cookie_key"  # the fact that holds what cookies are signed with
UNSIGNED = "unsigned_cookies"  # the fact of a workspace that gave cookies before they were signed
HOW = "link."  # how the names of facts begin that hold by what a link was made


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody has chosen about themselves.

    goal  answers a day, 0 for none. on_board: whether others see their nickname and points.
    """

    goal: int = 0
    on_board: bool = False


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
            """SELECT p.id, p.name, p.role, d.id, l.session FROM devices d JOIN people p ON p.id = d.person
                 LEFT JOIN links l ON l.id = d.link
               WHERE d.token_hash = ? AND d.ended_at IS NULL""",
            (token_hash,),
        ).fetchone()
        return None if row is None else Person(*row)

    def has_ended(self, token_hash: str) -> bool:
        """Return whether there is a device with a cookie of this hash that was sent away, or has left."""
        found = self.conn.execute(
            "SELECT 1 FROM devices WHERE token_hash = ? AND ended_at IS NOT NULL", (token_hash,)
        )
        return found.fetchone() is not None

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
        told = [{"made_at": made, "ended_at": ended} for made, ended in devices]
        return {"came_at": came and came[0], "devices": told, "chosen": asdict(self.wish_of(person))}

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

        So does the role, with which nobody can come in any more: what an owner had said goes on counting.

        Raises Missing for nobody, NotReady for the owner of the workspace.
        """
        known = self.person(person)
        if known.id == self.owner().id:
            raise NotReady("The owner can't be erased.", "Delete the workspace's folder instead.")
        with transaction(self.conn) as conn:
            conn.execute("UPDATE people SET name = ? WHERE id = ?", (f"{GONE} {person}", person))
            conn.execute("DELETE FROM facts WHERE name = ?", (f"{WISH}{person}",))
            self._let_go(person)
            conn.execute("DELETE FROM devices WHERE person = ?", (person,))
            conn.execute("UPDATE links SET made_by = NULL WHERE made_by = ?", (person,))
            conn.execute("DELETE FROM links WHERE person = ?", (person,))
            self._note_change()

    def set_role(self, person: int, role: Role) -> Person:
        """Let somebody do more, or less, from now on, on all of their devices; return them.

        What an owner says ends an image: with the role what they said before weighs differently too.

        Raises Missing for nobody, NotReady for the owner of the workspace, and where nobody else could
        come in as an owner.
        """
        with transaction(self.conn) as conn:
            known = self.person(person)
            if known.role == role:
                return known
            if known.id == self.owner().id:
                raise NotReady("This is the owner as whom the pages answer.", "Choose somebody else.")
            if known.role == "own" and not self.other_owners(person):
                raise NotReady(f"{known.name} is the only owner.", "Make somebody else an owner first.")
            conn.execute("UPDATE people SET role = ? WHERE id = ?", (role, person))
            if "own" in (known.role, role):
                self._note_roles()
            self._note_change()
        return self.person(person)

    def other_owners(self, person: int) -> list[Person]:
        """Return the owners who have a device that lets them in, but for one of them.

        All browsers that were opened by the owner's own link are one owner: to one the others don't count.
        """
        rows = self.conn.execute(
            """SELECT id, name, role FROM people WHERE role = 'own' AND id <> ? AND EXISTS
                 (SELECT 1 FROM devices d WHERE d.person = people.id AND d.ended_at IS NULL) ORDER BY id""",
            (person,),
        )
        by_link = self.by_owners_link()
        return [p for p in (Person(*row) for row in rows) if not (person in by_link and p.id in by_link)]

    def by_owners_link(self) -> list[int]:
        """Return the owners who came by the owner's own link, or as this computer's, one for each browser."""
        rows = self.conn.execute(
            """SELECT id FROM people WHERE role = 'own' AND EXISTS
                 (SELECT 1 FROM devices d WHERE d.person = people.id AND d.link IS NULL) ORDER BY id"""
        )
        return [number for (number,) in rows]

    def withdraw_owners_links(self) -> None:
        """Let nobody in as an owner any more by a link that was given away; who is in stays."""
        with transaction(self.conn) as conn:
            conn.execute(
                """UPDATE links SET withdrawn_at = coalesce(withdrawn_at, ?)
                   WHERE role = 'own' AND person IS NULL""",
                (timestamp(),),
            )

    def named(self, name: str) -> Person:
        """Return a person by nickname, case left aside, or by number. Raises Missing."""
        wanted = name.strip().casefold()
        for known in self.people():
            if known.name.casefold() == wanted:
                return known
        if wanted.isascii() and wanted.isdecimal() and len(wanted) <= 15:
            return self.person(int(wanted))
        raise Missing(f"There is nobody called {name[:60]!r}.", "labeler people lists those there are.")

    def _note_roles(self) -> None:
        self.conn.execute(
            "INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (ROLES_CHANGED, secrets.token_hex(8))
        )

    def wishes(self) -> dict[int, "Wish"]:
        """Return {person: what they have chosen}, of those who have chosen anything."""
        rows = self.conn.execute("SELECT name, value FROM facts WHERE name GLOB ?", (f"{WISH}*",))
        return {int(name.removeprefix(WISH)): Wish(**json.loads(value)) for name, value in rows}

    def wish_of(self, person: int) -> "Wish":
        """Return what somebody has chosen about themselves."""
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (f"{WISH}{person}",)).fetchone()
        return Wish() if row is None else Wish(**json.loads(row[0]))

    def set_wish(self, person: int, *, goal: int | None = None, on_board: bool | None = None) -> None:
        """Change what somebody has chosen; None: as it was."""
        with transaction(self.conn) as conn:
            before = self.wish_of(person)
            goal = before.goal if goal is None else goal
            wish = Wish(goal, before.on_board if on_board is None else on_board)
            conn.execute(
                "INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)",
                (f"{WISH}{person}", json.dumps(asdict(wish))),
            )

    def changed(self) -> str:
        """Return a word that is another one after each time that somebody lost access or was renamed."""
        return self._fact(CHANGED)

    def roles_changed(self) -> str:
        """Return a word that is another one whenever somebody became an owner, or ceased to be one."""
        return self._fact(ROLES_CHANGED)

    def cookie_key(self) -> tuple[str, bool]:
        """Return the key that cookies are signed with, and whether older cookies may be without a signature.

        256 random bits, as text; made at the first call. It opens nothing: that takes a cookie's secret too.
        """
        if not self._fact(COOKIE_KEY):
            with transaction(self.conn) as conn:
                if not self._fact(COOKIE_KEY):  # else another process has made it meanwhile
                    add = "INSERT INTO facts(name, value) VALUES (?,?)"
                    conn.execute(add, (COOKIE_KEY, secrets.token_hex(32)))
                    if conn.execute("SELECT 1 FROM devices LIMIT 1").fetchone():
                        conn.execute(add, (UNSIGNED, "1"))
        return self._fact(COOKIE_KEY), self._fact(UNSIGNED) == "1"

    def _fact(self, name: str) -> str:
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def _note_change(self) -> None:
        self.conn.execute(
            "INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (CHANGED, secrets.token_hex(8))
        )

    def _let_go(self, person: int, device: int | None = None) -> None:
        """Let others have the cards that somebody holds, on one device or (None) on all, packs too.

        What they had answered meanwhile, without a network, can't come any more.
        """
        self.conn.execute(
            """UPDATE cards SET lease_until = 0 WHERE session IN (SELECT id FROM sessions) AND person = ?
                 AND lease_until > 0 AND device IS coalesce(?, device)""",
            (person, device),
        )

    def send_away(self, person: int) -> None:
        """End every device of a person and their personal links: their cookies open nothing any more.

        The cards that they hold go back to the pool.
        """
        with transaction(self.conn) as conn:
            self._let_go(person)
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
        made_with: Made | None = None,
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
            number = conn.execute(
                """INSERT INTO links(code_hash, role, person, session, made_at, made_by, ends_at, most)
                   VALUES (?,?,?,?,?,?,?,?)""",
                (code_hash, role, person, session, timestamp(), made_by, ends_at, most),
            ).lastrowid
            if made_with is not None:
                conn.execute(
                    "INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (f"{HOW}{number}", made_with)
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
                  l.withdrawn_at IS NOT NULL, (SELECT count(*) FROM devices d WHERE d.link = l.id),
                  (SELECT value FROM facts WHERE name = '{HOW}' || l.id)
                FROM links l {where}""",
            args,
        )
        return [
            Link(i, role, person, session, made, ends, most, bool(gone), used, how)
            for i, role, person, session, made, ends, most, gone, used, how in rows
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

    def earlier_links(self) -> list[Link]:
        """Return the open links that starts made (`links.BY_STARTING`), but for the newest start's."""
        made, now = [link for link in self.links() if link.made_with in BY_STARTING], time.time()
        return [link for link in made[1:] if link.shut(now) is None]

    def withdraw_earlier(self, *, everybody: bool = False) -> list[int]:
        """Withdraw the `earlier_links`, as `withdraw` does; return their numbers."""
        with transaction(self.conn):
            numbers = [link.id for link in self.earlier_links()]
            for number in numbers:
                self.withdraw(number, everybody=everybody)
        return numbers

    def open_link(self, code_hash: str, now: float | None = None) -> Link:
        """Return the link whose code has this hash. Raises Missing where it lets nobody in (any more)."""
        link = self.link(code_hash)
        shut = None if link is None else link.shut(time.time() if now is None else now)
        if link is None or shut is not None:
            why = "This link is not valid." if shut is None else WHY[shut]
            raise Missing(why, "Ask whoever gave it to you for another one.")
        return link

    def join(
        self, code_hash: str, name: str, token_hash: str, now: float | None = None
    ) -> tuple[Person, Link]:
        """Let a device in by a link; return who it belongs to, and the link.

        name  of somebody new; who comes with a personal link keeps theirs.
        Raises Missing for a link that is not there or lets nobody in (any more).
        """
        with transaction(self.conn) as conn:
            link = self.open_link(code_hash, now)
            number = link.person
            if number is None:
                number = conn.execute(
                    "INSERT INTO people(name, role, created_at) VALUES (?,?,?)",
                    (self.free_name(name), link.role, timestamp()),
                ).lastrowid
            device = self._add_device(int(number or 0), token_hash, link.id)
            known = self.person(int(number or 0))
        return Person(known.id, known.name, known.role, device, link.session), link

    def _add_device(self, person: int, token_hash: str, link: int | None) -> int:
        made = self.conn.execute(
            "INSERT INTO devices(token_hash, person, link, made_at) VALUES (?,?,?,?)",
            (token_hash, person, link, timestamp()),
        )
        return int(made.lastrowid or 0)

    def end_device(self, token_hash: str) -> None:
        """Let a cookie open nothing any more; the cards that its device holds go back to the pool."""
        with transaction(self.conn) as conn:
            ended = conn.execute(
                "SELECT person, id FROM devices WHERE token_hash = ?", (token_hash,)
            ).fetchone()
            if ended is not None:
                self._let_go(*ended)
            conn.execute("UPDATE devices SET ended_at = ? WHERE token_hash = ?", (timestamp(), token_hash))
            self._note_change()
