"""Routes that the page needs beyond those of the archive itself."""
