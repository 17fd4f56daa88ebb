"""What `check_encoding` found: one line per property, what was promised and what holds.

A property is all right if it holds or was not promised. An encoding that keeps more than it promises is all right too,
but not `exact`: its `Properties` could say more (or these few tokens do not show the difference).
"""

from dataclasses import dataclass

from pushforward._errors import PushforwardError, explain


@dataclass(frozen=True, slots=True)
class Check:
    """One property.

    Args:
        name: what is checked.
        promised: whether the encoding says so.
        holds: whether it is so.
        error: the largest deviation found; infinite if the call was refused.
        limit: what it may be.
    """

    name: str
    promised: bool
    holds: bool
    error: float
    limit: float

    @property
    def ok(self) -> bool:
        """Holds, or was not promised."""
        return self.holds or not self.promised


@dataclass(frozen=True, slots=True)
class Proof:
    """All properties of one encoding. Prints as a table.

    Args:
        encoding: its class.
        checks: what was checked.

    >>> print(Proof("Mine", (Check("packed is separate", True, False, 0.5, 1e-9),)))
    Mine                                promised  holds    error    limit
    packed is separate                       yes     NO  5.0e-01  1.0e-09
    """

    encoding: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every promise is kept."""
        return not self.broken

    @property
    def exact(self) -> bool:
        """Whether what holds is what is promised, no less and no more."""
        return all(check.promised == check.holds for check in self.checks)

    @property
    def broken(self) -> tuple[Check, ...]:
        """The promises that do not hold."""
        return tuple(check for check in self.checks if not check.ok)

    def demand(self) -> None:
        """Raise if a promise is broken.

        Raises:
            PushforwardError: names the promises and the deviations.
        """
        if self.broken:
            found = "; ".join(f"{each.name} (error {each.error:.1e}, limit {each.limit:.1e})" for each in self.broken)
            raise PushforwardError(explain(
                f"{self.encoding} to keep its promises", f"these broken: {found}", "Correct it, or its Properties.",
            ))  # fmt: skip

    def __str__(self) -> str:
        words = {(True, True): "yes", (True, False): "NO", (False, True): "yes", (False, False): "no"}
        lines = [f"{self.encoding:<36}promised  holds    error    limit"] + [
            f"{each.name:<36}{'yes' if each.promised else 'no':>8}{words[each.promised, each.holds]:>7}"
            f"{each.error:9.1e}{each.limit:9.1e}"
            for each in self.checks
        ]
        return "\n".join(lines)
