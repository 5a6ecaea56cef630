"""Finding images: page by page, by labels and dates, those that are alike. Reads alone."""
