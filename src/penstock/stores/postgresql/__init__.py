"""Ships the prediction log to PostgreSQL: its outbox, and the process that empties it."""
