"""Single promises of the page's modules, against answers of a test's own."""
