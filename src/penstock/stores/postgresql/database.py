"""PostgreSQL as where records are shipped to. Needs the extra `penstock[postgresql]`.

A batch and how far the segments have been shipped by it are one transaction: whatever is killed,
either both are there or neither, and what is shipped again is recognized by its key.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

from penstock.core.errors import PenstockError
from penstock.stores.postgresql import tables
from penstock.stores.postgresql.address import Address, patience_of
from penstock.stores.postgresql.row import Row
from penstock.stores.postgresql.tables import MIGRATIONS, Migrations

if TYPE_CHECKING:
    from psycopg import Connection

ANSWER_S: Final = 90.0
"""How long the database has for one batch; its connection is cut then."""

_OF_THE_RECORD: Final = ("22", "23", "54", "P0")
"""Classes of errors that come of the values: data, constraints, sizes, triggers of the user's."""


class CannotShip(PenstockError):
    """The database is out of reach, or refuses, or the outbox; the same may succeed later.

    Args:
        reason: in a word: PostgreSQL's five characters, or ours.
        message: as a sentence, without the password.
    """

    code = "cannot_ship"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RowsRefused(PenstockError):
    """The database refuses what stands in some of the rows; none of them has been stored."""

    code = "rows_refused"


@final
class Postgresql:
    """A database that records are shipped to.

    Args:
        address: of the database.
        log: the database knows the outbox by it.
        migrations: make the tables.
        answer_s: how long it has for one batch.
        step: is told each step before it is taken.
    """

    def __init__(
        self,
        address: Address,
        log: str,
        *,
        migrations: Migrations = MIGRATIONS,
        answer_s: float = ANSWER_S,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._address = address
        self._log = log
        self._migrations = migrations
        self._answer_s = answer_s
        self._step = step
        self._connection: Connection[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def open(self) -> Mapping[str, int]:
        """Connect, and see to the tables; return how far each segment has been shipped.

        Raises:
            CannotShip: it does not answer, refuses, or has tables of a later version.
        """
        import psycopg

        self.close()
        with self._translated():
            self._connection = psycopg.connect(
                self._address.text,
                autocommit=True,
                prepare_threshold=None,  # a pooler may give each transaction another session
                client_encoding="UTF8",
                **patience_of(self._address.text),
            )
            with self._cut_when_late(self._connection):
                self._see_to_tables(self._connection)
                found = self._connection.execute(tables.READ_POSITIONS, [self._log]).fetchall()
        return {str(segment): int(position) for segment, position in found}

    def _see_to_tables(self, connection: Connection[Any]) -> None:
        known = len(self._migrations)
        found = _version(connection)
        if found < known:
            with connection.transaction():
                connection.execute(tables.LOCK)
                connection.execute(tables.MAKE_VERSION)
                found = _version(connection)
                for number, statements in enumerate(self._migrations[found:], found + 1):
                    connection.execute(statements.encode())
                    connection.execute(tables.ADD_VERSION, [number])
        if found > known:
            raise CannotShip(
                "later_tables",
                f"the tables in the database are of version {found}, this Penstock knows {known}: "
                "ship by a later Penstock, or to another database",
            )

    def ship(
        self, rows: Sequence[Row], positions: Mapping[str, int], forget: Sequence[str] = ()
    ) -> int:
        """Store rows, and how far their segments have been shipped then; all of it, or nothing.

        Args:
            rows: as `row_of` makes them.
            positions: by the segment's name.
            forget: names of segments that are no more.

        Returns:
            How many of the rows were not there before.

        Raises:
            RowsRefused: the database refuses what stands in some of them.
            CannotShip: it is out of reach, or refuses for another reason.
        """
        connection = self._connection
        if connection is None:
            raise CannotShip("not_open", "there is no connection to the database")
        new = 0
        with self._translated(), self._cut_when_late(connection), connection.transaction():
            if rows:
                new = self._copy(connection, rows)
            if positions:
                self._step("positions")
                names, ends = list(positions), list(positions.values())
                connection.execute(tables.STORE_POSITION.encode(), [self._log, names, ends])
            if forget:
                self._step("forget")
                connection.execute(tables.FORGET.encode(), [self._log, list(forget)])
            self._step("commit")
        self._step("committed")
        return new

    def _copy(self, connection: Connection[Any], rows: Sequence[Row]) -> int:
        self._step("begin")
        connection.execute(tables.BEGIN.encode())
        with connection.cursor() as cursor:
            with cursor.copy(tables.COPY.encode()) as copy:
                for number, row in enumerate(rows):
                    if not number:
                        self._step("copy")
                    copy.write_row(row)
            self._step("insert")
            cursor.execute(tables.INSERT.encode())
            return cursor.rowcount

    def close(self) -> None:
        """End the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way
                connection.close()

    @contextmanager
    def _cut_when_late(self, connection: Connection[Any]) -> Iterator[None]:
        """Cut the connection where the database accepts what is asked, and never answers."""
        answered = threading.Lock()
        timer = threading.Timer(self._answer_s, _cut, [connection, answered])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            answered.acquire()  # for good: it is not cut any more, as its number may be another's

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say the library's errors as ours; but for a refusal the connection is closed then."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            refused = (error.sqlstate or "")[:2] in _OF_THE_RECORD
            said = self._address.without_secrets(str(error).strip().partition("\n")[0])
            if refused or isinstance(error, psycopg.DataError):
                raise RowsRefused(said) from None
            self.close()
            raise CannotShip(error.sqlstate or "no_connection", said) from None
        except BaseException:
            self.close()
            raise


def _cut(connection: Connection[Any], answered: threading.Lock) -> None:
    """Shut a connection down, unless it has been answered; that takes no descriptor more."""
    if not answered.acquire(blocking=False):
        return
    with contextlib.suppress(Exception):  # it has ended meanwhile
        peer = socket.socket(fileno=connection.fileno())
        try:
            peer.shutdown(socket.SHUT_RDWR)
        finally:
            peer.detach()  # it is the connection's to close
    answered.release()


def _version(connection: Connection[Any]) -> int:
    found = connection.execute(tables.FIND).fetchone()
    if found is None or not found[0]:
        return 0
    newest = connection.execute(tables.READ_VERSION).fetchone()
    return 0 if newest is None or newest[0] is None else int(newest[0])
