"""What HTTP asks of every route: errors, bodies, limits, streams, cursors."""
