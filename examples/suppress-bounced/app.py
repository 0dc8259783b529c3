"""Keeps for each recipient whether mail still reaches them, by the events of Kannon that a Trigger brings.

The table is this service's own: another system asks it before it writes to somebody. An event that comes
again is noticed by its id, and one that comes late by its time, so their order does not matter.
"""

import os
import sqlite3
from contextlib import closing

from cloudevents.http import from_http
from flask import Flask, Response, jsonify, request

STATES = {
    "email.kannon.delivery.delivered.v1": "reached",
    "email.kannon.delivery.bounced.v1": "bounced",
}
TABLES = """
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS recipients
    (address TEXT PRIMARY KEY, state TEXT, at TEXT, reason TEXT, mails INTEGER);
"""
NOTE = """
INSERT INTO recipients VALUES (:recipient, :state, :time, :reason, 1)
ON CONFLICT (address) DO UPDATE SET
    mails = mails + 1,
    state = CASE WHEN excluded.at >= at THEN excluded.state ELSE state END,
    reason = CASE WHEN excluded.at >= at THEN excluded.reason ELSE reason END,
    at = max(at, excluded.at)
"""
app = Flask(__name__)


def database() -> sqlite3.Connection:
    """The table, made where it is missing."""
    connection = sqlite3.connect(os.environ.get("DATABASE", "recipients.sqlite"), timeout=10)
    connection.executescript(TABLES)
    return connection


@app.post("/")
def take() -> Response:
    """Takes one event; any answer from 200 to 299 says that it need not come again."""
    event = from_http(dict(request.headers), request.get_data())
    state = STATES.get(event["type"])
    if state is None:
        return Response(status=204)  # a Trigger without a filter would bring others, too
    told = {"state": state, "reason": event.data.get("category", "")} | event.data
    with closing(database()) as connection, connection:
        is_new = connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (event["id"],)).rowcount
        if is_new:
            connection.execute(NOTE, told)
    return Response(status=204)


@app.get("/recipients/<address>")
def look(address: str) -> Response:
    """What is known of a recipient."""
    with closing(database()) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT * FROM recipients WHERE address = ?", (address,)).fetchone()
    return jsonify(dict(row)) if row else Response(status=404)


@app.get("/healthz")
def healthz() -> Response:
    """For the readiness probe."""
    return Response(status=204)


if __name__ == "__main__":
    app.run(host=os.environ.get("HOST", "0.0.0.0"), port=int(os.environ.get("PORT", "8080")))  # noqa: S104
