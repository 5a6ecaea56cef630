"""The timeline as clients see it; a month's own images are columns of bytes."""

from pydantic import Field

from ingress.models.roots import Output


class ShownMonth(Output):
    """A month and its images."""

    month: str = Field(description="`2024-05`: by the date taken, UTC; else by the arrival.")
    images: int
    mean_ratio: float = Field(description="Width by height, of those whose size is known.")
    parts: int = Field(description="So many parts has `GET /timeline/{month}`.")


class Timeline(Output):
    """All images that match, by month; what has no date has that of its arrival."""

    total: int
    is_exact: bool = Field(description="Always true: nothing of it is estimated.")
    months: tuple[ShownMonth, ...] = Field(description="The newest first.")
