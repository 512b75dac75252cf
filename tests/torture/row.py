"""One row of the table of faults, as the program that makes them prints it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """One kind of fault: how often it was made, what is demanded of Saltus, how often it held.

    `wrong` says of each time that the demand did not hold
    what was seen. `skipped` says why the machine does not permit the fault, if so.
    """

    fault: str
    demanded: str
    times: int = 0
    wrong: list[str] = field(default_factory=list)
    remark: str = ""
    skipped: str = ""

    def count(self, *problems: str) -> None:
        """One more time; `problems` are what was wrong with it, if anything."""
        self.times += 1
        if problems:
            self.wrong.append("; ".join(problems))

    @property
    def outcome(self) -> str:
        """'200 of 200', and the remark."""
        if self.skipped:
            return f"not permitted on this machine: {self.skipped}"
        held = f"{self.times - len(self.wrong):,} of {self.times:,}"
        return f"{held}; {self.remark}" if self.remark else held

    @property
    def line(self) -> str:
        """The row as a line of a Markdown table."""
        return f"| {self.fault} | {self.times:,} | {self.demanded} | {self.outcome} |"

    def encode(self) -> str:
        """The row as one line of JSON, with `line` for who only prints it."""
        return json.dumps({**asdict(self), "line": self.line})


def decode(text: str) -> Row:
    """What `Row.encode` wrote."""
    fields = json.loads(text)
    del fields["line"]
    return Row(**fields)
