"""What a row of the table says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One kind of fault.

    Attributes:
        where: What it was done to.
        fault: What was done.
        count: How often.
        found: How often it went as it should.
        outcome: What that is, and by what it is seen.
    """

    where: str
    fault: str
    count: int
    found: int
    outcome: str
