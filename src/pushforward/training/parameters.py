"""What scikit-learn asks of an estimator besides `fit`: settings by name, its kind, an error before it has seen data.

scikit-learn is not needed, and imported by its own call alone.
"""

import inspect
import sys
from typing import Any, Self

from pushforward._errors import ConfigError, PushforwardError, explain


class Parameters:
    """An estimator whose constructor keeps each argument under its name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, for the next `fit`.

        Raises:
            ConfigError: no such argument.
        """
        known = list(inspect.signature(type(self)).parameters)
        for name, value in params.items():
            if name not in known:
                expected, fix = f"a parameter of {type(self).__name__}", f"It has {', '.join(known)}."
                raise ConfigError(explain(expected, repr(name), fix))
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        told = [f"{k}={v!r}" for k, v in self.get_params().items() if repr(v) != repr(defaults[k].default)]
        return f"{type(self).__name__}({', '.join(told)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator; it alone calls this."""
        from sklearn.utils import InputTags, Tags, TargetTags  # pyright: ignore[reportMissingImports]

        inputs = InputTags(allow_nan=True, string=True, categorical=True)
        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False), input_tags=inputs)


class NotFittedError(PushforwardError, AttributeError):
    """An estimator that is asked before it has seen data."""


def not_fitted(estimator: object) -> Exception:
    """That error; scikit-learn's own class where it is loaded, which its callers expect."""
    text = explain(f"a fitted {type(estimator).__name__}", "one that has seen no data", "Call fit(X) first.")
    theirs = sys.modules.get("sklearn.exceptions")
    return theirs.NotFittedError(text) if theirs else NotFittedError(text)
