"""HTTP for all routes: errors, bodies, limits, streams, cursors."""
